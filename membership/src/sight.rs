use serde::{Deserialize, Serialize};
use tidings_identity::{Incarnation, NodeId};
use tokio::time::Instant;

use crate::bucket::MemberEntry;
use crate::node_view::NodeView;
use crate::{Pattern, Scope, Topic};

/// What a view shows of a topic on one live node, in brief: enough to find out whether two views show
/// the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    /// The node.
    pub node: NodeId,
    /// Which run of it.
    pub incarnation: Incarnation,
    /// Up to which version of its gossip state it is known; 0 of the node whose view it is.
    pub version: u64,
    /// How many members there are.
    pub members: usize,
    /// The sum of a hash of each, so whatever their order: of its id, its agent's name, its metadata and its queue group.
    pub digest: u64,
}

/// Up to where a view knows a live node, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Known {
    /// All that it had at this version of its gossip state is shown.
    pub version: u64,
    /// When that was taken in.
    pub since: Instant,
}

impl Sight {
    pub(crate) fn of(node: &NodeView, scope: &Scope, pattern: &Pattern) -> Self {
        let members = members(node, scope, pattern);
        let hashes = members.iter().map(|member| hash(member));
        Self {
            node: node.run.node.clone(),
            incarnation: node.run.incarnation,
            version: node.version,
            members: members.len(),
            digest: hashes.fold(0, u64::wrapping_add),
        }
    }
}

/// Everyone on a node whom a broadcast on a topic reaches, or who subscribed to exactly a pattern with
/// wildcards.
pub(crate) fn members<'a>(
    node: &'a NodeView,
    scope: &Scope,
    pattern: &Pattern,
) -> Vec<&'a MemberEntry> {
    match Topic::try_from(pattern) {
        Ok(topic) => node.audience(scope, &topic),
        Err(_) => node.members(scope, pattern.as_str()),
    }
}

/// FNV-1a, 64 bits.
fn hash(member: &MemberEntry) -> u64 {
    let agent = member.agent.as_ref().map_or("", |agent| agent.as_str());
    let id = member.member.to_bytes().into_iter();
    let bytes = id.chain(agent.bytes()).chain([0]);
    let bytes = bytes.chain(member.metadata.as_json().bytes());
    let queue = member.queue.as_ref().map_or("", |queue| queue.as_str());
    let bytes = bytes.chain([0]).chain(queue.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use tidings_identity::NodeRun;

    use super::*;
    use crate::{AgentName, MemberId, Metadata};

    fn node(members: &[(u8, &str, &str)]) -> NodeView {
        let run = NodeRun::new("n0".parse().unwrap(), 1.into(), ([10, 0, 0, 1], 1).into());
        let mut node = NodeView::new(run, 4);
        for &(n, agent, metadata) in members {
            let entry = MemberEntry {
                member: MemberId::from_bytes([n; 16]),
                agent: AgentName::parse(agent).ok(),
                metadata: Metadata::parse(metadata).unwrap(),
                queue: None,
            };
            let pattern = if n.is_multiple_of(2) { "a.b" } else { "a.*" };
            let pattern = pattern.parse().unwrap();
            node.join(&Scope::default(), &pattern, entry, usize::MAX, 0)
                .unwrap();
        }
        node
    }

    #[test]
    fn two_sights_are_the_same_exactly_if_their_members_are() {
        let (scope, topic) = (Scope::default(), "a.b".parse().unwrap());
        let sight = |members: &[_]| Sight::of(&node(members), &scope, &topic);
        let known = sight(&[(1, "x", "{}"), (2, "y", "{}")]);
        assert_eq!(known.members, 2);
        assert_eq!(sight(&[(2, "y", "{}"), (1, "x", "{}")]), known);
        for other in [
            sight(&[(1, "x", "{}")]),
            sight(&[(1, "x", "{}"), (4, "y", "{}")]),
            sight(&[(1, "x", "{}"), (2, "z", "{}")]),
            sight(&[(1, "y", "{}"), (2, "x", "{}")]),
            sight(&[(1, "x", "{}"), (2, "y", r#"{"a":1}"#)]),
        ] {
            assert_ne!(other.digest, known.digest);
        }
        let pattern = "a.*".parse().unwrap();
        let of_pattern = Sight::of(&node(&[(1, "x", "{}"), (2, "y", "{}")]), &scope, &pattern);
        assert_eq!(of_pattern.members, 1, "who subscribed to just that");
        let nobody = Sight::of(&node(&[]), &scope, &topic);
        assert_eq!((nobody.members, nobody.digest), (0, 0));
    }
}
