//! Answers to what other nodes ask this one.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidings_identity::{Incarnation, NodeId};
use tidings_membership::{Membership, Pattern, Scope, View};
use tidings_transport::Answering;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::changes::Changes;
use crate::explanation::testify;
use crate::question::{Question, Reply};
use crate::streams::serving::StreamAsked;

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

/// A node that wants to know what the view here shows of a topic.
#[derive(Debug)]
struct Curious {
    scope: Scope,
    pattern: Pattern,
    answering: Answering,
}

/// Those who wait for their answers.
#[derive(Debug)]
struct Open {
    waiting: Vec<Waiting>,
    curious: VecDeque<Curious>,
    /// Questions for streams, which another task answers.
    streams: mpsc::UnboundedSender<StreamAsked>,
}

/// Answers each question when there is an answer. So few can be open on a link that no more of them wait
/// here than there may be.
pub(crate) async fn answer(
    mut asked: mpsc::UnboundedReceiver<Asked>,
    membership: Membership,
    changes: Arc<Changes>,
    streams: mpsc::UnboundedSender<StreamAsked>,
) {
    let mut views = membership.views();
    let mut open = Open {
        waiting: Vec::new(),
        curious: VecDeque::new(),
        streams,
    };
    let mut rested = Instant::now();
    loop {
        let Open {
            waiting, curious, ..
        } = &mut open;
        let until = waiting.iter().map(|one| one.until).min();
        let next = (!curious.is_empty()).then_some(rested);
        tokio::select! {
            asked = asked.recv() => match asked {
                Some(asked) => open.take_up(asked, &changes),
                None => return,
            },
            Ok(()) = views.changed(), if !waiting.is_empty() => {}
            () = at(until) => {}
            () = at(next) => if let Some(one) = curious.pop_front() {
                rested = one.satisfy(&membership);
            }
        }
        // Whoever has lost the link asks anew.
        let Open {
            waiting, curious, ..
        } = &mut open;
        curious.retain(|one| one.answering.is_wanted());
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

impl Open {
    /// Answers at once what takes no time; the rest is to wait.
    fn take_up(&mut self, asked: Asked, changes: &Changes) {
        let Asked {
            node,
            incarnation,
            question,
            answering,
        } = asked;
        match Question::decode(&question) {
            Some(Question::Routes { version }) => self.waiting.push(Waiting {
                node,
                incarnation,
                version,
                until: Instant::now() + PATIENCE,
                answering,
            }),
            Some(Question::Topic { scope, pattern }) => self.curious.push_back(Curious {
                scope,
                pattern,
                answering,
            }),
            Some(Question::Changes {
                scope,
                server,
                after,
            }) => {
                let since = changes.since(&scope, &server, after);
                let reply = since.map_or(Reply::NotUnderstood, Reply::Changes);
                answering.answer(reply.encode());
            }
            Some(Question::Stream {
                scope,
                number,
                from,
                wait_ms,
            }) => {
                // Nobody takes it only when the node has stopped.
                let _ = self.streams.send(StreamAsked {
                    scope,
                    number,
                    from,
                    wait: Duration::from_millis(wait_ms.into()),
                    answering,
                });
            }
            None => answering.answer(Reply::NotUnderstood.encode()),
        }
    }
}

impl Curious {
    /// Answers, and says when the next such question may be: looking through a topic with very many
    /// members takes its time, and peers who ask for nothing else are to get a tenth of a thread.
    fn satisfy(self, membership: &Membership) -> Instant {
        let begun = Instant::now();
        let reply = testify(&membership.view(), &self.scope, &self.pattern);
        self.answering.answer(reply.encode());
        let now = Instant::now();
        now + now.duration_since(begun) * REST
    }
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
/// For how many times as long as an answer has taken the next one waits.
const REST: u32 = 9;
