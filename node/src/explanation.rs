//! What a node knows of a topic and how, and whether the others see the same.
//!
//! The others are asked, each over its link, for what their views show of the topic on each node, in brief
//! ([`Sight`]). What is told by gossip is not asked for, so nothing of it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tidings_identity::{Incarnation, NodeId, NodeRun};
use tidings_membership::{Member, Membership, NodeSummary, Pattern, Scope, Sight, View};
use tidings_transport::{AskError, LinkInfo, Transport};
use tokio::time::{Instant, timeout_at};

use crate::asking::Asking;
use crate::question::{Question, Reply};

/// What a node knows of a topic, how, and whether the others see the same.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Explanation {
    /// This node and all that it knows, by name.
    pub nodes: Vec<ExplainedNode>,
    /// What the view of each live node but this one shows, by name, as that node says.
    pub others: Vec<OtherView>,
}

/// What a node knows of a topic on one node, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExplainedNode {
    /// The node, its run that counts, and whether it is live.
    pub node: NodeSummary,
    /// Its [members](View::members) of the topic. None are shown of a node that is not live.
    pub members: Vec<Member>,
    /// Up to which version of its gossip state it is known: of this node, the one up to which it has told
    /// what it has. None if it is not live, or not all of it is known yet.
    pub version: Option<u64>,
    /// How long ago that was taken in. None of this node.
    pub age: Option<Duration>,
    /// How long ago the node itself was heard last, over its own link, and not by way of others.
    pub heard: Option<Duration>,
    /// The link that a message to it takes, and what was lost on the way. None of this node, and if it is
    /// no peer to be kept.
    pub link: Option<LinkInfo>,
}

/// What another node's view shows of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherView {
    /// The node.
    pub run: NodeRun,
    /// What it says.
    pub says: Testimony,
}

/// What another node says that it sees.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Testimony {
    /// The same members on the same nodes.
    Same,
    /// Something else on these nodes, by name. Where something has changed just now, one of the two has
    /// not learnt of it yet.
    Differs(Vec<Difference>),
    /// There is no link to it, so it could not be asked.
    NoLink,
    /// It did not answer in time, or does not answer such questions.
    NoAnswer,
}

/// Where two nodes see something else.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The node of which they do.
    pub node: NodeId,
    /// What this node sees there; none if it takes that node for gone.
    pub here: Option<Seen>,
    /// What the other node sees there; none if it takes that node for gone.
    pub there: Option<Seen>,
}

/// What is seen of a topic on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// Which run of the node.
    pub incarnation: Incarnation,
    /// Up to which version of its gossip state it is known; none of a node itself.
    pub version: Option<u64>,
    /// How many members it has. They may be as many on both sides, and not the same.
    pub members: usize,
}

/// Asks all live nodes, for so long.
pub(crate) async fn explain(
    membership: Membership,
    transport: Option<Transport>,
    scope: Scope,
    pattern: Pattern,
    limit: Duration,
) -> Explanation {
    let until = Instant::now() + limit;
    // The others cannot have what is not told yet.
    let told = timeout_at(until, membership.written()).await;
    let told = told.ok().flatten();
    let others = match &transport {
        Some(transport) => ask(&membership, transport, &scope, &pattern, until).await,
        None => Vec::new(),
    };
    let links = transport.as_ref().map(Transport::links);
    let links = links.unwrap_or_default().into_iter();
    let mut links: BTreeMap<_, _> = links.map(|link| (link.peer.clone(), link)).collect();
    let (view, heard, now) = (membership.view(), membership.heard(), Instant::now());
    let mut members: BTreeMap<NodeId, Vec<Member>> = BTreeMap::new();
    for member in view.members(&scope, &pattern) {
        let of_node = members.entry(member.node.clone()).or_default();
        of_node.push(member);
    }
    let explained = |node: NodeSummary| {
        let name = &node.run.node;
        let known = view.known(name);
        let heard = heard.get(name).filter(|(run, _)| *run == node.run);
        ExplainedNode {
            members: members.remove(name).unwrap_or_default(),
            version: match node.is_self {
                true => told,
                false => known.as_ref().map(|known| known.version),
            },
            age: known.map(|known| now.duration_since(known.since)),
            heard: heard.map(|(_, at)| now.duration_since(*at)),
            link: links.remove(name),
            node,
        }
    };
    Explanation {
        nodes: view.nodes().into_iter().map(explained).collect(),
        others,
    }
}

