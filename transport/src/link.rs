use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU16, Ordering};

use quinn::{Connection, RecvStream, SendStream};
use tidings_identity::Incarnation;
use tracing::{info, warn};

use crate::LinkNumber;
use crate::control::{Control, ControlError, Hello};
use crate::gossip::GossipQueue;
use crate::hub::{Hub, Seat};
use crate::{CloseCode, LinkInfo, Peer, reader, writer};

/// A connection that both sides agree on.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) peer: Arc<Peer>,
    pub(crate) number: LinkNumber,
    /// The peer's run.
    pub(crate) incarnation: Incarnation,
    /// The address the peer advertises.
    pub(crate) advertised: SocketAddr,
    pub(crate) connection: Connection,
    /// Gossip that waits to be sent.
    pub(crate) gossip: GossipQueue,
    /// How many lanes the peer opens.
    lanes: u8,
    /// One bit for each lane that the peer has opened.
    lanes_opened: AtomicU16,
}

impl Link {
    pub(crate) fn new(peer: Arc<Peer>, seat: &Seat, hello: &Hello, connection: Connection) -> Self {
        Self {
            peer,
            number: seat.number,
            incarnation: hello.incarnation,
            advertised: hello.advertised,
            connection,
            gossip: GossipQueue::default(),
            lanes: hello.lanes,
            lanes_opened: AtomicU16::new(0),
        }
    }

    /// Starts the tasks of a link that is up: two for the control stream, one for each lane and
    /// direction, and one that waits for the end.
    pub(crate) fn start(
        self: Arc<Self>,
        hub: &Arc<Hub>,
        seat: Seat,
        control: (SendStream, RecvStream),
    ) {
        let (send, receive) = control;
        let gossip = writer::gossip(hub.clone(), self.clone(), send);
        hub.spawn_writer(&self, gossip);
        for lane in 0..hub.config.lane_count() {
            let lane = writer::lane(hub.clone(), self.clone(), lane);
            hub.spawn_writer(&self, lane);
        }
        hub.spawn(self.clone().receive_gossip(hub.clone(), receive));
        hub.spawn(self.clone().accept_lanes(hub.clone()));
        hub.spawn(self.supervise(hub.clone(), seat));
    }

    pub(crate) fn info(&self) -> LinkInfo {
        LinkInfo {
            peer: self.peer.name().clone(),
            incarnation: self.incarnation,
            advertised: self.advertised,
            remote: self.connection.remote_address(),
            dialled: self.connection.side().is_client(),
            round_trip: self.connection.rtt(),
        }
    }

    /// Marks a lane as opened by the peer. False if there is no such lane or it is open already.
    pub(crate) fn open_lane(&self, lane: u8) -> bool {
        let bit = 1u16.checked_shl(lane.into()).unwrap_or(0);
        lane < self.lanes && self.lanes_opened.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// The peer broke the protocol: closes this link and nothing else.
    pub(crate) fn violation(&self, hub: &Hub, error: &dyn std::fmt::Display) {
        hub.counters.violations.fetch_add(1, Relaxed);
        let peer = self.peer.name();
        warn!(%peer, addr = %self.advertised, %error, "closing the link: protocol violation");
        let reason = error.to_string();
        self.connection
            .close(CloseCode::Violation.number(), reason.as_bytes());
    }

    async fn supervise(self: Arc<Self>, hub: Arc<Hub>, seat: Seat) {
        let peer = self.peer.name();
        let (incarnation, addr) = (self.incarnation, self.advertised);
        info!(%peer, %incarnation, %addr, "link up");
        let reason = self.connection.closed().await;
        hub.counters.links_closed.fetch_add(1, Relaxed);
        info!(%peer, %incarnation, %addr, %reason, "link down");
        hub.counters
            .gossip_dropped
            .fetch_add(self.gossip.clear(), Relaxed);
        drop(seat);
    }

    async fn receive_gossip(self: Arc<Self>, hub: Arc<Hub>, mut stream: RecvStream) {
        loop {
            let message = Control::read(&mut stream, hub.config.control_bytes_max.get()).await;
            let unexpected = match message {
                Ok(Control::Gossip(message)) => {
                    hub.counters.gossip_received.fetch_add(1, Relaxed);
                    hub.counters
                        .gossip_bytes_received
                        .fetch_add(message.len() as u64, Relaxed);
                    // Waiting for membership would hold up this link; gossip repeats itself.
                    if hub.gossip_in.try_send((self.advertised, message)).is_err() {
                        hub.counters.gossip_dropped.fetch_add(1, Relaxed);
                    }
                    continue;
                }
                Ok(other) => ControlError::Unexpected(other.name()),
                // The connection is lost, or the peer is leaving and has nothing more to say.
                Err(ControlError::Read(_)) => return,
                Err(error) => error,
            };
            return self.violation(&hub, &unexpected);
        }
    }

    async fn accept_lanes(self: Arc<Self>, hub: Arc<Hub>) {
        while let Ok(stream) = self.connection.accept_uni().await {
            hub.spawn(reader::lane(hub.clone(), self.clone(), stream));
        }
    }
}
