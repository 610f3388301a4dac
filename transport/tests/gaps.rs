//! What both ends of a link are told of frames that did not arrive, between real endpoints.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;

use cluster::{Cluster, INCARNATION, LONG, Node, eventually, later, linked, name, numbered};
use tidings_transport::{Direction, Frame, Gap};
use tokio::time::timeout;

/// All that a node tells of its one peer until it is told no more, added up: frames, and whether an
/// unknown number of them, each inbound and outbound.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    inbound: (u64, bool),
    outbound: (u64, bool),
}

impl Told {
    fn add(&mut self, gap: &Gap) {
        let (frames, unknown) = match gap.direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Outbound => &mut self.outbound,
        };
        *frames += gap.frames.unwrap_or_default();
        *unknown |= gap.frames.is_none();
    }

    /// Until it is as expected.
    async fn follow(&mut self, node: &Node, is_all: impl Fn(&Self) -> bool) {
        let all = async {
            while !is_all(self) {
                node.transport
                    .gaps()
                    .await
                    .iter()
                    .for_each(|gap| self.add(gap));
            }
        };
        let told = timeout(LONG, all).await;
        assert!(told.is_ok(), "told only {self:?}");
    }
}

#[tokio::test]
async fn what_is_refused_is_told_at_both_ends_though_nothing_else_is_sent() {
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    let peer = a.transport.peer(&name("b"));
    let too_large = Frame::new(&[], vec![0; 64 << 20].into());
    for publisher in 0..3 {
        peer.send(publisher, &too_large).unwrap_err();
    }
    a.keep(&b);
    linked(&a, &b).await;
    let (mut at_a, mut at_b) = (Told::default(), Told::default());
    at_a.follow(&a, |told| told.outbound == (3, false)).await;
    at_b.follow(&b, |told| told.inbound == (3, false)).await;
    peer.send(0, &too_large).unwrap_err();
    at_b.follow(&b, |told| told.inbound == (4, false)).await;
    let there = b.link_to(&a).unwrap().dropped_frames_there;
    assert_eq!(there, a.link_to(&b).unwrap().dropped_frames);
    assert_eq!(at_b.outbound, (0, false));
}

#[tokio::test]
async fn what_is_lost_with_a_link_is_told_at_both_ends() {
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.keep(&b);
    linked(&a, &b).await;
    let mut sent = 0;
    while b.transport.stats().dropped_link_lost < 100 {
        for n in 0..200 {
            a.send(&b, 0, numbered(n, 5_000));
            sent += 1;
        }
        tokio::task::yield_now().await;
        let closed = b.transport.stats().links_closed;
        b.transport.forget(&name("a"));
        eventually("the link is lost", || {
            b.transport.stats().links_closed > closed
        })
        .await;
        linked(&a, &b).await;
        eventually("each frame is received or counted as lost", || {
            let stats = b.transport.stats();
            stats.frames_received + stats.dropped_link_lost == sent
        })
        .await;
    }
    let lost = b.transport.stats().dropped_link_lost;
    let mut at_a = Told::default();
    at_a.follow(&a, |told| told.outbound.0 == lost).await;
    assert_eq!(a.link_to(&b).unwrap().lost_frames_there, lost);
    assert!(!at_a.outbound.1, "how many is known");
    let mut at_b = Told::default();
    at_b.follow(&b, |told| told.inbound.1).await;
}

#[tokio::test]
async fn who_was_taken_for_dead_is_told_so_when_it_is_there_again() {
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.keep(&b);
    linked(&a, &b).await;
    a.transport.forget(&name("b"));
    eventually("the link is gone", || b.links_up().is_empty()).await;
    let unknown = |told: &Told| told.inbound.1;
    let (mut at_a, mut at_b) = (Told::default(), Told::default());
    at_a.follow(&a, unknown).await;
    a.keep(&b);
    linked(&a, &b).await;
    let early = timeout(LONG / 100, b.transport.gaps()).await;
    assert!(
        early.is_err(),
        "it is not known yet what is meant for it: {early:?}"
    );
    a.transport.peer(&name("b")).know();
    at_a.follow(&a, |told| told.outbound.1).await;
    at_b.follow(&b, unknown).await;
    assert_eq!(at_b.outbound, (0, false), "it was always ready to send");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_ends_in_good_order_leaves_no_gap_and_one_that_does_not_does() {
    let cluster = Cluster::new("c");
    for in_order in [true, false] {
        let (a, b) = (cluster.start("a"), cluster.start("b"));
        a.keep(&b);
        linked(&a, &b).await;
        for n in 0..500 {
            b.send(&a, u64::from(n), numbered(n, 20_000));
        }
        if in_order {
            a.transport.departed(&name("b"));
            b.transport.close(LONG).await;
            eventually("everything arrives", || a.frames_from(&b).len() == 500).await;
        }
        drop(b);
        eventually("its link ends", || a.links_up().is_empty()).await;
        let b = cluster.start_at("b", later());
        a.keep_run(&b, INCARNATION.next());
        linked(&a, &b).await;
        let peer = b.transport.peer(&name("a"));
        peer.send(0, &Frame::new(&[], vec![0; 64 << 20].into()))
            .unwrap_err();
        let mut told = Told::default();
        let is_all = |told: &Told| told.inbound.1 || told.inbound.0 == 1;
        told.follow(&a, is_all).await;
        assert_eq!(told.inbound.1, !in_order);
    }
}

#[tokio::test]
async fn who_was_taken_for_dead_is_told_so_by_a_node_that_leaves() {
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    b.keep(&a);
    linked(&a, &b).await;
    a.transport.forget(&name("b"));
    // It comes back by itself, and is not known again.
    let redialled = || b.transport.stats().redials > 0 && a.linked(&b) && b.linked(&a);
    eventually("it is there again", redialled).await;
    // On every lane, so that all of them are being read.
    for publisher in 0..64 {
        a.send(&b, publisher, numbered(0, 8));
    }
    eventually("all lanes are open", || b.frames_from(&a).len() == 64).await;
    b.transport.departed(&name("a"));
    a.transport.close(LONG).await;
    let mut told = Told::default();
    told.follow(&b, |told| told.inbound.1).await;
}
