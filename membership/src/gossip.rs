//! The one task between membership and gossip.
//!
//! Outward: what changed here since it was last written goes into the gossip state, gathered for
//! as long as its pace says, and then to all live peers at once. Inward: whenever the gossip state may have
//! changed, what is new in it is copied out and makes the next view. Nothing is called back from
//! under the lock of the gossip state, and nothing is decoded under it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use chitchat::{Chitchat, ChitchatHandle, ChitchatId, NodeState};
use tidings_identity::{Incarnation, NodeId, NodeRun, RevocationWatch, Revocations, SignError};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::error;

use crate::author::Author;
use crate::config::Config;
use crate::difference::difference;
use crate::event::EventSink;
use crate::guard::{Letter, Told, shown_validity, text};
use crate::node_view::NodeView;
use crate::pace::Pace;
use crate::packed::bucket_text_bytes;
use crate::peer::{CERTIFICATE_KEY, Peer};
use crate::peers::Peers;
use crate::pipe::Outbound;
use crate::records::RECORDS_MAX;
use crate::sighting::Sighting;
use crate::starter::Starter;
use crate::tickets::Tickets;
use crate::view::View;
use crate::views::Views;
use crate::watched::Watched;
use crate::wire::Wire;
use crate::written::{Text, Written};

/// Carries changes from the view to gossip and back.
pub(crate) struct Gossip {
    pub(crate) handle: AbortOnDrop,
    /// Where others find the newest one.
    pub(crate) handles: watch::Sender<Arc<ChitchatHandle>>,
    pub(crate) wire: Arc<Wire>,
    pub(crate) views: Arc<Views>,
    pub(crate) peers: Peers,
    pub(crate) events: EventSink,
    pub(crate) author: Arc<Author>,
    /// None of a node on its own.
    pub(crate) revoked: Option<Revocations>,
    /// What this node has, as it was last written to the gossip state.
    pub(crate) written: Written,
    /// Who waits for what is to be written.
    pub(crate) tickets: Arc<Tickets>,
    /// Those of them who are served next.
    pub(crate) round: Option<Round>,
    pub(crate) pace: Pace,
    /// Where gossip messages go.
    pub(crate) outbound: Arc<Outbound>,
    /// Up to where the peers were told of this node's state.
    pub(crate) told: u64,
}

/// Who waits, and the buckets that are still to be written for them.
#[derive(Debug)]
pub(crate) struct Round {
    ticket: u64,
    unwritten: BTreeSet<usize>,
}

/// Ends gossip with whoever owns it, however that one ends.
pub(crate) struct AbortOnDrop(pub(crate) Arc<ChitchatHandle>);

impl Gossip {
    /// Never returns, unless gossip ends and cannot be begun anew.
    pub(crate) async fn run(
        mut self,
        mut starter: Starter,
        config: Config,
        mut seeds: watch::Receiver<Vec<SocketAddr>>,
    ) {
        let mut begun_anew = None;
        loop {
            let end = tokio::select! {
                end = self.handle.0.termination_watcher() => end,
                () = self.follow(&config, &mut seeds) => return,
            };
            let reason = end
                .err()
                .map_or("it gives no reason".into(), |error| format!("{error:#}"));
            let last = begun_anew.replace(Instant::now());
            if last.is_some_and(|last: Instant| last.elapsed() < RESTART_AGAIN) {
                let _ = self.wire.failure.set(reason);
                return;
            }
            error!(reason, "gossip has ended by itself, and is begun anew");
            self.wire.counters.restarts.fetch_add(1, Relaxed);
            match starter.start(Some(&self.handle.0)).await {
                Ok(handle) => {
                    let handle = Arc::new(handle);
                    self.handle = AbortOnDrop(handle.clone());
                    self.handles.send_replace(handle);
                    self.peers.begin_anew(Instant::now());
                }
                Err(error) => {
                    let _ = self.wire.failure.set(format!("{reason}; {error}"));
                    return;
                }
            }
        }
    }

