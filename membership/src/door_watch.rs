use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_identity::NodeId;
use tokio::sync::watch;

use crate::client_door::ClientDoor;
use crate::node_view::NodeView;
use crate::view::View;

/// Tells where the clients of the live nodes connect, whenever that changes. Nothing is queued: several
/// changes may be told as one.
#[derive(Debug)]
pub struct DoorWatch {
    views: watch::Receiver<Arc<View>>,
    /// The others, as they were looked at last.
    remote: Option<Arc<BTreeMap<NodeId, Arc<NodeView>>>>,
    told: Option<Doors>,
}

/// The node that is asked first, then the others, sorted by name.
type Doors = Vec<(NodeId, Arc<ClientDoor>)>;

impl DoorWatch {
    pub(crate) fn new(views: watch::Receiver<Arc<View>>) -> Self {
        Self {
            views,
            remote: None,
            told: None,
        }
    }

    /// This node and the live ones besides, each with where its clients connect: at the first call as it
    /// is, then when it is something else than was told last. Pending for ever once this node's membership
    /// has ended.
    ///
    /// Cancel-safe.
    pub async fn next(&mut self) -> Vec<(NodeId, Arc<ClientDoor>)> {
        loop {
            if let Some(doors) = self.look() {
                self.told = Some(doors.clone());
                return doors;
            }
            if self.views.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What is to be told, if it is something new.
    fn look(&mut self) -> Option<Doors> {
        let view = self.views.borrow_and_update();
        // Most changes are of members on this node.
        let is_known = |remote: &Arc<_>| Arc::ptr_eq(remote, &view.remote);
        let own = self.told.as_ref().and_then(|told| told.first());
        let own_stays = own.is_some_and(|(_, own)| Arc::ptr_eq(own, &view.local.door));
        if own_stays && self.remote.as_ref().is_some_and(is_known) {
            return None;
        }
        self.remote = Some(Arc::clone(&view.remote));
        let door = |node: &Arc<NodeView>| (node.run.node.clone(), Arc::clone(&node.door));
        let doors: Doors = view.all().map(door).collect();
        (self.told.as_ref() != Some(&doors)).then_some(doors)
    }
}
