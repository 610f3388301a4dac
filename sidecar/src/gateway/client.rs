mod asking;
mod gaps;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::json;
use tokio::task::JoinSet;
use tracing::debug;

use super::acks::{ACK, Acks};
use super::client_error::ClientError;
use super::connect_options::ConnectOptions;
use super::door::Door;
use super::op::{Op, Publication};
use super::requests::Requests;
use super::streams::Writing;
use super::{reply, service};
use crate::reach::Reach;
use tidings::{
    AssuredOptions, BroadcastError, Delivery, Disallowed, Headers, Held, MemberId, Message,
    Outcomes, Pattern, QueueGroup, Receipt, Scope, Session, SubscribeError, SubscribeOptions,
    TimeError, Topic, TopicError, WaitFor,
};

/// One client as the gateway sees it: translates what it asks for into calls of its session, and
/// what the session delivers into the protocol.
///
/// No I/O: what is to be sent is appended to `out`.
#[derive(Debug)]
pub(super) struct Client {
    session: Session,
    options: ConnectOptions,
    /// By their tag, which comes back with every delivery. None is used twice, so what is left
    /// over from a subscription that has ended does not count for another one of the same name.
    subscriptions: HashMap<u64, Subscription>,
    /// The tags by the client's own name for them (`sid`).
    tags: HashMap<Box<str>, u64>,
    last_tag: u64,
    /// Whether its first PING was answered: before that clients do not expect INFO to come again.
    is_ponged: bool,
    /// What was published on last. Publishers mostly stay with a topic, which then is parsed and
    /// stored once.
    last_topic: Option<Topic>,
    /// What it has asked for and is not answered yet.
    requests: Requests,
    /// The streams that it writes.
    writing: Writing,
    /// What it is to acknowledge.
    acks: Acks,
    /// Its subscription for gaps, if it has one.
    gaps: Option<Box<str>>,
    door: Arc<Door>,
    /// Whether what it published has filled somebody's mailbox to where it is to wait.
    pub(super) is_pressing: bool,
    /// Whether it is connected without TLS.
    pub(super) is_plain: bool,
    /// Wait for what becomes of its assured messages, and where it wants to be told.
    assured: JoinSet<(Topic, Outcomes)>,
    pub(super) out: BytesMut,
}

#[derive(Debug)]
struct Subscription {
    sid: Box<str>,
    pattern: Pattern,
    member: MemberId,
    delivered: u64,
    /// After so many messages the subscription ends by itself.
    max: Option<u64>,
}

impl Client {
    pub(super) fn new(
        session: Session,
        options: ConnectOptions,
        out: BytesMut,
        door: &Arc<Door>,
    ) -> Self {
        Self {
            session,
            options,
            subscriptions: HashMap::new(),
            tags: HashMap::new(),
            last_tag: 0,
            is_ponged: false,
            last_topic: None,
            requests: Requests::default(),
            writing: Writing::default(),
            acks: Acks::default(),
            gaps: None,
            door: Arc::clone(door),
            is_pressing: false,
            is_plain: true,
            assured: JoinSet::new(),
            out,
        }
    }

    /// Does what the client asks for, and tells to how many a message was handed by it. An error is
    /// fatal to the connection; what concerns only this one operation the client is told, and goes
    /// on.
    pub(super) fn apply(&mut self, op: &Op<'_>) -> Result<usize, ClientError> {
        let mut recipients = 0;
        let outcome = match op {
            Op::Ping => {
                reply::pong(&mut self.out);
                self.is_ponged = true;
                return Ok(0);
            }
            Op::Pong | Op::Ignored => return Ok(0),
            Op::Connect(json) => self.connect(json),
            Op::Publish(publication) => self
                .publish(publication)
                .map(|receipt| recipients = receipt.local + receipt.nodes),
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
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => {
                debug!(%error, "refused an operation of a client");
                reply::error(&mut self.out, &error);
            }
        }
        Ok(recipients)
    }

