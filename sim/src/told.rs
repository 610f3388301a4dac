use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use tidings::{Event, MemberId, Metadata, NodeId};

/// What the events of one watch add up to. What cannot be, as that somebody leaves who is not there,
/// is found.
#[derive(Debug, Default)]
pub struct Told {
    nodes: BTreeSet<NodeId>,
    /// What each member says of itself, on each node.
    members: BTreeMap<NodeId, BTreeMap<MemberId, Metadata>>,
    /// Who has left of a node that is up. Nobody makes the same membership twice.
    left: BTreeMap<NodeId, BTreeSet<MemberId>>,
}

impl Told {
    /// Nothing yet but that this node runs.
    pub fn new(own: NodeId) -> Self {
        Self {
            nodes: [own].into(),
            ..Self::default()
        }
    }

    /// Takes an event in. An error says why it cannot be.
    pub fn add(&mut self, event: &Event) -> Result<(), String> {
        let wrong = |why: &str| Err(format!("{why}: {event:?}"));
        match event {
            Event::Joined { pattern, .. } if pattern.as_str().starts_with("_INBOX.") => {
                return wrong("an inbox is shown");
            }
            Event::NodeUp { run } if !self.nodes.insert(run.node.clone()) => {
                return wrong("a node goes up that is up");
            }
            Event::NodeDown { run, .. } => {
                let members = self.members.remove(&run.node).unwrap_or_default();
                self.left.remove(&run.node);
                if !self.nodes.remove(&run.node) || !members.is_empty() {
                    return wrong("a node goes down that is not up, or has members");
                }
            }
            Event::Joined {
                node,
                member,
                metadata,
                ..
            } => {
                let left = self.left.get(node);
                if left.is_some_and(|left| left.contains(member)) {
                    return wrong("a member joins that has left, and cannot come back");
                }
                let members = self.members.entry(node.clone()).or_default();
                if members.insert(*member, metadata.clone()).is_some() {
                    return wrong("a member joins that is there");
                }
            }
            Event::Updated {
                node,
                member,
                metadata,
                ..
            } => {
                let members = self.members.get_mut(node);
                match members.and_then(|members| members.get_mut(member)) {
                    None => return wrong("a member is updated that is not there"),
                    Some(said) if said == metadata => return wrong("an update changes nothing"),
                    Some(said) => said.clone_from(metadata),
                }
            }
            Event::Left { node, member, .. } => {
                let members = self.members.get_mut(node);
                if members.and_then(|members| members.remove(member)).is_none() {
                    return wrong("a member leaves that is not there");
                }
                self.left.entry(node.clone()).or_default().insert(*member);
            }
            _ => {}
        }
        Ok(())
    }

    /// How many nodes run.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// How many members there are.
    pub fn members(&self) -> usize {
        self.members.values().map(BTreeMap::len).sum()
    }

    /// A number for what all members say of themselves.
    pub fn said(&self) -> u64 {
        said(
            self.members
                .values()
                .flatten()
                .map(|(id, said)| (*id, said)),
        )
    }
}

/// A number for what these members say of themselves, in whatever order.
pub fn said<'a>(members: impl Iterator<Item = (MemberId, &'a Metadata)>) -> u64 {
    let one = |said: (MemberId, &Metadata)| {
        let mut hasher = DefaultHasher::new();
        said.hash(&mut hasher);
        hasher.finish()
    };
    members.map(one).fold(0, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use tidings::Scope;

    use super::*;

    fn events(node: &NodeId) -> [Event; 3] {
        let (scope, pattern) = (Scope::default(), "a".parse().unwrap());
        let member = MemberId::from_bytes([1; 16]);
        let (agent, metadata) = (None, Metadata::parse(r#"{"n":1}"#).unwrap());
        let node = node.clone();
        let joined = Event::Joined {
            scope: scope.clone(),
            pattern,
            node: node.clone(),
            member,
            agent: agent.clone(),
            metadata: Metadata::default(),
            queue: None,
        };
        let updated = Event::Updated {
            scope: scope.clone(),
            pattern: "a".parse().unwrap(),
            node: node.clone(),
            member,
            agent,
            metadata,
            queue: None,
        };
        let left = Event::Left {
            scope,
            pattern: "a".parse().unwrap(),
            node,
            member,
            queue: None,
        };
        [joined, updated, left]
    }

    #[test]
    fn an_update_told_as_a_leave_and_a_join_is_found() {
        let node: NodeId = "n0".parse().unwrap();
        let [joined, updated, left] = events(&node);
        let mut told = Told::new(node.clone());
        assert!(told.add(&updated).is_err(), "nobody is there yet");
        told.add(&joined).unwrap();
        let before = told.said();
        told.add(&updated).unwrap();
        assert_ne!(told.said(), before);
        assert!(told.add(&updated).is_err(), "it changes nothing");
        told.add(&left).unwrap();
        assert!(told.add(&joined).is_err());
        assert_eq!((told.nodes(), told.members(), told.said()), (1, 0, 0));
    }
}
