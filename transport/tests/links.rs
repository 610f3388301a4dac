//! What links promise, between real endpoints.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;

use std::time::Duration;

use bytes::Bytes;
use cluster::{Cluster, INCARNATION, LONG, Node, UNFIT, eventually, local, name};
use tidings_bounds::{Count, Time};
use tidings_transport::{Config, Frame, Local, SendError, StartError, Transport};
use tokio::time::timeout;

async fn linked(a: &Node, b: &Node) {
    eventually("the two nodes have a link", || a.linked(b) && b.linked(a)).await;
}

/// A frame that says which number it is, `bytes` long.
fn numbered(number: u32, bytes: usize) -> Bytes {
    let mut frame = number.to_be_bytes().to_vec();
    frame.resize(bytes.max(4), 0);
    frame.into()
}

/// A node of small frames.
fn small() -> Local {
    Local {
        frame_bytes_max: 1000,
        ..local()
    }
}

/// The second run of a node.
fn later() -> Local {
    Local {
        incarnation: INCARNATION.next(),
        ..local()
    }
}

fn number(frame: &Bytes) -> u32 {
    u32::from_be_bytes(frame[..4].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dials_from_both_sides_end_in_exactly_one_link() {
    let cluster = Cluster::new("c");
    for round in 0..40 {
        let (a, b) = (cluster.start("a"), cluster.start("b"));
        if round % 2 == 0 {
            a.keep(&b);
            b.keep(&a);
        } else {
            b.keep(&a);
            a.keep(&b);
        }
        linked(&a, &b).await;
        // Both sides mean the same connection, over which frames pass, and no other comes up.
        a.send(&b, 0, numbered(1, 8));
        b.send(&a, 0, numbered(2, 8));
        eventually("frames pass both ways", || {
            a.frames_from(&b).len() == 1 && b.frames_from(&a).len() == 1
        })
        .await;
        for (node, other) in [(&a, &b), (&b, &a)] {
            let stats = node.transport.stats();
            assert_eq!((stats.links, stats.links_opened), (1, 1), "round {round}");
            assert_eq!(stats.handshakes_refused, 0);
            assert_eq!(stats.dropped_link_lost, 0);
            assert!(node.linked(other));
        }
        let sides = [&a, &b].map(|node| node.transport.links()[0].dialled);
        assert_ne!(sides[0], sides[1]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_that_meet_at_once_form_a_full_mesh() {
    let cluster = Cluster::new("c");
    let nodes: Vec<_> = (0..8).map(|n| cluster.start(&format!("n{n}"))).collect();
    let pairs = || nodes.iter().flat_map(|a| nodes.iter().map(move |b| (a, b)));
    pairs().for_each(|(a, b)| a.keep(b));
    eventually("everybody has a link to everybody else", || {
        let links = |node: &Node| node.transport.links().len();
        nodes.iter().all(|node| links(node) == nodes.len() - 1)
    })
    .await;
    assert!(nodes.iter().all(|node| node.transport.stats().links == 7));
}

#[tokio::test]
async fn gossip_reaches_an_address_and_says_whom_to_answer() {
    let cluster = Cluster::new("c");
    let (mut a, mut b) = (cluster.start("a"), cluster.start("b"));
    a.transport
        .gossip(b.transport.advertise(), Bytes::from_static(b"syn"));
    let (from, message) = timeout(LONG, b.gossip.recv()).await.unwrap().unwrap();
    assert_eq!((from, &message[..]), (a.transport.advertise(), &b"syn"[..]));

    let large = Bytes::from(vec![7; 65_507]);
    b.transport.gossip(from, large.clone());
    let (from, message) = timeout(LONG, a.gossip.recv()).await.unwrap().unwrap();
    assert_eq!((from, message), (b.transport.advertise(), large));
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
    a.transport
        .gossip(([127, 0, 0, 2], port).into(), Bytes::from_static(b"hi"));
    let (from, _) = timeout(LONG, b.gossip.recv()).await.unwrap().unwrap();
    assert_eq!(from, a.transport.advertise());
    assert_eq!(b.transport.stats().links_opened, 1);
}

/// A node on all addresses of the machine, of which all of 127.0.0.0/8 lead to it.
fn everywhere(port: u16) -> Local {
    Local {
        listen: ([0, 0, 0, 0], port).into(),
        advertise: Some(([127, 0, 0, 1], port).into()),
        ..local()
    }
}

fn free_port() -> u16 {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

#[tokio::test]
async fn gossip_that_is_too_large_or_finds_nobody_is_counted() {
    let cluster = Cluster::new("c");
    let config = Config {
        handshake_timeout: Time::of_ms::<100>(),
        ..Config::default()
    };
    let a = cluster.start_with("a", config);
    let nobody = ([127, 0, 0, 1], free_port()).into();
    a.transport.gossip(nobody, vec![0; 128 << 10].into());
    assert_eq!(a.transport.stats().gossip_dropped, 1);
    a.transport.gossip(nobody, Bytes::from_static(b"hello?"));
    eventually("the dial fails", || a.transport.stats().gossip_dropped == 2).await;
    assert_eq!(a.transport.stats().dials_failed, 1);
}

#[tokio::test]
async fn a_node_that_dials_itself_notices_and_remembers() {
    let cluster = Cluster::new("c");
    let port = free_port();
    let a = cluster.start_at("a", everywhere(port));
    let alias = ([127, 0, 0, 2], port).into();
    for n in 1..=2 {
        a.transport.gossip(alias, Bytes::from_static(b"me?"));
        eventually("its own message is dropped", || {
            a.transport.stats().gossip_dropped == n
        })
        .await;
    }
    let stats = a.transport.stats();
    assert_eq!((stats.links_opened, stats.dials_failed), (0, 0));
    assert_eq!(stats.handshakes_refused, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_one_key_keep_their_order_in_both_directions() {
    const FRAMES: u32 = 3000;
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
async fn a_full_outbound_buffer_drops_the_new_frame_and_counts_it() {
    let cluster = Cluster::new("c");
    let config = Config {
        outbound_bytes_max: Count::of::<3000>(),
        ..Config::default()
    };
    let a = Node::start(cluster.identity("a"), config, small());
    let b = cluster.start("b");
    let peer = a.transport.peer(&name("b"));
    let frame = |n| Frame::new(&[], numbered(n, 996));
    assert_eq!(peer.send(0, &frame(0)), Ok(()));
    assert_eq!(peer.send(0, &frame(1)), Ok(()));
    assert_eq!(peer.send(0, &frame(2)), Ok(()));
    assert_eq!(peer.send(0, &frame(3)), Err(SendError::Full));
    assert_eq!(peer.send(1, &frame(4)), Ok(()));
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
async fn a_forgotten_peer_loses_its_link_and_what_was_queued() {
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.keep(&b);
    linked(&a, &b).await;
    a.transport.forget(&name("b"));
    eventually("both see it", || !a.linked(&b) && !b.linked(&a)).await;
    let refused = a
        .transport
        .peer(&name("b"))
        .send(0, &Frame::new(&[], numbered(0, 8)));
    assert_eq!(refused, Err(SendError::Forgotten));
    assert_eq!(a.transport.stats().dropped_peer_forgotten, 1);

    let unreachable = name("z");
    let waiting = a.transport.peer(&unreachable);
    waiting.send(0, &Frame::new(&[], numbered(0, 8))).unwrap();
    a.transport.forget(&unreachable);
    assert_eq!(a.transport.stats().dropped_peer_forgotten, 2);

    a.keep(&b);
    linked(&a, &b).await;
    a.send(&b, 0, numbered(1, 8));
    eventually("frames pass again", || b.frames_from(&a).len() == 1).await;
    assert_eq!(b.transport.stats().dropped_link_lost, 0);
}

#[tokio::test]
async fn a_peer_that_said_goodbye_is_heard_to_the_end_and_sent_nothing() {
    const FRAMES: u32 = 2000;
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.keep(&b);
    linked(&a, &b).await;
    for n in 0..FRAMES {
        b.send(&a, 0, numbered(n, 1000));
    }
    a.transport.part(&name("b"));
    let refused = a
        .transport
        .peer(&name("b"))
        .send(0, &Frame::new(&[], numbered(0, 8)));
    assert_eq!(refused, Err(SendError::Forgotten));
    assert!(a.linked(&b));
    b.transport.close(Duration::from_secs(5)).await;
    eventually("all has been heard", || {
        a.frames_from(&b).len() == FRAMES as usize
    })
    .await;
    eventually("the link is gone", || !a.linked(&b)).await;
    assert_eq!(a.transport.stats().redials, 0);
}

#[tokio::test]
async fn a_lost_link_is_dialled_again_and_what_was_lost_is_counted() {
    const ROUNDS: u32 = 20;
    const FRAMES: u32 = 200;
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.keep(&b);
    linked(&a, &b).await;
    for round in 0..ROUNDS {
        for n in 0..FRAMES {
            a.send(&b, 0, numbered(round * FRAMES + n, 5000));
        }
        tokio::task::yield_now().await;
        // The other side closes the link in the middle of it.
        b.transport.forget(&name("a"));
        eventually("the link is lost", || {
            b.transport.stats().links_closed > u64::from(round)
        })
        .await;
        linked(&a, &b).await;
    }
    let accepted = u64::from(ROUNDS * FRAMES);
    eventually("each frame is received or counted as lost", || {
        let stats = b.transport.stats();
        stats.frames_received + stats.dropped_link_lost == accepted
    })
    .await;
    let numbers: Vec<_> = b.frames_from(&a).iter().map(number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "order or a duplicate");
    assert!(a.transport.stats().redials >= u64::from(ROUNDS));
}

#[tokio::test]
async fn a_restarted_peer_gets_a_new_link_and_nothing_meant_for_its_earlier_run() {
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.keep(&b);
    linked(&a, &b).await;
    a.send(&b, 0, numbered(1, 8));
    eventually("the first run hears it", || b.frames_from(&a).len() == 1).await;
    drop(b);
    eventually("its link ends", || a.transport.links().is_empty()).await;
    a.transport
        .peer(&name("b"))
        .send(0, &Frame::new(&[], numbered(2, 8)))
        .unwrap();

    let b = cluster.start_at("b", later());
    a.keep_run(&b, INCARNATION.next());
    linked(&a, &b).await;
    assert_eq!(a.transport.links()[0].incarnation, INCARNATION.next());
    assert_eq!(a.transport.stats().dropped_peer_restarted, 1);
    a.send(&b, 0, numbered(3, 8));
    b.send(&a, 0, numbered(4, 8));
    eventually("frames pass both ways", || {
        b.frames_from(&a).len() == 1 && a.received.from("b", INCARNATION.next()).len() == 1
    })
    .await;
    assert_eq!(number(&b.frames_from(&a)[0]), 3);
    assert_eq!(b.transport.stats().dropped_link_lost, 0);
}

#[tokio::test]
async fn a_later_run_that_dials_replaces_the_link_of_the_earlier_at_once() {
    let cluster = Cluster::new("c");
    for (old, other) in [("a", "b"), ("b", "a")] {
        let other = cluster.start(other);
        let earlier = cluster.start(old);
        earlier.keep(&other);
        linked(&earlier, &other).await;
        let later = cluster.start_at(old, later());
        later.keep(&other);
        eventually("the later run has the link", || {
            let links = other.transport.links();
            links.len() == 1 && links[0].incarnation == INCARNATION.next()
        })
        .await;
        eventually("the earlier has none", || {
            earlier.transport.links().is_empty()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_closes_delivers_what_it_had_accepted() {
    let cluster = Cluster::new("c");
    let (a, mut b) = (cluster.start("a"), cluster.start("b"));
    a.keep(&b);
    linked(&a, &b).await;
    for n in 0..500 {
        a.send(&b, u64::from(n), numbered(n, 20_000));
    }
    a.transport
        .gossip(b.transport.advertise(), Bytes::from_static(b"farewell"));
    a.transport.close(LONG).await;
    eventually("everything arrives", || b.frames_from(&a).len() == 500).await;
    assert_eq!(b.gossip.recv().await.unwrap().1, "farewell");
    eventually("the link is gone", || b.transport.links().is_empty()).await;
    assert_eq!(b.transport.stats().dropped_link_lost, 0);
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
    b.transport
        .gossip(a.transport.advertise(), Bytes::from_static(b"hi"));
    linked(&a, &b).await;
    linked(&a, &c).await;
    b.send(&a, 0, numbered(0, 1001));
    eventually("the link is closed", || !a.linked(&b) && !b.linked(&a)).await;
    assert_eq!(a.transport.stats().violations, 1);
    assert!(a.linked(&c));
    assert!(a.frames_from(&b).is_empty());
}

#[tokio::test]
async fn a_frame_that_the_receiver_refuses_closes_that_link_only() {
    let cluster = Cluster::new("c");
    let (a, b, c) = (cluster.start("a"), cluster.start("b"), cluster.start("c"));
    a.keep(&c);
    b.transport
        .gossip(a.transport.advertise(), Bytes::from_static(b"hi"));
    linked(&a, &b).await;
    linked(&a, &c).await;
    for _ in 0..3 {
        b.send(&a, 0, UNFIT);
    }
    eventually("the link is closed", || !a.linked(&b) && !b.linked(&a)).await;
    assert_eq!(a.transport.stats().violations, 1, "by the first of them");
    assert!(a.linked(&c));
    assert!(a.frames_from(&b).is_empty());
}

#[tokio::test]
async fn all_tasks_end_with_the_token_or_the_last_handle() {
    let cluster = Cluster::new("c");
    for by_token in [true, false] {
        let (a, b) = (cluster.start("a"), cluster.start("b"));
        a.keep(&b);
        linked(&a, &b).await;
        let (tasks, peer) = (b.tasks.clone(), b.transport.peer(&name("a")));
        let unreachable = ([127, 0, 0, 1], free_port()).into();
        b.transport.keep(&name("c"), INCARNATION, unreachable);
        tasks.close();
        assert!(tasks.len() > 5);
        if by_token {
            b.token.cancel();
        } else {
            drop(handle(b));
        }
        timeout(LONG, tasks.wait()).await.unwrap();
        eventually("the other side sees it", || a.transport.links().is_empty()).await;
        assert_eq!(peer.name().as_str(), "a");
    }
}

/// Takes a node apart without cancelling its token.
fn handle(mut node: Node) -> Transport {
    node.token = Default::default();
    node.transport.clone()
}

#[tokio::test]
async fn an_address_that_peers_cannot_dial_is_refused_at_the_start() {
    let cluster = Cluster::new("c");
    let unspecified = Local {
        listen: ([0, 0, 0, 0], 0).into(),
        ..local()
    };
    let refused = Transport::start(
        Config::default(),
        unspecified,
        cluster.identity("a"),
        std::sync::Arc::new(tidings_transport::SystemNet),
        std::sync::Arc::new(cluster::Received::default()),
        Default::default(),
        Default::default(),
    );
    assert!(matches!(refused, Err(StartError::Advertise(_))));
}
