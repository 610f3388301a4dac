use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use chitchat::ChitchatHandle;
use tidings_identity::{ClusterName, Incarnation, NodeId, NodeRun};
use tokio::sync::{OnceCell, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use crate::author::Author;
use crate::bucket::MemberEntry;
use crate::client_door::ClientDoor;
use crate::config::Config;
use crate::credentials::{Credentials, Keyring};
use crate::door_watch::DoorWatch;
use crate::error::{DescribeError, GossipError, JoinError, LeaveError, StartError, UpdateError};
use crate::event::EventSink;
use crate::farewell::Farewell;
use crate::gossip::{AbortOnDrop, Gossip};
use crate::pace::Pace;
use crate::peer::LEFT_KEY;
use crate::peers::Peers;
use crate::pipe::Pipe;
use crate::share::Share;
use crate::starter::Starter;
use crate::stats::Stats;
use crate::tickets::Tickets;
use crate::topic_watch::TopicWatch;
use crate::view::View;
use crate::views::Views;
use crate::watch::Watch;
use crate::watched::Watched;
use crate::wire::Wire;
use crate::written::Written;
use crate::{AgentName, MemberId, Metadata, Pattern, Profile, Scope, Topic, TopicInfo};

/// One node's part in who is where: it keeps the memberships of this node, tells them to its peers
/// and learns theirs.
///
/// A join or leave is in this node's view when the call returns and in those of all connected
/// nodes soon after. It outlives any partition: each side goes on by itself, and when they meet
/// again the views become the same. Nothing is kept on disk.
///
/// Cheap to clone. When the last clone is dropped, or the token it was started with is cancelled,
/// gossip ends without a word, as in a crash; [`depart`](Self::depart) says goodbye first.
#[derive(Clone)]
pub struct Membership {
    shared: Arc<Shared>,
}

/// What a membership does by itself.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Shared {
    views: Arc<Views>,
    /// The newest chitchat.
    handles: watch::Receiver<Arc<ChitchatHandle>>,
    wire: Arc<Wire>,
    author: Arc<Author>,
    keyring: Keyring,
    tickets: Arc<Tickets>,
    interval: Duration,
    /// Whether the farewell has been sent, or its deadline has passed.
    departed: OnceCell<()>,
    token: CancellationToken,
    _stop: DropGuard,
}

