use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidings_identity::{Incarnation, NodeId, NodeRun};
use tidings_membership::{Membership, NodeSummary, Scope, Topic};
use tidings_transport::Transport;
use tokio::time::{Instant, timeout_at};

use super::{BOUNDS, Changes, Position};
use crate::Message;
use crate::asking::Asking;
use crate::everywhere::confirm;
use crate::question::{Question, Reply};

/// What a node says of the changes that may have been missed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recalled {
    /// A live node has told what was published on it.
    Changes {
        /// The node.
        node: NodeId,
        /// Its run.
        incarnation: Incarnation,
        /// Up to this number its changes are known now.
        number: u64,
        /// Its changes since the number that was known, each once, in the order in which they were last published.
        messages: Vec<Message>,
        /// Whether these are all. Otherwise it does not know any more, and anything may have changed.
        is_complete: bool,
    },
    /// A run is over that did not say goodbye, and what it has not told anybody is lost: anything may have changed.
    Gone {
        /// The node.
        node: NodeId,
        /// Its run.
        incarnation: Incarnation,
    },
    /// A run has said goodbye. It had told everything before, unless there was a [gap](tidings_membership::Event::Gap) of
    /// unknown size that it has not closed since.
    Left {
        /// The node.
        node: NodeId,
        /// Its run.
        incarnation: Incarnation,
    },
    /// A run cannot be reached, and may come back with its changes. Also one of which nothing is known yet.
    Missing {
        /// The node.
        node: NodeId,
        /// Its run.
        incarnation: Incarnation,
    },
    /// A live node has not answered in time. It may be asked again.
    Silent {
        /// The node.
        node: NodeId,
        /// Its run.
        incarnation: Incarnation,
    },
}

/// The answers of all nodes, as they come.
pub struct Recall {
    /// What is known without asking.
    known: VecDeque<Recalled>,
    open: Asking<Recalled>,
    asked: Vec<NodeRun>,
    until: Instant,
}

/// Where changes are recalled from.
pub(crate) struct Sources {
    pub(crate) changes: Arc<Changes>,
    pub(crate) membership: Membership,
    /// None of a node on its own.
    pub(crate) transport: Option<Transport>,
}

/// What is asked.
#[derive(Clone)]
struct Asked {
    scope: Scope,
    server: Topic,
    after: u64,
}

/// Asks all live nodes for what they published since this position.
pub(crate) fn recall(
    sources: Sources,
    scope: &Scope,
    server: &Topic,
    since: &Position,
    limit: Duration,
) -> Recall {
    let Sources {
        changes,
        membership,
        transport,
    } = sources;
    let nodes = membership.view().nodes();
    let own = recall_here(&changes, scope, server, since);
    let mut known: VecDeque<_> = own.into_iter().collect();
    let others = since
        .iter()
        .map(|(node, incarnation, _)| (node.clone(), incarnation));
    let is_here = |node: &NodeId, incarnation| changes.is(node, incarnation);
    let others = others.filter(|(node, incarnation)| !is_here(node, *incarnation));
    let newest = |node: &NodeId| {
        let newest = nodes.iter().find(|other| other.run.node == *node)?;
        Some(Newest {
            incarnation: newest.run.incarnation,
            live: newest.live,
            left: newest.left,
        })
    };
    known.extend(others.filter_map(|(node, incarnation)| {
        let newest = newest(&node);
        fate(newest.as_ref(), node, incarnation)
    }));
    let is_known = |run: &NodeRun| since.has(&run.node, run.incarnation);
    let missing = nodes
        .iter()
        .filter(|node| !node.live && !node.left && !is_known(&node.run));
    known.extend(missing.map(|node| Recalled::Missing {
        node: node.run.node.clone(),
        incarnation: node.run.incarnation,
    }));
    let (mut open, mut asked) = (Asking::default(), Vec::new());
    if let Some(transport) = transport {
        for NodeSummary { run, .. } in nodes.into_iter().filter(|node| node.live && !node.is_self) {
            asked.push(run.clone());
            let question = Asked {
                scope: scope.clone(),
                server: server.clone(),
                after: since.number(&run.node, run.incarnation),
            };
            let (transport, membership) = (transport.clone(), membership.clone());
            open.add(run.clone(), ask(transport, membership, run, question));
        }
    }
    Recall {
        known,
        open,
        asked,
        until: Instant::now() + limit,
    }
}

/// The newest run of a node.
struct Newest {
    incarnation: Incarnation,
    live: bool,
    left: bool,
}

