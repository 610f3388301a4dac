use std::sync::{Arc, Weak};

use tidings::{
    AnswerError, BroadcastError, Delivery, Inbox, MemberId, Message, Node, OpenError, Pattern,
    QueueGroup, RecvError, Scope, Session, SessionOptions, SubscribeError, SubscribeOptions, Topic,
};

use crate::journal::Journal;
use crate::note::{Note, SessionNumber};
use crate::seam::Life;

/// A session on a host that answers the questions which it receives, or passes them on.
#[derive(Debug)]
pub struct Server {
    number: SessionNumber,
    session: Arc<Session>,
    members: Vec<MemberId>,
    journal: Journal,
}

impl Server {
    /// Opens a session on this node. It answers as long as the host's run lives.
    pub fn open(
        node: &Node,
        (host, server): (usize, usize),
        passes_to: Option<Topic>,
        life: &Life,
        journal: &Journal,
    ) -> Result<Self, OpenError> {
        let (number, session, inbox) = open(node, (host, server), journal)?;
        let session = Arc::new(session);
        let working = Working {
            number,
            // It ends with the server.
            session: Arc::downgrade(&session),
            passes_to,
            journal: journal.clone(),
        };
        life.spawn(working.run(inbox));
        Ok(Self {
            number,
            session,
            members: Vec::new(),
            journal: journal.clone(),
        })
    }

    /// Becomes a member once more.
    pub fn subscribe(
        &mut self,
        pattern: &Pattern,
        queue: Option<QueueGroup>,
    ) -> Result<(), SubscribeError> {
        let options = SubscribeOptions {
            queue: queue.clone(),
            ..SubscribeOptions::default()
        };
        let member = self.session.subscribe_with(pattern, options)?;
        self.members.push(member);
        self.journal.note(Note::Subscribed {
            session: self.number,
            member,
            pattern: pattern.clone(),
            queue,
        });
        Ok(())
    }

    /// Ends its memberships. What waits for it, it still answers.
    pub fn unsubscribe(&mut self) {
        for member in self.members.drain(..) {
            if self.session.unsubscribe(member).is_ok() {
                let session = self.number;
                self.journal.note(Note::Unsubscribed { session, member });
            }
        }
    }

    /// Ends its session.
    pub fn die(self) {
        let Self {
            number,
            session,
            journal,
            ..
        } = self;
        drop(session);
        journal.note(ended(number, "it died"));
    }
}

/// A server at work.
struct Working {
    number: SessionNumber,
    session: Weak<Session>,
    passes_to: Option<Topic>,
    journal: Journal,
}

impl Working {
    async fn run(self, mut inbox: Inbox) {
        loop {
            match inbox.recv().await {
                Ok(delivery) => self.received(&delivery),
                // It is the server itself that ended it, and said so.
                Err(RecvError::Ended) => return,
                Err(closed) => return self.journal.note(ended(self.number, &closed.to_string())),
            }
        }
    }

    fn received(&self, delivery: &Delivery) {
        let Delivery::Message {
            member, message, ..
        } = delivery
        else {
            let text = format!("questions: session {} missed some", self.number);
            return self.journal.violate(text);
        };
        let text = String::from_utf8_lossy(&message.payload);
        let Some((question, via)) = read_question(&text) else {
            let text = format!("questions: session {} received {text:?}", self.number);
            return self.journal.violate(text);
        };
        // Nobody waits for answers of one that has died.
        let Some(session) = self.session.upgrade() else {
            return;
        };
        self.journal.note(Note::Questioned {
            question,
            via,
            session: self.number,
            member: *member,
            topic: message.topic.clone(),
            answers: self.passes_to.is_none(),
        });
        let done = match &self.passes_to {
            None => session
                .answer(delivery, format!("answer {question} {member}"))
                .map(|_| ()),
            Some(topic) => {
                let mut passed = Message::new(topic.clone(), question_via(question, Some(*member)));
                passed.reply_to = message.reply_to.clone();
                let passed = session.broadcast(passed);
                passed.map(|_| ()).map_err(AnswerError::from)
            }
        };
        match done {
            // The node leaves, or has no room for more.
            Ok(()) | Err(AnswerError::Publish(BroadcastError::Ended | BroadcastError::NoRoom)) => {}
            Err(error) => self.journal.violate(format!(
                "questions: session {} does not answer question {question}: {error}",
                self.number
            )),
        }
    }
}

/// Opens a session in the scope of questions.
pub(crate) fn open(
    node: &Node,
    (host, agent): (usize, usize),
    journal: &Journal,
) -> Result<(SessionNumber, Session, Inbox), OpenError> {
    let options = SessionOptions {
        scope: scope(),
        ..SessionOptions::default()
    };
    let mailbox_messages_max = options.mailbox.messages_max.get();
    let (session, inbox) = node.session(options)?;
    let number = journal.truth(|truth| truth.sessions.len());
    journal.note(Note::Opened {
        session: number,
        host,
        agent,
        scope: scope(),
        mailbox_messages_max,
        drops_oldest: false,
    });
    Ok((number, session, inbox))
}

/// Where questions are asked. In it nobody else is, so no agent receives one.
pub(crate) fn scope() -> Scope {
    Scope::parse("questions").expect("it is the name of a scope")
}

/// That a session is over.
pub(crate) fn ended(session: SessionNumber, reason: &str) -> Note {
    Note::Ended {
        session,
        reason: reason.into(),
        cut_off: false,
    }
}

/// What is in a question, as it is asked or as a member passes it on.
pub(crate) fn question_via(question: u64, via: Option<MemberId>) -> String {
    match via {
        Some(via) => format!("question {question} {via}"),
        None => format!("question {question}"),
    }
}

/// Which question it is that an answer is for, and which member says so.
pub(crate) fn read_answer(text: &str) -> Option<(u64, MemberId)> {
    let (question, member) = text.strip_prefix("answer ")?.split_once(' ')?;
    Some((question.parse().ok()?, member.parse().ok()?))
}

fn read_question(text: &str) -> Option<(u64, Option<MemberId>)> {
    let text = text.strip_prefix("question ")?;
    match text.split_once(' ') {
        Some((question, via)) => Some((question.parse().ok()?, Some(via.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}
