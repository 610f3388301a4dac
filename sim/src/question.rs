use std::sync::Arc;
use std::time::Duration;

use tidings::{
    BroadcastError, Delivery, FROM_HEADER, Gathered, Inbox, MemberId, Message, Node, Pattern,
    RequestError, Session, Topic,
};
use tokio::time::{Instant, timeout};

use crate::journal::Journal;
use crate::note::{Asking, Ending, Note, SessionNumber};
use crate::server;

/// A question that somebody on a host asks in a session of its own.
#[derive(Debug)]
pub struct Question {
    /// The node.
    pub node: Node,
    /// Where that is.
    pub host: usize,
    /// On which topic.
    pub topic: Topic,
    /// For how long answers are waited for, at most.
    pub limit: Duration,
    /// In which way it is asked.
    pub asking: Asking,
    /// Where it is told what becomes of it.
    pub journal: Journal,
}

/// An answer as it says it itself.
type Said = (u64, MemberId);

impl Question {
    /// Asks, waits for what becomes of it, and ends the session.
    pub async fn ask(self) {
        let asker = (self.host, ASKING);
        // The node leaves.
        let Ok((number, session, inbox)) = server::open(&self.node, asker, &self.journal) else {
            return;
        };
        match self.asking {
            Asking::Request => self.request(number, &session).await,
            Asking::Inbox => self.by_inbox(number, &session, inbox).await,
            Asking::Gather => self.gather(number, &session).await,
        }
        let is_open = self.journal.truth(|truth| truth.sessions[number].open);
        drop(session);
        if is_open {
            self.journal.note(server::ended(number, "it has asked"));
        }
    }

    async fn request(&self, number: SessionNumber, session: &Session) {
        let (question, message, began) = self.begin(number);
        let (ending, answer) = match session.request(message, self.limit).await {
            Ok(answer) => (Ending::Answered, self.read(question, &answer)),
            Err(RequestError::NoResponders { .. }) => (Ending::NoResponders, None),
            Err(RequestError::TimedOut { .. }) => (Ending::Unanswered, None),
            Err(RequestError::Publish(error)) => (self.refused(&error), None),
            Err(error) => return self.journal.violate(format!("questions: {error}")),
        };
        self.replied(question, ending, answer, began);
    }

    /// As clients of the gateway do: with a subscription to their inboxes, which they have made before.
    async fn by_inbox(&self, number: SessionNumber, session: &Session, mut inbox: Inbox) {
        let own = format!("_INBOX.{number}");
        let pattern: Pattern = format!("{own}.*").parse().expect("it is a pattern");
        // The node leaves.
        if session.subscribe(&pattern).is_err() {
            return;
        }
        let (question, mut message, began) = self.begin(number);
        message.reply_to = Some(format!("{own}.0").parse().expect("it is a topic"));
        let (ending, answer) = match session.broadcast(message) {
            Err(error) => (self.refused(&error), None),
            Ok(_) => match timeout(self.limit, inbox.recv()).await {
                Ok(Ok(Delivery::Message { message, .. })) => {
                    (Ending::Answered, self.read(question, &message))
                }
                Ok(Ok(_)) => (Ending::Unanswered, None),
                Ok(Err(_)) => (Ending::Refused, None),
                Err(_) => (Ending::Unanswered, None),
            },
        };
        self.replied(question, ending, answer, began);
    }

    async fn gather(&self, number: SessionNumber, session: &Session) {
        let limit = self.limit.try_into();
        let limit = limit.expect("a plan has times that can be");
        let (question, message, began) = self.begin(number);
        let Gathered {
            answers, silent, ..
        } = match session.gather(message, limit).await {
            Ok(gathered) => gathered,
            Err(error) => return self.replied(question, self.refused(&error), None, began),
        };
        let mut read = Vec::new();
        for answer in &answers {
            let said = self.read(question, &answer.message);
            let by_header = answer.message.headers.get(FROM_HEADER);
            let by_header = by_header.and_then(|id| id.parse().ok());
            let member = said.map(|(_, member)| member);
            if member != Some(answer.member) || by_header != member {
                return self.journal.violate(format!(
                    "questions: the answer of {member:?} to question {question} is told as one of {}",
                    answer.member
                ));
            }
            read.extend(said);
        }
        let silent = silent.iter().map(|own| (own.member, own.outcome)).collect();
        self.journal.note(Note::Gathered {
            question,
            answers: read,
            silent,
            took_ms: millis(began.elapsed()),
        });
    }

    /// Notes that it is asked at this moment. What was noted must be published before anything else happens.
    fn begin(&self, session: SessionNumber) -> (u64, Message, Instant) {
        let question = self.journal.truth(|truth| truth.questions.len() as u64);
        let members = self.node.members(&server::scope(), &(&self.topic).into());
        self.journal.note(Note::Asked {
            session,
            topic: self.topic.clone(),
            asking: self.asking,
            shown: members.iter().map(|member| member.member).collect(),
            limit_ms: millis(self.limit),
        });
        let text = server::question_via(question, None);
        (
            question,
            Message::new(self.topic.clone(), text),
            Instant::now(),
        )
    }

    fn read(&self, question: u64, answer: &Arc<Message>) -> Option<Said> {
        let text = String::from_utf8_lossy(&answer.payload);
        let said = server::read_answer(&text);
        if said.is_none() {
            let text = format!("questions: {text:?} answers question {question}");
            self.journal.violate(text);
        }
        said
    }

    /// The bounds of what may be open or wait are no fault, nor is a node that leaves.
    fn refused(&self, error: &BroadcastError) -> Ending {
        let is_bounded = matches!(
            error,
            BroadcastError::Ended | BroadcastError::TooManyAssured { .. } | BroadcastError::NoRoom
        );
        if !is_bounded {
            let text = format!("questions: host {} refuses one: {error}", self.host);
            self.journal.violate(text);
        }
        Ending::Refused
    }

    fn replied(&self, question: u64, ending: Ending, answer: Option<Said>, began: Instant) {
        self.journal.note(Note::Replied {
            question,
            ending,
            answer,
            took_ms: millis(began.elapsed()),
        });
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// As what those who ask are numbered, who are many.
const ASKING: usize = 10_000;
