//! One session cannot take the room for memberships that others need.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;

use tidings::{Config, Inbox, JoinError, MemberId, Node, Session, SessionOptions, SubscribeError};

async fn node() -> Node {
    Node::start(Config::default(), None).await.unwrap()
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

/// Topics enough to fill all buckets: short ones and long ones, one often and many once.
fn greed() -> impl Iterator<Item = String> {
    let long = "x".repeat(200);
    let often = std::iter::repeat_n("one".to_owned(), 1_200);
    let many = (0..3_000).map(move |n| format!("{long}.{n}"));
    often
        .chain(many)
        .chain((0..6_000).map(|n| format!("t{n}.*")))
}

fn refused(innocent: &Session) -> usize {
    let fresh = (0..200).map(|n| format!("innocent.{n}.updates"));
    let wanted = fresh.chain(["one".to_owned(), "t7.*".to_owned()]);
    202 - take_all(innocent, wanted).len()
}

#[tokio::test]
async fn sessions_that_take_all_they_can_leave_room_for_others() {
    let node = node().await;
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
async fn no_bucket_is_for_one_session_alone() {
    let node = node().await;
    let ((one, _first), (two, _second)) = (session(&node), session(&node));
    let often = || std::iter::repeat_n("one".to_owned(), 2_500);
    let mine = take_all(&one, often()).len();
    let refusal = one.subscribe(&"one".parse().unwrap()).unwrap_err();
    let cause = refusal.source().and_then(|cause| cause.downcast_ref());
    assert!(matches!(cause, Some(JoinError::Crowded { bytes, left }) if bytes > left));
    let others = take_all(&two, often()).len();
    assert!(others * 5 > mine * 2, "{mine} left room for {others}");
}

#[tokio::test]
async fn the_share_of_a_session_is_bounded_and_is_given_back() {
    let node = node().await;
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
