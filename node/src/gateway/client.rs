use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tracing::debug;

use super::connect_options::ConnectOptions;
use super::op::{Op, Publication};
use super::refusal::Refusal;
use super::{header_block, reply};
use crate::{BroadcastError, Delivery, MemberId, Message, Pattern, Session, SubscribeError, Topic};

/// One client as the gateway sees it: translates what it asks for into calls of its session, and
/// what the session delivers into the protocol.
///
/// No I/O: what is to be sent is appended to `out`.
#[derive(Debug)]
pub(super) struct Client {
    session: Session,
    options: ConnectOptions,
    /// By the client's own name for them.
    subscriptions: HashMap<Arc<str>, Subscription>,
    /// What was published on last. Publishers mostly stay with a topic, which then is parsed and
    /// stored once.
    last_topic: Option<Topic>,
    pub(super) out: BytesMut,
}

#[derive(Debug)]
struct Subscription {
    member: MemberId,
    delivered: u64,
    /// After so many messages the subscription ends by itself.
    max: Option<u64>,
}

impl Client {
    pub(super) fn new(session: Session, options: ConnectOptions, out: BytesMut) -> Self {
        let (subscriptions, last_topic) = Default::default();
        Self {
            session,
            options,
            subscriptions,
            last_topic,
            out,
        }
    }

    /// Does what the client asks for. An error is fatal to the connection; what concerns only this
    /// one operation the client is told, and goes on.
    pub(super) fn apply(&mut self, op: &Op<'_>) -> Result<(), Refusal> {
        let outcome = match op {
            Op::Ping => {
                reply::pong(&mut self.out);
                return Ok(());
            }
            Op::Pong => return Ok(()),
            Op::Connect(json) => self.connect(json),
            Op::Publish(publication) => self.publish(publication),
            Op::Subscribe {
                subject,
                queue,
                sid,
            } => self.subscribe(subject, *queue, sid),
            Op::Unsubscribe { sid, max } => {
                self.unsubscribe(sid, *max);
                Ok(())
            }
        };
        match outcome {
            Ok(()) if self.options.verbose => reply::ok(&mut self.out),
            Ok(()) => {}
            Err(refusal) if refusal.is_fatal() => return Err(refusal),
            Err(refusal) => {
                debug!(%refusal, "refused an operation of a client");
                reply::refusal(&mut self.out, &refusal);
            }
        }
        Ok(())
    }

    /// Sends on what the session has received.
    pub(super) fn deliver(&mut self, delivery: &Delivery) {
        let (member, label, message) = match delivery {
            Delivery::Message {
                member,
                label,
                message,
            } => (member, label, message),
            // The protocol has no word for it. The loss has been counted by the broker.
            Delivery::Missed(missed) => {
                debug!(missed, "a client missed messages");
                return;
            }
        };
        // What is left over from a subscription that has ended is not for the client any more, and
        // must not count for another one of the same name.
        let Some(subscription) = self.subscriptions.get_mut(label) else {
            return;
        };
        if subscription.member != *member {
            return;
        }
        subscription.delivered += 1;
        let is_last = subscription.is_used_up();
        reply::message(&mut self.out, label, message, self.options.headers);
        if is_last {
            self.end_subscription(label);
        }
    }

    /// A second CONNECT changes how the client is talked to, not what it is called.
    fn connect(&mut self, json: &str) -> Result<(), Refusal> {
        self.options = connect_options(json)?;
        Ok(())
    }

    fn publish(&mut self, publication: &Publication<'_>) -> Result<(), Refusal> {
        let subject = publication.subject;
        let topic = match &self.last_topic {
            Some(topic) if topic.as_str() == subject => topic.clone(),
            _ => Topic::parse(subject).map_err(|_| Refusal::InvalidPublishSubject)?,
        };
        self.last_topic = Some(topic.clone());
        let reply_to = publication.reply.map(Topic::parse).transpose();
        let mut message = Message::new(topic, Bytes::copy_from_slice(publication.payload));
        message.reply_to = reply_to.map_err(|_| Refusal::InvalidPublishSubject)?;
        let refuse = |reason: String| Refusal::Publish {
            subject: subject.to_owned(),
            reason,
        };
        if let Some(block) = publication.headers {
            message.headers =
                header_block::parse(block).map_err(|error| refuse(error.to_string()))?;
        }
        let broadcast = if self.options.echo {
            self.session.broadcast(message)
        } else {
            self.session.broadcast_from(message)
        };
        match broadcast {
            Ok(_) => Ok(()),
            // The inbox will say why.
            Err(BroadcastError::Ended) => Ok(()),
            Err(BroadcastError::PayloadTooLarge { .. }) => Err(Refusal::PayloadTooLarge),
            Err(BroadcastError::TopicTooLong { .. }) => Err(Refusal::InvalidPublishSubject),
            Err(
                error @ (BroadcastError::HeadersTooLarge { .. }
                | BroadcastError::UnknownNode { .. }),
            ) => Err(refuse(error.to_string())),
        }
    }

    fn subscribe(&mut self, subject: &str, queue: Option<&str>, sid: &str) -> Result<(), Refusal> {
        let refuse = |reason: String| {
            let (subject, queue) = (subject.to_owned(), queue.map(str::to_owned));
            Refusal::Subscribe {
                subject,
                queue,
                reason,
            }
        };
        if queue.is_some() {
            return Err(refuse("queue groups are not served".into()));
        }
        let pattern = Pattern::parse(subject).map_err(|_| Refusal::InvalidSubject)?;
        // As the NATS server does: the first one stays.
        if self.subscriptions.contains_key(sid) {
            return Ok(());
        }
        match self.session.subscribe_labelled(&pattern, sid) {
            Ok(member) => {
                let subscription = Subscription {
                    member,
                    delivered: 0,
                    max: None,
                };
                self.subscriptions.insert(sid.into(), subscription);
                Ok(())
            }
            // The inbox will say why.
            Err(SubscribeError::Ended) => Ok(()),
            Err(SubscribeError::TooMany { .. }) => Err(Refusal::TooManySubscriptions),
            Err(SubscribeError::TopicTooLong { .. }) => Err(Refusal::InvalidSubject),
            Err(SubscribeError::Join(error)) => Err(refuse(error.to_string())),
        }
    }

    /// Clients unsubscribe what has ended by itself; that is no error.
    fn unsubscribe(&mut self, sid: &str, max: Option<u64>) {
        let Some(subscription) = self.subscriptions.get_mut(sid) else {
            return;
        };
        subscription.max = max;
        if max.is_none() || subscription.is_used_up() {
            self.end_subscription(sid);
        }
    }

    fn end_subscription(&mut self, sid: &str) {
        if let Some(subscription) = self.subscriptions.remove(sid) {
            // If the session has been cut off meanwhile, the subscription went with it.
            let _ = self.session.unsubscribe(subscription.member);
        }
    }
}

impl Subscription {
    fn is_used_up(&self) -> bool {
        self.max.is_some_and(|max| self.delivered >= max)
    }
}

/// Reads what a client says in CONNECT.
pub(super) fn connect_options(json: &str) -> Result<ConnectOptions, Refusal> {
    let options: ConnectOptions = serde_json::from_str(json).map_err(|_| Refusal::Malformed)?;
    if options.tls_required {
        Err(Refusal::TlsNotServed)
    } else {
        Ok(options)
    }
}
