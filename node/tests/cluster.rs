//! Clusters of a few nodes in this process: real certificates, real links over loopback.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tidings::{
    Authority, Config, ConfigError, Count, Delivery, Identity, Inbox, MailboxConfig, Message, Net,
    Node, Overflow, Pattern, Receipt, RecvError, Scope, Seed, Session, SessionOptions, StartError,
    SystemNet, Topic, Validity,
};
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(10);

struct Cluster {
    authority: Authority,
    nodes: Vec<Node>,
}

impl Cluster {
    async fn start(size: usize) -> Self {
        let validity =
            Validity::starting(SystemNet.unix_time(), Duration::from_secs(3600)).unwrap();
        let authority = Authority::create(&"test".parse().unwrap(), validity).unwrap();
        let mut cluster = Self {
            authority,
            nodes: Vec::new(),
        };
        for number in 1..=size {
            cluster.add(&format!("n{number}")).await;
        }
        cluster.converge().await;
        cluster
    }

    async fn add(&mut self, name: &str) -> Node {
        self.add_run(name, 0).await
    }

    /// A run of a node with at least this number.
    async fn add_run(&mut self, name: &str, incarnation_min: u64) -> Node {
        let seeds = self
            .nodes
            .iter()
            .filter_map(Node::addr)
            .take(3)
            .map(Seed::from);
        let config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            incarnation_min,
            seeds: seeds.collect(),
            ..Config::default()
        };
        let validity =
            Validity::starting(SystemNet.unix_time(), Duration::from_secs(3600)).unwrap();
        let issued = self
            .authority
            .issue(&name.parse().unwrap(), validity)
            .unwrap();
        let ca = self.authority.certificate_pem();
        let identity = Identity::from_pem(ca, &issued.certificate_pem, &issued.key_pem).unwrap();
        let node = Node::start_on(config, Some(identity), Arc::new(SystemNet))
            .await
            .unwrap();
        self.nodes.push(node.clone());
        node
    }

    async fn converge(&self) {
        let live = |node: &Node| node.nodes().iter().filter(|n| n.live).count();
        let all = self.nodes.len();
        until("all nodes see each other", || {
            self.nodes.iter().all(|n| live(n) == all)
        })
        .await;
        self.members_agree().await;
    }

    async fn members_agree(&self) {
        let counts = |node: &Node| {
            let topics = node.topics().into_iter();
            topics
                .map(|t| ((t.scope, t.pattern), t.members))
                .collect::<BTreeMap<_, _>>()
        };
        let local: usize = self
            .nodes
            .iter()
            .flat_map(|n| n.topics())
            .map(|topic| topic.local)
            .sum();
        let agreed = |node: &Node| counts(node).values().sum::<usize>() == local;
        until("all views agree", || self.nodes.iter().all(agreed)).await;
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, wait)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

fn open(node: &Node) -> (Session, Inbox) {
    node.session(SessionOptions::default()).unwrap()
}

fn subscriber(node: &Node, pattern: &str) -> (Session, Inbox) {
    let (session, inbox) = open(node);
    session.subscribe(&pattern.parse().unwrap()).unwrap();
    (session, inbox)
}

/// A subscriber to `t` in whose mailbox so many messages find room.
fn bounded(node: &Node, messages_max: usize, overflow: Overflow) -> (Session, Inbox) {
    let options = SessionOptions {
        mailbox: MailboxConfig {
            messages_max: Count::try_from(messages_max).unwrap(),
            overflow,
            ..MailboxConfig::default()
        },
        ..SessionOptions::default()
    };
    let (session, inbox) = node.session(options).unwrap();
    session.subscribe(&"t".parse().unwrap()).unwrap();
    (session, inbox)
}

fn message(topic: &str, payload: &str) -> Message {
    Message::new(topic.parse().unwrap(), payload.to_owned())
}

