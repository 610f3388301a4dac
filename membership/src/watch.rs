use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, ReusableBoxFuture, WaitForCancellationFutureOwned};

use crate::difference::difference;
use crate::event::Event;
use crate::view::View;
use crate::watched::Watched;

/// The stream of events that continues a [`View`].
///
/// Every join, leave and update between the snapshot it began with and the newest view is told once.
/// Nothing is queued: each call tells the difference since the one before, so a watcher that comes
/// late loses nothing that lasted and holds nobody up, and sees only the net change: a membership
/// that came and went in between is not told, and of several updates of one the last. An update is never
/// told as a leave and a join. Of what one call tells of a node, leaves come before updates, these
/// before joins, and joins in the order in which they were made there. Joins in different topics may become
/// known here at different times, and then in another order. A node goes up before its first member
/// joins and down after its last one left.
///
/// A watch of a part of the cluster ([`Watched`]) tells of that part just what one of everything does.
///
/// As a [`Stream`] it gives what [`next`](Self::next) does, and ends with this node's membership.
///
/// ```
/// # use tidings_identity::{ClusterName, Incarnation, NodeRun};
/// # use std::sync::Arc;
/// # use tidings_membership::*;
/// # use tokio::sync::{mpsc, watch};
/// # use tokio_util::{sync::CancellationToken, task::TaskTracker};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let own = NodeRun::new("n1".parse()?, Incarnation::new(1), "10.0.0.1:7946".parse()?);
/// # let (_inbound, inbound) = mpsc::channel(1);
/// # let pipe = Pipe {
/// #     outbound: Arc::new(|_, _| Handover::Dropped),
/// #     inbound: Box::new(inbound),
/// #     blame: Box::new(|_, _| ()),
/// # };
/// # let (_seeds, seeds) = watch::channel(Vec::new());
/// # let (tasks, token) = (TaskTracker::new(), CancellationToken::new());
/// # let membership = Membership::start(
/// #     Config::default(), own, ClusterName::default(), None, pipe, seeds, Box::new(|_| ()),
/// #     |task| { tasks.spawn(task); }, token,
/// # ).await?;
/// let (view, mut watch) = membership.watch();
/// assert!(view.topics().is_empty());
///
/// let member = MemberIds::default().next(0);
/// membership.join(&Scope::default(), &"kb.updates".parse()?, member, None)?;
/// let events = watch.next().await.ok_or("membership has ended")?;
/// assert!(matches!(&events[..], [Event::Joined { member: joined, .. }] if *joined == member));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    watched: Watched,
    views: Views,
    /// Resolves once there may be a newer view, or there will be none.
    changed: ReusableBoxFuture<'static, (Views, bool)>,
    /// The view that the events told so far lead to.
    told: Arc<View>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Watch {
    pub(crate) fn new(
        views: watch::Receiver<Arc<View>>,
        watched: Watched,
        token: CancellationToken,
    ) -> Self {
        let told = views.borrow().clone();
        Self {
            watched,
            changed: ReusableBoxFuture::new(changed(views.clone())),
            views,
            told,
            ended: Box::pin(token.cancelled_owned()),
        }
    }

    /// The next events, at least one. None once this node's membership has ended.
    ///
    /// Cancel-safe: events that were not returned are told by the next call.
    pub async fn next(&mut self) -> Option<Vec<Event>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Waits until there is a newer view than the one last told, whether or not anything has changed of
    /// what is watched. False once this node's membership has ended.
    ///
    /// To find out what has changed takes a time that grows with the change. Who does not want to
    /// spend it where it waits calls [`try_next`](Self::try_next) elsewhere.
    pub async fn changed(&mut self) -> bool {
        poll_fn(|cx| self.poll_changed(cx)).await
    }

    /// The events that there are now; none if nothing has changed of what is watched.
    pub fn try_next(&mut self) -> Vec<Event> {
        let view = self.views.borrow().clone();
        let events = difference(&self.told, &view, &self.watched);
        self.told = view;
        events
    }

    /// What it tells of.
    pub fn watched(&self) -> &Watched {
        &self.watched
    }

    /// The view that all events told so far lead to.
    pub fn view(&self) -> Arc<View> {
        self.told.clone()
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        while Arc::ptr_eq(&self.views.borrow(), &self.told) {
            let (views, is_newer) = ready!(self.changed.poll(cx));
            self.changed.set(changed(views));
            if !is_newer {
                return Poll::Ready(false);
            }
        }
        Poll::Ready(true)
    }
}

impl Stream for Watch {
    type Item = Vec<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<Event>>> {
        while ready!(self.poll_changed(cx)) {
            let events = self.try_next();
            if !events.is_empty() {
                return Poll::Ready(Some(events));
            }
        }
        Poll::Ready(None)
    }
}

async fn changed(mut views: Views) -> (Views, bool) {
    let is_newer = views.changed().await.is_ok();
    (views, is_newer)
}

