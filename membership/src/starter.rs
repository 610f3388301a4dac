//! chitchat, as this node runs it: started, and begun anew should it end.

use std::sync::Arc;
use std::time::Duration;

use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use tidings_identity::{ClusterName, NodeRun};
use tokio::sync::{SetOnce, mpsc};
use tokio::time::timeout;

use crate::author::Author;
use crate::config::Config;
use crate::credentials::Keyring;
use crate::error::StartError;
use crate::guard::Guard;
use crate::pipe::Pipe;
use crate::socket::PipeTransport;
use crate::wire::Wire;

/// Starts chitchat for one run of this node.
pub(crate) struct Starter {
    config: Config,
    own: NodeRun,
    cluster: ClusterName,
    keyring: Keyring,
    author: Arc<Author>,
    wire: Arc<Wire>,
    /// The pipe, when chitchat does not have it.
    pipes: mpsc::Receiver<Pipe>,
    /// Where chitchat's socket puts it when it ends.
    back: mpsc::Sender<Pipe>,
}

impl Starter {
    pub(crate) fn new(
        config: Config,
        own: NodeRun,
        cluster: ClusterName,
        keyring: Keyring,
        pipe: Pipe,
        wire: Arc<Wire>,
    ) -> Result<Self, StartError> {
        let tick = config.interval.get() / BEATS;
        let author = Author::new(cluster.clone(), chitchat_id(&own), keyring.clone(), tick)?;
        let (back, pipes) = mpsc::channel(1);
        // There is room for it.
        let _ = back.try_send(pipe);
        Ok(Self {
            config,
            own,
            cluster,
            keyring,
            author: Arc::new(author),
            wire,
            pipes,
            back,
        })
    }

    /// Writes for this run.
    pub(crate) fn author(&self) -> Arc<Author> {
        Arc::clone(&self.author)
    }

    /// Starts chitchat. With one that has ended, it begins with what that one knew of this run, so that
    /// its peers notice nothing. What they have said they will say again.
    pub(crate) async fn start(
        &mut self,
        before: Option<&ChitchatHandle>,
    ) -> Result<ChitchatHandle, StartError> {
        let pipe = timeout(PIPE_BACK_MAX, self.pipes.recv()).await;
        let pipe = pipe.ok().flatten().ok_or(StartError::NoPipe)?;
        let state = Arc::new(SetOnce::new());
        let (run, keyring) = (chitchat_id(&self.own), self.keyring.clone());
        let guard = Guard::new(
            self.cluster.clone(),
            run.clone(),
            self.author.pulse(),
            keyring,
        );
        let (wire, back) = (self.wire.clone(), self.back.clone());
        let transport = PipeTransport::new(pipe, back, wire, guard, state.clone());
        let config = gossip_config(&self.config, &self.own, &self.cluster);
        let handle = spawn_chitchat(config, Vec::new(), &transport)
            .await
            .map_err(StartError::Gossip)?;
        if let Some(before) = before {
            let said = before.with_chitchat(|c| {
                let own = c.self_node_state();
                let values = own.key_values_including_deleted();
                let values = values.map(|(key, value)| (key.to_owned(), value.clone()));
                (values.collect::<Vec<_>>(), own.max_version())
            });
            let (mut values, version) = said.await;
            let restore = |c: &mut chitchat::Chitchat| {
                c.reset_node_state_if_update(&run, values.drain(..), version, 0);
            };
            handle.with_chitchat(restore).await;
        }
        let (author, buckets) = (&self.author, self.config.buckets.get());
        let begun = handle.with_chitchat(|c| author.begin(c.self_node_state(), buckets));
        begun.await.inspect_err(|_| handle.abort())?;
        // Nobody else sets it.
        let _ = state.set(handle.chitchat());
        Ok(handle)
    }
}

pub(crate) fn gossip_config(
    config: &Config,
    own: &NodeRun,
    cluster: &ClusterName,
) -> ChitchatConfig {
    let interval = config.interval.get();
    let dead_node_grace_period = config.dead_node_grace.get();
    let detector = FailureDetectorConfig {
        initial_interval: interval,
        // A longer interval would be remembered after a node was away, and delay the news of its
        // death for long.
        max_interval: interval * 5,
        dead_node_grace_period,
        ..FailureDetectorConfig::default()
    };
    ChitchatConfig {
        chitchat_id: chitchat_id(own),
        cluster_id: cluster.to_string(),
        gossip_interval: interval,
        listen_addr: own.addr,
        // The address book does what seeds would do here, and more.
        seed_nodes: Vec::new(),
        failure_detector_config: detector,
        marked_for_deletion_grace_period: dead_node_grace_period.mul_f64(1.5),
        catchup_callback: None,
        // Not of liveness: it says of what nodes chitchat keeps a copy of the whole state besides, for
        // who watches it. Here that is asked for nothing but when something has changed.
        extra_liveness_predicate: Some(Box::new(|_| false)),
    }
}

fn chitchat_id(run: &NodeRun) -> ChitchatId {
    ChitchatId::new(run.node.as_str(), run.incarnation.get(), run.addr)
}

/// How often a node's heart beats in an interval of gossip.
const BEATS: u32 = 10;

