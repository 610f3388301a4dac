//! Assured broadcasts, and messages to one member: a few nodes in this process, real links over loopback.
//!
//! All runs on one thread, so nothing happens between two steps of a test that are not awaited.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tidings::{
    AgentName, Assured, AssuredOptions, Authority, BroadcastError, Config, Count, Delivery,
    Identity, Inbox, LocalCluster, MailboxConfig, MemberId, Message, Net, Node, Outcome, Outcomes,
    Overflow, Pattern, Seed, Session, SessionOptions, SubscribeOptions, SystemNet, Time, Validity,
    WaitFor,
};
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(20);

/// Longer than anything here takes, unless it fails.
const LONG: AssuredOptions = AssuredOptions {
    timeout: Time::of_ms::<60_000>(),
    wait_for: WaitFor::Taken,
};

const ACKNOWLEDGED: AssuredOptions = AssuredOptions {
    wait_for: WaitFor::Acknowledged,
    ..LONG
};

const SHORT: AssuredOptions = AssuredOptions {
    timeout: Time::of_ms::<300>(),
    wait_for: WaitFor::Taken,
};

async fn cluster(nodes: usize) -> LocalCluster {
    let cluster = LocalCluster::start(nodes).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    cluster
}

struct Agent {
    session: Session,
    inbox: Inbox,
    member: MemberId,
}

fn agent_with(node: &Node, options: SessionOptions) -> Agent {
    let (session, inbox) = node.session(options).unwrap();
    let member = session.subscribe(&"t".parse().unwrap()).unwrap();
    Agent {
        session,
        inbox,
        member,
    }
}

fn agent(node: &Node) -> Agent {
    agent_with(node, SessionOptions::default())
}

fn message(text: impl ToString) -> Message {
    Message::new("t".parse().unwrap(), text.to_string())
}

/// Waits until a node shows so many members.
async fn shows(node: &Node, members: usize) {
    until("the members are shown", || {
        node.members(&Default::default(), &"t".parse().unwrap())
            .len()
            == members
    })
    .await;
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    let holds = timeout(SOON, holds).await;
    assert!(holds.is_ok(), "not soon: {what}");
}

async fn outcomes(assured: Assured) -> Outcomes {
    timeout(SOON, assured).await.unwrap()
}

/// The outcome of the only member.
async fn outcome(assured: Assured) -> Outcome {
    let outcomes = outcomes(assured).await;
    assert_eq!(outcomes.members.len(), 1);
    outcomes.members[0].outcome
}

async fn next(inbox: &mut Inbox) -> Delivery {
    timeout(SOON, inbox.recv()).await.unwrap().unwrap()
}

fn text(delivery: &Delivery) -> String {
    match delivery {
        Delivery::Message { message, .. } => String::from_utf8_lossy(&message.payload).into_owned(),
        Delivery::Missed(count) => format!("missed {count}"),
    }
}

fn all_texts(inbox: &mut Inbox) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(delivery) = inbox.try_recv().unwrap() {
        texts.push(text(&delivery));
    }
    texts
}

#[tokio::test]
async fn the_publisher_learns_that_every_member_has_taken_the_message_once() {
    let cluster = cluster(3).await;
    let mut agents: Vec<_> = cluster
        .nodes()
        .iter()
        .zip(["a", "b", "c"])
        .map(|(node, name)| {
            let options = SessionOptions {
                agent: Some(AgentName::parse(name).unwrap()),
                ..SessionOptions::default()
            };
            agent_with(node, options)
        })
        .collect();
    let here = &cluster.nodes()[0];
    shows(here, 3).await;
    let assured = agents[0].session.broadcast_assured(message(1), LONG);
    let outcomes = outcomes(assured.unwrap()).await;
    assert!(outcomes.is_complete());
    let told: Vec<_> = outcomes
        .members
        .iter()
        .map(|told| (told.node.as_str(), told.agent.as_ref().unwrap().as_str()))
        .collect();
    assert_eq!(told, [("n1", "a"), ("n2", "b"), ("n3", "c")]);
    for (told, agent) in outcomes.members.iter().zip(&mut agents) {
        assert_eq!((told.member, told.outcome), (agent.member, Outcome::Taken));
        assert_eq!(all_texts(&mut agent.inbox), ["1"]);
    }
    cluster.leave().await;
}

#[tokio::test]
async fn a_message_for_nobody_is_done_at_once() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let (session, _inbox) = node.session(SessionOptions::default()).unwrap();
    let assured = session.broadcast_assured(message(1), ACKNOWLEDGED).unwrap();
    let outcomes = outcomes(assured).await;
    assert!(outcomes.is_complete() && outcomes.members.is_empty());
}

