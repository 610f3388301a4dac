//! What a session publishes.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tidings_identity::NodeId;
use tidings_membership::{MemberId, Pattern};

use crate::assured::Assured;
use crate::broker::Reach;
use crate::outcome::AssuredOptions;
use crate::outgoing::Publisher;
use crate::receipt::Receipt;
use crate::session::{Session, SessionState};
use crate::session_error::BroadcastError;
use crate::{Congestion, Message};

impl Session {
    /// Hands a message to every subscriber of its topic on every node, each membership once.
    ///
    /// # Errors
    /// See [`BroadcastError`]; nobody has got it then.
    pub fn broadcast(&self, message: Message) -> Result<Receipt, BroadcastError> {
        self.state.publish(message, false, Reach::Everywhere)
    }

    /// Like [`broadcast`](Self::broadcast), but this session's own subscriptions get nothing.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_from(&self, message: Message) -> Result<Receipt, BroadcastError> {
        self.state.publish(message, true, Reach::Everywhere)
    }

    /// Like [`broadcast`](Self::broadcast), but the message never leaves this node.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn local_broadcast(&self, message: Message) -> Result<Receipt, BroadcastError> {
        self.state.publish(message, false, Reach::ThisNode)
    }

    /// Like [`local_broadcast`](Self::local_broadcast), but this session's own subscriptions get nothing.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn local_broadcast_from(&self, message: Message) -> Result<Receipt, BroadcastError> {
        self.state.publish(message, true, Reach::ThisNode)
    }

    /// Hands a message to the subscribers on one node only.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast), and when no live node has this name.
    pub fn direct(&self, to: &NodeId, message: Message) -> Result<Receipt, BroadcastError> {
        self.publish_to(to, message, false)
    }

    /// Like [`direct`](Self::direct), but this session's own subscriptions get nothing, should the node
    /// be its own.
    ///
    /// # Errors
    /// As [`direct`](Self::direct).
    pub fn direct_from(&self, to: &NodeId, message: Message) -> Result<Receipt, BroadcastError> {
        self.publish_to(to, message, true)
    }

    /// Hands the node's answer to what the agent has asked it to the subscribers of the answer's topic on this
    /// node. It may be on a topic to which the session may subscribe, though it may not publish there.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast).
    pub fn answered_by_node(&self, answer: Message) -> Result<Receipt, BroadcastError> {
        if let Some(grant) = &self.state.grant
            && !grant.subscribes(&Pattern::from(&answer.topic), None)
        {
            grant.publish(&answer.topic)?;
        }
        let answer = self.state.check(answer)?;
        Ok(self
            .state
            .deliver(&Arc::new(answer), false, Reach::ThisNode))
    }

    fn publish_to(
        &self,
        to: &NodeId,
        message: Message,
        skips_itself: bool,
    ) -> Result<Receipt, BroadcastError> {
        if *to == self.state.node.node {
            return self.state.publish(message, skips_itself, Reach::ThisNode);
        }
        let message = Arc::new(self.state.accept(message)?);
        let SessionState { node, routes, .. } = &*self.state;
        let remote = node.broker.remote(to);
        let remote = remote.ok_or_else(|| BroadcastError::UnknownNode { node: to.clone() })?;
        let publisher = self.state.publisher(&message, false);
        let mut pressing = Vec::new();
        let receipt = node
            .broker
            .direct(routes, publisher, &remote, &message, &mut pressing);
        self.state.waits.add(pressing);
        Ok(receipt)
    }

    /// Hands a message to one member of its topic only, on whatever node that is.
    ///
    /// It goes the same way as all that the session publishes, and keeps its order. If the member ends its
    /// membership while the message is under way, nobody gets it.
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast), and when this node shows no such member of the topic in the scope
    /// of the session: it has left, its node is not live, or it never was.
    pub fn send_to(&self, member: MemberId, message: Message) -> Result<Receipt, BroadcastError> {
        let message = Arc::new(self.state.accept(message)?);
        let SessionState { node, routes, .. } = &*self.state;
        let shown = node.membership.view();
        let shown = shown.member(&routes.scope, &message.topic, member);
        let unknown = || BroadcastError::UnknownMember {
            member,
            topic: message.topic.clone(),
        };
        let on = shown.ok_or_else(unknown)?.node;
        let remote = match on == node.node {
            true => None,
            // It may just have been lost.
            false => Some(node.broker.remote(&on).ok_or_else(unknown)?),
        };
        let publisher = self.state.publisher(&message, false);
        let mut pressing = Vec::new();
        let to = (member, remote.as_deref());
        let receipt = node
            .broker
            .send_to(routes, publisher, to, &message, &mut pressing);
        self.state.waits.add(pressing);
        Ok(receipt)
    }

    /// Like [`broadcast`](Self::broadcast), and tells what became of the message with every member that
    /// this node shows now.
    ///
    /// What is returned is ready as soon as each of them has taken the message, or acknowledged it, as the
    /// options say, or cannot any more; at the latest when the timeout is over. Meanwhile the node sends the
    /// message again when it was lost with a link, and no member gets it twice. A repeated message may come
    /// after others that were published later, but the assured messages of a session keep their order among
    /// each other. It is not dropped for [congestion](Congestion), and like others may make the session wait
    /// for [room](Self::room).
    ///
    /// # Errors
    /// As [`broadcast`](Self::broadcast), and when too many are open: 256 of a session, 4,096 of the node,
    /// 262,144 members of all of them, or more bytes than may wait on the node for one holder; and when more than
    /// 256 queue groups would get it on one other node.
    pub fn broadcast_assured(
        &self,
        message: Message,
        options: AssuredOptions,
    ) -> Result<Assured, BroadcastError> {
        let message = Arc::new(self.state.number(self.state.accept(message)?));
        let SessionState { node, routes, .. } = &*self.state;
        let publisher = Publisher {
            congestion: Congestion::Ask,
            ..self.state.publisher(&message, false)
        };
        let view = node.membership.view();
        let topic = Pattern::from(&message.topic);
        let members = view.members(&routes.scope, &topic);
        let mut pressing = Vec::new();
        let members = (members, &*view);
        let begun = node.broker.broadcast_assured(
            routes,
            publisher,
            &message,
            options,
            members,
            &mut pressing,
        )?;
        self.state.waits.add(pressing);
        Ok(Assured::new(
            Arc::clone(&node.broker.outstanding),
            begun,
            options,
        ))
    }

    /// Waits until there is room for the next message, at once if there is.
    ///
    /// Publishing never waits by itself. Whoever awaits room after each message whose
    /// [`Receipt::pressing`] is set is slowed to the speed of its slowest subscriber, on whatever node,
    /// or of the slowest link to one, and has nothing dropped for want of room as long as its
    /// subscribers read. That is certain while their mailboxes hold what is under way to them, which
    /// is up to half of `publish_window_bytes` ([`Limits`](crate::Limits)) for each publisher on another node. It
    /// waits only while something is read, for each of them at most `publish_wait_max`; then it goes
    /// on, and the overflow policy of who does not keep up decides. Nobody waits for a mailbox that
    /// drops the oldest, and nobody is asked to whose messages are to be [dropped](Congestion::Drop)
    /// rather than waited for.
    pub async fn room(&self) {
        let wait_max = self.state.node.limits.publish_wait_max.get();
        self.state.waits.room(wait_max).await;
    }
}