impl Membership {
    /// Starts membership over this pipe. At first the view has this node alone; peers are found
    /// through the seeds, which may change at any time and need not be there yet.
    ///
    /// `own` is who this node is. Its incarnation must be greater than that of any run before, or
    /// peers take what this run says for old. Gossip of another cluster is refused.
    ///
    /// With its credentials it vouches for what it says; without, nobody hears it, nor it anybody.
    ///
    /// `spawn` runs its task, which ends with the token.
    ///
    /// # Errors
    /// When the config does not hold, the node cannot sign what it says, or gossip does not start.
    /// Nothing is left behind.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is another part of the node, and whoever starts one has them all at hand"
    )]
    pub async fn start(
        config: Config,
        own: NodeRun,
        cluster: ClusterName,
        credentials: Option<Credentials>,
        pipe: Pipe,
        seeds: watch::Receiver<Vec<SocketAddr>>,
        events: EventSink,
        spawn: impl FnOnce(Task),
        token: CancellationToken,
    ) -> Result<Self, StartError> {
        config.check()?;
        let outbound = Arc::clone(&pipe.outbound);
        let wire = Arc::new(Wire::default());
        let interval = config.interval.get();
        let revoked = credentials.as_ref().map(|own| own.revocations.clone());
        let keyring = Keyring::new(credentials);
        let mut starter = Starter::new(
            config.clone(),
            own.clone(),
            cluster,
            keyring.clone(),
            pipe,
            wire.clone(),
        )?;
        let handle = Arc::new(starter.start(None).await?);
        let views = Arc::new(Views::new(&config, own.clone()));
        let written = Written::new(&views.snapshot().local);
        let token = token.child_token();
        let tickets = Arc::<Tickets>::default();
        let handles = watch::Sender::new(handle.clone());
        let shared = Shared {
            views: views.clone(),
            handles: handles.subscribe(),
            wire: wire.clone(),
            author: starter.author(),
            keyring,
            tickets: tickets.clone(),
            interval,
            departed: OnceCell::new(),
            token: token.clone(),
            _stop: token.clone().drop_guard(),
        };
        let gossip = Gossip {
            handle: AbortOnDrop(handle),
            handles,
            wire,
            views,
            peers: Peers::new(&config, own),
            events,
            author: starter.author(),
            revoked,
            written,
            tickets,
            round: None,
            pace: Pace::new(&config, Instant::now()),
            outbound,
            told: 0,
        };
        let gossip = token.run_until_cancelled_owned(gossip.run(starter, config, seeds));
        spawn(Box::pin(async move {
            gossip.await;
        }));
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Makes a membership of this node. Joining one topic with several member ids makes that many
    /// memberships.
    ///
    /// It is in [`view`](Self::view) when this returns.
    ///
    /// # Errors
    /// When the member is in this topic already, or there is no room for it. Nothing has changed.
    pub fn join(
        &self,
        scope: &Scope,
        pattern: &Pattern,
        member: MemberId,
        agent: Option<AgentName>,
    ) -> Result<(), JoinError> {
        let profile = Profile {
            agent,
            ..Profile::default()
        };
        let entry = MemberEntry::new(member, profile);
        self.shared.views.join(scope, pattern, entry, 0)
    }

    /// A share in the room of this node, of which nothing is taken yet.
    pub fn share(&self) -> Share {
        Share::default()
    }

    /// Makes a membership as [`join`](Self::join) does, which is all of this from the first, and takes its
    /// bytes from this share; but the share never has more of this node's room than is left
    /// free. So one that takes all it can leaves half of it, two leave a third, n leave one part in n + 1.
    ///
    /// # Errors
    /// As [`join`](Self::join), and when it would have more than is left. Nothing has changed then.
    pub fn join_within(
        &self,
        share: &mut Share,
        scope: &Scope,
        pattern: &Pattern,
        member: MemberId,
        profile: &Profile,
    ) -> Result<(), JoinError> {
        let held = share.bytes_with(scope, pattern, profile);
        let entry = MemberEntry::new(member, profile.clone());
        self.shared.views.join(scope, pattern, entry, held)?;
        share.take(scope, pattern, profile);
        Ok(())
    }

    /// Gives these memberships of this node, of one topic or pattern and one holder, other metadata.
    /// It is in [`view`](Self::view) when this returns, and in no view is some of it: all are changed in one
    /// step. They are members all the while. What it takes is taken from this share, as
    /// by [`join_within`](Self::join_within).
    ///
    /// # Errors
    /// When one of them is no membership of this node, or there is no room. Nothing has changed.
    pub fn update_within(
        &self,
        share: &mut Share,
        scope: &Scope,
        pattern: &Pattern,
        members: &[MemberId],
        metadata: &Metadata,
    ) -> Result<(), UpdateError> {
        let views = &self.shared.views;
        let grown = views.update(scope, pattern, members, metadata, share.bytes())?;
        share.grow(grown);
        Ok(())
    }

    /// Makes many memberships as [`join_within`](Self::join_within) does, each for itself and all with this
    /// profile, and returns what became of each, in their order.
    ///
    /// Goes bucket by bucket, each of them one step. So whoever else joins meanwhile waits no longer
    /// for the view than one bucket takes, and a view taken meanwhile shows some of the memberships.
    pub fn join_all_within(
        &self,
        share: &mut Share,
        scope: &Scope,
        memberships: &[(Pattern, MemberId)],
        profile: &Profile,
    ) -> Vec<Result<(), JoinError>> {
        let views = &self.shared.views;
        let mut results: Vec<_> = memberships.iter().map(|_| Ok(())).collect();
        let places = memberships.iter().map(|(pattern, _)| (scope, pattern));
        for (_, places) in views.places_by_bucket(places) {
            let joins = places.iter().map(|&place| {
                let (pattern, member) = &memberships[place];
                (pattern, *member)
            });
            let joined = views.join_all(share, scope, joins, profile);
            for (place, result) in places.into_iter().zip(joined) {
                results[place] = result;
            }
        }
        results
    }

    /// Ends a membership of this node. It is in no [`view`](Self::view) taken after this returns.
    ///
    /// # Errors
    /// When there is no such membership. Nothing has changed.
    pub fn leave(
        &self,
        scope: &Scope,
        pattern: &Pattern,
        member: MemberId,
    ) -> Result<(), LeaveError> {
        self.shared.views.leave(scope, pattern, member)
    }

    /// Ends all these memberships of this node, as when a session with many dies. Those that have
    /// ended already are passed over.
    ///
    /// Goes bucket by bucket, each of them one step, and lets other tasks run in between. So
    /// nobody else waits longer for the view than one bucket takes, and a view taken meanwhile
    /// shows some of the memberships. When it is cancelled, some are left.
    pub async fn leave_all(
        &self,
        memberships: impl IntoIterator<Item = (Scope, Pattern, MemberId)>,
    ) {
        let views = &self.shared.views;
        for (index, memberships) in views.by_bucket(memberships) {
            views.leave_all(index, &memberships);
            yield_now().await;
        }
    }

    /// Ends all these memberships as [`leave_all`](Self::leave_all) does, before it returns.
    pub fn leave_many(&self, memberships: impl IntoIterator<Item = (Scope, Pattern, MemberId)>) {
        let views = &self.shared.views;
        for (index, memberships) in views.by_bucket(memberships) {
            views.leave_all(index, &memberships);
        }
    }

    /// Lets this node tell this of a topic, in the place of what is known of it; nothing, if it is
    /// empty. `unix_ms` is the time, since the Unix epoch; it counts as later than what is known.
    ///
    /// It is in [`view`](Self::view) when this returns, and in those of all connected nodes soon after. This
    /// node goes on telling the newest that it learns of this topic, for as long as it runs.
    ///
    /// # Errors
    /// When a part of it is too long or has control characters, or the node tells of too many topics.
    /// Nothing has changed.
    pub fn describe(
        &self,
        scope: &Scope,
        topic: &Topic,
        info: TopicInfo,
        unix_ms: u64,
    ) -> Result<(), DescribeError> {
        self.shared.views.describe(scope, topic, info, unix_ms)
    }

    /// Tells when something else is told of topics.
    pub fn watch_topics(&self) -> TopicWatch {
        TopicWatch::new(self.shared.views.subscribe())
    }

    /// Lets this node say that its clients connect here. It is in [`view`](Self::view) when this returns,
    /// and in those of all connected nodes soon after.
    pub fn open_door(&self, door: ClientDoor) {
        self.shared.views.set_door(door);
    }

    /// Tells where the clients of all live nodes connect, whenever that changes.
    pub fn watch_doors(&self) -> DoorWatch {
        DoorWatch::new(self.shared.views.subscribe())
    }

    /// Tells those who watch that messages are missing on the way from one node to another, each: how
    /// many, if that is known. See [`Event::Gap`](crate::Event::Gap).
    pub fn tell_gaps(&self, gaps: impl IntoIterator<Item = ((NodeId, NodeId), Option<u64>)>) {
        self.shared.views.add_gaps(gaps);
    }

    /// Who is where, now.
    pub fn view(&self) -> Arc<View> {
        self.shared.views.snapshot()
    }

    /// Who is where now, and the stream of events that continues it; nothing falls in between.
    pub fn watch(&self) -> (Arc<View>, Watch) {
        self.watch_only(Watched::Everything)
    }

    /// Like [`watch`](Self::watch), but the stream tells only of this part of the cluster. The view
    /// has everything; [`Joins`](crate::Joins) picks out of it what is watched.
    pub fn watch_only(&self, watched: Watched) -> (Arc<View>, Watch) {
        let views = self.shared.views.subscribe();
        let watch = Watch::new(views, watched, self.shared.token.clone());
        (watch.view(), watch)
    }

    /// Each next view, as soon as it is there, also where it differs in nothing that a [`Watch`] tells.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.shared.views.subscribe()
    }

    /// Waits until all memberships of this node as they are now are in its gossip state, which is made
    /// to happen soon, and returns the version of it from which on they are: a peer whose view
    /// [has](View::has) this run at that version shows them. None once membership has ended.
    pub fn written(&self) -> impl Future<Output = Option<u64>> + Send + use<> {
        let written = self.shared.tickets.wait();
        self.shared.token.clone().run_until_cancelled_owned(written)
    }

    /// Says goodbye: every live peer takes this node out of its view as soon as it hears of it.
    ///
    /// Returns when the word to each live peer is on a link that is up, or after the deadline. Once
    /// said it is not said again: a second call waits for the first, no longer than its own
    /// deadline, and does nothing. There is no way back for this incarnation. This node's own view
    /// stays as it is, and so does gossip, until the token is cancelled.
    pub async fn depart(&self, deadline: Duration) {
        let at = Instant::now() + deadline;
        // Within, so that what did not get through in time is over, too.
        let farewell = async {
            let _ = timeout_at(at, self.send_farewell()).await;
        };
        let _ = timeout_at(at, self.shared.departed.get_or_init(|| farewell)).await;
    }

    /// Resolves when gossip has ended by itself, never when it was ended by dropping or cancelling.
    /// The view no longer follows the cluster then, so the node must stop and say why.
    ///
    /// Once a minute it is begun anew instead, and nobody notices but by the log and the
    /// [stats](Stats::restarts).
    pub async fn failed(&self) -> GossipError {
        let reason = self.shared.wire.failure.wait().await;
        GossipError::Broken(anyhow::Error::msg(reason.clone()))
    }

    /// Goes on with these credentials, of the same node: all that it says is sealed anew. What others say
    /// is checked by them from now on.
    pub fn renew(&self, credentials: Credentials) {
        self.shared.keyring.renew(credentials);
        self.shared.wire.renewed.notify_one();
    }

    /// Resolves when a later run of this node is known by its own word, and has ended: as when the clock
    /// was ahead in it. Peers do not heed this run then; one with a greater number than that, which
    /// this returns, they do.
    pub async fn outdated(&self) -> Incarnation {
        let mut outdated_by = self.shared.wire.outdated_by.subscribe();
        let later = outdated_by.wait_for(Option::is_some).await;
        match later.map(|later| *later) {
            Ok(Some(later)) => later,
            // Cannot be: the sender is held here.
            _ => std::future::pending().await,
        }
    }

    /// Which run of each other node was heard itself, and when last: what it said of itself came over a link
    /// with it, and not by way of others.
    pub fn heard(&self) -> BTreeMap<NodeId, (NodeRun, Instant)> {
        self.shared.wire.heard()
    }

    /// What membership has done so far, and how it stands. Counts all memberships, so not for a
    /// hot path.
    pub fn stats(&self) -> Stats {
        let counters = &self.shared.wire.counters;
        let view = self.view();
        let (memberships_local, memberships) = view.count_memberships();
        Stats {
            messages_out: counters.messages_out.load(Relaxed),
            bytes_out: counters.bytes_out.load(Relaxed),
            messages_in: counters.messages_in.load(Relaxed),
            bytes_in: counters.bytes_in.load(Relaxed),
            messages_dropped: counters.messages_dropped.load(Relaxed),
            faults: counters.faults(),
            values_malformed: counters.values_malformed.load(Relaxed),
            eager_rounds: counters.eager_rounds.load(Relaxed),
            restarts: counters.restarts.load(Relaxed),
            nodes_live: 1 + view.remote.len(),
            nodes_gone: view.gone.len(),
            memberships_local,
            memberships,
        }
    }

    /// Marks this node as having left, and gossips with every live peer until each was sent the
    /// mark.
    async fn send_farewell(&self) {
        let shared = &self.shared;
        let peers: Vec<_> = self
            .view()
            .remote
            .values()
            .map(|peer| peer.run.addr)
            .collect();
        let handle = shared.handle();
        let mark = handle.with_chitchat(|c| {
            let signed = shared.author.write(c.self_node_state(), LEFT_KEY, "1");
            if let Err(error) = signed {
                let error: &dyn std::error::Error = &error;
                warn!(error, "cannot say goodbye");
            }
            shared
                .wire
                .begin_farewell(Farewell::new(peers.iter().copied()));
        });
        mark.await;
        loop {
            let pending = shared.wire.farewell_pending();
            if pending.is_empty() {
                return;
            }
            for peer in pending {
                // If gossip has ended there is nobody to tell; the deadline ends the wait.
                let _ = shared.handle().gossip(peer);
            }
            // A message may get lost, so it is said again.
            let complete = shared.wire.farewell_complete.notified();
            let _ = timeout(shared.interval, complete).await;
        }
    }
}

#[cfg(test)]
impl Membership {
    /// The newest chitchat.
    pub(crate) fn handle(&self) -> Arc<ChitchatHandle> {
        self.shared.handle()
    }
}

impl Shared {
    fn handle(&self) -> Arc<ChitchatHandle> {
        self.handles.borrow().clone()
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handle = self.shared.handle();
        let id = handle.chitchat_id();
        f.debug_struct("Membership")
            .field("id", id)
            .finish_non_exhaustive()
    }
}