impl Recall {
    /// What the next node says. None when all live nodes have said it, or were silent for too long. Nothing is lost when
    /// the call is cancelled.
    pub async fn next(&mut self) -> Option<Recalled> {
        if let Some(known) = self.known.pop_front() {
            return Some(known);
        }
        if let Ok(Some((run, recalled))) = timeout_at(self.until, self.open.next()).await {
            self.asked.retain(|asked| *asked != run);
            return Some(recalled);
        }
        let NodeRun {
            node, incarnation, ..
        } = self.asked.pop()?;
        Some(Recalled::Silent { node, incarnation })
    }
}

impl std::fmt::Debug for Recall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Recall");
        debug.field("asked", &self.asked).finish_non_exhaustive()
    }
}

fn recall_here(
    changes: &Changes,
    scope: &Scope,
    server: &Topic,
    since: &Position,
) -> Option<Recalled> {
    let (node, incarnation) = (changes.node.clone(), changes.incarnation);
    let after = since.number(&node, incarnation);
    let own = changes.since(scope, server, after, usize::MAX)?;
    Some(Recalled::Changes {
        node,
        incarnation,
        number: own.number,
        messages: messages(own.messages),
        is_complete: own.is_complete,
    })
}

/// What became of a run, if this is the newest of its node that was heard of. None if it is live.
fn fate(newest: Option<&Newest>, node: NodeId, incarnation: Incarnation) -> Option<Recalled> {
    match newest {
        Some(newest) if newest.incarnation > incarnation => {
            Some(Recalled::Gone { node, incarnation })
        }
        Some(newest) if newest.incarnation == incarnation && newest.live => None,
        Some(newest) if newest.incarnation == incarnation && newest.left => {
            Some(Recalled::Left { node, incarnation })
        }
        _ => Some(Recalled::Missing { node, incarnation }),
    }
}

/// Asks a node until it has said everything.
async fn ask(transport: Transport, membership: Membership, run: NodeRun, asked: Asked) -> Recalled {
    // What is published there later comes by itself only when that node knows who subscribes here.
    if let Some(version) = membership.written().await {
        confirm(transport.clone(), run.clone(), version).await;
    }
    let Asked {
        scope,
        server,
        mut after,
    } = asked;
    let (mut all, mut is_all, mut bytes) = (Vec::new(), true, 0);
    loop {
        let question = Question::Changes {
            scope: scope.clone(),
            server: server.clone(),
            after,
        };
        let reply = transport.ask(&run.node, run.incarnation, question.encode());
        let reply = reply.await.ok();
        let reply_bytes = reply.as_ref().map_or(0, Bytes::len);
        let reply = reply.and_then(|reply| Reply::decode(&reply));
        let has_more = match reply {
            Some(Reply::Changes(part)) => {
                let goes_on = part.has_more && part.number > after;
                after = part.number;
                is_all &= part.is_complete;
                bytes += reply_bytes;
                all.extend(messages(part.messages));
                // One that has more than it may keep is broken.
                let is_too_much = bytes > 2 * BOUNDS.bytes_max;
                is_all &= !is_too_much;
                goes_on && !is_too_much
            }
            // It keeps none, so it cannot say.
            Some(_) => {
                is_all = false;
                false
            }
            None => {
                tokio::time::sleep(ASK_AGAIN).await;
                true
            }
        };
        if !has_more {
            return Recalled::Changes {
                node: run.node,
                incarnation: run.incarnation,
                number: after,
                messages: all,
                is_complete: is_all,
            };
        }
    }
}

fn messages(parts: Vec<(Topic, Bytes)>) -> Vec<Message> {
    let parts = parts.into_iter();
    parts
        .map(|(topic, payload)| Message::new(topic, payload))
        .collect()
}

/// How long to wait before a question that was lost is asked anew.
const ASK_AGAIN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_run_that_cannot_be_asked_it_is_known_whether_it_may_come_back() {
        let fate = |newest: Option<(u64, bool, bool)>| {
            let newest = newest.map(|(incarnation, live, left)| Newest {
                incarnation: incarnation.into(),
                live,
                left,
            });
            fate(newest.as_ref(), "n1".parse().unwrap(), 7.into())
        };
        assert_eq!(fate(Some((7, true, false))), None);
        assert!(matches!(
            fate(Some((7, false, true))),
            Some(Recalled::Left { .. })
        ));
        for missing in [Some((7, false, false)), Some((6, true, false)), None] {
            assert!(matches!(fate(missing), Some(Recalled::Missing { .. })));
        }
        for (live, left) in [(true, false), (false, true), (false, false)] {
            assert!(matches!(
                fate(Some((8, live, left))),
                Some(Recalled::Gone { .. })
            ));
        }
    }
}
