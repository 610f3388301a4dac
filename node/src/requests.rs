//! What a session asks others, and what it answers.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use tidings_bounds::{Count, Time};
use tidings_membership::{MemberId, Pattern, Topic};
use tokio::time::{Instant, timeout_at};

use crate::homes::PREFIX;
use crate::inbox::Inbox;
use crate::mailbox::{Mailbox, MailboxConfig, Overflow, Subscriber};
use crate::outcome::{AssuredOptions, MemberOutcome, Outcome, WaitFor};
use crate::receipt::Receipt;
use crate::route::RouteChange;
use crate::session::{Session, SessionState};
use crate::session_error::BroadcastError;
use crate::{Acknowledger, Delivery, Headers, Message, RecvError};

/// The header that says which member an answer is from, if the question was for each member.
pub const FROM_HEADER: &str = "Tidings-From";

/// What [`Session::gather`] found out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gathered {
    /// The first answer of each member that has answered, in the order in which they came.
    pub answers: Vec<Answer>,
    /// The members that have not, and what became of the question with them, by node and member.
    pub silent: Vec<MemberOutcome>,
}

/// The answer of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// The member.
    pub member: MemberId,
    /// What it has answered.
    pub message: Arc<Message>,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Nobody has subscribed to its topic, as far as this node knows.
    #[error("nobody listens on {topic}")]
    NoResponders {
        /// The topic.
        topic: Topic,
    },
    /// Nobody has answered in time. Whoever got the request may still do what it asks for.
    #[error("no answer on {topic} within {} ms", limit.as_millis())]
    TimedOut {
        /// The topic.
        topic: Topic,
        /// How long was waited.
        limit: Duration,
    },
    /// The request was not published.
    #[error("the request was not published")]
    Publish(#[from] BroadcastError),
}

/// To whom an answer goes, without the message that asked for it.
#[derive(Debug, Clone)]
pub struct Asker {
    reply_to: Option<Topic>,
    acknowledger: Option<Acknowledger>,
    member: MemberId,
}

/// Why there is nothing to answer. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The delivery is no message, or one that asks for no answer.
    #[error("nobody has asked for an answer")]
    NothingAsked,
    /// The answer was not published.
    #[error("the answer was not published")]
    Publish(#[from] BroadcastError),
}

/// An inbox for the answers to one question, which ends with this.
struct Asking<'a> {
    session: &'a SessionState,
    topic: Topic,
    member: MemberId,
    inbox: Inbox,
}

impl Session {
    /// Publishes a message and waits for the first answer to it, for no longer than `limit`. Whoever
    /// gets it, in a queue group or not, sees in [`reply_to`](Message::reply_to) where to answer: it need not be
    /// a member of anything, and may let somebody else answer.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidings::{Config, Message, Node, RequestError, SessionOptions};
    ///
    /// let node = Node::start(Config::default(), None).await?;
    /// let (asker, _inbox) = node.session(SessionOptions::default())?;
    /// let (answerer, mut questions) = node.session(SessionOptions::default())?;
    /// answerer.subscribe(&"sum".parse()?)?;
    /// tokio::spawn(async move {
    ///     while let Ok(question) = questions.recv().await {
    ///         let _ = answerer.answer(&question, "42");
    ///     }
    /// });
    /// let second = Duration::from_secs(1);
    /// let answer = asker.request(Message::new("sum".parse()?, "6 * 7"), second).await?;
    /// assert_eq!(answer.payload, "42");
    /// let nobody = asker.request(Message::new("product".parse()?, "6 7"), second).await;
    /// assert!(matches!(nobody, Err(RequestError::NoResponders { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`RequestError`]. There is always an answer or an error by the end of the limit.
    pub async fn request(
        &self,
        message: Message,
        limit: Duration,
    ) -> Result<Arc<Message>, RequestError> {
        let until = Instant::now() + limit;
        let topic = message.topic.clone();
        let mut asking = self.ask(Count::of::<1>());
        let receipt = self.broadcast(Message {
            reply_to: Some(asking.topic.clone()),
            ..message
        })?;
        if receipt == Receipt::default() {
            return Err(RequestError::NoResponders { topic });
        }
        match timeout_at(until, asking.answer()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(BroadcastError::Ended.into()),
            Err(_) => Err(RequestError::TimedOut { topic, limit }),
        }
    }