/// Asks each live node what it sees, and compares that with what is seen here.
async fn ask(
    membership: &Membership,
    transport: &Transport,
    scope: &Scope,
    pattern: &Pattern,
    until: Instant,
) -> Vec<OtherView> {
    let view = membership.view();
    let others = view.nodes().into_iter();
    let others = others.filter(|node| node.live && !node.is_self);
    let mut answers: BTreeMap<NodeRun, Answer> = others.map(|node| (node.run, None)).collect();
    let question = Question::Topic {
        scope: scope.clone(),
        pattern: pattern.clone(),
    };
    let question = question.encode();
    let mut asking = Asking::default();
    for run in answers.keys() {
        let (transport, question) = (transport.clone(), question.clone());
        let of = run.clone();
        asking.add(run.clone(), async move {
            transport.ask(&of.node, of.incarnation, question).await
        });
    }
    let before = seen_here(&view, scope, pattern);
    while let Ok(Some((run, answer))) = timeout_at(until, asking.next()).await {
        answers.insert(run, Some(answer));
    }
    let after = seen_here(&membership.view(), scope, pattern);
    let testimony = |answer: Answer| match answer {
        Some(Ok(answer)) => match Reply::decode(&answer) {
            Some(Reply::Sees { sights, is_all }) => compare(&before, &after, sights, is_all),
            _ => Testimony::NoAnswer,
        },
        Some(Err(AskError::NoLink)) => Testimony::NoLink,
        _ => Testimony::NoAnswer,
    };
    let other = |(run, answer)| OtherView {
        run,
        says: testimony(answer),
    };
    answers.into_iter().map(other).collect()
}

/// What came of asking a node, if anything.
type Answer = Option<Result<Bytes, AskError>>;

/// What a view shows, by node.
type Sights = BTreeMap<NodeId, Sight>;

fn seen_here(view: &View, scope: &Scope, pattern: &Pattern) -> Sights {
    by_node(view.sights(scope, pattern))
}

fn by_node(sights: impl IntoIterator<Item = Sight>) -> Sights {
    let sights = sights.into_iter();
    sights.map(|sight| (sight.node.clone(), sight)).collect()
}

/// Where what another node sees is neither what was seen here before it was asked nor what was afterwards.
/// Of nodes that it does not mention, nothing is known if it did not mention all.
fn compare(before: &Sights, after: &Sights, there: Vec<Sight>, is_all: bool) -> Testimony {
    let there = by_node(there);
    let nodes: BTreeSet<_> = after.keys().chain(there.keys()).collect();
    let differs = |node: &&NodeId| match there.get(*node) {
        None if !is_all => false,
        there => !same(before.get(*node), there) && !same(after.get(*node), there),
    };
    let difference = |node: &NodeId| Difference {
        node: node.clone(),
        here: after.get(node).map(Seen::from),
        there: there.get(node).map(Seen::from),
    };
    let different = nodes.into_iter().filter(differs);
    let differences: Vec<_> = different.map(difference).collect();
    match differences.is_empty() {
        true => Testimony::Same,
        false => Testimony::Differs(differences),
    }
}

fn same(here: Option<&Sight>, there: Option<&Sight>) -> bool {
    match (here, there) {
        (Some(here), Some(there)) => {
            let brief = |sight: &Sight| (sight.incarnation, sight.members, sight.digest);
            brief(here) == brief(there)
        }
        (here, there) => here.is_none() && there.is_none(),
    }
}

