//! What sessions may do by their access, whoever they are opened by.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use tidings::{
    Access, AssuredOptions, BroadcastError, Config, Count, Delivery, Denied, Inbox, LocalCluster,
    Message, Node, OpenError, Outcome, Pattern, Permissions, RecvError, Responses, Rules, Session,
    SessionOptions, Sight, SubscribeError, SubscribeOptions, Time, Topic,
};
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(10);

async fn node() -> Node {
    Node::start(Config::default(), None).await.unwrap()
}

fn open(node: &Node, access: &Access) -> (Session, Inbox) {
    let options = SessionOptions {
        access: access.clone(),
        ..SessionOptions::default()
    };
    node.session(options).unwrap()
}

fn message(topic: &str) -> Message {
    Message::new(topic.parse().unwrap(), "x")
}

fn patterns<R: From<Pattern>>(texts: &[&str]) -> Vec<R> {
    let parsed = texts.iter().map(|text| Pattern::parse(text).unwrap());
    parsed.map(R::from).collect()
}

/// May publish and subscribe to these, but for those.
fn only(allow: &[&str], deny: &[&str]) -> Permissions {
    Permissions {
        publish: Rules {
            allow: Some(patterns(allow)),
            deny: patterns(deny),
        },
        subscribe: Rules {
            allow: Some(patterns(allow)),
            deny: patterns(deny),
        },
        ..Permissions::default()
    }
}

/// The topics of what has arrived.
fn received(inbox: &mut Inbox) -> Vec<String> {
    std::iter::from_fn(|| inbox.try_recv().unwrap())
        .map(|delivery| match delivery {
            Delivery::Message { message, .. } => message.topic.to_string(),
            Delivery::Missed(count) => panic!("{count} messages were lost"),
        })
        .collect()
}

fn is_denied<T>(result: Result<T, BroadcastError>) -> bool {
    matches!(result, Err(BroadcastError::Denied(Denied::Publish)))
}

#[tokio::test]
async fn every_way_to_publish_asks_the_same_permissions() {
    let node = node().await;
    let (session, _inbox) = open(&node, &Access::new("a", only(&["ok.>"], &["ok.no"])));
    let (member, _other) = node.session(SessionOptions::default()).unwrap();
    for (topic, allowed) in [("ok.yes", true), ("ok.no", false), ("other", false)] {
        let to = member.subscribe(&topic.parse().unwrap()).unwrap();
        let name = node.name();
        let options = AssuredOptions::default();
        let results = [
            session.broadcast(message(topic)).map(drop),
            session.broadcast_from(message(topic)).map(drop),
            session.local_broadcast(message(topic)).map(drop),
            session.local_broadcast_from(message(topic)).map(drop),
            session.direct(name, message(topic)).map(drop),
            session.direct_from(name, message(topic)).map(drop),
            session.send_to(to, message(topic)).map(drop),
            session.broadcast_assured(message(topic), options).map(drop),
        ];
        for (way, result) in results.into_iter().enumerate() {
            assert_eq!(result.is_ok(), allowed, "{topic}, way {way}");
            assert_eq!(is_denied(result), !allowed, "{topic}, way {way}");
        }
    }
    assert_eq!(node.stats().denied_publish, 16);
}

#[tokio::test]
async fn every_way_to_subscribe_asks_the_same_permissions() {
    let node = node().await;
    let (session, _inbox) = open(&node, &Access::new("a", only(&["ok.>"], &["ok.no"])));
    let (good, bad): (Pattern, Pattern) = ("ok.*".parse().unwrap(), ">".parse().unwrap());
    let is_denied = |result| matches!(result, Err(SubscribeError::Denied(Denied::Subscribe)));
    assert!(session.subscribe(&good).is_ok());
    assert!(is_denied(session.subscribe(&bad)));
    assert!(is_denied(session.subscribe_tagged(&bad, 7)));
    assert!(is_denied(session.subscribe_with(&bad, Default::default())));
    let [first, second, third] =
        <[_; 3]>::try_from(session.subscribe_many([&good, &bad, &good])).unwrap();
    assert!(first.is_ok() && is_denied(second) && third.is_ok());
    assert_eq!(node.stats().denied_subscribe, 4);
    assert_eq!(node.members(session.scope(), &good).len(), 3);
    assert!(node.members(session.scope(), &bad).is_empty());
}

#[tokio::test]
async fn a_queue_group_may_be_the_only_way_to_subscribe() {
    let node = node().await;
    let mut permissions = only(&[], &[]);
    permissions.subscribe.allow = Some(vec!["jobs.> workers".parse().unwrap()]);
    let (session, _inbox) = open(&node, &Access::new("a", permissions));
    let jobs: Pattern = "jobs.*".parse().unwrap();
    let join = |queue: &str| {
        let options = SubscribeOptions {
            queue: queue.parse().ok(),
            ..SubscribeOptions::default()
        };
        session.subscribe_with(&jobs, options)
    };
    assert!(join("workers").is_ok());
    let is_denied = |result| matches!(result, Err(SubscribeError::Denied(Denied::Subscribe)));
    assert!(is_denied(join("others")) && is_denied(join("")));
}

