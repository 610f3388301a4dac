//! Publishers and subscribers on different nodes that differ in speed: real links over loopback.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use futures::future::join_all;
use tidings::{
    Config, Congestion, Count, Delivery, Event, Headers, Inbox, LocalCluster, MailboxConfig,
    Message, Node, Overflow, Session, SessionOptions, Watch,
};
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(10);

async fn two_nodes() -> LocalCluster {
    LocalCluster::start(2).await.unwrap()
}

fn subscriber(node: &Node, pattern: &str, messages_max: usize) -> (Session, Inbox) {
    bounded(node, pattern, messages_max, Overflow::Disconnect)
}

fn bounded(
    node: &Node,
    pattern: &str,
    messages_max: usize,
    overflow: Overflow,
) -> (Session, Inbox) {
    let mailbox = MailboxConfig {
        messages_max: Count::try_from(messages_max).unwrap(),
        overflow,
        ..MailboxConfig::default()
    };
    let options = SessionOptions {
        mailbox,
        ..SessionOptions::default()
    };
    let (session, inbox) = node.session(options).unwrap();
    session.subscribe(&pattern.parse().unwrap()).unwrap();
    (session, inbox)
}

async fn publisher(node: &Node, topic: &str) -> Session {
    let topic = topic.parse().unwrap();
    let known = async {
        while node.members(&Default::default(), &topic).is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, known).await.unwrap();
    node.session(SessionOptions::default()).unwrap().0
}

fn message(topic: &str, number: usize, bytes: usize) -> Message {
    let mut payload = number.to_string().into_bytes();
    payload.push(b' ');
    payload.resize(payload.len().max(bytes), b'.');
    Message::new(topic.parse().unwrap(), payload)
}

async fn number(inbox: &mut Inbox) -> usize {
    match timeout(SOON, inbox.recv()).await.unwrap().unwrap() {
        Delivery::Message { message, .. } => {
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            text.split(' ').next().unwrap().parse().unwrap()
        }
        Delivery::Missed(count) => panic!("missed {count}"),
    }
}