type Views = watch::Receiver<Arc<View>>;

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::Waker;

    use super::*;
    use crate::bucket::MemberEntry;
    use crate::config::Config;
    use crate::views::Views;
    use crate::{MemberId, Metadata, Scope};
    use tidings_identity::NodeRun;

    fn joined(views: &Views, n: u8) -> MemberId {
        let member = MemberId::from_bytes([n; 16]);
        let entry = MemberEntry {
            member,
            agent: None,
            metadata: Metadata::default(),
            queue: None,
        };
        views
            .join(&Scope::default(), &"a".parse().unwrap(), entry, 0)
            .unwrap();
        member
    }

    fn watch() -> (Views, CancellationToken, Watch) {
        let run = NodeRun::new("n0".parse().unwrap(), 1.into(), ([10, 0, 0, 1], 1).into());
        let (views, token) = (
            Views::new(&Config::default(), run),
            CancellationToken::new(),
        );
        let watch = Watch::new(views.subscribe(), Watched::Everything, token.clone());
        (views, token, watch)
    }

    fn members(events: Option<Vec<Event>>) -> Vec<MemberId> {
        let member = |event| match event {
            Event::Joined { member, .. } => member,
            other => panic!("{other:?}"),
        };
        events.unwrap().into_iter().map(member).collect()
    }

    #[tokio::test]
    async fn a_call_that_was_given_up_loses_nothing() {
        let (views, _token, mut watch) = watch();
        {
            let mut given_up = Box::pin(watch.next());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(given_up.as_mut().poll(&mut cx).is_pending());
            joined(&views, 1);
        }
        assert_eq!(members(watch.next().await), [MemberId::from_bytes([1; 16])]);
        assert_eq!(watch.view().count_memberships(), (1, 1));
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_a_change_and_by_the_end() {
        let (views, token, mut watch) = watch();
        let (told, first) = tokio::join!(watch.next(), async { joined(&views, 1) });
        assert_eq!(members(told), [first]);
        let (told, ()) = tokio::join!(watch.next(), async { token.cancel() });
        assert_eq!(told, None);
        joined(&views, 2);
        assert_eq!(watch.next().await, None, "what has ended stays so");
    }

    #[tokio::test]
    async fn of_several_updates_between_two_looks_one_is_told() {
        let (views, _token, mut watch) = watch();
        let member = joined(&views, 1);
        assert_eq!(members(watch.next().await), [member]);
        let (scope, pattern) = (Scope::default(), "a".parse().unwrap());
        let update = |json: &str| {
            let metadata = Metadata::parse(json).unwrap();
            views
                .update(&scope, &pattern, &[member], &metadata, 0)
                .unwrap();
            metadata
        };
        update(r#"{"n":1}"#);
        let last = update(r#"{"n":2}"#);
        let told = watch.next().await.unwrap();
        let [
            Event::Updated {
                metadata,
                member: of,
                ..
            },
        ] = &told[..]
        else {
            panic!("{told:?}");
        };
        assert_eq!((metadata, *of), (&last, member));
        update("{}");
        update(r#"{"n":2}"#);
        let mut cx = Context::from_waker(Waker::noop());
        let next = Pin::new(&mut watch).poll_next(&mut cx);
        assert!(next.is_pending(), "it is as it was");
    }

    #[tokio::test]
    async fn what_has_changed_can_be_found_out_elsewhere_than_where_it_is_waited_for() {
        let (views, token, mut watch) = watch();
        assert_eq!(watch.try_next(), []);
        let first = joined(&views, 1);
        assert_eq!(members(Some(watch.try_next())), [first]);
        {
            let mut cx = Context::from_waker(Waker::noop());
            let mut waits = Box::pin(watch.changed());
            assert!(waits.as_mut().poll(&mut cx).is_pending(), "it was told");
        }
        let second = joined(&views, 2);
        assert!(watch.changed().await && watch.changed().await, "untold");
        assert_eq!(members(Some(watch.try_next())), [second]);
        assert_eq!(watch.try_next(), []);
        token.cancel();
        assert!(!watch.changed().await);
    }

    #[tokio::test]
    async fn a_watch_of_something_else_is_not_told() {
        let (views, token, _) = watch();
        let watched = Watched::Topic(Scope::default(), "b".parse().unwrap());
        let mut watch = Watch::new(views.subscribe(), watched, token);
        joined(&views, 1);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut watch).poll_next(&mut cx).is_pending());
        assert_eq!(watch.view().count_memberships(), (1, 1), "it looked");
    }

    #[tokio::test]
    async fn a_stream_gives_what_next_does() {
        let (views, _token, mut watch) = watch();
        let both = [joined(&views, 1), joined(&views, 2)];
        let events = poll_fn(|cx| Pin::new(&mut watch).poll_next(cx)).await;
        assert_eq!(members(events), both);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut watch).poll_next(&mut cx).is_pending());
        let third = joined(&views, 3);
        assert_eq!(members(watch.next().await), [third]);
    }
}
