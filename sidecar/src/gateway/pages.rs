//! Parts of long lists, as clients ask for them by message.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tidings::{Count, MemberId, NodeId, Pattern, Scope, View};

use crate::answers::{MemberAnswer, TopicAnswer};

/// What may stand in the payload of a request for a list; nothing, too.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "A: Deserialize<'de>"))]
struct Part<A> {
    /// How many items at most.
    #[serde(default = "items")]
    limit: Count<1, 10_000>,
    /// The item that the part comes after: `next` of the answer before.
    after: Option<A>,
}

/// A member, as the place in the list where a part begins.
#[derive(Debug, Deserialize)]
struct Member {
    node: NodeId,
    member: MemberId,
}

/// What makes a part of the members of a topic, sorted by node and member.
pub(super) fn members(
    view: Arc<View>,
    scope: Scope,
    pattern: Pattern,
    payload: &[u8],
) -> Result<impl FnOnce() -> Value + Send + use<>, String> {
    let Part { limit, after } = read::<Member>(payload)?;
    Ok(move || {
        let mut members = view.members(&scope, &pattern);
        if let Some(Member { node, member }) = after {
            members.retain(|one| (&one.node, one.member) > (&node, member));
        }
        members.sort_unstable_by(|a, b| (&a.node, a.member).cmp(&(&b.node, b.member)));
        let is_last = members.len() <= limit.get();
        members.truncate(limit.get());
        let next = members.last().filter(|_| !is_last);
        let next = next.map(|last| json!({ "node": last.node, "member": last.member }));
        let members: Vec<_> = members.into_iter().map(MemberAnswer::from).collect();
        json!({ "members": members, "next": next })
    })
}

/// What makes a part of the topics of a scope, sorted.
pub(super) fn topics(
    view: Arc<View>,
    scope: Scope,
    payload: &[u8],
) -> Result<impl FnOnce() -> Value + Send + use<>, String> {
    let Part { limit, after } = read::<Pattern>(payload)?;
    Ok(move || {
        let mut topics = view.topics_in(&scope, after.as_ref(), limit.get() + 1);
        let is_last = topics.len() <= limit.get();
        topics.truncate(limit.get());
        let next = topics.last().filter(|_| !is_last);
        let next = next.map(|last| last.pattern.clone());
        let answer = |topic| TopicAnswer::new(topic, &view);
        let topics: Vec<_> = topics.into_iter().map(answer).collect();
        json!({ "topics": topics, "next": next })
    })
}

fn read<'a, A: Deserialize<'a>>(payload: &'a [u8]) -> Result<Part<A>, String> {
    let payload = if payload.is_empty() { b"{}" } else { payload };
    let part = serde_json::from_slice(payload);
    part.map_err(|error| format!("the payload is no request for a part of a list: {error}"))
}

fn items() -> Count<1, 10_000> {
    Count::of::<1_000>()
}
