//! What a client has asked of the node itself, until it is answered.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tidings::{Node, NodeRun, NotEverywhere, Pattern, Session, StreamId, Topic, Watched};
use tokio::time::Instant;

use super::changed::Changed;
use super::{pages, streams};
use crate::answers::{NodeAnswer, WatchAnswer};
use crate::builder::Builder;
use crate::watching::Watching;

/// Requests of a client to the node that are answered later, or again and again, on their reply
/// subjects. Others of its operations go on meanwhile.
#[derive(Default)]
pub(super) struct Requests {
    waiting: Vec<Waiting>,
}

/// What is asked for, by what stands after `$TIDINGS.` in the subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// That the subscriptions of the client be everywhere.
    Barrier,
    /// The members of a topic.
    Members(Pattern),
    /// The topics of the client's scope.
    Topics,
    /// The nodes.
    Nodes,
    /// What has changed at an MCP server.
    Changed,
    /// What follows in a stream.
    Stream(StreamId),
    /// The members of a topic, and what changes of them, until nobody listens any more.
    Watch(Pattern),
}

/// Where answers go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum To {
    /// To whoever of the client's subscriptions is for this.
    Subject(Topic),
    /// To the subscription for gaps.
    Gaps,
}

struct Waiting {
    kind: Kind,
    to: To,
    next: Next,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Barrier,
    Changed,
    Page,
    Stream,
    Watch,
    Gaps,
}

type Next = Pin<Box<dyn Future<Output = Step> + Send>>;

/// Answers, each a message, and what comes after them.
struct Step {
    answers: Vec<String>,
    then: Option<Next>,
}

impl Request {
    /// What is asked for under this name, if the node serves it. An error says, for people, what is wrong
    /// with it.
    pub(super) fn of(name: &str) -> Option<Result<Self, String>> {
        let parse = |pattern: &str| Pattern::parse(pattern).map_err(|error| error.to_string());
        match name.split_once('.') {
            None => Some(Ok(match name {
                "barrier" => Self::Barrier,
                "topics" => Self::Topics,
                "nodes" => Self::Nodes,
                _ => return None,
            })),
            Some(("mcp", "changed")) => Some(Ok(Self::Changed)),
            Some(("members", pattern)) => Some(parse(pattern).map(Self::Members)),
            Some(("stream", id)) => {
                let id = StreamId::parse(id).map_err(|error| error.to_string());
                Some(id.map(Self::Stream))
            }
            Some(("watch", pattern)) => Some(parse(pattern).map(Self::Watch)),
            Some(_) => None,
        }
    }
}

impl Requests {
    /// Takes up a request. An error says, for people, why not.
    pub(super) fn take(
        &mut self,
        request: Request,
        reply: Option<&Topic>,
        payload: &[u8],
        session: &Session,
        (node, builder): (&Node, &Builder),
    ) -> Result<(), String> {
        let reply = reply.ok_or("it needs a reply subject for the answer")?;
        let sees = |scope| session.sees(scope).map_err(|error| error.to_string());
        let (scope, builder) = (session.scope(), builder.clone());
        let (kind, next) = match request {
            Request::Barrier => {
                let everywhere = session.everywhere(limit(payload)?);
                let told = async { Step::last(&everywhere_answer(&everywhere.await)) };
                (Kind::Barrier, Box::pin(told) as Next)
            }
            Request::Changed => {
                let changed = Changed::parse(payload, session)?.ask(session)?;
                let told = async { Step::last(&changed.await) };
                (Kind::Changed, Box::pin(told) as Next)
            }
            Request::Members(pattern) => {
                sees(Some(scope))?;
                let page = pages::members(node.view(), scope.clone(), pattern, payload)?;
                let page = async move { Step::built(builder.build(page).await) };
                (Kind::Page, Box::pin(page) as Next)
            }
            Request::Topics => {
                sees(Some(scope))?;
                let page = pages::topics(node.view(), scope.clone(), payload)?;
                let page = async move { Step::built(builder.build(page).await) };
                (Kind::Page, Box::pin(page) as Next)
            }
            Request::Nodes => {
                sees(Some(scope))?;
                let step = Step::last(&json!({ "nodes": NodeAnswer::all(node) }));
                (Kind::Page, Box::pin(std::future::ready(step)) as Next)
            }
            Request::Stream(id) => {
                let read = streams::read(session, &id, payload)?;
                let read = async move { Step::last(&read.await) };
                (Kind::Stream, Box::pin(read) as Next)
            }
            Request::Watch(pattern) => {
                sees(Some(scope))?;
                let watched = Watched::Topic(scope.clone(), pattern);
                let watching = Watching::new(node, watched, builder);
                let (node, access, scope) = (node.clone(), session.access().clone(), scope.clone());
                let sees = move || node.shows(&access, &scope, Some(&scope)).is_ok();
                (Kind::Watch, watch(watching, sees))
            }
        };
        self.admit(kind)?;
        let to = To::Subject(reply.clone());
        self.waiting.push(Waiting { kind, to, next });
        Ok(())
    }

