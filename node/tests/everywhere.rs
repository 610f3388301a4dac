//! The barrier of subscriptions, over real links.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;
use std::time::Duration;

use tidings::{
    Authority, Config, Delivery, GossipConfig, Identity, Inbox, Lack, LocalCluster, Message, Net,
    Node, Pattern, Scope, Seed, Session, SessionOptions, SystemNet, Time, Topic, Validity,
};
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(20);

async fn cluster(nodes: usize) -> LocalCluster {
    let cluster = LocalCluster::start(nodes).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    cluster
}

fn agent(node: &Node) -> (Session, Inbox) {
    node.session(SessionOptions::default()).unwrap()
}

async fn next(inbox: &mut Inbox) -> String {
    match timeout(SOON, inbox.recv()).await.unwrap().unwrap() {
        Delivery::Message { message, .. } => String::from_utf8(message.payload.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_after_the_barrier_returned_is_received() {
    let cluster = cluster(3).await;
    let nodes = cluster.nodes();
    let (asker, mut inbox) = agent(&nodes[0]);
    let (answerers, mut others): (Vec<_>, Vec<_>) = nodes[1..].iter().map(agent).unzip();
    for round in 0..100 {
        let topic: Topic = format!("answers.{round}").parse().unwrap();
        asker.subscribe(&Pattern::from(&topic)).unwrap();
        let reached = asker.everywhere(SOON).await.unwrap();
        let reached: Vec<_> = reached.iter().map(|run| run.node.as_str()).collect();
        assert_eq!(reached, ["n2", "n3"]);
        for answerer in &answerers {
            let receipt =
                answerer.broadcast(Message::new(topic.clone(), topic.as_str().to_owned()));
            assert_eq!(receipt.unwrap().nodes, 1, "the route is not there");
        }
        for _ in &answerers {
            assert_eq!(next(&mut inbox).await, topic.as_str());
        }
    }
    others.clear();
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_at_once_have_each_their_own_everywhere() {
    let cluster = cluster(2).await;
    let [near, far] = cluster.nodes() else {
        unreachable!()
    };
    let mut waiting = tokio::task::JoinSet::new();
    // More than questions that may be open on a link.
    for number in 0..100 {
        let (near, far) = (near.clone(), far.clone());
        waiting.spawn(async move {
            let pattern: Pattern = format!("own.{number}").parse().unwrap();
            let (session, _inbox) = agent(&near);
            session.subscribe(&pattern).unwrap();
            session.everywhere(SOON).await.unwrap();
            assert_eq!(far.members(&Scope::default(), &pattern).len(), 1);
        });
    }
    waiting.join_all().await;
    cluster.leave().await;
}

#[tokio::test]
async fn a_node_on_its_own_is_everywhere() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let (session, _inbox) = agent(&node);
    session.subscribe(&"a".parse().unwrap()).unwrap();
    assert_eq!(session.everywhere(Duration::ZERO).await.unwrap(), []);
}

/// Nodes that can be ended one by one.
async fn start(authority: &Authority, name: &str, seed: Option<&Node>) -> Node {
    let validity = hour();
    let certificate = authority.issue(&name.parse().unwrap(), validity).unwrap();
    let identity = Identity::from_pem(
        authority.certificate_pem(),
        &certificate.certificate_pem,
        &certificate.key_pem,
    );
    let config = Config {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        seeds: seed
            .and_then(Node::addr)
            .map(Seed::from)
            .into_iter()
            .collect(),
        gossip: GossipConfig {
            // However busy the machine is: who is gone is live for so long.
            silence_min: Time::of_ms::<5_000>(),
            ..GossipConfig::default()
        },
        ..Config::default()
    };
    Node::start(config, Some(identity.unwrap())).await.unwrap()
}

fn hour() -> Validity {
    Validity::starting(SystemNet.unix_time(), Duration::from_secs(3600)).unwrap()
}

fn live(node: &Node) -> usize {
    node.nodes().iter().filter(|node| node.live).count()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_it_is_named_until_it_is_taken_for_dead() {
    let authority = Authority::create(&"test".parse().unwrap(), hour()).unwrap();
    let one = start(&authority, "one", None).await;
    let (two, three) = (
        start(&authority, "two", Some(&one)).await,
        start(&authority, "three", Some(&one)).await,
    );
    until("they see each other", || {
        [&one, &two, &three].iter().all(|node| live(node) == 3)
    })
    .await;
    let (session, _inbox) = agent(&one);
    session.subscribe(&"a".parse().unwrap()).unwrap();
    session.everywhere(SOON).await.unwrap();
    // Without a word, as in a crash: it stays live for a while.
    let gone = three.name().clone();
    three.token().cancel();
    session.subscribe(&"b".parse().unwrap()).unwrap();
    let refused = session.everywhere(Duration::from_millis(200)).await;
    let refused = refused.unwrap_err();
    assert!(refused.to_string().contains("three (no "), "{refused}");
    let [lacking] = &refused.lacking[..] else {
        panic!("{refused:?}")
    };
    assert_eq!(lacking.run.node, gone);
    assert!(matches!(lacking.why, Lack::NoLink | Lack::NoAnswer));
    assert_eq!(refused.reached.len(), 1);
    assert_eq!(refused.reached[0].node, *two.name());
    // It ends by itself once that node does not count any more.
    let reached = session.everywhere(SOON).await.unwrap();
    assert_eq!(reached, refused.reached);
    assert_eq!(live(&one), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_meanwhile_counts_and_dropping_the_session_ends_nothing() {
    let authority = Authority::create(&"test".parse().unwrap(), hour()).unwrap();
    let one = start(&authority, "one", None).await;
    let two = start(&authority, "two", Some(&one)).await;
    until("they see each other", || live(&one) == 2 && live(&two) == 2).await;
    let (session, _inbox) = agent(&one);
    session.subscribe(&"a".parse().unwrap()).unwrap();
    // It is live for a while, and keeps the barrier waiting.
    two.token().cancel();
    let waits = session.everywhere(SOON);
    drop(session);
    let (waits, three) = tokio::join!(waits, start(&authority, "three", Some(&one)));
    let reached = waits.unwrap();
    let reached: Vec<_> = reached.iter().map(|run| run.node.as_str()).collect();
    assert!(
        reached.is_empty() || reached == ["three"],
        "whoever had come by then: {reached:?}"
    );
    until("the other is there", || {
        live(&one) == 2 && live(&three) == 2
    })
    .await;
}