#[tokio::test]
async fn a_message_is_acknowledged_by_its_agents_here_and_there() {
    let cluster = cluster(2).await;
    let mut agents: Vec<_> = cluster.nodes().iter().map(agent).collect();
    shows(&cluster.nodes()[0], 2).await;
    let assured = agents[0]
        .session
        .broadcast_assured(message(1), ACKNOWLEDGED);
    let acknowledging = async {
        for agent in &mut agents {
            let delivery = next(&mut agent.inbox).await;
            let acknowledger = delivery.acknowledger().unwrap();
            acknowledger.acknowledge();
            acknowledger.acknowledge();
        }
    };
    let (outcomes, ()) = tokio::join!(outcomes(assured.unwrap()), acknowledging);
    assert!(outcomes.is_complete());
    assert_eq!(outcomes.count(Outcome::Acknowledged), 2);

    // One that nobody waits for has nothing to acknowledge.
    agents[0].session.broadcast(message(2)).unwrap();
    for agent in &mut agents {
        assert!(next(&mut agent.inbox).await.acknowledger().is_none());
    }
    cluster.leave().await;
}

#[tokio::test]
async fn a_publisher_waits_for_those_who_do_not_acknowledge_until_its_time_is_over() {
    let cluster = cluster(2).await;
    let (mut silent, mut there) = (agent(&cluster.nodes()[0]), agent(&cluster.nodes()[1]));
    shows(&cluster.nodes()[0], 2).await;
    let options = AssuredOptions {
        timeout: Time::of_ms::<1_500>(),
        ..ACKNOWLEDGED
    };
    let start = Instant::now();
    let assured = silent.session.broadcast_assured(message(1), options);
    next(&mut silent.inbox).await;
    let acknowledger = next(&mut there.inbox).await.acknowledger().unwrap();
    acknowledger.acknowledge();
    let outcomes = outcomes(assured.unwrap()).await;
    assert!(start.elapsed() >= options.timeout.get() && !outcomes.is_complete());
    let told: Vec<_> = outcomes.members.iter().map(|told| told.outcome).collect();
    assert_eq!(told, [Outcome::Taken, Outcome::Acknowledged]);
    cluster.leave().await;
}

#[tokio::test]
async fn a_member_that_left_or_died_before_the_message_came_is_told_as_such() {
    let cluster = cluster(2).await;
    let [here, there] = cluster.nodes() else {
        panic!("two")
    };
    let (publisher, _inbox) = here.session(SessionOptions::default()).unwrap();
    for dies in [false, true] {
        let mut agent = agent(there);
        shows(here, 1).await;
        let expected = match dies {
            false => {
                agent.session.unsubscribe(agent.member).unwrap();
                Outcome::Left
            }
            true => {
                drop(agent.session);
                Outcome::Died
            }
        };
        // Nothing has been awaited, so this node shows it still.
        let assured = publisher.broadcast_assured(message(1), LONG).unwrap();
        assert_eq!(outcome(assured).await, expected);
        if !dies {
            assert!(all_texts(&mut agent.inbox).is_empty());
        }
        shows(here, 0).await;
    }
    cluster.leave().await;
}

#[tokio::test]
async fn an_agent_that_dies_before_it_acknowledges_is_told_as_died() {
    let cluster = cluster(2).await;
    for node in cluster.nodes() {
        let mut agent = agent(node);
        let here = &cluster.nodes()[0];
        shows(here, 1).await;
        let (publisher, _inbox) = here.session(SessionOptions::default()).unwrap();
        let assured = publisher
            .broadcast_assured(message(1), ACKNOWLEDGED)
            .unwrap();
        let delivery = next(&mut agent.inbox).await;
        drop(agent);
        let acknowledger = delivery.acknowledger().unwrap();
        assert_eq!(outcome(assured).await, Outcome::Died);
        acknowledger.acknowledge();
        shows(here, 0).await;
    }
    cluster.leave().await;
}

#[tokio::test]
async fn a_full_mailbox_refuses_and_the_publisher_is_told() {
    let cluster = cluster(2).await;
    let here = &cluster.nodes()[0];
    let (publisher, _inbox) = here.session(SessionOptions::default()).unwrap();
    for node in cluster.nodes() {
        for overflow in [Overflow::DropNewest, Overflow::Disconnect] {
            let mailbox = MailboxConfig {
                messages_max: Count::of::<1>(),
                overflow,
                ..MailboxConfig::default()
            };
            let options = SessionOptions {
                mailbox,
                ..SessionOptions::default()
            };
            let mut agent = agent_with(node, options);
            shows(here, 1).await;
            for (text, expected) in [(1, Outcome::Taken), (2, Outcome::Refused)] {
                let assured = publisher.broadcast_assured(message(text), LONG).unwrap();
                assert_eq!(outcome(assured).await, expected);
            }
            if overflow == Overflow::DropNewest {
                assert_eq!(all_texts(&mut agent.inbox), ["1", "missed 1"]);
            }
            drop(agent);
            shows(here, 0).await;
        }
    }
    cluster.leave().await;
}

