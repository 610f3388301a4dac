use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;
use tokio::time::Instant;

use super::announcement::Announcement;
use super::client::Client;
use super::clients::Clients;
use super::connect_options::ConnectOptions;
use super::end::End;
use super::op::Op;
use super::peer::{Origin, Peer};
use super::record::{Counts, Record};
use super::reply::{self, Info, TlsOffer};
use crate::GatewayConfig;
use tidings::{Delivery, Session};

/// A client's place among those of the gateway, which it has until this is dropped: what is counted of it,
/// and what it was told of the other nodes.
#[derive(Debug)]
pub(super) struct Place {
    clients: Clients,
    /// What it may sign to show who it is.
    nonce: Option<String>,
    record: Arc<Record>,
    pub(super) peer: Peer,
    /// Where it has reached the node; none if that is no address in the network.
    local: Option<SocketAddr>,
    /// What it is told of TLS.
    tls: Option<TlsOffer>,
    /// Whether the addresses of other nodes are of use to it.
    goes_elsewhere: bool,
    told: Arc<Announcement>,
    /// Whether there may be something that it was not told.
    has_news: bool,
    is_drain_told: bool,
    /// When it was asked for a sign of life, if it has not answered yet.
    asked: Option<Instant>,
    /// How many messages and subscriptions there were when it was looked at last.
    seen: (u64, usize),
    /// Why the connection ends, and whether for being slow.
    end: (&'static str, bool),
}

impl Place {
    /// One more client comes.
    pub(super) fn enter(
        clients: &Clients,
        id: u64,
        peer: Peer,
        local: Option<SocketAddr>,
        tls: Option<TlsOffer>,
    ) -> Box<Self> {
        let (record, told) = clients.enter(id, peer.addr());
        // Moved about with the rest of a connection it would take its room twice.
        Box::new(Self {
            clients: clients.clone(),
            nonce: clients.config().identities.nonce(),
            record,
            goes_elsewhere: matches!(peer.origin, Origin::Network(_)),
            peer,
            local,
            tls,
            told,
            has_news: false,
            is_drain_told: false,
            asked: None,
            seen: (0, 0),
            end: ("Client Closed", false),
        })
    }

    /// How the gateway is to be.
    pub(super) fn config(&self) -> &GatewayConfig {
        self.clients.config()
    }

    /// Where other nodes are reached over TCP is nothing to it.
    pub(super) fn stays(&mut self) {
        self.goes_elsewhere = false;
    }

    /// What the client is told first: who the node is, and where else the client can go.
    pub(super) fn greeting(&self) -> BytesMut {
        let mut greeting = BytesMut::new();
        self.say(&self.told, false, &mut greeting);
        greeting
    }

    /// What it was told for showing who it is, and where it comes from.
    pub(super) fn told(&self) -> (Option<&str>, IpAddr) {
        let from = match self.peer.origin {
            Origin::Network(addr) => addr.ip(),
            Origin::Process { .. } => Ipv4Addr::LOCALHOST.into(),
        };
        (self.nonce.as_deref(), from)
    }

    pub(super) fn greet(&self, session: &Session, options: &ConnectOptions) {
        let (scope, observer) = (session.scope().clone(), session.observer());
        self.record.greet(scope, options, observer);
    }

    /// Waits until there is something to tell the client, or to do about it.
    pub(super) fn news(&self) -> impl Future<Output = ()> {
        poll_fn(|cx| self.record.poll_news(cx))
    }

    /// Notes that there is something to tell the client. True if its session is to be finished: nothing new
    /// comes from then on, and once the client has what waits for it, its inbox says that this was all.
    pub(super) fn take_news(&mut self) -> bool {
        self.has_news = true;
        self.record.is_to_end()
    }

    /// Tells the client where else it can go, if that is news and it wants to know.
    pub(super) fn tell_news(&mut self, client: &mut Client) {
        if !self.has_news || !client.takes_info() {
            return;
        }
        self.has_news = false;
        let newest = self.clients.announcement();
        if !Arc::ptr_eq(&newest, &self.told) {
            let is_drain = newest.is_draining && !std::mem::replace(&mut self.is_drain_told, true);
            self.say(&newest, is_drain, &mut client.out);
            self.told = newest;
        }
    }

    /// Tells the client to go elsewhere, unless it was told before.
    pub(super) fn say_farewell(&mut self, client: &mut Client) {
        if client.takes_info() && !std::mem::replace(&mut self.is_drain_told, true) {
            let newest = self.clients.announcement();
            self.say(&newest, true, &mut client.out);
        }
    }

    fn say(&self, news: &Announcement, is_drain: bool, out: &mut BytesMut) {
        let (node, config) = (self.clients.node(), self.clients.config());
        let (nothing, advertised) = (Announcement::default(), config.advertise.first());
        let (news, advertised) = if self.goes_elsewhere {
            (news, advertised)
        } else {
            (&nothing, None)
        };
        let info = Info::new(node, self.local, &self.peer, self.record.id).offering(self.tls);
        let info = info.asking(config.identities.asks(), self.nonce.as_deref());
        reply::info(out, &info.announcing(news, advertised, is_drain));
    }

    /// Translates a delivery, and counts it if it was for one of the subscriptions there are.
    pub(super) fn deliver(&self, client: &mut Client, delivery: &Delivery) {
        let out_bytes = client.out.len();
        client.deliver(delivery);
        if let Delivery::Message { message, .. } = delivery
            && client.out.len() > out_bytes
        {
            self.record.traffic.count_out(message.size_bytes());
        }
    }

    pub(super) fn count_in(&mut self, op: &Op<'_>) {
        match op {
            Op::Publish(publication) => {
                let headers = publication.headers.map_or(0, <[u8]>::len);
                let traffic = &self.record.traffic;
                traffic.count_in(headers + publication.payload.len());
            }
            Op::Pong => {
                if let Some(asked) = self.asked.take() {
                    self.record.measured(asked.elapsed());
                }
            }
            _ => {}
        }
    }

    /// The client is asked for a sign of life.
    pub(super) fn asked(&mut self) {
        self.asked = Some(Instant::now());
    }

    /// Notes what the connection has now.
    pub(super) fn look(&mut self, subscriptions: usize, out_bytes: usize, now: Instant) {
        self.record.set(subscriptions, out_bytes);
        let Counts {
            in_msgs, out_msgs, ..
        } = self.record.counts();
        let seen = (in_msgs + out_msgs, subscriptions);
        if seen != self.seen {
            self.seen = seen;
            self.record.active(now);
        }
    }

    /// Notes why the connection ends.
    pub(super) fn ends(&mut self, end: &End) {
        self.end = (end.reason(), end.is_slow());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (reason, is_slow) = self.end;
        self.clients.leave(&self.record, reason, is_slow);
    }
}
