use serde::{Deserialize, Serialize};
use tidings::{
    AgentName, Event, Incarnation, MemberId, Metadata, NodeId, NodeSummary, Pattern, QueueGroup,
    Scope,
};

/// What who watches is told: first a snapshot, in one part or several, and then what changes.
///
/// As a server-sent event it has the name that is its `event` here, and this, in JSON, as its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum WatchAnswer {
    /// How it is now. All parts belong to the same moment, and nothing else comes in between.
    Snapshot {
        /// The nodes that are live; all of them in the first part, none in the others.
        nodes: Vec<LiveAnswer>,
        /// Memberships of what is watched.
        members: Vec<MembershipAnswer>,
        /// Whether another part follows.
        more: bool,
    },
    /// A node is live. Its members follow.
    NodeUp(LiveAnswer),
    /// A node is no longer live, or not in this run. All its members were told as left.
    NodeDown {
        /// Its name.
        node: NodeId,
        /// Which run of it.
        incarnation: Incarnation,
        /// Whether it said goodbye. Otherwise it died, or cannot be reached.
        left: bool,
    },
    /// A membership was made.
    Joined(MembershipAnswer),
    /// A member that was there says something else of itself.
    Updated(MembershipAnswer),
    /// A membership has ended.
    Left {
        /// Its scope.
        scope: Scope,
        /// Its topic or pattern.
        topic: Pattern,
        /// Where it was.
        node: NodeId,
        /// Its id.
        member: MemberId,
    },
    /// Messages that were published on one node did not get to another.
    Gap {
        /// Where they were published.
        from: NodeId,
        /// Where they are missing.
        to: NodeId,
        /// How many; none when nobody can know.
        frames: Option<u64>,
    },
}

/// A node that is live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveAnswer {
    /// Its name.
    pub node: NodeId,
    /// Which run of it.
    pub incarnation: Incarnation,
}

/// A membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipAnswer {
    /// Its scope.
    pub scope: Scope,
    /// Its topic or pattern.
    pub topic: Pattern,
    /// Where it is.
    pub node: NodeId,
    /// Its id.
    pub member: MemberId,
    /// What its agent calls itself, if it says.
    pub agent: Option<AgentName>,
    /// What it says of itself besides; an empty object if nothing.
    #[serde(default)]
    pub metadata: Metadata,
    /// The queue group that it is in, if it is in one.
    #[serde(default)]
    pub queue: Option<QueueGroup>,
}

impl WatchAnswer {
    /// What is told of this event; none if there is no word for it.
    pub fn of(event: Event) -> Option<Self> {
        let run = |run: tidings::NodeRun| (run.node, run.incarnation);
        Some(match event {
            Event::NodeUp { run: up } => {
                let (node, incarnation) = run(up);
                Self::NodeUp(LiveAnswer { node, incarnation })
            }
            Event::NodeDown { run: down, left } => {
                let (node, incarnation) = run(down);
                Self::NodeDown {
                    node,
                    incarnation,
                    left,
                }
            }
            Event::Joined {
                scope,
                pattern,
                node,
                member,
                agent,
                metadata,
                queue,
            } => Self::Joined(MembershipAnswer {
                scope,
                topic: pattern,
                node,
                member,
                agent,
                metadata,
                queue,
            }),
            Event::Updated {
                scope,
                pattern,
                node,
                member,
                agent,
                metadata,
                queue,
            } => Self::Updated(MembershipAnswer {
                scope,
                topic: pattern,
                node,
                member,
                agent,
                metadata,
                queue,
            }),
            Event::Left {
                scope,
                pattern,
                node,
                member,
                ..
            } => Self::Left {
                scope,
                topic: pattern,
                node,
                member,
            },
            Event::Gap { from, to, frames } => Self::Gap { from, to, frames },
            _ => return None,
        })
    }

    /// The name of the server-sent event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Snapshot { .. } => "snapshot",
            Self::NodeUp(_) => "node-up",
            Self::NodeDown { .. } => "node-down",
            Self::Joined(_) => "joined",
            Self::Updated(_) => "updated",
            Self::Left { .. } => "left",
            Self::Gap { .. } => "gap",
        }
    }
}

impl LiveAnswer {
    /// Those of these nodes that are live.
    pub fn all(nodes: Vec<NodeSummary>) -> Vec<Self> {
        let live = nodes.into_iter().filter(|node| node.live);
        live.map(|node| Self {
            node: node.run.node,
            incarnation: node.run.incarnation,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_same_name_in_its_data() {
        let node: NodeId = "n1".parse().unwrap();
        let (incarnation, live) = (
            Incarnation::new(1),
            LiveAnswer {
                node: node.clone(),
                incarnation: Incarnation::new(1),
            },
        );
        let membership = MembershipAnswer {
            scope: Scope::default(),
            topic: "a.*".parse().unwrap(),
            node: node.clone(),
            member: MemberId::from_bytes([1; 16]),
            agent: None,
            metadata: Metadata::parse(r#"{"n":1}"#).unwrap(),
            queue: "workers".parse().ok(),
        };
        let MembershipAnswer {
            scope,
            topic,
            member,
            ..
        } = membership.clone();
        let all = [
            WatchAnswer::Snapshot {
                nodes: vec![live.clone()],
                members: vec![membership.clone()],
                more: false,
            },
            WatchAnswer::NodeUp(live),
            WatchAnswer::NodeDown {
                node: node.clone(),
                incarnation,
                left: true,
            },
            WatchAnswer::Joined(membership.clone()),
            WatchAnswer::Updated(membership),
            WatchAnswer::Left {
                scope,
                topic,
                node: node.clone(),
                member,
            },
            WatchAnswer::Gap {
                from: node.clone(),
                to: node,
                frames: None,
            },
        ];
        for answer in all {
            let text = serde_json::to_string(&answer).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["event"], answer.name(), "{text}");
            assert_eq!(serde_json::from_str::<WatchAnswer>(&text).unwrap(), answer);
        }
    }
}