    /// Never returns.
    async fn follow(&mut self, config: &Config, seeds: &mut watch::Receiver<Vec<SocketAddr>>) {
        let mut round = every(config.interval.get());
        let mut rejoin = every(config.rejoin_interval.get());
        let mut live = self
            .handle
            .0
            .with_chitchat(|c| c.live_nodes_watcher())
            .await;
        let mut revoked = self.revoked.as_ref().map(Revocations::watch);
        let mut changed = self.views.subscribe();
        // There may have been joins before this task came to run.
        changed.mark_changed();
        let mut tickets = self.tickets.watch();
        tickets.mark_changed();
        self.peers.book.set_seeds(&seeds.borrow_and_update());
        loop {
            tokio::select! {
                () = self.wire.delta_applied.notified() => self.pull().await,
                () = changed_in(&mut revoked) => self.pull().await,
                () = self.wire.renewed.notified() => self.write_anew(config.eager_peers_max.get()).await,
                Ok(()) = live.changed() => self.pull().await,
                _ = round.tick() => {
                    // A silence is noticed here, when nothing else happens any more.
                    self.pull().await;
                    self.contact_seeds();
                    let author = &self.author;
                    let kept = self.handle.0.with_chitchat(|c| author.keep_pulse(c.self_node_state()));
                    told(kept.await);
                }
                _ = rejoin.tick() => self.contact_rejoin_candidate(),
                Ok(()) = changed.changed() => {
                    // Not a snapshot: while one is held, a change copies its bucket.
                    self.note_changes(&changed.borrow_and_update().local);
                }
                Ok(()) = tickets.changed() => {
                    tickets.mark_unchanged();
                    self.serve().await;
                }
                () = at(self.pace.next()) => {
                    self.write(config.eager_peers_max.get()).await;
                    self.serve().await;
                }
                Ok(()) = seeds.changed() => {
                    self.peers.book.set_seeds(&seeds.borrow_and_update());
                }
            }
        }
    }

    /// Notes what is not as it was written: buckets, then records, then where clients connect.
    fn note_changes(&mut self, local: &NodeView) {
        let now = Instant::now();
        let buckets = self.written.unwritten(local);
        let records = self.written.unwritten_records(local);
        let records = records.map(|number| local.buckets().len() + number);
        let door = self.written.is_door_unwritten(local);
        let door = door.then_some(local.buckets().len() + RECORDS_MAX);
        for index in buckets.chain(records).chain(door) {
            self.pace.changed(index, now);
        }
    }

    /// Serves those who wait for what they wait for to be written, if it is; else sees to it that it is
    /// soon.
    async fn serve(&mut self) {
        loop {
            if self.round.is_none() {
                let Some(ticket) = self.tickets.unserved() else {
                    return;
                };
                let unwritten = self.note_all_changes();
                self.pace.hurry(Instant::now());
                self.round = Some(Round { ticket, unwritten });
            }
            let Some(round) = self.round.take_if(|round| round.unwritten.is_empty()) else {
                return;
            };
            let version = self
                .handle
                .0
                .with_chitchat(|c| c.self_node_state().max_version());
            self.tickets.serve(round.ticket, version.await);
        }
    }

    /// Notes which buckets are not as they were written, by now, and returns them.
    fn note_all_changes(&mut self) -> BTreeSet<usize> {
        let view = self.views.snapshot();
        self.note_changes(&view.local);
        self.written.unwritten(&view.local).collect()
    }

    /// Writes what is due to the gossip state, and tells the live peers.
    async fn write(&mut self, peers_max: usize) {
        let view = self.views.snapshot();
        let buckets = view.local.buckets();
        let peers = self.peers.book.live().count().clamp(1, peers_max);
        let bytes = |index: usize| match index < buckets.len() {
            true => bucket_text_bytes(buckets.get(index).packed_bytes()) * peers,
            // As long as most, with a schema of middling length.
            false => RECORD_BYTES * peers,
        };
        let now = Instant::now();
        let due = self.pace.take(now, bytes);
        let (due, records): (Vec<_>, Vec<_>) = due.into_iter().partition(|at| *at < buckets.len());
        let due = self.written.order(&view.local, &due);
        // Those that are not due are told with those that moved there.
        self.pace.take_besides(now, &due, bytes);
        let records: Vec<_> = records.iter().map(|at| at - buckets.len()).collect();
        let texts = self.written.write(&view.local, &due, &records);
        let author = &self.author;
        let from = self.told;
        let news = self.handle.0.with_chitchat(|c| {
            let own = c.self_chitchat_id().clone();
            let state = c.self_node_state();
            for Text { bucket, key, text } in &texts {
                let written = author.write(state, key, text);
                if let (Ok(()), Some(round), Some(index)) = (&written, &mut self.round, bucket) {
                    round.unwritten.remove(index);
                }
                told(written);
            }
            Told::beyond(from, &own, state)
        });
        if let Some(news) = news.await {
            self.wire.counters.eager_rounds.fetch_add(1, Relaxed);
            self.told = news.version;
            let peers = self.peers.book.sample_live(peers_max, &mut rand::rng());
            self.tell(news, peers);
        }
    }