    /// Asks all members of a topic, and waits until each has answered, left or died, for no longer than
    /// `limit`. Of each queue group one member is asked. The message is [assured](Self::broadcast_assured), and
    /// members answer with [`answer`](Self::answer).
    ///
    /// # Errors
    /// As [`broadcast_assured`](Self::broadcast_assured); nobody was asked then.
    pub async fn gather(
        &self,
        message: Message,
        limit: Time<1, 600_000>,
    ) -> Result<Gathered, BroadcastError> {
        let until = Instant::now() + limit.get();
        let mut asking = self.ask(Count::of::<65_536>());
        let options = AssuredOptions {
            timeout: limit,
            wait_for: WaitFor::Acknowledged,
        };
        let question = Message {
            reply_to: Some(asking.topic.clone()),
            ..message
        };
        let mut assured = self.broadcast_assured(question, options)?;
        let mut answers: Vec<Answer> = Vec::new();
        let outcomes = loop {
            tokio::select! {
                outcomes = &mut assured => break outcomes.members,
                Ok(message) = asking.answer() => collect(&mut answers, message),
            }
        };
        while is_one_on_its_way(&outcomes, &answers) {
            let Ok(Ok(message)) = timeout_at(until, asking.answer()).await else {
                break;
            };
            collect(&mut answers, message);
        }
        let silent = outcomes.into_iter();
        let silent = silent.filter(|own| !has_answered(&answers, own.member));
        Ok(Gathered {
            silent: silent.collect(),
            answers,
        })
    }

    /// Answers a message that this session has received: publishes this to where its publisher awaits the
    /// answer, and [acknowledges](crate::Acknowledger::acknowledge) the message if that is waited for.
    ///
    /// # Errors
    /// See [`AnswerError`]; nothing was sent then.
    pub fn answer(
        &self,
        delivery: &Delivery,
        payload: impl Into<Bytes>,
    ) -> Result<Receipt, AnswerError> {
        self.answer_with(delivery, Headers::default(), payload)
    }

    /// [Answers](Self::answer) with headers.
    ///
    /// # Errors
    /// As [`answer`](Self::answer).
    pub fn answer_with(
        &self,
        delivery: &Delivery,
        headers: Headers,
        payload: impl Into<Bytes>,
    ) -> Result<Receipt, AnswerError> {
        let asker = delivery.asker().ok_or(AnswerError::NothingAsked)?;
        Ok(self.answer_to(&asker, headers, payload)?)
    }