/// What this node sees, to tell another.
pub(crate) fn testify(view: &View, scope: &Scope, pattern: &Pattern) -> Reply {
    let mut sights: Vec<_> = view.sights(scope, pattern).take(SIGHTS_MAX + 1).collect();
    let is_all = sights.len() <= SIGHTS_MAX;
    sights.truncate(SIGHTS_MAX);
    Reply::Sees { sights, is_all }
}

impl From<&Sight> for Seen {
    fn from(sight: &Sight) -> Self {
        Self {
            incarnation: sight.incarnation,
            version: (sight.version > 0).then_some(sight.version),
            members: sight.members,
        }
    }
}

/// So many fit into an answer, however long their names are.
const SIGHTS_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(node: &str, version: u64, members: usize, digest: u64) -> Sight {
        Sight {
            node: node.parse().unwrap(),
            incarnation: 1.into(),
            version,
            members,
            digest,
        }
    }

    fn different(before: &[Sight], after: &[Sight], there: &[Sight], is_all: bool) -> Vec<String> {
        let (before, after) = (by_node(before.to_vec()), by_node(after.to_vec()));
        match compare(&before, &after, there.to_vec(), is_all) {
            Testimony::Same => Vec::new(),
            Testimony::Differs(nodes) => nodes.iter().map(|d| d.node.to_string()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_two_nodes_see_differs_exactly_where_members_or_runs_do() {
        let here = [
            sight("n0", 0, 2, 7),
            sight("n1", 5, 1, 3),
            sight("n2", 8, 0, 0),
        ];
        let [n0, n1, n2] = here.clone();
        let same = [sight("n0", 4, 2, 7), sight("n1", 0, 1, 3), n2.clone()];
        let against = |there: &[Sight]| different(&here, &here, there, true);
        assert!(against(&same).is_empty(), "they may know another version");
        assert_eq!(
            against(&[n0.clone(), sight("n1", 5, 1, 4), n2.clone()]),
            ["n1"]
        );
        assert_eq!(
            against(&[n0.clone(), n1.clone()]),
            ["n2"],
            "it takes n2 for gone"
        );
        let mut restarted = n1.clone();
        restarted.incarnation = 2.into();
        assert_eq!(against(&[n0.clone(), restarted, n2.clone()]), ["n1"]);
        let more = [&here[..], &[sight("n3", 1, 0, 0)]].concat();
        assert_eq!(against(&more), ["n3"], "it is gone here");
        assert!(different(&here, &here, &[n0, n1], false).is_empty());
    }

    #[test]
    fn what_changes_while_others_are_asked_is_no_difference() {
        let (old, new) = (sight("n1", 5, 1, 3), sight("n1", 6, 2, 9));
        let (before, after) = ([old.clone()], [new.clone()]);
        for there in [[old], [new]] {
            assert!(different(&before, &after, &there, true).is_empty());
        }
        assert_eq!(
            different(&before, &after, &[sight("n1", 7, 3, 8)], true),
            ["n1"]
        );
        assert!(
            different(&before, &[], &before, true).is_empty(),
            "it has gone just now"
        );
        assert!(different(&before, &[], &[], true).is_empty());
    }

    #[test]
    fn an_answer_about_very_many_nodes_is_no_longer_than_an_answer_may_be() {
        let name = |n: usize| format!("{n:0>63}");
        let sights = (0..SIGHTS_MAX).map(|n| sight(&name(n), u64::MAX, usize::MAX, u64::MAX));
        let sights = sights.map(|sight| Sight {
            incarnation: u64::MAX.into(),
            ..sight
        });
        let sights = sights.collect();
        let reply = Reply::Sees {
            sights,
            is_all: false,
        };
        assert!(reply.encode().len() <= 64 << 10);
        assert_eq!(Reply::decode(&reply.encode()), Some(reply));
    }
}
