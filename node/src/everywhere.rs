//! The barrier of subscriptions: until all other nodes have them in their routes.
//!
//! What this node has is written to its gossip state, at some version. Each live node is asked to say when
//! its routes have that state up to this version: it takes the state in by gossip as ever, and the
//! question adds nothing but the answer. A question that is lost with its link is asked anew. Who counts
//! is decided by the view: whoever is live in it, in whatever run, until all of them have said so.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidings_identity::NodeRun;
use tidings_membership::View;
use tidings_transport::Transport;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::asking::Asking;
use crate::question::{Question, Reply};

/// Some live nodes have not said that they have all subscriptions in their routes. They may have
/// them, and get them in any case, if they can be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not in the routes of {}", Listed(lacking))]
pub struct NotEverywhere {
    /// The nodes that have said so, by name.
    pub reached: Vec<NodeRun>,
    /// Those that have not, by name.
    pub lacking: Vec<Lacking>,
}

/// A node that has not said that it has all subscriptions in its routes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lacking {
    /// Which run of which node.
    pub run: NodeRun,
    /// Why not, as far as is known here.
    pub why: Lack,
}

/// Why a node has not said that it has all subscriptions in its routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lack {
    /// This node itself has not told them yet.
    Untold,
    /// There is no link to that node.
    NoLink,
    /// There is a link, and no answer came over it in time.
    NoAnswer,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untold => "not told yet",
            Self::NoLink => "no link",
            Self::NoAnswer => "no answer in time",
        })
    }
}

/// Names with reasons.
struct Listed<'a>(&'a [Lacking]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Lacking { run, why }) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{} ({why})", run.node)?;
        }
        Ok(())
    }
}

/// Waits until all live nodes have what is written, or for so long.
pub(crate) async fn everywhere(
    written: impl Future<Output = Option<u64>>,
    views: watch::Receiver<Arc<View>>,
    transport: Option<Transport>,
    limit: Duration,
) -> Result<Vec<NodeRun>, NotEverywhere> {
    let Some(transport) = transport else {
        return Ok(Vec::new());
    };
    let mut barrier = Barrier {
        transport,
        views,
        version: None,
        open: Asking::default(),
        reached: BTreeSet::new(),
    };
    match timeout(limit, barrier.all(written)).await {
        Ok(true) => Ok(barrier.reached.into_iter().collect()),
        _ => Err(barrier.give_up()),
    }
}

/// The nodes that are asked.
struct Barrier {
    transport: Transport,
    views: watch::Receiver<Arc<View>>,
    /// Of this node's gossip state, once it is known.
    version: Option<u64>,
    open: Asking<()>,
    reached: BTreeSet<NodeRun>,
}

impl Barrier {
    /// True once all have said so; false if that cannot be any more.
    async fn all(&mut self, written: impl Future<Output = Option<u64>>) -> bool {
        self.version = written.await;
        let Some(version) = self.version else {
            return false;
        };
        loop {
            self.follow_view(version);
            let Self {
                views,
                open,
                reached,
                ..
            } = self;
            tokio::select! {
                said = open.next() => match said {
                    Some((run, ())) => {
                        reached.insert(run);
                    }
                    None => return true,
                },
                changed = views.changed() => if changed.is_err() {
                    return false;
                },
            }
        }
    }

    /// Asks those who have come, and no more those who are gone: also who is back has to say it anew.
    fn follow_view(&mut self, version: u64) {
        let live = self.live();
        self.open.retain(|run| live.contains(run));
        self.reached.retain(|run| live.contains(run));
        for run in live {
            if !self.reached.contains(&run) && !self.open.has(&run) {
                let confirmation = confirm(self.transport.clone(), run.clone(), version);
                self.open.add(run, confirmation);
            }
        }
    }

    fn live(&mut self) -> BTreeSet<NodeRun> {
        let view = self.views.borrow_and_update();
        let nodes = view.nodes().into_iter();
        let live = nodes.filter(|node| node.live && !node.is_self);
        live.map(|node| node.run).collect()
    }

    fn give_up(mut self) -> NotEverywhere {
        let links = self.transport.links();
        let is_linked = |run: &NodeRun| {
            let up = links.iter().filter(|link| link.peer == run.node);
            up.filter_map(|link| link.up.as_ref())
                .any(|up| up.incarnation == run.incarnation)
        };
        let is_told = self.version.is_some();
        let live = self.live();
        let lacking = live.iter().filter(|run| !self.reached.contains(run));
        let lacking = lacking.map(|run| Lacking {
            run: run.clone(),
            why: match is_linked(run) {
                _ if !is_told => Lack::Untold,
                false => Lack::NoLink,
                true => Lack::NoAnswer,
            },
        });
        let lacking = lacking.collect();
        let reached = self.reached.into_iter();
        NotEverywhere {
            reached: reached.filter(|run| live.contains(run)).collect(),
            lacking,
        }
    }
}

/// Asks a node until it says that it has it.
pub(crate) async fn confirm(transport: Transport, run: NodeRun, version: u64) {
    let question = Question::Routes { version }.encode();
    loop {
        let asked = transport.ask(&run.node, run.incarnation, question.clone());
        let reply = asked.await.ok().and_then(|reply| Reply::decode(&reply));
        if reply == Some(Reply::Yes) {
            return;
        }
        sleep(ASK_AGAIN).await;
    }
}

/// How long to wait before a question that was lost is asked anew: about as long as a link takes to be
/// there again.
const ASK_AGAIN: Duration = Duration::from_millis(20);