impl SessionState {
    fn publisher(&self, message: &Message, skips_itself: bool) -> Publisher {
        Publisher {
            session: self.id,
            skips_itself,
            congestion: self.congestion.of(message),
            wait_max: self.node.limits.publish_wait_max.get(),
        }
    }

    pub(crate) fn publish(
        &self,
        message: Message,
        skips_itself: bool,
        reach: Reach,
    ) -> Result<Receipt, BroadcastError> {
        let message = self.accept(message)?;
        let message = match reach {
            Reach::Everywhere => self.number(message),
            Reach::ThisNode => message,
        };
        Ok(self.deliver(&Arc::new(message), skips_itself, reach))
    }

    fn deliver(&self, message: &Arc<Message>, skips_itself: bool, reach: Reach) -> Receipt {
        let Self { node, routes, .. } = self;
        let publisher = self.publisher(message, skips_itself);
        let mut pressing = Vec::new();
        let receipt = node
            .broker
            .broadcast(routes, publisher, reach, message, &mut pressing);
        self.waits.add(pressing);
        receipt
    }

    fn accept(&self, message: Message) -> Result<Message, BroadcastError> {
        if let Some(grant) = &self.grant {
            grant.publish(&message.topic)?;
        }
        self.check(message)
    }

    /// Accepts what may be published.
    fn check(&self, message: Message) -> Result<Message, BroadcastError> {
        let limits = &self.node.limits;
        let (bytes, max) = (message.size_bytes(), limits.payload_bytes_max.get());
        let grant = self.grant.as_ref();
        let max = grant.map_or(max, |own| own.payload_bytes_max(max));
        if bytes > max {
            return Err(BroadcastError::PayloadTooLarge { bytes, max });
        }
        let (bytes, max) = (message.topic.as_str().len(), limits.topic_bytes_max.get());
        if bytes > max {
            return Err(BroadcastError::TopicTooLong { bytes, max });
        }
        let Self { node, routes, .. } = self;
        node.schemas
            .check(&routes.scope, &message.topic, &message.payload)?;
        if node.has_stopped() || self.ended.load(Relaxed) {
            return Err(BroadcastError::Ended);
        }
        Ok(message)
    }

    /// Numbers what tells of a change.
    fn number(&self, message: Message) -> Message {
        let Self { node, routes, .. } = self;
        node.broker.changes.number(&routes.scope, message)
    }
}
