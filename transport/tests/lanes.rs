//! What lanes promise, between real endpoints.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;

use bytes::Bytes;
use cluster::{Cluster, Node, eventually, linked, local, name, number, numbered};
use tidings_bounds::Count;
use tidings_transport::{Config, Credit, Frame, Local, Room, SendError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_one_key_keep_their_order_in_both_directions() {
    const FRAMES: u32 = 1500;
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.keep(&b);
    for n in 0..FRAMES {
        // Sizes around every boundary: packed, chained, alone in a chunk.
        let bytes = [8, 100, 1200, 20_000, 70_000][n as usize % 5 * usize::from(n % 7 == 0)];
        for key in 0..6u8 {
            let mut frame = numbered(n, bytes).to_vec();
            frame.push(key);
            a.send(&b, key.into(), frame.clone());
            b.send(&a, key.into(), frame);
        }
    }
    for (from, to) in [(&a, &b), (&b, &a)] {
        eventually("all frames arrive", || {
            to.frames_from(from).len() == 6 * FRAMES as usize
        })
        .await;
        for key in 0..6 {
            let frames = to.frames_from(from);
            let of_key = frames.iter().filter(|frame| frame.last() == Some(&key));
            assert!(of_key.map(number).eq(0..FRAMES));
        }
        let stats = to.transport.stats();
        assert_eq!(stats.frames_received, 6 * u64::from(FRAMES));
        assert_eq!(stats.dropped_link_lost, 0);
    }
}

#[tokio::test]
async fn frames_queued_before_the_link_is_up_are_delivered() {
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    for n in 0..100 {
        a.send(&b, 0, numbered(n, 10));
    }
    assert!(b.frames_from(&a).is_empty());
    a.keep(&b);
    eventually("they arrive", || b.frames_from(&a).len() == 100).await;
    assert!(b.frames_from(&a).iter().map(number).eq(0..100));
}

#[tokio::test]
async fn frames_of_one_mebibyte_arrive_whole() {
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.keep(&b);
    let payload: Bytes = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    let frame = Frame::new(b"header", payload.clone());
    for key in 0..8 {
        let peer = a.transport.peer(&name("b"));
        peer.send(key, &frame).unwrap();
    }
    eventually("they arrive", || b.frames_from(&a).len() == 8).await;
    for frame in b.frames_from(&a) {
        assert_eq!(&frame[..6], b"header");
        assert_eq!(frame.slice(6..), payload);
    }
}

#[tokio::test]
async fn a_publisher_that_fills_an_outbound_buffer_loses_its_own_new_frames_and_they_are_counted() {
    let cluster = Cluster::new("c");
    let config = Config {
        outbound_bytes_max: Count::of::<3000>(),
        ..Config::default()
    };
    let a = Node::start(cluster.identity("a"), config, small());
    let b = cluster.start("b");
    let peer = a.transport.peer(&name("b"));
    let frame = |n| Frame::new(&[], numbered(n, 996));
    assert_eq!(peer.send(0, &frame(0)), Ok(Room::Plenty));
    assert_eq!(peer.send(0, &frame(1)), Ok(Room::Scarce));
    assert_eq!(peer.send(0, &frame(2)), Err(SendError::Full));
    // One on the same lane, and one on another.
    assert_eq!(peer.send(4, &frame(3)), Ok(Room::Scarce));
    assert_eq!(peer.send(1, &frame(4)), Ok(Room::Plenty));
    let too_large = Frame::new(&[], numbered(5, 1001));
    assert!(matches!(
        peer.send(2, &too_large),
        Err(SendError::TooLarge { bytes: 1001, .. })
    ));
    let stats = a.transport.stats();
    assert_eq!(stats.dropped_outbound_full, 1);
    assert_eq!(stats.dropped_too_large, 1);
    a.keep(&b);
    eventually("the others arrive", || b.frames_from(&a).len() == 4).await;
}

#[tokio::test]
async fn credit_reaches_the_publishers_node_and_the_last_of_a_publisher_is_not_missed() {
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.keep(&b);
    linked(&a, &b).await;
    let peer = b.transport.peer(&name("a"));
    let credit = |publisher, position| Credit {
        publisher,
        position,
    };
    for position in 1..=1000 {
        peer.give(credit(7, position));
        peer.give(credit(8, 2 * position));
    }
    let last = |publisher| {
        let credits = a.received.credits();
        let own = credits
            .into_iter()
            .filter(move |c| c.publisher == publisher);
        own.map(|c| c.position).collect::<Vec<_>>()
    };
    eventually("it arrives", || {
        last(7).last() == Some(&1000) && last(8).last() == Some(&2000)
    })
    .await;
    assert!(last(7).is_sorted());
}

#[tokio::test]
async fn a_frame_above_the_receivers_limit_closes_that_link_only() {
    let cluster = Cluster::new("c");
    let (a, b, c) = (
        cluster.start_at("a", small()),
        cluster.start("b"),
        cluster.start("c"),
    );
    a.keep(&c);
    b.keep(&a);
    linked(&a, &b).await;
    linked(&a, &c).await;
    b.send(&a, 0, numbered(0, 1001));
    eventually("the link is closed", || !a.linked(&b) && !b.linked(&a)).await;
    assert_eq!(a.transport.stats().violations, 1);
    assert!(a.linked(&c));
    assert!(a.frames_from(&b).is_empty());
}

/// A node of small frames.
fn small() -> Local {
    Local {
        frame_bytes_max: 1000,
        ..local()
    }
}