    /// Tells these peers what is new. Who has all that came before has all of it then; others ask. What
    /// is long is told in answer to what each peer says that it has, like all else.
    fn tell(&self, news: Told, peers: Vec<SocketAddr>) {
        let message = Bytes::from(Letter::telling(vec![news]).write());
        if message.len() > NEWS_BYTES_MAX {
            return self.gossip_with(peers);
        }
        for peer in peers {
            let handover = (self.outbound)(peer, message.clone());
            self.wire.count(message.len(), handover);
        }
    }

    /// Says all anew, with a renewed certificate.
    async fn write_anew(&mut self, peers_max: usize) {
        let author = &self.author;
        let written = self
            .handle
            .0
            .with_chitchat(|c| author.write_anew(c.self_node_state()));
        told(written.await);
        self.gossip_with(self.peers.book.sample_live(peers_max, &mut rand::rng()));
    }

    /// Takes in what is new in the gossip state.
    async fn pull(&mut self) {
        let (peers, revoked, heard) = (&self.peers, self.revoked.as_ref(), self.wire.heard());
        let sightings = self
            .handle
            .0
            .with_chitchat(|c| sightings(c, peers, revoked, &heard))
            .await;
        let truncated = self.wire.take_truncated();
        self.gossip_with(self.wire.take_unfinished());
        let observed = self.peers.observe(sightings, Instant::now());
        self.wire
            .counters
            .values_malformed
            .fetch_add(observed.malformed, Relaxed);
        if let Some(later) = observed.outdated_by {
            self.wire.outdated_by.send_replace(Some(later));
        }
        if !observed.changed {
            return;
        }
        let (remote, gone) = (Arc::new(self.peers.live()), Arc::new(self.peers.gone()));
        let before = self.views.snapshot();
        let telling: Vec<_> = remote
            .iter()
            .filter(|(name, node)| {
                let known = before.remote.get(*name);
                !known.is_some_and(|known| Arc::ptr_eq(&known.records, &node.records))
            })
            .map(|(_, node)| Arc::clone(node))
            .collect();
        let after = View {
            local: before.local.clone(),
            remote: Arc::clone(&remote),
            gone: Arc::clone(&gone),
            gaps: before.gaps.clone(),
        };
        let mut events = difference(&before, &after, &Watched::Everything)
            .into_iter()
            .peekable();
        while events.peek().is_some() {
            (self.events)(events.by_ref().take(EVENTS_AT_ONCE_MAX).collect());
            if events.peek().is_some() {
                yield_now().await;
            }
        }
        // Not the whole of it: there may have been joins here in the meantime.
        self.views.set_peers(remote, gone);
        self.views.adopt(&telling);
        // Only while there is progress, or two nodes with nothing new would keep asking.
        self.gossip_with(truncated);
    }

    fn contact_seeds(&self) {
        if self.peers.book.live().next().is_none() {
            self.gossip_with(self.peers.book.sample_seeds(&mut rand::rng()));
        }
    }

    fn contact_rejoin_candidate(&self) {
        self.gossip_with(self.peers.book.rejoin_candidate(&mut rand::rng()));
    }