    /// Answers somebody as [`answer`](Self::answer) does.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn answer_to(
        &self,
        asker: &Asker,
        headers: Headers,
        payload: impl Into<Bytes>,
    ) -> Result<Receipt, BroadcastError> {
        let Asker {
            reply_to,
            acknowledger,
            member,
        } = asker;
        let receipt = match reply_to {
            None => Receipt::default(),
            Some(reply_to) => {
                let headers = match acknowledger {
                    None => headers,
                    // An id has nothing that a header could not have.
                    Some(_) => headers
                        .with(FROM_HEADER, &member.to_string())
                        .unwrap_or_default(),
                };
                let answer = Message::new(reply_to.clone(), payload).with_headers(headers);
                self.broadcast(answer)?
            }
        };
        if let Some(acknowledger) = acknowledger {
            acknowledger.acknowledge();
        }
        Ok(receipt)
    }

    /// Makes an inbox for so many answers.
    fn ask(&self, answers_max: Count<1, 100_000_000>) -> Asking<'_> {
        let state = &*self.state;
        let broker = &state.node.broker;
        let number = state.asked.fetch_add(1, Relaxed);
        let own = state.inbox.get_or_init(|| state.node.next_member());
        let topic = format!("{PREFIX}{own}.{number}");
        let topic = Topic::parse(&topic).expect("ids and numbers are tokens");
        let config = MailboxConfig {
            messages_max: answers_max,
            overflow: Overflow::DropNewest,
            ..MailboxConfig::default()
        };
        let mailbox = Arc::new(Mailbox::new(config, &state.node.budget));
        let member = state.node.next_member();
        let subscriber = Subscriber {
            member,
            tag: 0,
            session: state.id,
            is_private: true,
            queue: None,
            mailbox: Arc::clone(&mailbox),
            grant: None,
        };
        let change = RouteChange::AddLocal(Arc::new(subscriber));
        state.routes.change(&Pattern::from(&topic), change);
        Asking {
            session: state,
            topic,
            member,
            inbox: Inbox::new(
                mailbox,
                broker,
                (state.id, state.routes.scope.clone()),
                None,
            ),
        }
    }
}

impl Delivery {
    /// To whom an answer goes; none if nobody has asked for one.
    pub fn asker(&self) -> Option<Asker> {
        let Self::Message {
            member, message, ..
        } = self
        else {
            return None;
        };
        let (reply_to, acknowledger) = (message.reply_to.clone(), self.acknowledger());
        let is_asked = reply_to.is_some() || acknowledger.is_some();
        is_asked.then_some(Asker {
            reply_to,
            acknowledger,
            member: *member,
        })
    }
}

impl Asking<'_> {
    /// The next answer. Cancelling the call loses nothing.
    async fn answer(&mut self) -> Result<Arc<Message>, RecvError> {
        loop {
            if let Delivery::Message { message, .. } = self.inbox.recv().await? {
                return Ok(message);
            }
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let change = RouteChange::RemoveLocal(self.member, None);
        let pattern = Pattern::from(&self.topic);
        self.session.routes.change(&pattern, change);
    }
}

/// Takes in an answer, if it is the first of a member.
fn collect(answers: &mut Vec<Answer>, message: Arc<Message>) {
    let member = message.headers.get(FROM_HEADER);
    let Some(member) = member.and_then(|id| id.parse().ok()) else {
        return;
    };
    if !has_answered(answers, member) {
        answers.push(Answer { member, message });
    }
}

/// Who has acknowledged has answered, and the answer may come later than that is known. There may be answers
/// besides, of members that were not known when it was asked.
fn is_one_on_its_way(outcomes: &[MemberOutcome], answers: &[Answer]) -> bool {
    let lacks = |own: &MemberOutcome| !has_answered(answers, own.member);
    let mut acknowledged = outcomes
        .iter()
        .filter(|own| own.outcome == Outcome::Acknowledged);
    acknowledged.any(lacks)
}

fn has_answered(answers: &[Answer], member: MemberId) -> bool {
    answers.iter().any(|answer| answer.member == member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_one_more_does_not_stand_for_that_of_a_member() {
        let member = |number: u8| MemberId::from_bytes([number; 16]);
        let answer = |number: u8| Answer {
            member: member(number),
            message: Arc::new(Message::new("_INBOX.a".parse().unwrap(), "")),
        };
        let outcome = |(number, outcome): (u8, Outcome)| MemberOutcome {
            member: member(number),
            node: "n".parse().unwrap(),
            agent: None,
            outcome,
        };
        let outcomes = [(1, Outcome::Acknowledged), (2, Outcome::Left)].map(outcome);
        assert!(is_one_on_its_way(&outcomes, &[]));
        assert!(is_one_on_its_way(&outcomes, &[answer(9)]));
        assert!(!is_one_on_its_way(&outcomes, &[answer(9), answer(1)]));
    }
}