    /// Tells of messages that are missing between nodes from now on.
    pub(super) fn watch_gaps(&mut self, node: &Node, builder: &Builder) {
        let watching = Watching::changes(node, Watched::Nodes, builder.clone());
        self.waiting.push(Waiting {
            kind: Kind::Gaps,
            to: To::Gaps,
            next: gaps(watching),
        });
    }

    /// Whether anything is to go there.
    pub(super) fn has(&self, to: &To) -> bool {
        self.waiting.iter().any(|waiting| waiting.to == *to)
    }

    /// Nobody wants what goes there any more.
    pub(super) fn end(&mut self, to: &To) {
        self.waiting.retain(|waiting| waiting.to != *to);
    }

    /// The next answers, each a message, and where they go. Cancelling the call loses nothing.
    pub(super) async fn next(&mut self) -> (To, Vec<String>) {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(To, Vec<String>)> {
        for at in 0..self.waiting.len() {
            if let Poll::Ready(Step { answers, then }) = self.waiting[at].next.as_mut().poll(cx) {
                let Waiting { kind, to, .. } = self.waiting.remove(at);
                if let Some(next) = then {
                    let to = to.clone();
                    // Behind all others, so that each has its turn.
                    self.waiting.push(Waiting { kind, to, next });
                }
                return Poll::Ready((to, answers));
            }
        }
        Poll::Pending
    }

    fn admit(&self, kind: Kind) -> Result<(), String> {
        let max = match kind {
            Kind::Watch | Kind::Stream => WATCHES_MAX,
            _ => WAITING_MAX,
        };
        let own = self.waiting.iter().filter(|waiting| waiting.kind == kind);
        match own.count() < max {
            true => Ok(()),
            false => Err(format!("{max} such requests have no answer yet")),
        }
    }
}

impl Step {
    fn last(answer: &impl Serialize) -> Self {
        Self {
            answers: vec![text(answer)],
            then: None,
        }
    }