    /// Whether it can be told what is new of the other nodes.
    pub(super) fn takes_info(&self) -> bool {
        self.is_ponged && self.options.protocol >= 1
    }

    /// How many subscriptions it has.
    pub(super) fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// A part of what may wait on the node, for the buffers of the connection.
    pub(super) fn hold(&self) -> Held {
        self.session.hold()
    }

    /// What it may wait for: that what it publishes next finds [room](Session::room), answers to what it
    /// asked for, and what becomes of its assured messages.
    pub(super) fn waits(&mut self) -> (&Session, &mut Requests, &mut JoinSet<(Topic, Outcomes)>) {
        (&self.session, &mut self.requests, &mut self.assured)
    }

    /// Sends on what the session has received.
    pub(super) fn deliver(&mut self, delivery: &Delivery) {
        let (tag, message) = match delivery {
            Delivery::Message { tag, message, .. } => (tag, message),
            Delivery::Missed(count) => {
                debug!(count, "a client missed messages");
                self.tell_of_gap(&json!({ "event": "missed", "messages": count }).to_string());
                return;
            }
        };
        let Some(subscription) = self.subscriptions.get_mut(tag) else {
            // It has had as many as it wanted: what came for it meanwhile is for others of its queue group.
            self.session.decline(delivery);
            return;
        };
        subscription.delivered += 1;
        let sid = &subscription.sid;
        match self.acks.offer(delivery) {
            None => reply::message(&mut self.out, sid, message, self.options.headers),
            Some(number) => {
                let answer = format!("{}{ACK}.{number}", service::PREFIX);
                let out = &mut self.out;
                reply::message_to(out, sid, message, &answer, self.options.headers);
            }
        }
        if subscription.is_used_up() {
            self.end_subscription(*tag);
        }
    }

    /// A second CONNECT changes how the client is talked to, not what it is called. Where its topics are
    /// cannot be changed, and who asks for it is not to think that it was.
    fn connect(&mut self, json: &str) -> Result<(), ClientError> {
        let options = ConnectOptions::read(json)?;
        if options.tls_required && self.is_plain {
            return Err(ClientError::TlsNotServed);
        }
        match scope(&options)? {
            Some(other) if other != *self.session.scope() => Err(ClientError::ScopeIsKept),
            _ => {
                // Who it is it has shown before.
                self.options = options;
                self.options.forget_secrets();
                Ok(())
            }
        }
    }

