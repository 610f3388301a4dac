//! Questions between nodes, over the control streams of their links.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;

use bytes::Bytes;
use cluster::raw::Raw;
use cluster::{Cluster, HOLD, INCARNATION, Node, eventually, linked};
use tidings_transport::{AskError, CloseCode, Credit};
use tokio::task::JoinSet;

/// More than may be open at a time.
const MANY: usize = 100;

async fn two() -> (Node, Node) {
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    a.keep(&b);
    linked(&a, &b).await;
    (a, b)
}

async fn ask(from: &Node, to: &Node, question: &[u8]) -> Result<Bytes, AskError> {
    let name = to.transport.name();
    let question = Bytes::copy_from_slice(question);
    from.transport.ask(name, INCARNATION, question).await
}

#[tokio::test]
async fn each_end_of_a_link_asks_and_is_answered() {
    let (a, b) = two().await;
    let long = vec![b'x'; 16 << 10];
    let (one, other, longest) =
        tokio::join!(ask(&a, &b, b"1"), ask(&b, &a, b"2"), ask(&a, &b, &long));
    assert_eq!(one.unwrap(), "a asks 1");
    assert_eq!(other.unwrap(), "b asks 2");
    assert_eq!(longest.unwrap().len(), long.len() + 7);
}

#[tokio::test]
async fn who_has_no_link_to_that_run_is_not_answered() {
    let (a, b) = two().await;
    let (name, question) = (b.transport.name(), Bytes::from_static(b"1"));
    let later = INCARNATION.next();
    let asked = a.transport.ask(name, later, question).await;
    assert_eq!(asked, Err(AskError::NoLink));
    let asked = ask(&a, &a, b"1").await;
    assert_eq!(asked, Err(AskError::NoLink));
}

#[tokio::test]
async fn a_question_ends_with_its_link() {
    let (a, b) = two().await;
    let asks = ask(&a, &b, HOLD);
    let forgets = async {
        eventually("it is asked", || b.received.holds() == 1).await;
        a.transport.forget(b.transport.name());
    };
    let (asked, ()) = tokio::join!(asks, forgets);
    assert_eq!(asked, Err(AskError::NoLink));
}

#[tokio::test]
async fn who_does_not_answer_holds_up_neither_gossip_nor_credit_nor_other_questions() {
    let (a, mut b) = two().await;
    let received = b.received.clone();
    // More than may be open, so some wait here.
    let mut asks = JoinSet::new();
    for _ in 0..MANY {
        let (transport, name) = (a.transport.clone(), b.transport.name().clone());
        asks.spawn(async move {
            let question = Bytes::from_static(HOLD);
            transport.ask(&name, INCARNATION, question).await
        });
    }
    eventually("some are asked", || received.holds() == 32).await;
    let credit = Credit {
        publisher: 7,
        position: 70,
    };
    let addr = b.transport.advertise();
    let _ = a.transport.gossip(addr, Bytes::from_static(b"news"));
    a.transport.peer(b.transport.name()).give(credit);
    assert_eq!(b.gossip.recv().await.unwrap().1, "news");
    eventually("credit arrives", || received.credits() == [credit]).await;
    assert_eq!(ask(&b, &a, b"1").await.unwrap(), "b asks 1");
    assert_eq!(received.holds(), 32);
    // Each that is answered makes room for the next.
    let answers = async {
        loop {
            received.answer_all(&[b'x'; 64 << 10]);
            tokio::task::yield_now().await;
        }
    };
    let answered = tokio::select! {
        answered = asks.join_all() => answered,
        () = answers => unreachable!("it goes on"),
    };
    assert_eq!(answered.len(), MANY);
    let is_whole = |answer: &Result<Bytes, AskError>| answer.as_ref().unwrap().len() == 64 << 10;
    assert!(answered.iter().all(is_whole));
}

#[tokio::test]
async fn a_question_that_nobody_takes_up_is_told_so() {
    let (a, b) = two().await;
    let asks = ask(&a, &b, HOLD);
    let drops = async {
        eventually("it is asked", || b.received.holds() == 1).await;
        b.received.forget_all();
    };
    let (asked, ()) = tokio::join!(asks, drops);
    assert_eq!(asked, Err(AskError::Unanswered));
}

#[tokio::test]
async fn who_asks_too_much_or_answers_what_was_not_asked_loses_its_link() {
    let ask = [&[0, 0, 0, 13, 7, 0, 0, 0, 0, 0, 0, 0, 1][..], HOLD].concat();
    let answer = [0, 0, 0, 10, 8, 0, 0, 0, 0, 0, 0, 0, 9, b'4'];
    for violation in [ask.repeat(33), answer.to_vec()] {
        let cluster = Cluster::new("c");
        let a = cluster.start("a");
        let raw = Raw::new(&cluster, Some(&cluster.certificate("b")), "tidings/1");
        let hello = [
            0, 0, 0, 14, 1, 0, 5, 1, 0, 127, 0, 0, 1, 0xe8, 0x39, 1, 0, 0,
        ];
        let ready = [0, 0, 0, 1, 2];
        let all = [&hello[..], &ready, &violation].concat();
        assert_eq!(raw.say(&a, &all).await, Some(CloseCode::Violation));
        assert_eq!(a.transport.stats().violations, 1);
    }
}