#[tokio::test]
async fn a_part_of_a_subscription_that_is_denied_is_not_delivered() {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    let [near, far] = cluster.nodes() else {
        unreachable!()
    };
    let (session, mut inbox) = open(near, &Access::new("a", only(&[">"], &["kb.secret"])));
    session.subscribe(&"kb.*".parse().unwrap()).unwrap();
    let member = session.subscribe(&"end".parse().unwrap()).unwrap();
    session.everywhere(SOON).await.unwrap();
    for node in [near, far] {
        let (publisher, _inbox) = node.session(SessionOptions::default()).unwrap();
        let kept = publisher.broadcast(message("kb.secret")).unwrap();
        assert_eq!(kept.local, 0);
        publisher.broadcast(message("kb.open")).unwrap();
        let outcomes = publisher
            .broadcast_assured(message("kb.secret"), AssuredOptions::default())
            .unwrap()
            .await;
        let outcome = |member: &tidings::MemberOutcome| member.outcome;
        let outcomes: Vec<_> = outcomes.members.iter().map(outcome).collect();
        assert_eq!(
            outcomes,
            [Outcome::Refused],
            "told at once, and not after its time"
        );
        publisher.send_to(member, message("end")).unwrap();
        for expected in ["kb.open", "end"] {
            let delivery = timeout(SOON, inbox.recv()).await.unwrap().unwrap();
            let Delivery::Message { message, .. } = delivery else {
                panic!("{delivery:?}");
            };
            assert_eq!(message.topic.as_str(), expected);
        }
    }
    cluster.leave().await;
}

#[tokio::test]
async fn who_may_answer_answers_as_often_as_allowed_where_it_was_asked() {
    let node = node().await;
    let permissions = Permissions {
        publish: Rules::only([]),
        responses: Some(Responses {
            answers_max: Count::of::<2>(),
            expiry: Time::of_ms::<60_000>(),
        }),
        ..Permissions::default()
    };
    let (responder, mut inbox) = open(&node, &Access::new("responder", permissions));
    responder.subscribe(&"ask".parse().unwrap()).unwrap();
    let (asker, _answers) = node.session(SessionOptions::default()).unwrap();
    let answer = || responder.broadcast(message("answers.1"));
    assert!(is_denied(answer()));
    let mut question = message("ask");
    question.reply_to = Some("answers.1".parse().unwrap());
    asker.broadcast(question).unwrap();
    assert!(is_denied(answer()), "it has not received it yet");
    assert_eq!(received(&mut inbox), ["ask"]);
    assert!(is_denied(responder.broadcast(message("answers.2"))));
    assert!(answer().is_ok() && answer().is_ok() && is_denied(answer()));
}

#[tokio::test]
async fn a_change_of_permissions_counts_at_once_for_all_sessions() {
    let node = node().await;
    let access = Access::new("a", only(&["a.>", "b.>"], &[]));
    let sessions = [open(&node, &access), open(&node, &access)];
    let kept: Pattern = "a.*".parse().unwrap();
    for (session, _) in &sessions {
        assert!(session.subscribe(&kept).is_ok());
        assert!(session.subscribe(&"b.x".parse().unwrap()).is_ok());
        assert!(session.broadcast(message("b.x")).is_ok());
    }
    access.change(only(&["a.>", "c"], &["a.no"]));
    for (session, mut inbox) in sessions {
        let ended = timeout(SOON, session.disallowed()).await.unwrap();
        let ended: Vec<_> = ended.iter().map(|own| own.pattern.as_str()).collect();
        assert_eq!(ended, ["b.x"]);
        assert!(session.subscribe(&"c".parse().unwrap()).is_ok());
        assert!(is_denied(session.broadcast(message("b.x"))));
        received(&mut inbox);
        let (other, _inbox) = node.session(SessionOptions::default()).unwrap();
        for topic in ["b.x", "a.no", "a.yes"] {
            other.local_broadcast(message(topic)).unwrap();
        }
        assert_eq!(received(&mut inbox), ["a.yes"]);
    }
    assert!(
        node.local_members(&Default::default(), &"b.x".parse().unwrap())
            .is_empty()
    );
}

