use std::collections::{BTreeMap, BTreeSet};

use tidings::{Incarnation, MemberId, Metadata, NodeId, Pattern, Scope, Topic, View};

use crate::name;
use crate::replica;
use crate::truth::Truth;

/// What all views show once they are the truth.
#[derive(Debug)]
pub struct Expected {
    /// Who runs, and in which incarnation.
    nodes: BTreeSet<(NodeId, Incarnation)>,
    /// How many subscribed to each pattern of each scope.
    topics: BTreeMap<(Scope, Pattern), usize>,
    /// Whom each of them shows as its members.
    members: BTreeMap<(Scope, Pattern), BTreeSet<Shown>>,
}

/// A member, where it is and what it says of itself.
type Shown = (NodeId, MemberId, Metadata);

impl Expected {
    /// By the truth of this moment.
    pub fn of(truth: &Truth, name: impl Fn(usize) -> NodeId) -> Self {
        let names: Vec<NodeId> = (0..truth.hosts.len()).map(name).collect();
        let mut own: BTreeMap<_, BTreeSet<Shown>> = BTreeMap::new();
        for (number, member, pattern) in truth.members() {
            let session = &truth.sessions[number];
            let (node, topic) = (names[session.host].clone(), (&session.scope, pattern));
            let metadata = truth.metadata(number, member).clone();
            let shown = (node, member, metadata);
            own.entry(topic).or_default().insert(shown);
        }
        let shown = |scope: &Scope, pattern: &Pattern| -> BTreeSet<Shown> {
            let topic: Option<Topic> = pattern.as_str().parse().ok();
            let is_shown = |own: &Scope, other: &Pattern| match &topic {
                _ if own != scope => false,
                Some(topic) => other.matches(topic),
                None => other == pattern,
            };
            let shown = own.iter().filter(|((own, other), _)| is_shown(own, other));
            shown
                .flat_map(|(_, members)| members.iter().cloned())
                .collect()
        };
        Self {
            nodes: truth
                .running()
                .map(|(host, run)| (names[host].clone(), run))
                .collect(),
            topics: own
                .iter()
                .map(|(topic, own)| (owned(topic), own.len()))
                .collect(),
            members: own
                .keys()
                .map(|(scope, pattern)| (owned(&(*scope, *pattern)), shown(scope, pattern)))
                .collect(),
        }
    }

    /// In what a view is not the truth.
    pub fn disagreement(&self, view: &View) -> Option<String> {
        let live = view.nodes().into_iter().filter(|node| node.live);
        // Liars come and go as they like.
        let live = live.filter(|node| !name::is_liar(node.run.node.as_str()));
        let nodes = live
            .map(|node| (node.run.node, node.run.incarnation))
            .collect();
        if let Some(text) = compare("nodes", &self.nodes, &nodes) {
            return Some(text);
        }
        let topics: BTreeMap<(Scope, Pattern), usize> = view
            .topics()
            .into_iter()
            // Replicas are there as long as their hosts serve.
            .filter(|topic| topic.scope != replica::scope())
            .map(|topic| ((topic.scope, topic.pattern), topic.members))
            .collect();
        let pairs = |topics: &BTreeMap<_, usize>| topics.clone().into_iter().collect();
        if let Some(text) = compare("topics", &pairs(&self.topics), &pairs(&topics)) {
            return Some(text);
        }
        self.members
            .iter()
            .find_map(|((scope, pattern), expected)| {
                let members = view.members(scope, pattern).into_iter();
                let members = members
                    .map(|member| (member.node, member.member, member.metadata))
                    .collect();
                let what = format!("members of {pattern} in {scope}");
                compare(&what, expected, &members)
            })
    }
}

fn owned((scope, pattern): &(&Scope, &Pattern)) -> (Scope, Pattern) {
    ((*scope).clone(), (*pattern).clone())
}

/// In what two views tell something else of topics, which they do not once they are the truth: who set
/// it last can be told by those alone who know its stamp.
pub fn told_differently(one: &View, other: &View) -> Option<String> {
    let told = |view: &View| -> BTreeSet<String> {
        let topics = view.described_topics().into_iter();
        let records = topics.filter_map(|topic| {
            let of = topic.pattern.as_str().parse().ok()?;
            view.topic_info(&topic.scope, &of)
        });
        records.map(|record| format!("{record:?}")).collect()
    };
    compare("told of topics", &told(one), &told(other))
}

/// How many of what is wrong are told.
const TOLD_MAX: usize = 5;

fn compare<T: Ord + std::fmt::Debug>(
    what: &str,
    expected: &BTreeSet<T>,
    seen: &BTreeSet<T>,
) -> Option<String> {
    if expected == seen {
        return None;
    }
    let lacks: Vec<_> = expected.difference(seen).take(TOLD_MAX).collect();
    let wrong: Vec<_> = seen.difference(expected).take(TOLD_MAX).collect();
    Some(format!(
        "lacks the {what} {lacks:?} and shows wrongly {wrong:?}"
    ))
}
