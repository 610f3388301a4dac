//! What a client asks of the node itself, and what it is told.

use bytes::Bytes;
use serde_json::json;
use tidings::{BroadcastError, Headers, Message, Outcomes, Pattern, Receipt, Topic};
use tracing::debug;

use super::{Client, reply_to};
use crate::answers::AssuredAnswer;
use crate::gateway::acks::ACK;
use crate::gateway::client_error::ClientError;
use crate::gateway::door::Door;
use crate::gateway::op::Publication;
use crate::gateway::requests::{Request, To};
use crate::gateway::service::{self, Served};

impl Client {
    /// Tells the client what became of a message, where it wants to be told.
    pub(in crate::gateway) fn tell(&self, reply_to: Topic, outcomes: Outcomes) {
        let answer = serde_json::to_vec(&AssuredAnswer::from(outcomes));
        let answer = answer.expect("answers have nothing that JSON cannot hold");
        let told = self
            .session
            .answered_by_node(Message::new(reply_to.clone(), answer));
        if let Err(BroadcastError::PayloadTooLarge { .. }) = told {
            let error = "what became of the message with so many members is too long";
            self.answer(&reply_to, json!({ "error": error }).to_string());
        }
    }

    /// Answers on the subject that it wants the answer on. False if nobody listens there.
    fn answer(&self, reply: &Topic, answer: impl Into<Bytes>) -> bool {
        let told = |answer| {
            let message = Message::new(reply.clone(), answer);
            self.session.answered_by_node(message)
        };
        let answered = match told(answer.into()) {
            Err(BroadcastError::PayloadTooLarge { .. }) => {
                let error = "the answer is too long: ask for fewer with limit";
                told(json!({ "error": error }).to_string().into())
            }
            answered => answered,
        };
        match answered {
            Ok(receipt) => receipt.local + receipt.dropped > 0,
            Err(error) => {
                debug!(%error, "a client is not answered");
                false
            }
        }
    }

    /// Answers what it has asked of the node. What nobody listens to is not told any further.
    pub(in crate::gateway) fn answer_all(&mut self, to: &To, answers: Vec<String>) {
        let mut is_heard = true;
        for answer in answers {
            is_heard = match to {
                To::Subject(reply) => self.answer(reply, answer),
                To::Gaps => self.tell_of_gap(&answer),
            };
        }
        if !is_heard {
            self.requests.end(to);
        }
    }

    /// Answers what is asked of the node itself. The answer comes as a message from this client, and is
    /// seen on this node only. Who wants none is told of an error as for any other operation.
    pub(super) fn serve(
        &mut self,
        request: &str,
        publication: &Publication<'_>,
    ) -> Result<Receipt, ClientError> {
        if let Some((ACK, number)) = request.split_once('.') {
            // The node itself has told it to answer there.
            return self.acknowledge(number, publication);
        }
        let reply_to = reply_to(publication)?;
        let asked = Pattern::parse(publication.subject);
        if let Ok(asked) = &asked
            && self.session.may_ask(asked).is_err()
        {
            return Err(ClientError::publish_denied(publication.subject));
        }
        let (session, payload) = (&self.session, publication.payload);
        let served = match Request::of(request) {
            // What is no pattern is no request either.
            _ if let Err(error) = &asked => Err(error.to_string()),
            _ if let Some(name) = request.strip_prefix("stream.")
                && let Some(done) = self.writing.serve(session, name, payload) =>
            {
                done.map(|answer| Some(Served { answer, members: 0 }))
            }
            Some(asked) => asked.and_then(|asked| {
                let Door { node, builder, .. } = &*self.door;
                let with = (node, builder);
                let reply_to = reply_to.as_ref();
                let taken = self.requests.take(asked, reply_to, payload, session, with);
                taken.map(|()| None)
            }),
            None => service::serve(session, request, payload).map(Some),
        };
        let (answer, members) = match (served, &reply_to) {
            (Ok(Some(served)), _) => (served.answer, served.members),
            // It is answered when it is due.
            (Ok(None), _) => return Ok(Receipt::default()),
            (Err(error), Some(_)) => (json!({ "error": error }).to_string(), 0),
            (Err(reason), None) => {
                let subject = publication.subject.to_owned();
                return Err(ClientError::Publish { subject, reason });
            }
        };
        let mut receipt = Receipt::default();
        if let Some(topic) = reply_to {
            // The inbox will say why it was not taken.
            let answered = self.session.answered_by_node(Message::new(topic, answer));
            receipt = answered.unwrap_or_default();
            self.is_pressing |= receipt.pressing;
        }
        receipt.local += members;
        Ok(receipt)
    }

    /// What a client says to a message that is to be acknowledged goes to its publisher, if that wants an
    /// answer.
    fn acknowledge(
        &mut self,
        number: &str,
        publication: &Publication<'_>,
    ) -> Result<Receipt, ClientError> {
        let refuse = |reason: String| {
            let subject = publication.subject.to_owned();
            ClientError::Publish { subject, reason }
        };
        let asker = self.acks.take(number);
        let asker = asker.ok_or_else(|| refuse("no message waits for this answer".into()))?;
        let block = publication.headers.unwrap_or_default();
        let headers = Headers::from_block(Bytes::copy_from_slice(block));
        let payload = Bytes::copy_from_slice(publication.payload);
        match self.session.answer_to(&asker, headers, payload) {
            // The inbox will say why.
            Err(BroadcastError::Ended) => Ok(Receipt::default()),
            answered => answered.map_err(|error| refuse(error.to_string())),
        }
    }
}
