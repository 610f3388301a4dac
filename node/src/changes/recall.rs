use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tidings_identity::{Incarnation, NodeId, NodeRun};
use tidings_membership::{Membership, NodeSummary, Scope, Topic};
use tidings_transport::Transport;
use tokio::time::{Instant, sleep, timeout_at};

use super::{BOUNDS, Changes, Position, Since};
use crate::Message;
use crate::asking::Asking;
use crate::everywhere::confirm;
use crate::question::{Question, Reply};

/// What a node says of the changes that may have been missed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recalled {
    /// A live node has told what was published on it, or the next part of that.
    Changes {
        /// The node.
        node: NodeId,
        /// Its run.
        incarnation: Incarnation,
        /// Up to this number its changes are known now.
        number: u64,
        /// Those that were not known before, each once, in the order in which they were last published. None at a start.
        messages: Vec<Message>,
        /// Whether these are all. Otherwise it does not know any more, and anything may have changed.
        is_complete: bool,
        /// Whether it has more after that number, which it tells next, or else is [silent](Self::Silent).
        has_more: bool,
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
    /// A live node has not told everything in time. What it has told holds, and it may be asked for the rest again.
    Silent {
        /// The node.
        node: NodeId,
        /// Its run.
        incarnation: Incarnation,
    },
}

/// The answers of all nodes, as they come. Of each node no more than one is kept, in at most 64 KiB: it is asked for more
/// when that has been taken.
pub struct Recall {
    /// What is known without asking.
    known: VecDeque<Recalled>,
    open: Asking<(Recalled, Option<Asked>)>,
    /// Those who have not told everything yet.
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

/// A run that is asked, and how far it has answered.
struct Asked {
    run: NodeRun,
    source: Source,
    scope: Scope,
    server: Topic,
    /// Up to which number its changes are known. None at a start, when what was before is not wanted.
    after: Option<u64>,
    /// What its answers have taken so far.
    bytes: usize,
}

/// Where a run has its changes.
enum Source {
    Here(Arc<Changes>),
    There(Transport),
}

/// Asks all live nodes for what they published since this position.
pub(crate) fn recall(
    sources: Sources,
    scope: &Scope,
    server: &Topic,
    since: Option<&Position>,
    limit: Duration,
) -> Recall {
    let Sources {
        changes,
        membership,
        transport,
    } = sources;
    let nodes = membership.view().nodes();
    let newest = |node: &NodeId| {
        let newest = nodes.iter().find(|other| other.run.node == *node)?;
        Some(Newest {
            incarnation: newest.run.incarnation,
            live: newest.live,
            left: newest.left,
        })
    };
    let runs = since.into_iter().flat_map(Position::iter);
    let fates = runs.filter_map(|(node, incarnation, _)| {
        fate(newest(node).as_ref(), node.clone(), incarnation)
    });
    let mut known: VecDeque<_> = fates.collect();
    let is_known = |run: &NodeRun| since.is_some_and(|since| since.has(&run.node, run.incarnation));
    let missing = nodes
        .iter()
        .filter(|node| !node.live && !node.left && !is_known(&node.run));
    known.extend(missing.map(|node| Recalled::Missing {
        node: node.run.node.clone(),
        incarnation: node.run.incarnation,
    }));
    let (mut open, mut asked) = (Asking::default(), Vec::new());
    for node in nodes {
        let NodeSummary {
            run, is_self, live, ..
        } = node;
        let source = match &transport {
            _ if is_self => Source::Here(Arc::clone(&changes)),
            Some(transport) if live => Source::There(transport.clone()),
            _ => continue,
        };
        let first = Asked {
            run: run.clone(),
            source,
            scope: scope.clone(),
            server: server.clone(),
            after: since.map(|since| since.number(&run.node, run.incarnation)),
            bytes: 0,
        };
        asked.push(run.clone());
        open.add(run, first.begin(membership.clone()));
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
    /// What the next node says. None when all live nodes have said everything, or were silent for too long. Nothing is
    /// lost when the call is cancelled.
    pub async fn next(&mut self) -> Option<Recalled> {
        if let Some(known) = self.known.pop_front() {
            return Some(known);
        }
        if let Ok(Some((run, (recalled, rest)))) = timeout_at(self.until, self.open.next()).await {
            match rest {
                Some(rest) => self.open.add(run, rest.ask()),
                None => self.asked.retain(|asked| *asked != run),
            }
            return Some(recalled);
        }
        let silent = self.asked.pop()?;
        self.open.retain(|run| *run != silent);
        let NodeRun {
            node, incarnation, ..
        } = silent;
        Some(Recalled::Silent { node, incarnation })
    }
}

impl std::fmt::Debug for Recall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Recall");
        debug.field("asked", &self.asked).finish_non_exhaustive()
    }
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

impl Asked {
    /// Asks for the first time.
    async fn begin(self, membership: Membership) -> (Recalled, Option<Self>) {
        // What is published there later comes by itself only when that node knows who subscribes here.
        if let Source::There(transport) = &self.source
            && let Some(version) = membership.written().await
        {
            confirm(transport.clone(), self.run.clone(), version).await;
        }
        self.ask().await
    }