async fn recv(inbox: &mut Inbox) -> String {
    match timeout(SOON, inbox.recv())
        .await
        .expect("a delivery in time")
        .unwrap()
    {
        Delivery::Message { message, .. } => String::from_utf8(message.payload.to_vec()).unwrap(),
        Delivery::Missed(count) => format!("missed {count}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_reaches_every_member_once_and_nobody_else() {
    let cluster = Cluster::start(3).await;
    let mut inboxes = Vec::new();
    for node in &cluster.nodes {
        for pattern in ["kb.updates", "kb.updates", "kb.*", ">"] {
            inboxes.push(subscriber(node, pattern));
        }
    }
    let mut other = subscriber(&cluster.nodes[1], "kb.other");
    cluster.members_agree().await;
    let receipt = inboxes[0]
        .0
        .broadcast(message("kb.updates", "hello"))
        .unwrap();
    assert_eq!((receipt.local, receipt.nodes), (4, 2));
    inboxes[0].0.broadcast(message("kb.end", "end")).unwrap();
    for (number, (_, inbox)) in inboxes.iter_mut().enumerate() {
        assert_eq!(recv(inbox).await, "hello");
        if number % 4 >= 2 {
            assert_eq!(recv(inbox).await, "end");
        }
        assert!(inbox.try_recv().unwrap().is_none());
    }
    assert!(other.1.try_recv().unwrap().is_none());
    let members = cluster.nodes[2].members(&Scope::default(), &"kb.updates".parse().unwrap());
    assert_eq!(members.len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_kept_per_publisher_over_all_its_topics() {
    let cluster = Cluster::start(2).await;
    let (_session, mut inbox) = subscriber(&cluster.nodes[1], ">");
    cluster.members_agree().await;
    let publishers: Vec<_> = (0..5).map(|_| open(&cluster.nodes[0]).0).collect();
    for number in 0..400 {
        for (who, publisher) in publishers.iter().enumerate() {
            let topic = format!("t{}", number % 7);
            publisher
                .broadcast(message(&topic, &format!("{who} {number}")))
                .unwrap();
        }
    }
    let mut next = [0; 5];
    for _ in 0..2000 {
        let text = recv(&mut inbox).await;
        let (who, number) = text.split_once(' ').unwrap();
        let expected = &mut next[who.parse::<usize>().unwrap()];
        assert_eq!(number.parse::<usize>().unwrap(), *expected);
        *expected += 1;
    }
    assert_eq!(next, [400; 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_message_arrives_whole_with_its_headers() {
    let cluster = Cluster::start(2).await;
    let (_session, mut inbox) = subscriber(&cluster.nodes[1], "big");
    cluster.members_agree().await;
    let (publisher, _) = open(&cluster.nodes[0]);
    let mut big = Message::new("big".parse().unwrap(), vec![b'x'; (1 << 20) - 64]);
    big.headers = tidings::Headers::default().with("Trace", "7").unwrap();
    big.reply_to = Some(Topic::parse("_INBOX.a").unwrap());
    assert_eq!(publisher.broadcast(big.clone()).unwrap().nodes, 1);
    let Delivery::Message { message, .. } = timeout(SOON, inbox.recv()).await.unwrap().unwrap()
    else {
        panic!("nothing is missed")
    };
    assert_eq!(*message, big);
    let too_big = Message::new("big".parse().unwrap(), vec![b'x'; (1 << 20) + 1]);
    let error = publisher.broadcast(too_big).unwrap_err();
    assert_eq!(
        error.to_string(),
        "payload and headers have 1048577 bytes, the limit (payload_bytes_max) is 1048576"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reach_is_as_asked_for() {
    let cluster = Cluster::start(3).await;
    let mut inboxes: Vec<_> = cluster.nodes.iter().map(|n| subscriber(n, "t")).collect();
    cluster.members_agree().await;
    let own = &inboxes[0].0;
    let names: Vec<_> = cluster.nodes.iter().map(|n| n.name().clone()).collect();
    let reached = |receipt: Receipt| (receipt.local, receipt.nodes);
    let receipt = own.local_broadcast(message("t", "local")).unwrap();
    assert_eq!(reached(receipt), (1, 0));
    let receipt = own.broadcast_from(message("t", "others")).unwrap();
    assert_eq!(reached(receipt), (0, 2));
    let receipt = own.direct(&names[1], message("t", "direct")).unwrap();
    assert_eq!(reached(receipt), (0, 1));
    let receipt = own.direct(&names[0], message("t", "own")).unwrap();
    assert_eq!(reached(receipt), (1, 0));
    let error = own
        .direct(&"n9".parse().unwrap(), message("t", "x"))
        .unwrap_err();
    assert_eq!(error.to_string(), "no live node is called n9");
    own.broadcast(message("t", "end")).unwrap();
    let expected: [&[&str]; 3] = [
        &["local", "own", "end"],
        &["others", "direct", "end"],
        &["others", "end"],
    ];
    for ((_, inbox), expected) in inboxes.iter_mut().zip(expected) {
        for text in expected {
            assert_eq!(recv(inbox).await, *text);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_loses_only_its_own_messages_and_is_told() {
    let cluster = Cluster::start(2).await;
    let (_slow, mut slow_inbox) = bounded(&cluster.nodes[1], 10, Overflow::DropNewest);
    // After the slow one, so that what has reached it has reached the slow one before.
    let (_quick, mut quick_inbox) = subscriber(&cluster.nodes[1], "t");
    cluster.members_agree().await;
    let (publisher, _) = open(&cluster.nodes[0]);
    for number in 0..100 {
        publisher
            .broadcast(message("t", &number.to_string()))
            .unwrap();
    }
    for number in 0..100 {
        assert_eq!(recv(&mut quick_inbox).await, number.to_string());
    }
    for number in 0..10 {
        assert_eq!(recv(&mut slow_inbox).await, number.to_string());
    }
    assert_eq!(recv(&mut slow_inbox).await, "missed 90");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_cut_off_leaves_its_topics_everywhere() {
    let cluster = Cluster::start(2).await;
    let (session, mut inbox) = bounded(&cluster.nodes[0], 1, Overflow::Disconnect);
    cluster.members_agree().await;
    let (publisher, _) = open(&cluster.nodes[1]);
    for _ in 0..3 {
        publisher.broadcast(message("t", "x")).unwrap();
    }
    until("the member is gone", || {
        cluster.nodes.iter().all(|n| n.topics().is_empty())
    })
    .await;
    let closed = timeout(SOON, inbox.recv()).await.unwrap().unwrap_err();
    assert_eq!(closed, RecvError::Overflow { missed: 2 });
    assert!(session.subscribe(&"t".parse().unwrap()).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_session_and_a_left_node_are_gone_from_every_view() {
    let mut cluster = Cluster::start(3).await;
    let mut sessions: Vec<_> = cluster.nodes.iter().map(|n| subscriber(n, "t")).collect();
    cluster.members_agree().await;
    drop(sessions.remove(0));
    let members = |node: &Node| node.members(&Scope::default(), &"t".parse().unwrap()).len();
    until("the session is gone", || {
        cluster.nodes.iter().all(|n| members(n) == 2)
    })
    .await;
    let leaver = cluster.nodes.remove(2);
    leaver.leave().await;
    for node in &cluster.nodes {
        until("the node is gone", || members(node) == 1).await;
        assert_eq!(node.nodes().iter().filter(|n| n.live).count(), 2);
    }
    let (_, inbox) = &mut sessions[1];
    assert_eq!(inbox.recv().await.unwrap_err(), RecvError::NodeStopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_before_a_leave_arrives() {
    let cluster = Cluster::start(2).await;
    let (_session, mut inbox) = subscriber(&cluster.nodes[1], "t");
    cluster.members_agree().await;
    let (publisher, _) = open(&cluster.nodes[0]);
    for number in 0..2000 {
        let payload = format!("{number:0>1000}");
        assert_eq!(
            publisher.broadcast(message("t", &payload)).unwrap().nodes,
            1
        );
    }
    cluster.nodes[0].leave().await;
    for number in 0..2000 {
        assert_eq!(recv(&mut inbox).await, format!("{number:0>1000}"));
    }
    let live = |node: &Node| node.nodes().iter().filter(|n| n.live).count();
    until("the node is gone", || live(&cluster.nodes[1]) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_is_seen_in_its_new_incarnation_only() {
    let mut cluster = Cluster::start(3).await;
    let session = subscriber(&cluster.nodes[2], "old");
    cluster.members_agree().await;
    let old = cluster.nodes.pop().unwrap();
    let old_incarnation = old.incarnation();
    drop((session, old));
    let new = cluster.add("n3").await;
    let _session = subscriber(&new, "new");
    assert!(new.incarnation() > old_incarnation);
    cluster.converge().await;
    for node in &cluster.nodes {
        let topics: Vec<_> = node
            .topics()
            .iter()
            .map(|t| t.pattern.to_string())
            .collect();
        assert_eq!(topics, ["new"]);
        let seen = node
            .nodes()
            .into_iter()
            .find(|n| n.run.node == *new.name())
            .unwrap();
        assert_eq!(seen.run.incarnation, new.incarnation());
    }
    let (publisher, _) = open(&cluster.nodes[0]);
    assert_eq!(publisher.broadcast(message("new", "x")).unwrap().nodes, 1);
}

#[tokio::test]
async fn a_lone_node_works_and_scopes_are_isolated() {
    let node = Node::start(Config::default(), None).await.unwrap();
    assert!(node.is_ready());
    let (_own, mut inbox) = subscriber(&node, "t");
    let options = SessionOptions {
        scope: Scope::parse("other").unwrap(),
        ..Default::default()
    };
    let (other, mut other_inbox) = node.session(options).unwrap();
    let member = other.subscribe(&Pattern::parse("t").unwrap()).unwrap();
    let (publisher, _) = open(&node);
    let receipt = publisher.broadcast(message("t", "x")).unwrap();
    assert_eq!((receipt.local, receipt.nodes), (1, 0));
    assert_eq!(recv(&mut inbox).await, "x");
    assert!(other_inbox.try_recv().unwrap().is_none());
    other.unsubscribe(member).unwrap();
    assert!(other.unsubscribe(member).is_err());
    assert_eq!(node.topics().len(), 1);
    node.leave().await;
    assert!(publisher.broadcast(message("t", "x")).is_err());
    let again = node.leave().now_or_never();
    assert!(again.is_some(), "who has left has left");
}

#[tokio::test]
async fn seeds_without_certificates_are_an_error() {
    let config = Config {
        seeds: vec!["127.0.0.1:7946".parse().unwrap()],
        ..Config::default()
    };
    let error = Node::start(config, None).await.unwrap_err();
    assert!(
        matches!(&error, StartError::Config(ConfigError::NoCertificates)),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_awaits_room_loses_nothing_to_a_subscriber_that_reads() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let (_slow, mut inbox) = bounded(&node, 64, Overflow::Disconnect);
    let (publisher, _) = open(&node);
    const COUNT: usize = 20_000;
    let publishing = async {
        for number in 0..COUNT {
            let receipt = publisher.broadcast(message("t", &number.to_string()));
            assert_eq!(receipt.unwrap().dropped, 0);
            publisher.room().await;
        }
    };
    let reading = async {
        for number in 0..COUNT {
            assert_eq!(recv(&mut inbox).await, number.to_string());
        }
    };
    tokio::join!(publishing, reading);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_long_for_a_subscriber_that_reads_nothing() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let (_deaf, _inbox) = bounded(&node, 10, Overflow::DropNewest);
    let (publisher, _) = open(&node);
    let began = tokio::time::Instant::now();
    let mut dropped = 0;
    for _ in 0..1_000 {
        dropped += publisher.broadcast(message("t", "x")).unwrap().dropped;
        publisher.room().await;
    }
    assert_eq!(dropped, 990);
    assert_eq!(began.elapsed(), Duration::from_millis(500));
}

#[tokio::test]
async fn a_run_that_is_taken_for_old_learns_after_which_one_it_is_to_begin() {
    let mut cluster = Cluster::start(2).await;
    // One numbers the links to both others, the other's links both others number.
    for name in ["a", "z"] {
        let ahead = u64::try_from(SystemNet.unix_time().as_millis()).unwrap() + 1_800_000;
        let first = cluster.add_run(name, ahead).await;
        cluster.converge().await;
        let later = first.incarnation();
        cluster.nodes.pop();
        drop(first);
        let second = cluster.add_run(name, 0).await;
        assert!(second.incarnation() < later);
        let learnt = timeout(SOON, second.outdated()).await.unwrap();
        assert_eq!(learnt, later, "{name}");
        cluster.nodes.pop();
        second.leave().await;
        cluster.add_run(name, learnt.get() + 1).await;
        cluster.converge().await;
    }
}
