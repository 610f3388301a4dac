//! A session that ends costs nobody else anything.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tidings::{
    Config, Delivery, Message, Node, RecvError, Session, SessionOptions, SubscribeError,
};
use tokio::task::yield_now;

fn subscribed(node: &Node, patterns: usize) -> Session {
    let (session, _inbox) = node.session(SessionOptions::default()).unwrap();
    for n in 0..patterns {
        let pattern = match n % 2 {
            0 => format!("w.{n}"),
            _ => format!("one.{n}.*"),
        };
        session.subscribe(&pattern.parse().unwrap()).unwrap();
    }
    session
}

fn memberships(node: &Node) -> usize {
    node.view().count_memberships().0
}

#[tokio::test]
async fn a_session_with_few_memberships_has_ended_when_drop_returns() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let session = subscribed(&node, 256);
    assert_eq!(memberships(&node), 256);
    drop(session);
    assert_eq!((memberships(&node), node.stats().sessions), (0, 0));
}

#[tokio::test]
async fn a_session_with_many_memberships_ends_in_steps_and_others_go_on_in_between() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let (other, mut inbox) = node.session(SessionOptions::default()).unwrap();
    other.subscribe(&"one.7.*".parse().unwrap()).unwrap();
    let session = subscribed(&node, 5_000);
    drop(session);
    assert_eq!(
        memberships(&node),
        5_001,
        "the work is not that of who drops"
    );
    let mut turns = 0;
    while memberships(&node) > 1 {
        turns += 1;
        let message = Message::new("one.7.x".parse().unwrap(), "hello");
        assert_eq!(other.broadcast(message).unwrap().local, 1);
        inbox.recv().await.unwrap();
        yield_now().await;
    }
    // Twenty steps for the routes, and one for each bucket, of which there are more than 64.
    assert!(turns >= 84, "{turns}");
    // The place of the session is free when all is done.
    yield_now().await;
    assert_eq!(node.stats().sessions, 1);
}

#[tokio::test]
async fn a_finished_session_gets_what_waits_for_it_and_nothing_more_and_may_still_publish() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let (other, mut others) = node.session(SessionOptions::default()).unwrap();
    other.subscribe(&"answer".parse().unwrap()).unwrap();
    let (session, mut inbox) = node.session(SessionOptions::default()).unwrap();
    for n in 0..200 {
        session
            .subscribe(&format!("w.{n}").parse().unwrap())
            .unwrap();
    }
    let say = |topic: &str, text: &'static str| {
        let message = Message::new(topic.parse().unwrap(), text);
        other.broadcast(message).unwrap().local
    };
    let observer = session.observer();
    assert_eq!(observer.patterns().len(), 200);
    assert_eq!(say("w.7", "before"), 1);
    assert!(observer.waiting_bytes() > 0);
    session.finish().await;
    assert_eq!((memberships(&node), observer.patterns().len()), (1, 0));
    assert_eq!(say("w.7", "after"), 0);
    let again = session.subscribe(&"w.7".parse().unwrap());
    assert!(matches!(again, Err(SubscribeError::Ended)));

    let answer = Message::new("answer".parse().unwrap(), "answer");
    assert_eq!(session.broadcast(answer).unwrap().local, 1);
    others.recv().await.unwrap();
    let Ok(Delivery::Message { message, .. }) = inbox.recv().await else {
        panic!("it waits");
    };
    assert_eq!(message.payload, "before");
    assert_eq!(inbox.recv().await.unwrap_err(), RecvError::Finished);
    drop((session, inbox));
    assert_eq!(node.stats().sessions, 1);
    assert_eq!(node.stats().dropped_session_ended, 0);
}
