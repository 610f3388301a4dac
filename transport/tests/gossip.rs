//! How gossip gets to an address, between real endpoints.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;

use bytes::Bytes;
use cluster::{Cluster, LONG, Node, eventually, everywhere, free_port, linked, number, numbered};
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

#[tokio::test]
async fn the_backlog_of_one_peer_delays_no_other_and_none_of_it_is_lost() {
    let cluster = Cluster::new("c");
    let (mut a, busy, quiet) = (cluster.start("a"), cluster.start("b"), cluster.start("c"));
    for peer in [&busy, &quiet] {
        peer.keep(&a);
        linked(&a, peer).await;
    }
    let to = a.transport.advertise();
    let flood = async {
        for n in 0..FLOOD_MESSAGES {
            eventually("there is room for another", || {
                let message = numbered(n, 65_507);
                busy.transport.gossip(to, message) == Gossiped::Sent
            })
            .await;
        }
    };
    let receive = async {
        let received = |n| move |a: &Node| a.transport.stats().gossip_received == n;
        let full = WAITING_MAX + 1;
        eventually("no more is read of it", || received(full)(&a)).await;
        let hi = Bytes::from_static(b"hi");
        assert_eq!(quiet.transport.gossip(to, hi), Gossiped::Sent);
        eventually("another is read", || received(full + 1)(&a)).await;
        let first = a.gossip.recv().await.unwrap();
        assert_eq!(first, (busy.run(), numbered(0, 65_507)));
        let second = a.gossip.recv().await.unwrap();
        assert_eq!((&second.0, &second.1[..]), (&quiet.run(), &b"hi"[..]));
        for n in 1..FLOOD_MESSAGES {
            assert_eq!(number(&a.gossip.recv().await.unwrap().1), n);
        }
    };
    tokio::join!(flood, receive);
    assert_eq!(a.transport.stats().gossip_dropped, 0);
}

/// More than there is room for on the way.
const FLOOD_MESSAGES: u32 = 300;
/// As many of the longest messages of a peer wait to be received; one more waits for room.
const WAITING_MAX: u64 = 17;