#[tokio::test]
async fn a_node_that_dies_or_leaves_is_lost_and_until_that_is_known_the_time_runs() {
    let cluster = cluster(3).await;
    let [here, dies, leaves] = cluster.nodes() else {
        panic!("three")
    };
    let (publisher, _inbox) = here.session(SessionOptions::default()).unwrap();
    let _members = (agent(dies), agent(leaves));
    shows(here, 2).await;
    dies.token().cancel();
    leaves.token().cancel();
    let start = Instant::now();
    let (short, long) = (
        publisher.broadcast_assured(message(1), SHORT).unwrap(),
        publisher.broadcast_assured(message(2), LONG).unwrap(),
    );
    let (short, long) = (outcomes(short).await, outcomes(long).await);
    assert_eq!(short.count(Outcome::TimedOut), 2);
    assert_eq!(long.count(Outcome::NodeLost), 2);
    assert!(start.elapsed() < LONG.timeout.get());
    here.leave().await;
}

#[tokio::test]
async fn a_member_on_a_node_that_left_is_lost() {
    let cluster = cluster(2).await;
    let [here, there] = cluster.nodes() else {
        panic!("two")
    };
    let (publisher, _inbox) = here.session(SessionOptions::default()).unwrap();
    let mut agent = agent(there);
    shows(here, 1).await;
    let assured = publisher
        .broadcast_assured(message(1), ACKNOWLEDGED)
        .unwrap();
    next(&mut agent.inbox).await;
    there.leave().await;
    assert_eq!(outcome(assured).await, Outcome::NodeLost);
    here.leave().await;
}

#[tokio::test]
async fn over_links_that_break_each_is_taken_once_and_in_order() {
    let life = Duration::from_secs(3);
    let validity = |life| Validity::starting(SystemNet.unix_time(), life).unwrap();
    let hour = validity(Duration::from_secs(3600));
    let authority = Authority::create(&"test".parse().unwrap(), hour).unwrap();
    let identity = |name: &str, validity| {
        let issued = authority.issue(&name.parse().unwrap(), validity).unwrap();
        let ca = authority.certificate_pem();
        Identity::from_pem(ca, &issued.certificate_pem, &issued.key_pem).unwrap()
    };
    let config = |seeds| Config {
        listen: ([127, 0, 0, 1], 0).into(),
        seeds,
        ..Config::default()
    };
    let here = Node::start(config(Vec::new()), Some(identity("a", hour)))
        .await
        .unwrap();
    let seed = Seed::from(here.addr().unwrap());
    let brief = identity("b", validity(life));
    let there = Node::start(config(vec![seed]), Some(brief)).await.unwrap();
    let mut agent = agent(&there);
    shows(&here, 1).await;
    let (publisher, _inbox) = here.session(SessionOptions::default()).unwrap();
    // Its peers close the link when the old certificate runs out, and another one takes its place.
    there.renew(&identity("b", hour)).unwrap();
    let links = || here.stats().transport.unwrap().links_opened;
    let (first, mut sent, mut open) = (links(), 0, Vec::new());
    let published = async {
        while links() == first || sent % 20 != 0 {
            let payload = format!("{sent} {}", ".".repeat(200_000));
            open.push(publisher.broadcast_assured(message(payload), LONG).unwrap());
            publisher.broadcast(message("between")).unwrap();
            sent += 1;
            // Some are under way all the time, and not more than there is room for.
            while open.len() > 20 {
                assert_eq!(outcome(open.remove(0)).await, Outcome::Taken);
            }
        }
        for assured in open.drain(..) {
            assert_eq!(outcome(assured).await, Outcome::Taken);
        }
        drop(publisher);
    };
    let received = async {
        let mut numbers: Vec<usize> = Vec::new();
        loop {
            let delivery = tokio::select! {
                delivery = agent.inbox.recv() => delivery.unwrap(),
                // All were taken some time ago.
                () = sleep(Duration::from_secs(2)) => return numbers,
            };
            let text = text(&delivery);
            if text != "between" {
                let number = text.split(' ').next().unwrap();
                numbers.push(number.parse().unwrap());
            }
        }
    };
    let ((), received) = timeout(Duration::from_secs(60), async {
        tokio::join!(published, received)
    })
    .await
    .unwrap();
    assert_eq!(received, (0..sent).collect::<Vec<_>>());
    there.leave().await;
    here.leave().await;
}

