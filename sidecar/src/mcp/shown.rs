//! What is shown of the view, by tools and by resources.

use tidings::{MemberId, NodeId, Pattern, Scope, Topic, View};

use super::results::{MembersResult, NodesResult, TopicResult, TopicsResult};

/// The nodes.
pub(super) fn nodes(view: &View) -> NodesResult {
    let nodes = view.nodes().into_iter();
    NodesResult {
        nodes: nodes.map(Into::into).collect(),
    }
}

/// So many topics of this scope, after this one.
pub(super) fn topics(
    view: &View,
    scope: &Scope,
    after: Option<&Pattern>,
    max: usize,
) -> TopicsResult {
    let mut topics = view.topics_in(scope, after, max + 1);
    let has_more = topics.len() > max;
    topics.truncate(max);
    let next = topics.last().filter(|_| has_more);
    TopicsResult {
        next: next.map(|last| last.pattern.to_string()),
        topics: topics
            .iter()
            .map(|topic| {
                let literal = Topic::try_from(&topic.pattern).ok();
                let record = literal.and_then(|literal| view.topic_info(scope, &literal));
                TopicResult::new(topic, record.as_deref())
            })
            .collect(),
    }
}

/// So many members of this, after this one.
pub(super) fn members(
    view: &View,
    scope: &Scope,
    pattern: &Pattern,
    after: Option<(NodeId, MemberId)>,
    max: usize,
) -> MembersResult {
    let mut members = view.members(scope, pattern);
    let total = members.len();
    if let Some((node, member)) = after {
        members.retain(|one| (&one.node, one.member) > (&node, member));
    }
    members.sort_unstable_by(|a, b| (&a.node, a.member).cmp(&(&b.node, b.member)));
    let has_more = members.len() > max;
    members.truncate(max);
    let next = members.last().filter(|_| has_more);
    MembersResult {
        total,
        next: next.map(|last| format!("{}/{}", last.node, last.member)),
        members: members.into_iter().map(Into::into).collect(),
    }
}
