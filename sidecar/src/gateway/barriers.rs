use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde_json::{Value, json};
use tidings::{NodeRun, NotEverywhere, Session, Topic};

/// Requests of a client that its subscriptions be everywhere, until each is answered on its reply
/// subject. Others of its operations go on meanwhile.
#[derive(Default)]
pub(super) struct Barriers {
    waiting: Vec<Waiting>,
}

struct Waiting {
    reply: Topic,
    outcome: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

/// What the request is called, among those to the node itself.
pub(super) const BARRIER: &str = "barrier";

type Outcome = Result<Vec<NodeRun>, NotEverywhere>;

impl Barriers {
    /// Takes up a request. An error says, for people, why not.
    pub(super) fn request(
        &mut self,
        reply: Option<&Topic>,
        payload: &[u8],
        session: &Session,
    ) -> Result<(), String> {
        let reply = reply.ok_or("it needs a reply subject for the answer")?;
        let limit = limit(payload)?;
        if self.waiting.len() >= WAITING_MAX {
            return Err(format!("{WAITING_MAX} such requests have no answer yet"));
        }
        let outcome = Box::pin(session.everywhere(limit));
        let reply = reply.clone();
        self.waiting.push(Waiting { reply, outcome });
        Ok(())
    }

    /// The next answer, and the subject that it is for. Cancelling the call loses nothing.
    pub(super) async fn next(&mut self) -> (Topic, Value) {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(Topic, Value)> {
        for at in 0..self.waiting.len() {
            if let Poll::Ready(outcome) = self.waiting[at].outcome.as_mut().poll(cx) {
                let Waiting { reply, .. } = self.waiting.remove(at);
                return Poll::Ready((reply, answer(&outcome)));
            }
        }
        Poll::Pending
    }
}

impl fmt::Debug for Barriers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barriers")
            .field("waiting", &self.waiting.len())
            .finish()
    }
}

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

fn answer(outcome: &Outcome) -> Value {
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

/// How many requests of a client have no answer yet.
const WAITING_MAX: usize = 4;
/// How long to wait if the client does not say, and at most.
const LIMIT: Duration = Duration::from_secs(5);
const LIMIT_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use tidings::{Config, Node, SessionOptions};

    use super::*;

    #[tokio::test]
    async fn a_request_is_answered_on_its_reply_subject_and_a_wrong_one_refused() {
        let node = Node::start(Config::default(), None).await.unwrap();
        let (session, _inbox) = node.session(SessionOptions::default()).unwrap();
        let mut barriers = Barriers::default();
        let reply = Topic::parse("r").unwrap();
        for (reply, payload, why) in [
            (None, "", "reply subject"),
            (Some(&reply), "soon", "no time to wait"),
            (Some(&reply), "2h", "no longer than"),
        ] {
            let refused = barriers.request(reply, payload.as_bytes(), &session);
            let refused = refused.unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        for number in 0..=WAITING_MAX {
            let taken = barriers.request(Some(&reply), b" 2s ", &session);
            assert_eq!(taken.is_ok(), number < WAITING_MAX);
        }
        for _ in 0..WAITING_MAX {
            let (reply, said) = barriers.next().await;
            assert_eq!(reply.as_str(), "r");
            assert_eq!(said, json!({ "everywhere": true, "nodes": [] }));
        }
    }
}