#[tokio::test]
async fn so_many_messages_of_a_session_are_open_and_no_more() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let agent = agent(&node);
    let publish = || agent.session.broadcast_assured(message(1), ACKNOWLEDGED);
    let mut open: Vec<_> = (0..256).map(|_| publish().unwrap()).collect();
    let refused = publish().unwrap_err();
    assert_eq!(refused, BroadcastError::TooManyAssured { max: 256 });
    // Others have room, and who does not wait any more makes some.
    let (other, _inbox) = node.session(SessionOptions::default()).unwrap();
    drop(other.broadcast_assured(message(2), ACKNOWLEDGED).unwrap());
    drop(open.pop());
    let _last = publish().unwrap();
}

#[tokio::test]
async fn an_assured_message_for_more_queue_groups_of_one_node_than_a_frame_names_is_refused() {
    let cluster = cluster(2).await;
    let [here, there] = cluster.nodes() else {
        panic!("two")
    };
    let pattern = Pattern::parse("t").unwrap();
    let join = |session: &Session, number: usize| {
        let options = SubscribeOptions {
            queue: Some(format!("q{number}").parse().unwrap()),
            ..SubscribeOptions::default()
        };
        session.subscribe_with(&pattern, options).unwrap();
    };
    let (publisher, _inbox) = here.session(SessionOptions::default()).unwrap();
    let (members, _unread) = there.session(SessionOptions::default()).unwrap();
    // Those on its own node are in no frame.
    (300..600).for_each(|number| join(&publisher, number));
    (0..256).for_each(|number| join(&members, number));
    shows(here, 556).await;
    let told = outcomes(publisher.broadcast_assured(message(1), LONG).unwrap()).await;
    assert_eq!(told.count(Outcome::Taken), 556);
    join(&members, 256);
    shows(here, 557).await;
    let refused = publisher.broadcast_assured(message(2), LONG).unwrap_err();
    let (groups, max) = (257, 256);
    assert_eq!(refused, BroadcastError::TooManyGroups { groups, max });
    cluster.leave().await;
}

#[tokio::test]
async fn a_message_to_a_member_reaches_it_alone_in_its_order_wherever_it_is() {
    let cluster = cluster(2).await;
    let here = &cluster.nodes()[0];
    let (publisher, _inbox) = here.session(SessionOptions::default()).unwrap();
    for node in cluster.nodes() {
        let (mut one, mut other) = (agent(node), agent(node));
        // A second membership of the same agent is another member.
        let second = one.session.subscribe(&"*".parse().unwrap()).unwrap();
        shows(here, 3).await;
        publisher.broadcast(message("all")).unwrap();
        let receipt = publisher.send_to(one.member, message("one")).unwrap();
        assert_eq!(receipt.local + receipt.nodes, 1);
        publisher.send_to(second, message("second")).unwrap();
        publisher.broadcast(message("all")).unwrap();
        let mut texts = Vec::new();
        while texts.iter().filter(|text| *text == "all").count() < 4 {
            let delivery = next(&mut one.inbox).await;
            if text(&delivery) == "second" {
                assert!(matches!(delivery, Delivery::Message { member, .. } if member == second));
            }
            texts.push(text(&delivery));
        }
        assert_eq!(texts, ["all", "all", "one", "second", "all", "all"]);
        for expected in ["all", "all"] {
            assert_eq!(text(&next(&mut other.inbox).await), expected);
        }
        assert!(all_texts(&mut other.inbox).is_empty());
        drop((one, other));
        shows(here, 0).await;
    }
    cluster.leave().await;
}

#[tokio::test]
async fn a_member_that_is_unknown_or_gone_is_an_error_that_says_so() {
    let cluster = cluster(2).await;
    let [here, there] = cluster.nodes() else {
        panic!("two")
    };
    let (publisher, _inbox) = here.session(SessionOptions::default()).unwrap();
    let agent = agent(there);
    shows(here, 1).await;
    let elsewhere = Message::new("other".parse().unwrap(), "x");
    for (member, message) in [
        (MemberId::from_bytes([1; 16]), message(1)),
        (agent.member, elsewhere),
    ] {
        let refused = publisher.send_to(member, message).unwrap_err();
        assert!(matches!(refused, BroadcastError::UnknownMember { .. }));
    }
    let member = agent.member;
    agent.session.unsubscribe(member).unwrap();
    shows(here, 0).await;
    let gone = publisher.send_to(member, message(1)).unwrap_err();
    let told = gone.to_string();
    assert!(
        told.contains(&member.to_string()) && told.contains("has left"),
        "{told}"
    );
    cluster.leave().await;
}