    fn built(answer: Result<Value, impl fmt::Display>) -> Self {
        match answer {
            Ok(answer) => Self::last(&answer),
            Err(error) => Self::last(&json!({ "error": error.to_string() })),
        }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("waiting", &self.waiting.len())
            .finish()
    }
}

/// What a watch tells, and then goes on to tell, for as long as it may be seen.
fn watch(mut watching: Watching, sees: impl Fn() -> bool + Send + 'static) -> Next {
    Box::pin(async move {
        let told = watching.next(Instant::now() + BEAT).await;
        let Some(told) = told.filter(|_| sees()) else {
            return Step {
                answers: Vec::new(),
                then: None,
            };
        };
        // A sign of life finds out, too, whether anybody listens.
        let answers = match told.is_empty() {
            true => vec![text(&json!({ "event": "alive" }))],
            false => told.iter().map(text).collect(),
        };
        Step {
            answers,
            then: Some(watch(watching, sees)),
        }
    })
}

/// The gaps that a watch tells, and then goes on to tell.
fn gaps(mut watching: Watching) -> Next {
    Box::pin(async move {
        loop {
            let Some(told) = watching.next(Instant::now() + BEAT).await else {
                return Step {
                    answers: Vec::new(),
                    then: None,
                };
            };
            let told = told.iter();
            let found = told.filter(|answer| matches!(answer, WatchAnswer::Gap { .. }));
            let answers: Vec<_> = found.map(text).collect();
            if !answers.is_empty() {
                let then = Some(gaps(watching));
                return Step { answers, then };
            }
        }
    })
}

fn text(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("answers have nothing that JSON cannot hold")
}

type Outcome = Result<Vec<NodeRun>, NotEverywhere>;

/// For how long to wait, as the payload says: `2s`, `500ms`; if it is empty, for the default.
fn limit(payload: &[u8]) -> Result<Duration, String> {
    let text = String::from_utf8_lossy(payload);
    match text.trim() {
        "" => Ok(LIMIT),
        text => match humantime::parse_duration(text) {
            Ok(limit) if limit <= LIMIT_MAX => Ok(limit),
            Ok(_) => Err(format!("it waits for no longer than {LIMIT_MAX:?}")),
            Err(error) => Err(format!(
                "the payload is no time to wait, such as 2s: {error}"
            )),
        },
    }
}

fn everywhere_answer(outcome: &Outcome) -> Value {
    let names =
        |runs: &[NodeRun]| -> Vec<String> { runs.iter().map(|run| run.node.to_string()).collect() };
    match outcome {
        Ok(reached) => json!({ "everywhere": true, "nodes": names(reached) }),
        Err(NotEverywhere { reached, lacking }) => {
            let lacking = lacking.iter();
            let lacking = lacking.map(|lacking| {
                json!({ "node": lacking.run.node.as_str(), "why": lacking.why.to_string() })
            });
            json!({
                "everywhere": false,
                "nodes": names(reached),
                "lacking": lacking.collect::<Vec<_>>(),
            })
        }
    }
}

/// How long to wait if the client does not say, and at most.
const LIMIT: Duration = Duration::from_secs(5);
const LIMIT_MAX: Duration = Duration::from_secs(60);

/// How many requests of a kind have no answer yet.
const WAITING_MAX: usize = 4;
/// How many watches a client has, and for how many streams its requests wait.
const WATCHES_MAX: usize = 16;
/// How long a watch is silent at most.
const BEAT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use tidings::{Config, Node, SessionOptions};

    use super::*;

    #[tokio::test]
    async fn a_request_is_answered_on_its_reply_subject_and_a_wrong_one_refused() {
        let node = Node::start(Config::default(), None).await.unwrap();
        let (session, _inbox) = node.session(SessionOptions::default()).unwrap();
        let (mut requests, builder) = (Requests::default(), Builder::new());
        let mut take = |reply, payload: &[u8]| {
            requests.take(
                Request::Barrier,
                reply,
                payload,
                &session,
                (&node, &builder),
            )
        };
        let reply = Topic::parse("r").unwrap();
        for (reply, payload, why) in [
            (None, "", "reply subject"),
            (Some(&reply), "soon", "no time to wait"),
            (Some(&reply), "2h", "no longer than"),
        ] {
            let refused = take(reply, payload.as_bytes());
            let refused = refused.unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        for number in 0..=WAITING_MAX {
            let taken = take(Some(&reply), b" 2s ");
            assert_eq!(taken.is_ok(), number < WAITING_MAX);
        }
        for _ in 0..WAITING_MAX {
            let (to, said) = requests.next().await;
            assert_eq!(to, To::Subject(reply.clone()));
            assert_eq!(said, [r#"{"everywhere":true,"nodes":[]}"#]);
        }
    }
}
