//! What links promise, between real endpoints.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;

use std::time::Duration;

use bytes::Bytes;
use cluster::{
    Cluster, INCARNATION, LONG, Node, UNFIT, eventually, free_port, later, linked, local, name,
    number, numbered,
};
use tidings_identity::NodeRun;
use tidings_transport::{Config, Frame, Gossiped, Local, SendError, StartError, Transport};
use tokio::time::timeout;

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
        let [one, other] = [&a, &b].map(|node| node.links_up().remove(0));
        assert_ne!(one.dialled, other.dialled);
        assert_eq!(one.number, other.number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_that_meet_at_once_form_a_full_mesh() {
    let cluster = Cluster::new("c");
    let nodes: Vec<_> = (0..8).map(|n| cluster.start(&format!("n{n}"))).collect();
    let pairs = || nodes.iter().flat_map(|a| nodes.iter().map(move |b| (a, b)));
    pairs().for_each(|(a, b)| a.keep(b));
    eventually("everybody has a link to everybody else", || {
        let links = |node: &Node| node.links_up().len();
        nodes.iter().all(|node| links(node) == nodes.len() - 1)
    })
    .await;
    assert!(nodes.iter().all(|node| node.transport.stats().links == 7));
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
    a.transport.departed(&name("b"));
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
    let lost = b.link_to(&a).unwrap().lost_frames;
    assert_eq!(lost, b.transport.stats().dropped_link_lost);
    let numbers: Vec<_> = b.frames_from(&a).iter().map(number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "order or a duplicate");
    assert!(a.transport.stats().redials >= u64::from(ROUNDS));
}

#[tokio::test]
async fn what_is_told_of_a_peer_is_its_link_and_what_waits_or_was_dropped() {
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    let addr = ([127, 0, 0, 1], free_port()).into();
    let absent = NodeRun::new(name("z"), INCARNATION, addr);
    a.transport.keep(&absent);
    let waiting = a.transport.peer(&absent.node);
    for n in 0..3 {
        let frame = Frame::new(&[], numbered(n, 100));
        waiting.send(n.into(), &frame).unwrap();
    }
    let of_absent = || {
        let mut links = a.transport.links().into_iter();
        links.find(|link| link.peer == absent.node)
    };
    let info = of_absent().unwrap();
    assert_eq!((info.up, info.queued_frames), (None, 3));
    assert_eq!(info.queued_bytes, 3 * 104);

    a.keep(&b);
    linked(&a, &b).await;
    let [one, other] = [a.link_to(&b), b.link_to(&a)].map(Option::unwrap);
    let (up, other_up) = (one.up.unwrap(), other.up.unwrap());
    assert_eq!(up.number, other_up.number);
    assert_eq!(up.advertised, b.transport.advertise());
    let counts = (one.queued_frames, one.dropped_frames, one.lost_frames);
    assert_eq!(counts, (0, 0, 0));

    a.transport.forget(&absent.node);
    assert_eq!(of_absent(), None, "neither kept nor linked");
    a.transport.keep(&absent);
    let info = of_absent().unwrap();
    assert_eq!((info.queued_frames, info.dropped_frames), (0, 3));
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
    eventually("its link ends", || a.links_up().is_empty()).await;
    a.transport
        .peer(&name("b"))
        .send(0, &Frame::new(&[], numbered(2, 8)))
        .unwrap();

    let b = cluster.start_at("b", later());
    a.keep_run(&b, INCARNATION.next());
    linked(&a, &b).await;
    assert_eq!(a.links_up()[0].incarnation, INCARNATION.next());
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
            let links = other.links_up();
            links.len() == 1 && links[0].incarnation == INCARNATION.next()
        })
        .await;
        eventually("the earlier has none", || earlier.links_up().is_empty()).await;
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
    let farewell = Bytes::from_static(b"farewell");
    let sent = a.transport.gossip(b.transport.advertise(), farewell);
    assert_eq!(sent, Gossiped::Sent);
    a.transport.close(LONG).await;
    eventually("everything arrives", || b.frames_from(&a).len() == 500).await;
    assert_eq!(b.gossip.recv().await.unwrap().1, "farewell");
    eventually("the link is gone", || b.links_up().is_empty()).await;
    assert_eq!(b.transport.stats().dropped_link_lost, 0);
}

#[tokio::test]
async fn a_frame_that_the_receiver_refuses_closes_that_link_only() {
    let cluster = Cluster::new("c");
    let (a, b, c) = (cluster.start("a"), cluster.start("b"), cluster.start("c"));
    a.keep(&c);
    let _ = b
        .transport
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
        let absent = NodeRun::new(name("c"), INCARNATION, unreachable);
        b.transport.keep(&absent);
        tasks.close();
        assert!(tasks.len() > 5);
        if by_token {
            b.token.cancel();
        } else {
            drop(handle(b));
        }
        timeout(LONG, tasks.wait()).await.unwrap();
        eventually("the other side sees it", || a.links_up().is_empty()).await;
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