#[tokio::test]
async fn who_has_its_access_withdrawn_is_a_member_of_nothing_and_gets_in_no_more() {
    let node = node().await;
    for access in [
        Access::new("a", Permissions::default()),
        Access::everything("a"),
    ] {
        let (session, mut inbox) = open(&node, &access);
        session.subscribe(&"a".parse().unwrap()).unwrap();
        session.broadcast(message("a")).unwrap();
        access.withdraw();
        assert!(access.is_withdrawn());
        assert!(node.topics().is_empty());
        assert_eq!(
            timeout(SOON, inbox.overflowed()).await.unwrap(),
            RecvError::Withdrawn
        );
        assert!(matches!(inbox.recv().await, Err(RecvError::Withdrawn)));
        assert_eq!(session.broadcast(message("a")), Err(BroadcastError::Ended));
        assert!(matches!(
            session.subscribe(&"a".parse().unwrap()),
            Err(SubscribeError::Ended)
        ));
        let options = SessionOptions {
            access,
            ..SessionOptions::default()
        };
        assert!(matches!(node.session(options), Err(OpenError::Withdrawn)));
        drop(session);
    }
    assert_eq!(node.stats().sessions, 0);
}

#[tokio::test]
async fn an_identity_has_its_own_limits() {
    let node = node().await;
    let access = Access::new(
        "small",
        Permissions {
            sessions_max: Some(Count::of::<2>()),
            subscriptions_max: Some(Count::of::<1>()),
            payload_bytes_max: Some(Count::of::<3>()),
            ..Permissions::default()
        },
    );
    let (session, _inbox) = open(&node, &access);
    let (_second, _its) = open(&node, &access);
    let third = || {
        node.session(SessionOptions {
            access: access.clone(),
            ..SessionOptions::default()
        })
    };
    assert!(matches!(
        third(),
        Err(OpenError::TooManyOfIdentity { max: 2 })
    ));
    session.subscribe(&"a".parse().unwrap()).unwrap();
    let more = session.subscribe(&"a".parse().unwrap());
    assert!(matches!(more, Err(SubscribeError::TooMany { max: 1 })));
    let large = session.broadcast(Message::new("a".parse().unwrap(), "1234"));
    assert_eq!(
        large,
        Err(BroadcastError::PayloadTooLarge { bytes: 4, max: 3 })
    );
    assert!(
        session
            .broadcast(Message::new("a".parse().unwrap(), "123"))
            .is_ok()
    );
    drop(session);
    let again = async {
        while third().is_err() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, again).await.expect("its place is free again");
}

#[tokio::test]
async fn what_may_be_seen_is_nothing_or_the_own_scope_or_everything() {
    let node = node().await;
    let (own, other) = ("own".parse().unwrap(), "other".parse().unwrap());
    for (sight, sees) in [
        (Sight::Nothing, [false, false, false]),
        (Sight::Scope, [true, false, false]),
        (Sight::Everything, [true, true, true]),
    ] {
        let access = Access::new(
            "a",
            Permissions {
                sight,
                ..Permissions::default()
            },
        );
        let options = SessionOptions {
            scope: "own".parse().unwrap(),
            access: access.clone(),
            ..SessionOptions::default()
        };
        let (session, _inbox) = node.session(options).unwrap();
        let asked = [Some(&own), Some(&other), None];
        assert_eq!(
            asked.map(|scope| session.sees(scope).is_ok()),
            sees,
            "{sight:?}"
        );
        assert_eq!(
            asked.map(|scope| node.shows(&access, &own, scope).is_ok()),
            sees
        );
    }
    assert_eq!(node.stats().denied_view, 2 * (3 + 2));
}

#[tokio::test]
async fn describing_a_topic_takes_the_right_to_publish_there_and_may_be_taken_away() {
    let node = node().await;
    let lets = |permissions, topic: &str| {
        let topic: Topic = topic.parse().unwrap();
        node.lets_describe(&Access::new("a", permissions), &topic)
            .is_ok()
    };
    assert!(lets(only(&["a"], &[]), "a") && !lets(only(&["a"], &[]), "b"));
    let describes_nothing = Permissions {
        describes_nothing: true,
        ..Permissions::default()
    };
    assert!(!lets(describes_nothing, "a"));
}

#[tokio::test]
async fn an_answer_of_the_node_goes_where_its_asker_may_listen_or_publish() {
    let node = node().await;
    let permissions = Permissions {
        publish: Rules::only(["$TIDINGS.>".parse().unwrap(), "mine".parse().unwrap()]),
        subscribe: Rules::only(patterns(&["_INBOX.>"])),
        ..Permissions::default()
    };
    let (session, _inbox) = open(&node, &Access::new("a", permissions));
    assert!(
        session
            .may_ask(&"$TIDINGS.presence.kb.*".parse().unwrap())
            .is_ok()
    );
    assert!(is_denied(session.may_ask(&"$SYS.x".parse().unwrap())));
    assert!(session.answered_by_node(message("_INBOX.1")).is_ok());
    assert!(session.answered_by_node(message("mine")).is_ok());
    assert!(is_denied(session.answered_by_node(message("payroll"))));
}
