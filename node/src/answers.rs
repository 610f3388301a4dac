//! Answers to what other nodes ask this one.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use tidings_identity::{Incarnation, NodeId};
use tidings_membership::{Membership, View};
use tidings_transport::Answering;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::question::{Question, Reply};

/// A question of a run of another node.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) question: Bytes,
    pub(crate) answering: Answering,
}

/// A node that waits until the routes here have its state up to a version.
#[derive(Debug)]
struct Waiting {
    node: NodeId,
    incarnation: Incarnation,
    version: u64,
    until: Instant,
    answering: Answering,
}

/// Answers each question when there is an answer. So few can be open on a link that no more of them wait
/// here than there may be.
pub(crate) async fn answer(mut asked: mpsc::UnboundedReceiver<Asked>, membership: Membership) {
    let mut views = membership.views();
    let mut waiting: Vec<Waiting> = Vec::new();
    loop {
        let until = waiting.iter().map(|one| one.until).min();
        tokio::select! {
            asked = asked.recv() => match asked {
                Some(asked) => waiting.extend(take_up(asked)),
                None => return,
            },
            Ok(()) = views.changed(), if !waiting.is_empty() => {}
            () = at(until) => {}
        }
        // Whoever has lost the link asks anew.
        waiting.retain(|one| one.answering.is_wanted());
        let has: Vec<Waiting> = {
            let view = views.borrow_and_update();
            waiting.extract_if(.., |one| one.has(&view)).collect()
        };
        let now = Instant::now();
        let late = waiting.extract_if(.., |one| one.until <= now);
        let late = late.map(|one| (one, Reply::NotYet));
        for (one, reply) in has.into_iter().map(|one| (one, Reply::Yes)).chain(late) {
            one.answering.answer(reply.encode());
        }
    }
}

/// Answers at once what is not understood; the rest is to wait.
fn take_up(asked: Asked) -> Option<Waiting> {
    let Asked {
        node,
        incarnation,
        question,
        answering,
    } = asked;
    let Some(Question::Routes { version }) = Question::decode(&question) else {
        answering.answer(Reply::NotUnderstood.encode());
        return None;
    };
    Some(Waiting {
        node,
        incarnation,
        version,
        until: Instant::now() + PATIENCE,
        answering,
    })
}

impl Waiting {
    /// Routes are told before the view shows it.
    fn has(&self, view: &View) -> bool {
        view.has(&self.node, self.incarnation, self.version)
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// How long to wait before it is said that something is not so yet.
const PATIENCE: Duration = Duration::from_secs(10);
