//! How gossip gets to an address, between real endpoints.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;

use bytes::Bytes;
use cluster::{Cluster, LONG, eventually, everywhere, free_port, linked};
use tidings_bounds::Time;
use tidings_transport::{Config, Gossiped};
use tokio::time::timeout;

#[tokio::test]
async fn gossip_reaches_an_address_and_says_whom_to_answer() {
    let cluster = Cluster::new("c");
    let (mut a, mut b) = (cluster.start("a"), cluster.start("b"));
    let syn = Bytes::from_static(b"syn");
    let waiting = a.transport.gossip(b.transport.advertise(), syn);
    assert_eq!(waiting, Gossiped::Waiting);
    let (from, message) = timeout(LONG, b.gossip.recv()).await.unwrap().unwrap();
    assert_eq!((&from, &message[..]), (&a.run(), &b"syn"[..]));

    let large = Bytes::from(vec![7; 65_507]);
    let sent = b.transport.gossip(from.addr, large.clone());
    assert_eq!(sent, Gossiped::Sent);
    let (from, message) = timeout(LONG, a.gossip.recv()).await.unwrap().unwrap();
    assert_eq!((from, message), (b.run(), large));
    assert_eq!(a.transport.stats().links_opened, 1);
    assert_eq!(b.transport.stats().links_opened, 1);
}

#[tokio::test]
async fn gossip_to_an_alias_of_a_linked_peer_uses_its_link() {
    let cluster = Cluster::new("c");
    let port = free_port();
    let (a, mut b) = (cluster.start("a"), cluster.start_at("b", everywhere(port)));
    a.keep(&b);
    linked(&a, &b).await;
    let hi = Bytes::from_static(b"hi");
    let waiting = a
        .transport
        .gossip(([127, 0, 0, 2], port).into(), hi.clone());
    assert_eq!(waiting, Gossiped::Waiting);
    let (from, _) = timeout(LONG, b.gossip.recv()).await.unwrap().unwrap();
    assert_eq!(from, a.run());
    assert_eq!(b.transport.stats().links_opened, 1);
    let sent = a.transport.gossip(([127, 0, 0, 2], port).into(), hi);
    assert_eq!(sent, Gossiped::Sent);
}

#[tokio::test]
async fn gossip_that_is_too_large_is_dropped_and_what_finds_nobody_is_counted() {
    let cluster = Cluster::new("c");
    let config = Config {
        handshake_timeout: Time::of_ms::<100>(),
        ..Config::default()
    };
    let a = cluster.start_with("a", config);
    let nobody = ([127, 0, 0, 1], free_port()).into();
    let too_large = a.transport.gossip(nobody, vec![0; 128 << 10].into());
    assert_eq!(too_large, Gossiped::Dropped);
    let waiting = a.transport.gossip(nobody, Bytes::from_static(b"hello?"));
    assert_eq!(waiting, Gossiped::Waiting);
    assert_eq!(a.transport.stats().gossip_dropped, 0);
    eventually("the dial fails", || a.transport.stats().gossip_dropped == 1).await;
    assert_eq!(a.transport.stats().dials_failed, 1);
}

#[tokio::test]
async fn a_node_that_dials_itself_notices_and_remembers() {
    let cluster = Cluster::new("c");
    let port = free_port();
    let a = cluster.start_at("a", everywhere(port));
    let alias = ([127, 0, 0, 2], port).into();
    let message = || Bytes::from_static(b"me?");
    assert_eq!(a.transport.gossip(alias, message()), Gossiped::Waiting);
    eventually("its own message is lost", || {
        a.transport.stats().gossip_dropped == 1
    })
    .await;
    assert_eq!(a.transport.gossip(alias, message()), Gossiped::Dropped);
    let stats = a.transport.stats();
    assert_eq!((stats.links_opened, stats.dials_failed), (0, 0));
    assert_eq!(stats.handshakes_refused, 0);
}
