use std::sync::Arc;

use quinn::{RecvStream, SendStream};
use tidings_identity::Revocations;
use tracing::info;

use crate::Receive;
use crate::bulletin::Bulletin;
use crate::candidate::Candidate;
use crate::gossip_in::GossipIn;
use crate::link::Link;
use crate::links::Links;
use crate::reader::{ControlReader, LaneReader};
use crate::stats::Counters;
use crate::tasks::Tasks;
use crate::writer::{ControlWriter, LaneWriter};

/// Moves what goes over links, each with its own tasks.
pub(crate) struct Traffic {
    pub(crate) tasks: Tasks,
    pub(crate) links: Arc<Links>,
    pub(crate) receiver: Arc<dyn Receive>,
    pub(crate) gossip_in: Arc<GossipIn>,
    pub(crate) counters: Arc<Counters>,
    /// What peers are told to be revoked, and tell.
    pub(crate) revocations: Revocations,
    /// How many lanes we open.
    pub(crate) lanes: u8,
    pub(crate) frame_bytes_max: usize,
    pub(crate) control_bytes_max: usize,
}

impl Traffic {
    /// Starts the tasks of a link that is up: two for the control stream, one for each lane and
    /// direction, and one that waits for the end.
    pub(crate) fn start(
        &self,
        link: &Arc<Link>,
        candidate: Candidate,
        control: (SendStream, RecvStream),
    ) {
        let (send, receive) = control;
        let writer = ControlWriter {
            link: link.clone(),
            bulletin: Bulletin::new(&self.revocations),
            counters: self.counters.clone(),
            draining: self.tasks.draining().clone(),
        };
        self.spawn_writer(link, writer.run(send));
        for lane in 0..self.lanes {
            let writer = LaneWriter {
                link: link.clone(),
                lane,
                counters: self.counters.clone(),
                draining: self.tasks.draining().clone(),
            };
            self.spawn_writer(link, writer.run());
        }
        let reader = ControlReader {
            link: link.clone(),
            links: self.links.clone(),
            receiver: self.receiver.clone(),
            gossip_in: self.gossip_in.clone(),
            revocations: self.revocations.clone(),
            counters: self.counters.clone(),
            control_bytes_max: self.control_bytes_max,
        };
        self.tasks.spawn(reader.run(receive));
        let reader = LaneReader {
            link: link.clone(),
            links: self.links.clone(),
            receiver: self.receiver.clone(),
            counters: self.counters.clone(),
            frame_bytes_max: self.frame_bytes_max,
        };
        self.tasks.spawn(accept_lanes(self.tasks.clone(), reader));
        self.tasks.spawn(supervise(link.clone(), candidate));
    }

    fn spawn_writer(&self, link: &Arc<Link>, task: impl Future<Output = ()> + Send + 'static) {
        let connection = link.connection.clone();
        self.tasks.spawn_writer(async move {
            tokio::select! {
                () = task => {}
                _ = connection.closed() => {}
            }
        });
    }
}

async fn accept_lanes(tasks: Tasks, reader: LaneReader) {
    while let Ok(stream) = reader.link.connection.accept_uni().await {
        tasks.spawn(reader.clone().run(stream));
    }
}

/// Holds the candidate as long as its connection lasts.
async fn supervise(link: Arc<Link>, candidate: Candidate) {
    let (peer, incarnation, addr) = (link.peer.name(), link.incarnation, link.advertised);
    info!(%peer, %incarnation, %addr, "link up");
    let reason = link.connection.closed().await;
    info!(%peer, %incarnation, %addr, %reason, "link down");
    drop(candidate);
}