    /// Gossips with these peers at once. That gossip may have ended is told by who watches it.
    fn gossip_with(&self, peers: impl IntoIterator<Item = SocketAddr>) {
        for peer in peers {
            let _ = self.handle.0.gossip(peer);
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The newest incarnation of each node in the gossip state except this one.
fn sightings(
    chitchat: &Chitchat,
    peers: &Peers,
    revoked: Option<&Revocations>,
    heard: &BTreeMap<NodeId, (NodeRun, Instant)>,
) -> Vec<Sighting> {
    let live: BTreeSet<&ChitchatId> = chitchat.live_nodes().collect();
    let own = chitchat.self_chitchat_id();
    let mut newest: Vec<(&ChitchatId, &NodeState)> = Vec::new();
    for (id, state) in chitchat.node_states().iter().filter(|(id, _)| *id != own) {
        match newest.last_mut() {
            // They are sorted by name, incarnation and address.
            Some(last) if last.0.node_id == id.node_id => *last = (id, state),
            _ => newest.push((id, state)),
        }
    }
    let sighting = |(id, state): (&ChitchatId, &NodeState)| {
        let known = peers.get(&id.node_id);
        let run = node_run(id, known)?;
        let known = known.filter(|peer| peer.run == run);
        let heard = heard.get(&run.node).filter(|(of, _)| *of == run);
        let is_revoked = revoked.is_some_and(|revoked| is_revoked(revoked, &run.node, state));
        Some(Sighting {
            is_revoked,
            heard: heard.map(|(_, at)| *at),
            run,
            heartbeat: state.heartbeat().into(),
            detected: live.contains(id),
            version: state.max_version(),
            changes: changes(state, known.map_or(0, |peer| peer.version)),
        })
    };
    newest.into_iter().filter_map(sighting).collect()
}

/// The run of this identity. None if it is not named like a node: such a one cannot have got a
/// certificate, and there is nothing to show of it.
fn node_run(id: &ChitchatId, known: Option<&Peer>) -> Option<NodeRun> {
    let node = match known {
        Some(peer) => peer.run.node.clone(),
        None => NodeId::parse(&id.node_id).ok()?,
    };
    let incarnation = Incarnation::new(id.generation_id);
    Some(NodeRun::new(node, incarnation, id.gossip_advertise_addr))
}

/// What changed in the state of a node since the version that is known.
fn changes(state: &NodeState, known: u64) -> Vec<(String, String)> {
    if known == state.max_version() {
        return Vec::new();
    }
    // A state that went back was begun again: all of it is new.
    let known = if known > state.max_version() {
        0
    } else {
        known
    };
    let values = state.key_values_including_deleted();
    values
        .filter(|(_, value)| value.version > known && !value.is_deleted())
        .map(|(key, value)| (key.into(), text(&value.value).into()))
        .collect()
}

/// Whether the certificate that this state of a node is sealed with is void.
fn is_revoked(revoked: &Revocations, node: &NodeId, state: &NodeState) -> bool {
    if revoked.revoked_at(node).is_none() {
        return false;
    }
    let value = state.get(CERTIFICATE_KEY);
    let validity = value.and_then(|value| shown_validity(text(value)));
    validity.is_none_or(|validity| revoked.is_revoked(node, validity.not_before()))
}

async fn changed_in(revoked: &mut Option<RevocationWatch>) {
    match revoked {
        Some(revoked) => {
            revoked.changed().await;
            // Should something else come first, it is noticed then.
            sleep(REVOKED_PAUSE).await;
        }
        None => pending().await,
    }
}

/// What cannot be signed is not told.
fn told(signed: Result<(), SignError>) {
    if let Err(error) = signed {
        let error: &dyn std::error::Error = &error;
        error!(error, "a change of this node is not told to its peers");
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// What telling a record of a topic is taken to cost.
const RECORD_BYTES: usize = 4_096;

/// Links of a revoked node are closed first, by who knows the reason to give.
const REVOKED_PAUSE: Duration = Duration::from_millis(50);

/// If gossip ends again within so long, something is broken that a new beginning does not mend.
const RESTART_AGAIN: Duration = Duration::from_secs(60);

/// How many events the sink is told before other tasks may run: some hundred microseconds of work.
const EVENTS_AT_ONCE_MAX: usize = 512;

/// The longest news that are told without being asked for: shorter than what may have been cut off.
const NEWS_BYTES_MAX: usize = 16_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_like_a_node_is_not_shown() {
        let id = |name: &str| ChitchatId::new(name, 3, ([10, 0, 0, 1], 1).into());
        assert_eq!(node_run(&id("Not A Node"), None), None);
        let run = node_run(&id("n1"), None).unwrap();
        assert_eq!((run.node.as_str(), run.incarnation.get()), ("n1", 3));
    }
}
