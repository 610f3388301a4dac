use std::fmt;

use serde::{Deserialize, Serialize};
use tidings_bounds::Time;
use tidings_identity::NodeId;
use tidings_membership::{AgentName, MemberId};

/// How an assured message is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssuredOptions {
    /// How long its publisher waits at most, 1 ms to 10 min. Default 5 s.
    pub timeout: Time<1, 600_000>,
    /// What it waits for. Default [`WaitFor::Taken`].
    pub wait_for: WaitFor,
}

/// What the publisher of an assured message waits for with each member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitFor {
    /// That its mailbox has the message.
    #[default]
    Taken,
    /// That its agent [says so](crate::Acknowledger::acknowledge).
    Acknowledged,
}

/// What became of an assured message with one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// Its mailbox has the message, or had it. Whether the agent reads it, nobody has said. A mailbox
    /// that drops the oldest may still lose it, and so does one that is cut off.
    Taken,
    /// Its agent has acknowledged the message.
    Acknowledged,
    /// Its mailbox was full: the message was dropped, or the session cut off for it. Or its permissions do not
    /// let it have messages on that topic.
    Refused,
    /// It had ended its membership before the message came. So is told of a member, too, whose session
    /// ended so long ago that its node does not remember: 65,536 memberships that ended likewise.
    Left,
    /// Its session had ended before the message came, or ended before the agent acknowledged it.
    Died,
    /// Its node left, died, or was taken for dead, before it told more. A node that was only cut off may
    /// have the message, or get it yet.
    NodeLost,
    /// The publisher's time was over before anything was known. It may have the message, or get it yet.
    TimedOut,
}

/// What became of an assured message with a member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberOutcome {
    /// The node of the member.
    pub node: NodeId,
    /// The membership.
    pub member: MemberId,
    /// What its agent calls itself, if it says.
    pub agent: Option<AgentName>,
    /// What became of the message.
    pub outcome: Outcome,
}

/// What became of an assured message with every member that the publisher's node showed when it was
/// published, sorted by node and member.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcomes {
    /// What was waited for.
    pub wait_for: WaitFor,
    /// Each member once.
    pub members: Vec<MemberOutcome>,
}

impl Default for AssuredOptions {
    fn default() -> Self {
        Self {
            timeout: Time::of_ms::<5_000>(),
            wait_for: WaitFor::default(),
        }
    }
}

impl Outcomes {
    /// Whether what was waited for is so with each member: all have taken the message, or all have
    /// acknowledged it. It is if there are none.
    pub fn is_complete(&self) -> bool {
        let is_met = |member: &MemberOutcome| match member.outcome {
            Outcome::Acknowledged => true,
            Outcome::Taken => self.wait_for == WaitFor::Taken,
            _ => false,
        };
        self.members.iter().all(is_met)
    }

    /// With how many members that became of it.
    pub fn count(&self, outcome: Outcome) -> usize {
        let same = self.members.iter().filter(|own| own.outcome == outcome);
        same.count()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "taken",
            Self::Acknowledged => "acknowledged",
            Self::Refused => "refused",
            Self::Left => "left",
            Self::Died => "died",
            Self::NodeLost => "node lost",
            Self::TimedOut => "timed out",
        })
    }
}
