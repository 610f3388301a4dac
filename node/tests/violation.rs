//! What a node does about a peer that breaks the protocol.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidings::{Authority, Config, Identity, Node, Seed, SystemNet, Validity};
use tidings_identity::Incarnation;
use tidings_transport::{
    Budget, Credit, Gossiped, Local, Net, Peer, Receive, Transport, Violation,
};
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(10);

/// A member that takes whatever it is sent.
struct Rogue;

impl Receive for Rogue {
    fn frame(&self, _: &Arc<Peer>, _: Incarnation, _: Bytes) -> Result<(), Violation> {
        Ok(())
    }

    fn credit(&self, _: &Arc<Peer>, _: Incarnation, _: Credit) {}
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn identity(authority: &Authority, name: &str, validity: Validity) -> Identity {
    let issued = authority.issue(&name.parse().unwrap(), validity).unwrap();
    let ca = authority.certificate_pem();
    Identity::from_pem(ca, &issued.certificate_pem, &issued.key_pem).unwrap()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    let holds = timeout(SOON, holds).await;
    assert!(holds.is_ok(), "not soon: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_that_no_node_says_ends_the_link_of_its_sender_and_no_other() {
    let validity = Validity::starting(SystemNet.unix_time(), Duration::from_secs(3600)).unwrap();
    let authority = Authority::create(&"test".parse().unwrap(), validity).unwrap();
    let start = |name: &str, seeds: Vec<Seed>| {
        let config = Config {
            listen: loopback(),
            seeds,
            ..Config::default()
        };
        Node::start(config, Some(identity(&authority, name, validity)))
    };
    let a = start("a", Vec::new()).await.unwrap();
    let addr = a.addr().unwrap();
    let b = start("b", vec![Seed::from(addr)]).await.unwrap();
    let sees_peer = |node: &Node| node.nodes().iter().filter(|node| node.live).count() == 2;
    until("the two see each other", || sees_peer(&a) && sees_peer(&b)).await;

    let local = Local {
        listen: loopback(),
        advertise: None,
        incarnation: Incarnation::new(1),
        frame_bytes_max: 1 << 20,
        budget: Arc::new(Budget::new(usize::MAX)),
    };
    let (rogue, _gossip) = Transport::start(
        Default::default(),
        local,
        identity(&authority, "rogue", validity),
        Arc::new(SystemNet),
        Arc::new(Rogue),
        Default::default(),
        Default::default(),
    )
    .unwrap();
    let junk = Bytes::from_static(b"junk");
    assert_eq!(rogue.gossip(addr, junk), Gossiped::Waiting);
    let links = || a.stats().transport.unwrap();
    until("its link is closed", || links().violations == 1).await;
    until("it has none", || {
        rogue.stats().links_opened == 1 && rogue.stats().links == 0
    })
    .await;
    assert_eq!(a.stats().membership.faults.total(), 1);

    // It tries again at once.
    let again = Bytes::from_static(b"more junk");
    assert_eq!(rogue.gossip(addr, again), Gossiped::Waiting);
    until("it is refused", || rogue.stats().dials_failed >= 1).await;
    assert_eq!((links().violations, rogue.stats().links_opened), (1, 1));
    assert!(sees_peer(&a) && sees_peer(&b));
    assert_eq!(a.links().iter().filter(|link| link.up.is_some()).count(), 1);
}
