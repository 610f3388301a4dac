use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tidings_membership::Scope;

use crate::access::Grant;
use crate::broker::Broker;
use crate::mailbox::{Mailbox, can_be_handed_over};
use crate::registry::SessionId;
use crate::{Delivery, RecvError};

/// The receiving end of a session.
///
/// The messages of each publisher come in the order in which they were published. Publishers take
/// turns, by bytes: where much waits of one, what another has published meanwhile comes before most
/// of it.
///
/// As a [`Stream`] it yields the deliveries and ends when nothing more will come; [`end`](Self::end)
/// then says why.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tidings::{Config, Delivery, Message, Node, SessionOptions};
///
/// let node = Node::start(Config::default(), None).await?;
/// let (session, mut inbox) = node.session(SessionOptions::default())?;
/// session.subscribe(&"weather.*".parse()?)?;
/// session.broadcast(Message::new("weather.sf".parse()?, "sunny"))?;
/// match inbox.recv().await? {
///     Delivery::Message { message, .. } => assert_eq!(message.payload, "sunny"),
///     Delivery::Missed(count) => println!("{count} messages were lost here"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Inbox {
    mailbox: Arc<Mailbox>,
    /// Taken from the mailbox, not yet received.
    batch: VecDeque<Delivery>,
    broker: Arc<Broker>,
    /// Whose it is.
    session: SessionId,
    scope: Scope,
    /// What learns where its session may answer.
    grant: Option<Arc<Grant>>,
}

impl Inbox {
    pub(crate) fn new(
        mailbox: Arc<Mailbox>,
        broker: &Arc<Broker>,
        (session, scope): (SessionId, Scope),
        grant: Option<Arc<Grant>>,
    ) -> Self {
        Self {
            mailbox,
            batch: VecDeque::new(),
            broker: Arc::clone(broker),
            session,
            scope,
            grant,
        }
    }

    /// Waits for the next delivery. An error means that nothing more will come. Cancelling the call
    /// loses nothing.
    pub async fn recv(&mut self) -> Result<Delivery, RecvError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next delivery, if one is there.
    pub fn try_recv(&mut self) -> Result<Option<Delivery>, RecvError> {
        if self.batch.is_empty() {
            self.mailbox.take(&mut self.batch, BATCH)?;
        }
        let delivery = self.batch.pop_front();
        if let Some(Delivery::Message { message, .. }) = &delivery {
            self.broker.counters.delivered.fetch_add(1, Relaxed);
            if let (Some(grant), Some(reply_to)) = (&self.grant, &message.reply_to) {
                grant.received(reply_to);
            }
        }
        Ok(delivery)
    }

    /// The next delivery, or the caller is woken when there may be one.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Delivery, RecvError>> {
        loop {
            if let Some(delivery) = self.try_recv()? {
                return Poll::Ready(Ok(delivery));
            }
            ready!(self.mailbox.poll_ready(cx));
        }
    }

    /// Remembers what is in the inbox now, for [`is_past_mark`](Self::is_past_mark), in place of what
    /// was remembered before.
    pub fn mark(&mut self) {
        self.mailbox.mark();
    }

    /// Whether all that was in the inbox at the [`mark`](Self::mark) has been received. As publishers
    /// take turns, some that came later may have been, too.
    pub fn is_past_mark(&self) -> bool {
        self.batch.is_empty() && self.mailbox.is_past_mark()
    }

    /// Why nothing more will come, once what is there has been received; none while the session is
    /// open.
    pub fn end(&self) -> Option<RecvError> {
        self.mailbox.closed()
    }

    /// Waits until the session is cut off because its mailbox overflowed or its access was withdrawn, which
    /// may never happen. For those who cannot receive at the moment and so would not hear of it.
    pub async fn overflowed(&mut self) -> RecvError {
        match poll_fn(|cx| self.mailbox.poll_closed(cx)).await {
            cut_off @ (RecvError::Overflow { .. } | RecvError::Withdrawn) => cut_off,
            _ => std::future::pending().await,
        }
    }
}

impl Stream for Inbox {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.poll_recv(cx).map(Result::ok)
    }
}

impl Drop for Inbox {
    /// What was for queue groups others get: what was taken out of the mailbox at once, which is little, the rest
    /// by a task of the node, unless the session ends before.
    fn drop(&mut self) {
        let mut lost = self.mailbox.end(RecvError::Ended);
        let mut routes = None;
        for delivery in self.batch.drain(..) {
            let Delivery::Message { queue, message, .. } = delivery else {
                continue;
            };
            match queue.filter(|_| can_be_handed_over(&message)) {
                Some(queue) => {
                    let routes = routes.get_or_insert_with(|| self.broker.routes(&self.scope));
                    self.broker
                        .hand_over(routes, self.session, &queue, &message);
                }
                None => lost += 1,
            }
        }
        let ended = &self.broker.counters.dropped_session_ended;
        ended.fetch_add(lost, Relaxed);
        if self.mailbox.has_leftovers() {
            self.broker.mailroom.abandoned(self.session);
        }
    }
}

/// How many deliveries are taken out of the mailbox at a time, under one lock.
const BATCH: usize = 256;
