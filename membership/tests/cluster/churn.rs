//! Members that come and go all the time cost little, and delay nobody for long.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::switchboard::{
    Node, Switchboard, cluster, cluster_with, members, pattern, setup, until,
};
use tidings_bounds::Count;
use tidings_membership::{MemberId, Scope};
use tokio::time::{Instant, sleep};

/// Joins this topic until its bucket is about full.
fn fill(node: &Node, topic: &str) -> Vec<MemberId> {
    let join = |n: u32| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        // Ids are random for the most part, so that they cannot be compressed.
        let mixed = u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        bytes[4..].copy_from_slice(&mixed.to_be_bytes()[..12]);
        let member = MemberId::from_bytes(bytes);
        let joined = node
            .membership
            .join(&Scope::default(), &pattern(topic), member, None);
        joined.ok().map(|()| member)
    };
    (0..1_800).map_while(join).collect()
}

/// A topic whose own bucket is this one of so many.
fn topic_in(bucket: u64, buckets: u64) -> String {
    let index = |topic: &String| {
        let bytes = b"default\0".iter().copied().chain(topic.bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        hash % buckets
    };
    let mut topics = (0..).map(|n| format!("t.{n}"));
    topics.find(|topic| index(topic) == bucket).unwrap()
}

/// Lets a member of each topic go and another come, 180 times a second, for so long; returns how
/// many bytes the node sent a second.
async fn churn(node: &Node, topics: &[String], seconds: u64) -> u64 {
    let (start, before) = (Instant::now(), node.membership.stats().bytes_out);
    let end = start + Duration::from_secs(seconds);
    let mut last: Vec<MemberId> = topics.iter().map(|topic| node.join(topic)).collect();
    while Instant::now() < end {
        sleep(Duration::from_micros(5_555)).await;
        for (topic, last) in topics.iter().zip(&mut last) {
            node.leave(topic, *last);
            *last = node.join(topic);
        }
    }
    (node.membership.stats().bytes_out - before) / seconds
}

#[tokio::test(start_paused = true)]
async fn churn_in_a_full_bucket_costs_by_time_and_delays_nobody_for_long() {
    let board = Switchboard::default();
    let mut setups: Vec<_> = (0..5).map(setup).collect();
    for setup in &mut setups {
        setup.config.buckets = Count::of::<2>();
    }
    let nodes = cluster_with(&board, setups).await;
    let [full, other] = [0, 1].map(|bucket| topic_in(bucket, 2));
    let filled = fill(&nodes[0], &full);
    for member in &filled[..20] {
        nodes[0].leave(&full, *member);
    }
    sleep(SOON).await;
    let innocent = async {
        sleep(Duration::from_secs(2)).await;
        for (topic, within_ms) in [(&other, 15), (&full, 300)] {
            let member = nodes[0].join(topic);
            let seen = |n: &Node| members(&n.view(), topic).contains(&member);
            let everywhere = || nodes.iter().all(seen);
            let took = until("the innocent's join is everywhere", SOON, everywhere).await;
            assert!(
                took <= Duration::from_millis(within_ms),
                "{topic}: {took:?}"
            );
        }
    };
    let topics = [full.clone()];
    let (bytes_per_second, ()) = tokio::join!(churn(&nodes[0], &topics, 10), innocent);
    // Four times a second to each of four peers, and some that ask at the same moment.
    assert!(bytes_per_second < 1_200_000, "{bytes_per_second}");
    let last = members(&nodes[0].view(), &full);
    let same = || nodes.iter().all(|n| members(&n.view(), &full) == last);
    let took = until("the last state is everywhere", SOON, same).await;
    assert!(took <= Duration::from_millis(300), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn churn_in_all_buckets_keeps_to_the_budget() {
    let board = Switchboard::default();
    let mut setups: Vec<_> = (0..5).map(setup).collect();
    for setup in &mut setups {
        setup.config.buckets = Count::of::<8>();
        setup.config.change_bytes_per_second_max = Count::of::<1_000_000>();
    }
    let nodes = cluster_with(&board, setups).await;
    let topics: Vec<_> = (0..8).map(|bucket| topic_in(bucket, 8)).collect();
    for topic in &topics {
        for member in fill(&nodes[0], topic).into_iter().take(3) {
            nodes[0].leave(topic, member);
        }
    }
    sleep(SOON * 3).await;
    let bytes_per_second = churn(&nodes[0], &topics, 10).await;
    assert!(bytes_per_second < 1_500_000, "{bytes_per_second}");
    let all = |n: &Node| {
        topics
            .iter()
            .map(|t| members(&n.view(), t))
            .collect::<Vec<_>>()
    };
    let last = all(&nodes[0]);
    let same = || nodes.iter().all(|n| all(n) == last);
    // All of it, 8 buckets of 48 kB for four peers, is two seconds' worth at most.
    let took = until("the last state is everywhere", SOON, same).await;
    assert!(took <= Duration::from_millis(2_200), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_shows_what_was_written_shows_all_that_was_there_and_soon() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 3).await;
    let run = setup(0).run;
    let topics = ["busy".to_owned()];
    let barriers = async {
        for round in 0..20 {
            sleep(Duration::from_millis(137)).await;
            let topic = format!("of.{}", round % 3);
            let (one, busy) = (nodes[0].join(&topic), nodes[0].join("busy"));
            let asked = Instant::now();
            let version = nodes[0].membership.written().await.unwrap();
            let took = asked.elapsed();
            assert!(took <= Duration::from_millis(5), "{took:?}");
            for node in &nodes[1..] {
                let has = || node.view().has(&run.node, run.incarnation, version);
                until("it is shown", SOON, has).await;
                let shown = node.view();
                assert!(members(&shown, &topic).contains(&one));
                assert!(members(&shown, "busy").contains(&busy));
                assert!(!shown.has(&run.node, run.incarnation.next(), version));
            }
        }
    };
    // A bucket that goes on changing is told ever more rarely, unless somebody waits for it.
    tokio::select! {
        () = barriers => {}
        _ = churn(&nodes[0], &topics, 60) => panic!("it took a minute"),
    }
    let quiet = nodes[0].membership.written().await;
    assert_eq!(
        quiet,
        nodes[0].membership.written().await,
        "nothing is written for nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn the_sink_is_told_many_events_some_at_a_time() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 2).await;
    for n in 0..3_000 {
        nodes[0].join(&format!("t.{n}"));
    }
    let all = || nodes[1].view().topics().len() == 3_000;
    until("all are there", SOON, all).await;
    let at_once = nodes[1].events_at_once.load(Relaxed);
    assert!((2..=512).contains(&at_once), "{at_once}");
}

const SOON: Duration = Duration::from_secs(3);