/// How long a socket that ends may take to give the pipe back.
const PIPE_BACK_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::sync::watch;
    use tokio::time::{sleep, timeout};
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::credentials::Credentials;
    use crate::guard::bench::{cluster, credentials, issue, run};
    use crate::guard::{text, write_chain};
    use crate::{Event, Handover, MemberId, Membership, Scope};

    type Inbox = mpsc::Sender<(NodeRun, Bytes)>;

    /// Nodes 1 and 2, and nobody else.
    async fn pair() -> [Membership; 2] {
        let channels = [1, 2].map(|n| (run(n, 1), mpsc::channel(1_000)));
        let inboxes = channels
            .each_ref()
            .map(|(run, (inbox, _))| (run.clone(), inbox.clone()));
        let [(one, (_, to_one)), (two, (_, to_two))] = channels;
        [
            member(1, one, to_one, inboxes.to_vec()).await,
            member(2, two, to_two, inboxes.to_vec()).await,
        ]
    }

    async fn member(
        n: u8,
        own: NodeRun,
        inbound: mpsc::Receiver<(NodeRun, Bytes)>,
        inboxes: Vec<(NodeRun, Inbox)>,
    ) -> Membership {
        let from = own.clone();
        let outbound = move |to, message| {
            let inbox = inboxes.iter().find(|(run, _)| run.addr == to);
            let sent = inbox.map(|(_, inbox)| inbox.try_send((from.clone(), message)));
            match sent {
                Some(Ok(())) => Handover::Sent,
                _ => Handover::Dropped,
            }
        };
        let pipe = Pipe {
            outbound: Arc::new(outbound),
            inbound: Box::new(inbound),
            blame: Box::new(|from, why| panic!("{from:?} is blamed for {why}")),
        };
        let seeds = watch::channel(vec![run(1, 1).addr, run(2, 1).addr]).1;
        let started = Membership::start(
            Config::default(),
            own,
            cluster(),
            Some(credentials(n)),
            pipe,
            seeds,
            Box::new(|_| ()),
            |task| drop(TaskTracker::new().spawn(task)),
            CancellationToken::new(),
        );
        started.await.unwrap()
    }

    fn join(membership: &Membership, topic: &str, n: u8) {
        let member = MemberId::from_bytes([n; 16]);
        let pattern = topic.parse().unwrap();
        membership
            .join(&Scope::default(), &pattern, member, None)
            .unwrap();
    }

    fn has(membership: &Membership, topic: &str) -> bool {
        let pattern = topic.parse().unwrap();
        !membership
            .view()
            .members(&Scope::default(), &pattern)
            .is_empty()
    }

    async fn until(what: impl Fn() -> bool) {
        let wait = async {
            while !what() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(5), wait).await.unwrap();
    }

    /// The next change that gossip brings to it makes its chitchat panic.
    async fn make_it_break(membership: &Membership) {
        let handle = membership.handle();
        let listen = |c: &mut chitchat::Chitchat| {
            let listener = c.subscribe_event("b/", |_| panic!("as it should"));
            listener.forever();
        };
        handle.with_chitchat(listen).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_gossip_is_noticed_by_nobody_but_the_log() {
        let [one, two] = pair().await;
        join(&one, "a", 1);
        join(&two, "b", 2);
        until(|| has(&one, "b") && has(&two, "a")).await;
        let (_, mut seen_by_one) = one.watch();
        let (_, mut seen_by_two) = two.watch();
        make_it_break(&two).await;
        join(&one, "c", 3);
        until(|| two.stats().restarts == 1).await;
        join(&two, "d", 4);
        until(|| has(&two, "c") && has(&one, "d")).await;
        sleep(Duration::from_secs(5)).await;
        join(&one, "e", 5);
        join(&two, "f", 6);
        until(|| has(&two, "e") && has(&one, "f")).await;
        for (watch, own) in [
            (&mut seen_by_one, ["c", "d", "e", "f"]),
            (&mut seen_by_two, ["c", "d", "e", "f"]),
        ] {
            let mut joined = Vec::new();
            while let Ok(Some(events)) = timeout(Duration::ZERO, watch.next()).await {
                for event in events {
                    match event {
                        Event::Joined { pattern, .. } => joined.push(pattern.to_string()),
                        other => panic!("{other:?}"),
                    }
                }
            }
            joined.sort();
            assert_eq!(joined, own);
        }
        assert!(timeout(Duration::from_secs(1), two.failed()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_renews_its_certificate_is_believed_by_the_new_one() {
        let [one, two] = pair().await;
        join(&two, "a", 1);
        join(&two, "b", 2);
        until(|| has(&one, "a") && has(&one, "b")).await;
        let identity = issue(2);
        two.renew(Credentials {
            signer: identity.signer(),
            ..credentials(2)
        });
        sleep(Duration::from_secs(1)).await;
        join(&two, "c", 3);
        until(|| has(&one, "c")).await;
        assert!(has(&one, "a") && has(&one, "b"));
        assert_eq!(one.stats().faults.total(), 0, "{:?}", one.stats().faults);
        let handle = one.handle();
        let shown = handle.with_chitchat(|c| {
            let state = c.node_state(&chitchat_id(&run(2, 1)));
            state.and_then(|state| state.get("cert").map(|value| text(value).to_owned()))
        });
        assert_eq!(shown.await, Some(write_chain(identity.signer().chain())));
    }

    #[tokio::test(start_paused = true)]
    async fn gossip_that_ends_again_within_a_minute_has_failed() {
        let [one, two] = pair().await;
        join(&one, "a", 1);
        until(|| has(&two, "a")).await;
        for n in 1..=2 {
            make_it_break(&two).await;
            join(&one, &format!("b{n}"), n);
            until(|| two.stats().restarts == 1).await;
        }
        let error = timeout(Duration::from_secs(5), two.failed()).await.unwrap();
        assert_eq!(error.to_string(), "gossip has ended by itself");
        assert!(timeout(Duration::from_secs(1), one.failed()).await.is_err());
    }
}
