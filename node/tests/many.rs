//! Many subscriptions at once, and those of others meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::thread;

use tidings::{
    Config, Count, Delivery, Limits, MemberId, Message, Node, Pattern, Scope, SessionOptions,
    SubscribeError, UnsubscribeError,
};

fn topics(count: usize) -> Vec<Pattern> {
    (0..count).map(|n| topic(&format!("t.{n}"))).collect()
}

fn topic(text: &str) -> Pattern {
    text.parse().unwrap()
}

#[tokio::test]
async fn each_of_many_subscriptions_is_told_what_became_of_it() {
    let config = Config {
        limits: Limits {
            topic_bytes_max: Count::of::<20>(),
            subscriptions_per_session_max: Count::of::<6>(),
            ..Limits::default()
        },
        ..Config::default()
    };
    let node = Node::start(config, None).await.unwrap();
    let (session, mut inbox) = node.session(SessionOptions::default()).unwrap();
    let patterns = [
        "a",
        "a",
        "b.*",
        "a.topic.that.is.too.long",
        ">",
        "c",
        "d",
        "e",
    ]
    .map(topic);
    let results = session.subscribe_many(&patterns);
    let made: Vec<_> = results.iter().filter_map(|one| one.as_ref().ok()).collect();
    assert_eq!((results.len(), made.len()), (8, 6));
    assert!(matches!(
        results[3],
        Err(SubscribeError::TopicTooLong { .. })
    ));
    assert!(matches!(
        results[7],
        Err(SubscribeError::TooMany { max: 6 })
    ));

    // They are what the results say, and work.
    let scope = Scope::default();
    let is = |result: &Result<MemberId, _>| *result.as_ref().unwrap();
    let mut members: Vec<_> = node
        .members(&scope, &topic("a"))
        .into_iter()
        .map(|m| m.member)
        .collect();
    members.sort_unstable();
    assert_eq!(members, [0, 1, 4].map(|at| is(&results[at])));
    let receipt = session
        .broadcast(Message::new("b.x".parse().unwrap(), "x"))
        .unwrap();
    assert_eq!(receipt.local, 2);
    for _ in 0..2 {
        assert!(matches!(
            inbox.recv().await.unwrap(),
            Delivery::Message { .. }
        ));
    }

    // What is not there is named, and nothing else changes.
    let (first, wild) = (is(&results[0]), is(&results[4]));
    let stranger = MemberId::from_bytes([7; 16]);
    let left = session.unsubscribe_many([first, stranger, wild, first]);
    let not = |member| Err(UnsubscribeError { member });
    assert_eq!(left, [Ok(()), not(stranger), Ok(()), not(first)]);
    let topics: Vec<_> = node
        .topics()
        .into_iter()
        .map(|t| t.pattern.to_string())
        .collect();
    assert_eq!(topics, ["a", "b.*", "c", "d"]);
    assert_eq!(node.local_topics(), node.topics());
    let receipt = session
        .broadcast(Message::new("a".parse().unwrap(), "x"))
        .unwrap();
    assert_eq!(receipt.local, 1);

    // Their room is free again.
    assert!(
        session
            .subscribe_many(&patterns[..2])
            .iter()
            .all(Result::is_ok)
    );
    drop(inbox);
    let refused = session.subscribe_many(&patterns[..1]);
    assert!(matches!(refused[..], [Err(SubscribeError::Ended)]));
}

#[tokio::test]
async fn what_the_node_has_no_room_for_leaves_no_route_behind() {
    let mut config = Config::default();
    config.gossip.memberships_bytes_max = Count::of::<1024>();
    let node = Node::start(config, None).await.unwrap();
    let (session, _inbox) = node.session(SessionOptions::default()).unwrap();
    let patterns = topics(100);
    let results = session.subscribe_many(&patterns);
    let made = results.iter().filter(|one| one.is_ok()).count();
    assert!((1..100).contains(&made), "{made}");
    assert_eq!(node.topics().len(), made);
    for (pattern, result) in patterns.iter().zip(results) {
        let is_refusal = matches!(result, Ok(_) | Err(SubscribeError::Join(_)));
        assert!(is_refusal, "{result:?}");
        let message = Message::new(pattern.as_str().parse().unwrap(), "x");
        let receipt = session.broadcast(message).unwrap();
        assert_eq!(receipt.local, usize::from(result.is_ok()), "{pattern}");
    }
}

#[tokio::test]
async fn a_join_in_the_middle_of_ten_thousand_others_is_made_at_once() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let (many, _many) = node.session(SessionOptions::default()).unwrap();
    let (one, _one) = node.session(SessionOptions::default()).unwrap();
    let (patterns, scope) = (topics(10_000), Scope::default());
    let join_and_leave = |text: &str| {
        let other = topic(text);
        let member = one.subscribe(&other).unwrap();
        assert_eq!(node.local_members(&scope, &other).len(), 1);
        let made = node.stats().membership.memberships_local;
        one.unsubscribe(member).unwrap();
        assert!(node.local_members(&scope, &other).is_empty());
        made
    };
    // Within the call, and then beside it, wherever it is.
    let middle = patterns.iter().inspect(|pattern| {
        if pattern.as_str() == "t.5000" {
            join_and_leave("within");
        }
    });
    let joined = many.subscribe_many(middle);
    assert_eq!(node.stats().membership.memberships_local, 10_000);
    many.unsubscribe_many(joined.into_iter().map(Result::unwrap));
    let is_made_in_between = || {
        let mut is_in_between = false;
        thread::scope(|threads| {
            let joining = threads.spawn(|| many.subscribe_many(&patterns));
            while !joining.is_finished() {
                // With its own.
                is_in_between |= (2..=10_000).contains(&join_and_leave("beside"));
            }
            let joined = joining.join().unwrap();
            many.unsubscribe_many(joined.into_iter().map(Result::unwrap));
        });
        is_in_between
    };
    let is_made = (0..20).any(|_| is_made_in_between());
    assert!(is_made, "it waits for the end of the others");
}
