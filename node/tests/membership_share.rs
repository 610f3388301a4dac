//! One session cannot take the room for memberships that others need.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;

use tidings::{
    AgentName, Config, Count, Inbox, JoinError, MemberId, Node, Scope, Session, SessionOptions,
    SubscribeError,
};

/// A node with so many bytes of room.
async fn node<const BYTES: usize>() -> Node {
    let mut config = Config::default();
    config.gossip.memberships_bytes_max = Count::of::<BYTES>();
    Node::start(config, None).await.unwrap()
}

fn session(node: &Node) -> (Session, Inbox) {
    node.session(SessionOptions::default()).unwrap()
}

/// Subscribes to all of these that are not refused.
fn take_all(session: &Session, topics: impl IntoIterator<Item = String>) -> Vec<MemberId> {
    let subscribe = |topic: String| session.subscribe(&topic.parse().unwrap());
    topics
        .into_iter()
        .filter_map(|t| subscribe(t).ok())
        .collect()
}

/// Topics enough to fill all room: short ones and long ones, one often and many once.
fn greed() -> impl Iterator<Item = String> {
    let long = "x".repeat(200);
    let often = std::iter::repeat_n("one".to_owned(), 600);
    let many = (0..1_000).map(move |n| format!("{long}.{n}"));
    often
        .chain(many)
        .chain((0..3_000).map(|n| format!("t{n}.*")))
}

fn refused(innocent: &Session) -> usize {
    let fresh = (0..20).map(|n| format!("innocent.{n}.updates"));
    let wanted = fresh.chain(["one".to_owned(), "t7.*".to_owned()]);
    22 - take_all(innocent, wanted).len()
}

#[tokio::test]
async fn sessions_that_take_all_they_can_leave_room_for_others() {
    let node = node::<200_000>().await;
    let mut greedy = Vec::new();
    for _ in 0..6 {
        let (session, inbox) = session(&node);
        assert!(take_all(&session, greed()).len() > 200);
        greedy.push((session, inbox));
        let (innocent, _inbox) = self::session(&node);
        assert_eq!(refused(&innocent), 0, "{} sessions", greedy.len());
    }
}

#[tokio::test]
async fn no_topic_is_for_one_session_alone() {
    let node = node::<100_000>().await;
    let ((one, _first), (two, _second)) = (session(&node), session(&node));
    let often = || std::iter::repeat_n("one".to_owned(), 5_000);
    let mine = take_all(&one, often()).len();
    let refusal = one.subscribe(&"one".parse().unwrap()).unwrap_err();
    let cause = refusal.source().and_then(|cause| cause.downcast_ref());
    assert!(matches!(cause, Some(JoinError::Crowded { bytes, left }) if bytes > left));
    let others = take_all(&two, often()).len();
    assert!(others * 5 > mine * 2, "{mine} left room for {others}");
}

#[tokio::test]
async fn the_share_of_a_session_is_bounded_and_is_given_back() {
    let mut config = Config::default();
    config.limits.membership_bytes_per_session_max = Count::of::<{ 384 << 10 }>();
    let node = Node::start(config, None).await.unwrap();
    let (session, _inbox) = session(&node);
    let many = || (0..9_900).map(|n| format!("some.longer.topic.{n:05}"));
    let taken = take_all(&session, many());
    let refusal = session.subscribe(&"some.longer.topic.99999".parse().unwrap());
    let max = 384 << 10;
    assert!(
        matches!(refusal, Err(SubscribeError::TooManyBytes { bytes, max: of }) if bytes > max && of == max),
        "{refusal:?}"
    );
    for member in &taken {
        session.unsubscribe(*member).unwrap();
    }
    assert_eq!(take_all(&session, many()).len(), taken.len());
}

#[tokio::test]
async fn a_hundred_thousand_memberships_are_ordinary_use() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let mut agents = Vec::new();
    for number in 0..1_000 {
        let agent = AgentName::parse(&format!("{number:064}")).ok();
        let options = SessionOptions {
            agent,
            ..SessionOptions::default()
        };
        let (session, inbox) = node.session(options).unwrap();
        // Twenty of the topic that all are in, and 80 of others.
        let often = std::iter::repeat_n("all.agents".to_owned(), 20);
        let others = (0..80).map(|n| format!("some.topic.{}", (number * 80 + n) % 10_000));
        assert_eq!(take_all(&session, often.chain(others)).len(), 100);
        agents.push((session, inbox));
    }
    let all = "all.agents".parse().unwrap();
    assert_eq!(node.members(&Scope::default(), &all).len(), 20_000);
    assert_eq!(node.stats().membership.memberships, 100_000);
    assert_eq!(node.topics().len(), 10_001);
    agents.truncate(10);
    while node.stats().membership.memberships > 1_000 {
        tokio::task::yield_now().await;
    }
    let (one, _inbox) = session(&node);
    let many = (0..10_000).map(|n| format!("of.one.agent.{n}"));
    assert_eq!(take_all(&one, many).len(), 10_000);
}