/// Publishes as fast as it is let. Returns how many were dropped on the way.
async fn publish(session: &Session, topic: &str, count: usize, bytes: usize) -> usize {
    let mut dropped = 0;
    for n in 0..count {
        let receipt = session.broadcast(message(topic, n, bytes)).unwrap();
        dropped += receipt.dropped;
        if receipt.pressing {
            session.room().await;
        }
    }
    dropped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_awaits_room_loses_nothing_on_the_way_to_another_node() {
    let cluster = two_nodes().await;
    let [here, there] = cluster.nodes() else {
        panic!("two")
    };
    // Much more than fits into all that is between them.
    for (topic, count, bytes) in [("small", 200_000, 10), ("large", 1_500, 64 << 10)] {
        let (_session, mut inbox) = subscriber(there, topic, 65_536);
        let from = publisher(here, topic).await;
        let reading = async {
            for n in 0..count {
                assert_eq!(number(&mut inbox).await, n);
                if n % 4_000 == 0 {
                    sleep(Duration::from_millis(10)).await;
                }
            }
        };
        let (dropped, ()) = tokio::join!(publish(&from, topic, count, bytes), reading);
        assert_eq!(dropped, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_elsewhere_slows_its_publisher_and_nobody_else_on_the_lane() {
    let cluster = two_nodes().await;
    let [here, there] = cluster.nodes() else {
        panic!("two")
    };
    let (_slow, mut slow) = subscriber(there, "slow", 10_000);
    let (_fast, mut fast) = subscriber(there, "fast", 10_000);
    // There are four lanes, so the first of these and the last share one.
    let loud = publisher(here, "slow").await;
    let between = [(); 3].map(|()| here.session(SessionOptions::default()).unwrap());
    let quiet = publisher(here, "fast").await;
    drop(between);

    const COUNT: usize = 40_000;
    let crawling = async {
        for n in 0..COUNT {
            assert_eq!(number(&mut slow).await, n);
            if n % 1_000 == 0 {
                sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let going_on = async {
        let mut longest = Duration::ZERO;
        for n in 0..200 {
            let begun = Instant::now();
            let receipt = quiet.broadcast(message("fast", n, 10)).unwrap();
            assert!(!receipt.pressing);
            assert_eq!(number(&mut fast).await, n);
            longest = longest.max(begun.elapsed());
            sleep(Duration::from_millis(5)).await;
        }
        longest
    };
    let begun = Instant::now();
    let publishing = async { (publish(&loud, "slow", COUNT, 10).await, begun.elapsed()) };
    let ((dropped, took), (), longest) = tokio::join!(publishing, crawling, going_on);
    assert_eq!(dropped, 0);
    // The subscriber takes two seconds. What is not in its mailbox and not under way waits for it.
    assert!(took > Duration::from_secs(1), "{took:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_long_for_a_subscriber_elsewhere_that_reads_nothing() {
    let cluster = two_nodes().await;
    let [here, there] = cluster.nodes() else {
        panic!("two")
    };
    let (_deaf, mut deaf) = subscriber(there, "t", 10_000);
    let from = publisher(here, "t").await;
    let begun = Instant::now();
    let dropped = timeout(SOON, publish(&from, "t", 100_000, 10)).await;
    let dropped = dropped.expect("it is not held up for ever");
    let took = begun.elapsed();
    assert_eq!(dropped, 0, "the lane had room");
    // Once half a second without progress, at the mailbox or for the credit.
    assert!(took > Duration::from_millis(400), "{took:?}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    let ended = timeout(SOON, deaf.overflowed()).await;
    assert!(ended.is_ok(), "it is cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_flood_each_other_come_to_an_end() {
    let cluster = two_nodes().await;
    let [a, b] = cluster.nodes() else {
        panic!("two")
    };
    const COUNT: usize = 60_000;
    let mut floods = Vec::new();
    for (from, to, topic) in [(a, b, "there"), (b, a, "back")] {
        let (session, mut inbox) = subscriber(to, topic, 65_536);
        let publisher = publisher(from, topic).await;
        floods.push(async move {
            let reading = async {
                for n in 0..COUNT {
                    assert_eq!(number(&mut inbox).await, n);
                }
            };
            let (dropped, ()) = tokio::join!(publish(&publisher, topic, COUNT, 500), reading);
            drop(session);
            dropped
        });
    }
    let dropped = timeout(6 * SOON, join_all(floods)).await.unwrap();
    assert_eq!(dropped, [0, 0]);
}

/// The sum of what a watch tells of messages missing from one node to the other, once it is so many.
async fn missing(watch: &mut Watch, between: (&Node, &Node), expected: u64) -> u64 {
    let mut sum = 0;
    let told = async {
        while sum < expected {
            for event in watch.next().await.unwrap() {
                if let Event::Gap { from, to, frames } = event {
                    assert_eq!((&from, &to), (between.0.name(), between.1.name()));
                    sum += frames.unwrap();
                }
            }
        }
    };
    // The sum says how far it came.
    let _ = timeout(SOON, told).await;
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_lane_refuses_is_told_on_both_nodes() {
    const MESSAGES: usize = 600;
    let cluster = two_nodes().await;
    let [here, there] = cluster.nodes() else {
        panic!("two")
    };
    let (_session, mut inbox) = subscriber(there, "a", MESSAGES);
    let heedless = publisher(here, "a").await;
    let (mut watch_here, mut watch_there) = (here.watch().1, there.watch().1);
    let mut dropped = 0;
    for n in 0..MESSAGES {
        // A receipt that is pressing is of no concern to it.
        dropped += heedless
            .broadcast(message("a", n, 100_000))
            .unwrap()
            .dropped;
    }
    assert!(dropped > 0, "the lane has room for all of it");
    let (between, expected) = ((here, there), dropped as u64);
    assert_eq!(missing(&mut watch_here, between, expected).await, expected);
    assert_eq!(missing(&mut watch_there, between, expected).await, expected);
    for _ in 0..MESSAGES - dropped {
        number(&mut inbox).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_would_rather_drop_than_wait_is_never_asked_and_its_losses_are_told() {
    const MESSAGES: usize = 1_000;
    let cluster = two_nodes().await;
    let [here, there] = cluster.nodes() else {
        panic!("two")
    };
    let (_fast, mut fast) = subscriber(here, "tokens", MESSAGES);
    let (_near, mut near) = bounded(here, "tokens", 100, Overflow::DropNewest);
    let (_far, mut far) = subscriber(there, "tokens", MESSAGES);
    publisher(here, "tokens").await;
    while here
        .members(&Default::default(), &"tokens".parse().unwrap())
        .len()
        < 3
    {
        sleep(Duration::from_millis(5)).await;
    }
    let mut watch = there.watch().1;
    let options = SessionOptions {
        congestion: Congestion::Drop,
        ..SessionOptions::default()
    };
    let (streaming, _) = here.session(options).unwrap();
    let asking = here.session(SessionOptions::default()).unwrap().0;
    let mut dropped = 0;
    for n in 0..MESSAGES {
        let token = message("tokens", n, 1_000);
        // One that asks says it of a message as the other does of all.
        let receipt = if n % 2 == 0 {
            streaming.broadcast(token)
        } else {
            let headers = Headers::default().with("tidings-congestion", "drop");
            asking.broadcast(token.with_headers(headers.unwrap()))
        };
        let receipt = receipt.unwrap();
        assert!(!receipt.pressing);
        dropped += receipt.dropped;
        assert_eq!(number(&mut fast).await, n, "others get all");
    }
    // What it was not handed it is told, of each publisher in its place.
    let (mut received, mut missed) = (0, 0);
    while received + missed < MESSAGES as u64 {
        match timeout(SOON, near.recv()).await.unwrap().unwrap() {
            Delivery::Message { .. } => received += 1,
            Delivery::Missed(count) => missed += count,
        }
    }
    assert_eq!(received + missed, MESSAGES as u64);
    let mut arrived = 0;
    while let Ok(Ok(Delivery::Message { .. })) = timeout(SOON / 20, far.recv()).await {
        arrived += 1;
    }
    let withheld = dropped as u64 - missed;
    assert!(withheld > 0);
    assert_eq!(arrived + withheld, MESSAGES as u64);
    assert_eq!(missing(&mut watch, (here, there), withheld).await, withheld);
}

#[tokio::test]
async fn a_quiet_publisher_does_not_wait_for_what_a_loud_one_has_piled_up() {
    const TURN_BYTES: usize = 64 << 10;
    const BYTES: usize = 1_000;
    let node = Node::start(Config::default(), None).await.unwrap();
    let (_session, mut inbox) = subscriber(&node, "t", 65_536);
    let [loud, quiet] = [(); 2].map(|()| node.session(SessionOptions::default()).unwrap().0);
    let mut piled = 0;
    while !loud.broadcast(message("t", piled, BYTES)).unwrap().pressing {
        piled += 1;
    }
    assert!(piled * BYTES > 100 * TURN_BYTES);
    // Before anything has been received, and then in the middle of it.
    for (published, turns) in [(1_000_000, 1), (1_000_001, 2)] {
        quiet.broadcast(message("t", published, 10)).unwrap();
        let mut before = 0;
        while number(&mut inbox).await != published {
            before += BYTES;
        }
        assert!(before <= turns * TURN_BYTES + BYTES, "{before} bytes");
    }
}
