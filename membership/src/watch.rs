use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::difference::difference;
use crate::event::Event;
use crate::view::View;

/// The stream of events that continues a [`View`].
///
/// Every join and leave between the snapshot it began with and the newest view is told once.
/// Nothing is queued: each call tells the difference since the one before, so a watcher that comes
/// late loses nothing that lasted and holds nobody up, and sees only the net change: a membership
/// that came and went in between is not told. For each node, leaves come before joins and joins
/// in the order in which they were made there; a node goes up before its first member joins and
/// down after its last one left.
#[derive(Debug)]
pub struct Watch {
    views: watch::Receiver<Arc<View>>,
    told: Arc<View>,
    token: CancellationToken,
}

impl Watch {
    pub(crate) fn new(mut views: watch::Receiver<Arc<View>>, token: CancellationToken) -> Self {
        let told = views.borrow_and_update().clone();
        Self { views, told, token }
    }

    /// The next events, at least one. None once this node's membership has ended.
    ///
    /// Cancel-safe: events that were not returned are told by the next call.
    pub async fn next(&mut self) -> Option<Vec<Event>> {
        loop {
            tokio::select! {
                biased;
                () = self.token.cancelled() => return None,
                changed = self.views.changed() => changed.ok()?,
            }
            let view = self.views.borrow_and_update().clone();
            let events = difference(&self.told, &view);
            self.told = view;
            if !events.is_empty() {
                return Some(events);
            }
        }
    }

    /// The view that all events told so far lead to.
    pub fn view(&self) -> Arc<View> {
        self.told.clone()
    }
}
