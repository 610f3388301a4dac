//! Nodes die, leave, come back and are cut off from each other.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::switchboard::{
    Node, Setup, Switchboard, addr, cluster, cluster_with, contents, members, next, setup, until,
};
use tidings_bounds::Time;
use tidings_membership::{Config, Event, Fault, Handover};
use tokio::time::{Instant, sleep, timeout};

#[tokio::test(start_paused = true)]
async fn a_dead_node_is_out_of_every_view_in_about_two_seconds() {
    for count in [2, 5, 10] {
        let board = Switchboard::default();
        let mut nodes = cluster(&board, count).await;
        nodes[count - 1].join("a");
        until("it is there", SOON, || {
            !members(&nodes[0].view(), "a").is_empty()
        })
        .await;
        sleep(Duration::from_secs(5)).await;
        drop(nodes.pop());
        let gone = || {
            let forgotten = |n: &Node| n.live().len() == count - 1 && n.view().topics().is_empty();
            nodes.iter().all(forgotten)
        };
        let took = until("it is gone", SOON, gone).await;
        assert!(took > Duration::from_millis(900), "{count} nodes: {took:?}");
        assert!(
            took < Duration::from_millis(2_300),
            "{count} nodes: {took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_away_before_is_not_missed_any_later() {
    let board = Switchboard::default();
    let mut nodes = cluster(&board, 2).await;
    board.cut(|_, _| false);
    sleep(Duration::from_secs(9)).await;
    board.heal();
    until("it is back", SOON, || nodes[0].live().len() == 2).await;
    sleep(Duration::from_secs(1)).await;
    drop(nodes.pop());
    let took = until("it is gone", SOON, || nodes[0].live().len() == 1).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_graceful_departure_is_seen_at_once() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 10).await;
    nodes[3].join("a");
    until("it is there", SOON, || {
        !members(&nodes[0].view(), "a").is_empty()
    })
    .await;
    let start = tokio::time::Instant::now();
    nodes[3].membership.depart(SOON).await;
    let others = || nodes.iter().enumerate().filter(|(n, _)| *n != 3);
    let gone = |n: &Node| n.live().len() == 9 && n.view().topics().is_empty();
    until("it is gone", SOON, || others().all(|(_, n)| gone(n))).await;
    assert!(
        start.elapsed() < Duration::from_millis(50),
        "{:?}",
        start.elapsed()
    );
    sleep(Duration::from_secs(30)).await;
    assert!(others().all(|(_, n)| gone(n)), "it never comes back");
}

#[tokio::test(start_paused = true)]
async fn departing_keeps_to_its_deadline_when_nobody_answers() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 3).await;
    board.cut(|_, _| false);
    let start = tokio::time::Instant::now();
    nodes[0].membership.depart(Duration::from_millis(300)).await;
    assert_eq!(start.elapsed(), Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn a_farewell_that_was_not_sent_is_not_believed_said() {
    for lost in [Handover::Waiting, Handover::Dropped] {
        let board = Switchboard::default();
        let nodes = cluster(&board, 3).await;
        // No link is up from the first node to the last for a while.
        let up_at = Instant::now() + Duration::from_secs(1);
        board.hand_over(move |from, to| match (from, to) {
            (0, 2) if Instant::now() < up_at => lost,
            _ => Handover::Sent,
        });
        let dropped = nodes[0].membership.stats().messages_dropped;
        nodes[0].membership.depart(SOON).await;
        let now = Instant::now();
        assert!(now >= up_at, "{lost:?}: believed said");
        assert!(
            now < up_at + Duration::from_millis(300),
            "{lost:?}: said late"
        );
        let dropped = nodes[0].membership.stats().messages_dropped - dropped;
        assert_eq!(
            dropped > 0,
            lost == Handover::Dropped,
            "{lost:?}: {dropped}"
        );
        until("it is gone", SOON, || nodes[2].live().len() == 2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_departure_waits_for_the_first_and_no_longer() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 3).await;
    board.cut(|_, _| false);
    let membership = &nodes[0].membership;
    let deadline = Duration::from_millis(300);
    let start = Instant::now();
    let later = async {
        sleep(deadline / 3).await;
        membership.depart(deadline).await;
        start.elapsed()
    };
    let hasty = async {
        sleep(deadline / 3).await;
        membership.depart(deadline / 3).await;
        start.elapsed()
    };
    let (_, later, hasty) = tokio::join!(membership.depart(deadline), later, hasty);
    assert_eq!((later, hasty), (deadline, deadline / 3 * 2));
    membership.depart(deadline).await;
    assert_eq!(start.elapsed(), deadline);
}

#[tokio::test(start_paused = true)]
async fn a_departure_that_was_broken_off_can_be_made_again() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 3).await;
    board.cut(|_, _| false);
    let first = nodes[0].membership.depart(SOON);
    assert!(timeout(Duration::from_millis(100), first).await.is_err());
    board.heal();
    let start = Instant::now();
    nodes[0].membership.depart(SOON).await;
    assert!(start.elapsed() < Duration::from_millis(50));
    until("it is gone", SOON, || nodes[2].live().len() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn of_a_restarted_node_only_the_new_incarnation_is_seen_and_it_learns_all_again() {
    let board = Switchboard::default();
    let mut nodes = cluster(&board, 3).await;
    let old = nodes[2].join("a");
    let remote = nodes[1].join("b");
    until("the old one is there", SOON, || {
        members(&nodes[0].view(), "a") == [old]
    })
    .await;
    let (_, mut watch) = nodes[0].membership.watch();
    drop(nodes.pop());
    let mut again = setup(2);
    again.run.incarnation = again.run.incarnation.next();
    let again = Node::start_with(&board, again, &[0]).await;
    until("it has learnt the members of others again", SOON, || {
        again.live().len() == 3 && members(&again.view(), "b") == [remote]
    })
    .await;
    let new = again.join("a");
    until("the new one is there", SOON, || {
        members(&nodes[0].view(), "a") == [new]
    })
    .await;
    let mut told = Vec::new();
    while !matches!(told.last(), Some(Event::Joined { .. })) {
        told.extend(next(&mut watch).await);
    }
    assert!(
        matches!(&told[..], [
            Event::Left { member: left, .. },
            Event::NodeDown { run: before, .. },
            Event::NodeUp { run: after },
            Event::Joined { member: joined, .. },
        ] if (*left, *joined) == (old, new) && (before.incarnation.get(), after.incarnation.get()) == (1, 2)),
        "{told:?}"
    );
    for _ in 0..100 {
        sleep(Duration::from_millis(100)).await;
        assert_eq!(members(&nodes[1].view(), "a"), [new]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_healed_partition_merges_exactly() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 10).await;
    let all = || nodes.iter();
    let kept: Vec<_> = all().map(|n| n.join("kept")).collect();
    let left: Vec<_> = all().map(|n| n.join("left")).collect();
    let everyone = |n: &Node| members(&n.view(), "left").len() == 10;
    until("all joined", SOON, || all().all(everyone)).await;
    board.cut(|from, to| (from < 4) == (to < 4));
    let halves = || {
        all()
            .enumerate()
            .all(|(n, node)| node.live().len() == [6, 4][usize::from(n < 4)])
    };
    until("each half is alone", SOON, halves).await;
    for (node, member) in all().zip(&left) {
        node.leave("left", *member);
    }
    let mut joined: Vec<_> = all().map(|n| n.join("new")).collect();
    joined.sort();
    until("halves go on", SOON, || {
        members(&nodes[0].view(), "new").len() == 4
    })
    .await;
    sleep(Duration::from_secs(60)).await;
    board.heal();
    let merged = |n: &Node| n.live().len() == 10 && members(&n.view(), "new") == joined;
    let took = until("merged", SOON, || all().all(merged)).await;
    assert!(took < SOON, "{took:?}");
    let mut kept = kept;
    kept.sort();
    for _ in 0..50 {
        for node in &nodes {
            assert!(
                members(&node.view(), "left").is_empty(),
                "what was left came back"
            );
            assert_eq!(members(&node.view(), "kept"), kept);
            assert_eq!(members(&node.view(), "new"), joined);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_partition_longer_than_the_grace_heals_though_all_seeds_are_on_one_side() {
    let board = Switchboard::default();
    let short = |n| Setup {
        config: Config {
            dead_node_grace: Time::of_ms::<5_000>(),
            ..Config::default()
        },
        ..setup(n)
    };
    let nodes = cluster_with(&board, (0..6).map(short).collect()).await;
    board.cut(|from, to| (from < 3) == (to < 3));
    for node in &nodes[3..] {
        node.seeds.send_replace(Vec::new());
    }
    for node in &nodes[..3] {
        node.seeds.send_replace([0, 1, 2].map(addr).to_vec());
    }
    let forgotten = |n: &Node| n.view().nodes().len() == 3;
    until("forgotten", Duration::from_secs(60), || {
        nodes.iter().all(forgotten)
    })
    .await;
    sleep(Duration::from_secs(60)).await;
    for node in &nodes {
        node.join("a");
    }
    board.heal();
    let whole = |n: &Node| n.live().len() == 6 && members(&n.view(), "a").len() == 6;
    until("whole again", SOON, || nodes.iter().all(whole)).await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_and_then_silence_does_not_look_like_death() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 3).await;
    let (_, mut watch) = nodes[1].membership.watch();
    for n in 0..1_000 {
        nodes[0].join(&format!("t.{n}"));
        sleep(Duration::from_millis(2)).await;
    }
    until("all there", SOON, || {
        nodes[1].view().topics().len() == 1_000
    })
    .await;
    let mut joined = 0;
    while let Ok(told) = timeout(Duration::from_secs(20), watch.next()).await {
        let told = told.unwrap();
        assert!(
            told.iter()
                .all(|event| matches!(event, Event::Joined { .. })),
            "{told:?}"
        );
        joined += told.len();
    }
    assert_eq!(joined, 1_000);
    let rounds = nodes[0].membership.stats().eager_rounds;
    assert!(rounds <= 1_000, "{rounds}");
}

#[tokio::test(start_paused = true)]
async fn a_third_node_carries_what_two_cannot_tell_each_other() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 3).await;
    board.cut(|from, to| from.abs_diff(to) < 2);
    let member = nodes[0].join("a");
    until("joined", SOON, || {
        members(&nodes[2].view(), "a") == [member]
    })
    .await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(nodes[2].live().len(), 3, "a node that others hear is live");
    nodes[0].leave("a", member);
    until("left", SOON, || nodes[2].view().topics().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_do_not_know_each_other_meet_when_the_seeds_change() {
    let board = Switchboard::default();
    let a = Node::start(&board, 0, &[]).await;
    let b = Node::start(&board, 1, &[1]).await;
    sleep(SOON).await;
    assert_eq!((a.live().len(), b.live().len()), (1, 1));
    b.seeds.send_replace(vec![addr(0)]);
    until("met", SOON, || a.live().len() == 2 && b.live().len() == 2).await;
    assert_eq!(contents(&a.view()), contents(&b.view()));
}

/// An answer from a peer that tells of itself one key with an empty text.
fn answer_with_key(key: &str, version: u64) -> Vec<u8> {
    let short = |number: usize| (number as u16).to_le_bytes().to_vec();
    let long = |number: u64| number.to_le_bytes().to_vec();
    let text = |text: &str| [short(text.len()), text.as_bytes().to_vec()].concat();
    let id = [text("rogue"), long(1), vec![4, 10, 0, 0, 1, 9, 9]].concat();
    let digest = [short(1), id.clone(), long(1), long(0), long(version)].concat();
    let node = [vec![0], id, long(0), long(0)].concat();
    let value = [vec![1], text(key), text(""), long(version), vec![0]].concat();
    let delta = [
        vec![2],
        short(node.len() + value.len()),
        node,
        value,
        vec![0],
    ]
    .concat();
    [short(45_139), vec![0, 1], digest, delta].concat()
}

#[tokio::test(start_paused = true)]
async fn a_key_that_would_end_the_gossip_library_does_no_harm() {
    let board = Switchboard::default();
    let node = Node::start(&board, 0, &[]).await;
    let failed = || timeout(SOON, node.membership.failed());
    board.deliver(setup(9).run, addr(0), answer_with_key("key", 1).into());
    assert!(failed().await.is_err(), "an unknown key does no harm");
    assert_eq!(node.view().nodes().len(), 1, "it has no seal");
    for (version, key) in [(2, "\u{e9}"), (3, "")] {
        board.deliver(setup(9).run, addr(0), answer_with_key(key, version).into());
        assert!(failed().await.is_err(), "{key:?}");
    }
    assert_eq!(node.membership.stats().faults.of(Fault::Key), 2);
    assert_eq!(board.blamed().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn gossip_that_breaks_down_is_told_and_reads_go_on() {
    let board = Switchboard::default();
    let node = Node::start(&board, 0, &[1]).await;
    let member = node.join("a");
    let failed = || timeout(SOON, node.membership.failed());
    assert!(failed().await.is_err());
    board.hand_over(|_, _| panic!("nobody takes gossip any more"));
    assert!(failed().await.is_ok(), "what sends it has ended");
    assert_eq!(members(&node.view(), "a"), [member]);
}

#[tokio::test(start_paused = true)]
async fn ending_membership_on_purpose_is_no_failure_and_leaves_no_task() {
    let board = Switchboard::default();
    let mut nodes = cluster(&board, 2).await;
    let (cancelled, dropped) = (nodes.remove(0), nodes.remove(0));
    let mut failed = pin!(cancelled.membership.failed());
    let ended = std::future::poll_fn(|cx| Poll::Ready(failed.as_mut().poll(cx).is_ready()));
    assert!(!ended.await);
    cancelled.token.cancel();
    cancelled.tasks.close();
    cancelled.tasks.wait().await;
    assert!(timeout(SOON, failed).await.is_err());
    let (_, mut watch) = dropped.membership.watch();
    drop(dropped.membership);
    dropped.tasks.close();
    dropped.tasks.wait().await;
    assert_eq!(watch.next().await, None);
}

const SOON: Duration = Duration::from_secs(5);