    /// Asks what comes next. With it comes whoever is to be asked for the rest, if there is more.
    async fn ask(self) -> (Recalled, Option<Self>) {
        // After a number that was never given there is nothing, and the last one is told.
        let after = self.after.unwrap_or(u64::MAX);
        let transport = match &self.source {
            Source::Here(changes) => {
                let answer = changes.since(&self.scope, &self.server, after);
                return self.take(answer, 0);
            }
            Source::There(transport) => transport,
        };
        let question = Question::Changes {
            scope: self.scope.clone(),
            server: self.server.clone(),
            after,
        };
        let question = question.encode();
        let NodeRun {
            node, incarnation, ..
        } = &self.run;
        loop {
            let reply = transport.ask(node, *incarnation, question.clone()).await;
            let reply = reply.ok().map(|body| (body.len(), Reply::decode(&body)));
            match reply {
                Some((bytes, Some(Reply::Changes(answer)))) => {
                    return self.take(Some(answer), bytes);
                }
                Some((bytes, Some(_))) => return self.take(None, bytes),
                _ => sleep(ASK_AGAIN).await,
            }
        }
    }

    /// Takes in an answer. None is of a node that keeps no changes, so it cannot say.
    fn take(mut self, answer: Option<Since>, bytes: usize) -> (Recalled, Option<Self>) {
        let answer = answer.unwrap_or_else(|| Since {
            number: self.after.unwrap_or(0),
            messages: Vec::new(),
            is_complete: false,
            has_more: false,
        });
        self.bytes += bytes;
        let goes_on = self.after.is_some_and(|after| answer.number > after);
        // One that has more than it may keep is broken.
        let may_go_on = goes_on && self.bytes <= 2 * BOUNDS.bytes_max;
        let has_more = answer.has_more && may_go_on;
        let messages = answer.messages.into_iter();
        let recalled = Recalled::Changes {
            node: self.run.node.clone(),
            incarnation: self.run.incarnation,
            number: answer.number,
            messages: messages
                .map(|(topic, payload)| Message::new(topic, payload))
                .collect(),
            is_complete: answer.is_complete && has_more == answer.has_more,
            has_more,
        };
        self.after = Some(answer.number);
        (recalled, has_more.then_some(self))
    }
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

    /// A run of which everything up to this number is known.
    fn asked(after: Option<u64>) -> Asked {
        let run: NodeRun =
            NodeRun::new("n1".parse().unwrap(), 7.into(), ([127, 0, 0, 1], 1).into());
        let changes = Changes::new(run.node.clone(), run.incarnation);
        Asked {
            run,
            source: Source::Here(Arc::new(changes)),
            scope: Scope::default(),
            server: "mcp.weather".parse().unwrap(),
            after,
            bytes: 0,
        }
    }

    fn since(number: u64, has_more: bool) -> Option<Since> {
        Some(Since {
            number,
            messages: Vec::new(),
            is_complete: true,
            has_more,
        })
    }

    /// Up to where its changes are known, whether they are all there, and whether it has more.
    fn told(recalled: &Recalled) -> (u64, bool, bool) {
        let Recalled::Changes {
            number,
            is_complete,
            has_more,
            ..
        } = *recalled
        else {
            panic!("{recalled:?}");
        };
        (number, is_complete, has_more)
    }

    #[test]
    fn whoever_has_more_is_asked_for_it_after_what_it_has_told() {
        let (recalled, rest) = asked(Some(5)).take(since(9, true), 10);
        assert_eq!(told(&recalled), (9, true, true));
        let rest = rest.unwrap();
        assert_eq!(rest.after, Some(9));
        let (recalled, rest) = rest.take(since(12, false), 10);
        assert_eq!((told(&recalled), rest.is_none()), ((12, true, false), true));
    }

    #[test]
    fn a_node_that_always_has_more_is_not_asked_without_end() {
        let (mut next, mut answers) = (Some(asked(Some(0))), 0);
        while let Some(asked) = next {
            answers += 1;
            let (recalled, rest) = asked.take(since(answers, true), 1 << 20);
            assert_eq!(told(&recalled), (answers, rest.is_some(), rest.is_some()));
            next = rest;
        }
        assert_eq!(answers, 33);
        // Nor one that does not come on.
        for after in [Some(9), Some(10), None] {
            let (recalled, rest) = asked(after).take(since(9, true), 10);
            assert_eq!((told(&recalled), rest.is_none()), ((9, false, false), true));
        }
    }

    #[test]
    fn a_node_that_keeps_no_changes_leaves_everything_open() {
        for (after, number) in [(Some(5), 5), (None, 0)] {
            let (recalled, rest) = asked(after).take(None, 1);
            assert_eq!(
                (told(&recalled), rest.is_none()),
                ((number, false, false), true)
            );
        }
    }
}