    fn publish(&mut self, publication: &Publication<'_>) -> Result<Receipt, ClientError> {
        let subject = publication.subject;
        if let Some(request) = subject.strip_prefix(service::PREFIX) {
            return self.serve(request, publication);
        }
        let refuse = |reason: String| ClientError::Publish {
            subject: subject.to_owned(),
            reason,
        };
        let topic = match &self.last_topic {
            Some(topic) if topic.as_str() == subject => topic.clone(),
            _ => match Topic::parse(subject) {
                Ok(topic) => self.last_topic.insert(topic).clone(),
                Err(TopicError::EmptyToken(_) | TopicError::Wildcard(_))
                    if self.options.pedantic =>
                {
                    // The NATS server says so, and then that it has taken the message.
                    reply::error(&mut self.out, &ClientError::InvalidPublishSubject);
                    return Ok(Receipt::default());
                }
                // Nobody can have subscribed to it.
                Err(TopicError::EmptyToken(_)) => return Ok(Receipt::default()),
                Err(error) => return Err(refuse(error.to_string())),
            },
        };
        let mut message = Message::new(topic, Bytes::copy_from_slice(publication.payload));
        message.reply_to = reply_to(publication)?;
        if let Some(block) = publication.headers {
            if !self.options.headers {
                return Err(ClientError::HeadersNotAnnounced);
            }
            message.headers = Headers::from_block(Bytes::copy_from_slice(block));
        }
        let asks = self.options.no_responders.then(|| message.reply_to.clone());
        let reach = match publication.headers {
            None => Reach::Everywhere,
            Some(_) => Reach::of(&message.headers).map_err(|error| refuse(error.to_string()))?,
        };
        if publication.headers.is_some() && message.headers.get(ASSURED).is_some() {
            let options = assured_options(&message, &reach).map_err(refuse)?;
            return match self.broadcast_assured(message, options) {
                Err(BroadcastError::Denied(_)) => Err(ClientError::publish_denied(subject)),
                outcome => outcome.map_err(|error| refuse(error.to_string())),
            };
        }
        match reach.publish(&self.session, message, self.options.echo) {
            Ok(receipt) => {
                self.is_pressing |= receipt.pressing;
                if receipt == Receipt::default()
                    && let Some(reply_to) = asks.flatten()
                {
                    self.nobody_listens(&reply_to);
                }
                Ok(receipt)
            }
            Err(BroadcastError::Denied(_)) => Err(ClientError::publish_denied(subject)),
            // The inbox will say why.
            Err(BroadcastError::Ended) => Ok(Receipt::default()),
            Err(BroadcastError::PayloadTooLarge { .. }) => Err(ClientError::PayloadTooLarge),
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    /// Tells the client that nobody has got what it asked, if it awaits the answer itself.
    fn nobody_listens(&mut self, reply_to: &Topic) {
        let mut own = self.subscriptions.values();
        if let Some(own) = own.find(|own| own.pattern.matches(reply_to)) {
            reply::no_responders(&mut self.out, reply_to, &own.sid);
        }
    }

    /// The reply subject is where the client wants to be told; nobody else is to answer there.
    fn broadcast_assured(
        &mut self,
        mut message: Message,
        options: AssuredOptions,
    ) -> Result<Receipt, BroadcastError> {
        let mut receipt = Receipt::default();
        let Some(reply_to) = message.reply_to.take() else {
            return Ok(receipt);
        };
        match self.session.broadcast_assured(message, options) {
            Ok(assured) => {
                receipt.local = assured.members();
                self.assured.spawn(async move { (reply_to, assured.await) });
                // Whether it is, room says.
                self.is_pressing = true;
                Ok(receipt)
            }
            // The inbox will say why.
            Err(BroadcastError::Ended) => Ok(receipt),
            Err(error) => Err(error),
        }
    }

    fn subscribe(
        &mut self,
        subject: &str,
        queue: Option<&str>,
        sid: &str,
    ) -> Result<(), ClientError> {
        let refuse = |reason: String| {
            let (subject, queue) = (subject.to_owned(), queue.map(str::to_owned));
            ClientError::Subscribe {
                subject,
                queue,
                reason,
            }
        };
        // As the NATS server does: the first one stays.
        if self.tags.contains_key(sid) || self.gaps.as_deref() == Some(sid) {
            return Ok(());
        }
        if subject == GAPS {
            return self.subscribe_to_gaps(queue, sid);
        }
        let pattern = Pattern::parse(subject).map_err(|error| match error {
            TopicError::EmptyToken(_) | TopicError::RestNotLast => ClientError::InvalidSubject,
            error => refuse(error.to_string()),
        })?;
        let tag = self.last_tag + 1;
        let group = queue.map(QueueGroup::parse).transpose();
        let options = SubscribeOptions {
            tag,
            queue: group.map_err(|error| refuse(error.to_string()))?,
            ..SubscribeOptions::default()
        };
        match self.session.subscribe_with(&pattern, options) {
            Ok(member) => {
                self.last_tag = tag;
                let subscription = Subscription {
                    sid: sid.into(),
                    pattern,
                    member,
                    delivered: 0,
                    max: None,
                };
                self.subscriptions.insert(tag, subscription);
                self.tags.insert(sid.into(), tag);
                Ok(())
            }
            // The inbox will say why.
            Err(SubscribeError::Ended) => Ok(()),
            Err(SubscribeError::Denied(_)) => Err(ClientError::subscribe_denied(subject, queue)),
            Err(SubscribeError::TooMany { .. }) => Err(ClientError::TooManySubscriptions),
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    /// Clients unsubscribe what has ended by itself; that is no error.
    fn unsubscribe(&mut self, sid: &str, max: Option<u64>) {
        if self.gaps.as_deref() == Some(sid) {
            self.end_gaps();
        }
        let Some(&tag) = self.tags.get(sid) else {
            return;
        };
        let Some(subscription) = self.subscriptions.get_mut(&tag) else {
            return;
        };
        subscription.max = max;
        if max.is_none() || subscription.is_used_up() {
            self.end_subscription(tag);
        }
    }

    /// Its permissions have changed. Tells the client which of its subscriptions have ended because they are
    /// not allowed any more.
    pub(super) fn disallow(&mut self, ended: &[Disallowed]) {
        let ended: HashMap<_, _> = ended.iter().map(|own| (own.member, &own.pattern)).collect();
        self.subscriptions.retain(|_, subscription| {
            let Some(pattern) = ended.get(&subscription.member) else {
                return true;
            };
            self.tags.remove(&subscription.sid);
            let error = ClientError::SubscriptionEnded {
                subject: pattern.to_string(),
                sid: subscription.sid.to_string(),
            };
            reply::error(&mut self.out, &error);
            false
        });
        self.review_gaps();
    }

    /// Is called before an operation that waits for what has arrived: to a subscription that is to end
    /// nothing more comes, so that others of its queue group get it.
    pub(super) fn prepare(&mut self, op: &Op<'_>) {
        if let Op::Unsubscribe { sid, max: None } = op
            && let Some(tag) = self.tags.get(*sid)
            && let Some(subscription) = self.subscriptions.get(tag)
        {
            // If the session has been cut off meanwhile, the subscription went with it.
            let _ = self.session.unsubscribe(subscription.member);
        }
    }

    fn end_subscription(&mut self, tag: u64) {
        if let Some(subscription) = self.subscriptions.remove(&tag) {
            self.tags.remove(&subscription.sid);
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

/// Whoever subscribes to this is told of messages that were lost.
const GAPS: &str = "$TIDINGS.gaps";

/// Asks for what becomes of a message, and says how long its publisher waits.
const ASSURED: &str = "Tidings-Assured";
/// Says what it waits for with each member.
const WAIT_FOR: &str = "Tidings-Wait-For";

/// How a message is to be published that asks for assurance. An error says what is wrong.
fn assured_options(message: &Message, reach: &Reach) -> Result<AssuredOptions, String> {
    if *reach != Reach::Everywhere {
        return Err("an assured message is for all members of its topic".into());
    }
    if message.reply_to.is_none() {
        return Err("an assured message has a reply subject, where its publisher is told".into());
    }
    let timeout = message.headers.get(ASSURED).unwrap_or_default().parse();
    Ok(AssuredOptions {
        timeout: timeout.map_err(|error: TimeError| format!("{ASSURED}: {error}"))?,
        wait_for: match message.headers.get(WAIT_FOR) {
            None | Some("taken") => WaitFor::Taken,
            Some("acknowledged") => WaitFor::Acknowledged,
            Some(other) => return Err(format!("{WAIT_FOR} is taken or acknowledged, not {other}")),
        },
    })
}

/// Where the client wants an answer, if it does.
fn reply_to(publication: &Publication<'_>) -> Result<Option<Topic>, ClientError> {
    let reply_to = publication.reply.map(Topic::parse).transpose();
    reply_to.map_err(|error| ClientError::Publish {
        subject: publication.subject.to_owned(),
        reason: format!("the reply subject is none: {error}"),
    })
}

/// The scope that a client asks for in CONNECT, if it does.
pub(super) fn scope(options: &ConnectOptions) -> Result<Option<Scope>, ClientError> {
    options.scope().transpose().map_err(|(name, error)| {
        let (name, reason) = (name.chars().take(64).collect(), error.to_string());
        ClientError::InvalidScope { name, reason }
    })
}
