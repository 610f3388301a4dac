//! What becomes of a peer that breaks the protocol on a link.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;

use std::time::Duration;

use bytes::Bytes;
use cluster::{Cluster, INCARNATION, Node, UNFIT, eventually, later, linked};
use tokio::time::Instant;

/// How long a peer gets no link after its first violation.
const PAUSE: Duration = Duration::from_secs(1);

/// `a` has closed the link to `b` because of a violation, not before `since`: none comes up until the
/// pause is over, and one then.
async fn back_after_the_pause(a: &Node, b: &Node, since: Instant) {
    eventually("there is a second link", || {
        a.transport.stats().links_opened == 2
    })
    .await;
    let took = since.elapsed();
    assert!(took >= PAUSE, "a link after {took:?}");
    linked(a, b).await;
    assert_eq!(a.transport.stats().violations, 1);
}

#[tokio::test]
async fn who_is_blamed_loses_its_link_and_is_let_in_after_the_pause() {
    let cluster = Cluster::new("c");
    let (a, b, c) = (cluster.start("a"), cluster.start("b"), cluster.start("c"));
    for peer in [&b, &c] {
        peer.keep(&a);
        linked(&a, peer).await;
    }
    let since = Instant::now();
    a.transport.blame(&b.run(), "bad gossip");
    assert!(!a.linked(&b));
    eventually("it is refused", || {
        b.transport.stats().handshakes_refused > 1
    })
    .await;
    let counted = a.transport.stats();
    assert_eq!((counted.violations, counted.links_opened), (1, 2));
    assert!(a.linked(&c));
    eventually("there is another link", || {
        a.transport.stats().links_opened == 3
    })
    .await;
    assert!(since.elapsed() >= PAUSE);
    linked(&a, &b).await;
    assert_eq!(a.transport.stats().violations, 1);
}

#[tokio::test]
async fn who_is_blamed_is_not_dialled_before_the_pause_is_over() {
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.keep(&b);
    linked(&a, &b).await;
    let since = Instant::now();
    a.transport.blame(&b.run(), "bad gossip");
    back_after_the_pause(&a, &b, since).await;
    let (ours, theirs) = (a.transport.stats(), b.transport.stats());
    assert_eq!((ours.dials_failed, theirs.handshakes_admitted), (0, 2));
}

#[tokio::test]
async fn who_breaks_the_protocol_on_a_lane_waits_likewise() {
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    b.keep(&a);
    linked(&a, &b).await;
    let since = Instant::now();
    b.send(&a, 0, UNFIT);
    back_after_the_pause(&a, &b, since).await;
}

#[tokio::test]
async fn what_an_earlier_run_did_costs_a_later_one_no_link_that_it_has() {
    let cluster = Cluster::new("c");
    let a = cluster.start("a");
    let b = cluster.start_at("b", later());
    b.keep(&a);
    linked(&a, &b).await;
    assert_eq!(a.links_up()[0].incarnation, INCARNATION.next());
    a.transport.blame(&b.run(), "bad gossip");
    assert!(a.linked(&b));
    b.send(&a, 0, Bytes::from_static(b"well"));
    eventually("it is still in use", || {
        a.received.from("b", INCARNATION.next()).len() == 1
    })
    .await;
    let counted = a.transport.stats();
    assert_eq!((counted.violations, counted.links_opened), (0, 1));
}
