use serde::{Deserialize, Serialize};
use tidings::{Outcome, Scope};

use crate::conditions::Conditions;
use crate::note::{Asking, Ending, Finish, Reach};

/// Something that the plan of a run makes happen. What makes no sense at that moment, such as
/// crashing a host that runs nothing, does nothing; so any event can be left out of a plan.
///
/// Hosts and the agents on each are numbered from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// Splits the network into groups; hosts in none of them form one more.
    Split {
        /// The groups.
        groups: Vec<Vec<usize>>,
    },
    /// Cuts a host off from all others.
    Isolate {
        /// The host.
        host: usize,
    },
    /// Undoes that.
    Rejoin {
        /// The host.
        host: usize,
    },
    /// Lets nothing pass from one host to another; the way back stays open.
    OneWay {
        /// From this host.
        from: usize,
        /// To this one.
        to: usize,
    },
    /// Undoes all splits and cuts.
    Heal,
    /// Changes how paths behave: all of them; those of one host, if one end is given; or those from
    /// one to another.
    Path {
        /// One end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<usize>,
        /// The other.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<usize>,
        /// How they behave from now on.
        conditions: Conditions,
    },
    /// Ends a host's node without a word.
    Crash {
        /// The host.
        host: usize,
    },
    /// Starts a node on a host that runs none.
    Start {
        /// The host.
        host: usize,
    },
    /// Lets a host's node leave in good order.
    Leave {
        /// The host.
        host: usize,
    },
    /// Makes a host stand still.
    Freeze {
        /// The host.
        host: usize,
    },
    /// Lets it go on.
    Thaw {
        /// The host.
        host: usize,
    },
    /// Makes an agent a member, once or several times. It is there from its first subscription on.
    Subscribe {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
        /// Of what.
        pattern: String,
        /// How many memberships it makes.
        #[serde(default = "one")]
        times: usize,
    },
    /// Lets all memberships that an agent has of a pattern say something else of themselves.
    Update {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
        /// Of what.
        pattern: String,
        /// What they say, a JSON object.
        metadata: String,
    },
    /// Ends some memberships of an agent.
    Unsubscribe {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
        /// Of what.
        pattern: String,
        /// How many memberships it ends.
        #[serde(default = "one")]
        times: usize,
    },
    /// An agent waits until its subscriptions are in the routes of all other nodes.
    Everywhere {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
        /// For how many seconds at most.
        within_s: f64,
    },
    /// Ends an agent's session; the workload's agents open another one at once.
    Die {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
    },
    /// An agent no longer takes what it receives.
    Pause {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
    },
    /// It does so again.
    Resume {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
    },
    /// An agent publishes.
    Publish {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
        /// On which topic.
        topic: String,
        /// How many messages, one after the other.
        #[serde(default = "one")]
        times: usize,
        /// How long their payloads are at least, in bytes.
        #[serde(default)]
        bytes: usize,
        /// For whom.
        #[serde(default = "all")]
        reach: Reach,
        /// Whether the node must refuse it.
        #[serde(default)]
        refused: bool,
    },
    /// An agent publishes with assurance. Agents with even numbers acknowledge what they receive.
    Assure {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
        /// On which topic.
        topic: String,
        /// How many messages, one after the other.
        #[serde(default = "one")]
        times: usize,
        /// How long their payloads are at least, in bytes.
        #[serde(default)]
        bytes: usize,
        /// How long it waits at most, in milliseconds.
        timeout_ms: u64,
        /// Whether it waits for agents to acknowledge it.
        #[serde(default)]
        acknowledged: bool,
    },
    /// An agent publishes as fast as it is let: when it is asked to wait for room, it does. Then its
    /// session ends. It is another one than those of the workload.
    Flood {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
        /// On which topic.
        topic: String,
        /// How many messages.
        times: usize,
        /// How long their payloads are at least, in bytes.
        #[serde(default)]
        bytes: usize,
    },
    /// A server subscribes, and from then on answers each question that it receives. Servers and those
    /// who ask are in a scope of their own.
    Serve {
        /// Where the server is.
        host: usize,
        /// Its number.
        server: usize,
        /// To what it subscribes.
        topic: String,
        /// In which queue group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
        /// On which topic it passes all questions on, if it does not answer them itself. That is as it
        /// was when the server served first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        passes_to: Option<String>,
    },
    /// A server ends its memberships, and still answers what it has received.
    Dismiss {
        /// Where the server is.
        host: usize,
        /// Its number.
        server: usize,
        /// Whether its session ends as well.
        #[serde(default)]
        dies: bool,
    },
    /// Somebody asks a question.
    Ask {
        /// Where.
        host: usize,
        /// On which topic.
        topic: String,
        /// How long it waits at most, in milliseconds.
        within_ms: u64,
        /// In which way.
        #[serde(default = "request")]
        asking: Asking,
    },
    /// A host becomes a replica of an MCP server, and a client listens there for all resources.
    Listen {
        /// The host.
        host: usize,
    },
    /// It is published on a host that a resource of the server has changed.
    Change {
        /// The host.
        host: usize,
        /// Which resource.
        resource: u32,
    },
    /// Something is told of a topic, at the node of a host.
    Describe {
        /// The host.
        host: usize,
        /// Of what.
        topic: String,
        /// What; nothing any more, if it is empty.
        description: String,
    },
    /// Some hosts must tell this of a topic.
    ExpectTold {
        /// Those hosts.
        on: Vec<usize>,
        /// Of what.
        topic: String,
        /// What; nothing, if it is empty.
        description: String,
    },
    /// Some hosts must show so many members of a topic, or of exactly a pattern with wildcards.
    ExpectMembers {
        /// Those hosts.
        on: Vec<usize>,
        /// The scope.
        #[serde(default)]
        scope: Scope,
        /// The topic or pattern.
        topic: String,
        /// The number.
        members: usize,
        /// What each of them must say of itself, if that matters: a JSON object.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        saying: Option<String>,
    },
    /// Some hosts must show so many topics in all.
    ExpectTopics {
        /// Those hosts.
        on: Vec<usize>,
        /// The number.
        topics: usize,
    },
    /// Some hosts must show so many live nodes, themselves included.
    ExpectNodes {
        /// Those hosts.
        on: Vec<usize>,
        /// The number.
        nodes: usize,
    },
    /// Somebody on a host writes a stream.
    Write {
        /// The host.
        host: usize,
        /// As what others know it.
        stream: usize,
        /// How many chunks it has.
        chunks: u64,
        /// How long is waited after each.
        pause_ms: u64,
        /// How it ends.
        finish: Finish,
    },
    /// Somebody on a host follows the last stream that was begun under this number.
    Follow {
        /// The host.
        host: usize,
        /// The number.
        stream: usize,
        /// After how many chunks it begins.
        #[serde(default)]
        from: u64,
        /// How long it takes over each.
        #[serde(default)]
        pause_ms: u64,
    },
    /// What became of all assured messages that an agent has published must be so many times one thing.
    ExpectOutcomes {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
        /// What became of it.
        outcome: Outcome,
        /// With so many members, of all these messages.
        times: usize,
    },
    /// An agent must have received so many messages in its present session.
    ExpectReceived {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
        /// The number.
        messages: u64,
    },
    /// An agent must have been told that it missed messages, or that it missed none.
    ExpectMissed {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
        /// Whether it missed any.
        any: bool,
    },
    /// An agent's subscriptions must have been everywhere so often when it waited for that, in its
    /// present session.
    ExpectEverywhere {
        /// Where the agent is.
        host: usize,
        /// Its number.
        agent: usize,
        /// How often.
        times: u64,
    },
    /// So many questions on a topic must have ended in a way.
    ExpectReplies {
        /// The topic.
        topic: String,
        /// In which way.
        ending: Ending,
        /// The number.
        times: u64,
    },
    /// A host must have dropped messages because too many waited for a peer.
    ExpectOutboundFull {
        /// The host.
        host: usize,
    },
}

fn one() -> usize {
    1
}

fn request() -> Asking {
    Asking::Request
}

fn all() -> Reach {
    Reach::All
}

impl Event {
    /// Whether it is a fault: what else there is are deeds of agents and expectations.
    pub fn is_fault(&self) -> bool {
        let is_of_host = matches!(
            self,
            Self::Crash { .. }
                | Self::Start { .. }
                | Self::Leave { .. }
                | Self::Freeze { .. }
                | Self::Thaw { .. }
        );
        is_of_host || self.is_of_network()
    }

    /// Whether it is about the network, and so may name hosts of liars.
    pub fn is_of_network(&self) -> bool {
        matches!(
            self,
            Self::Split { .. }
                | Self::Isolate { .. }
                | Self::Rejoin { .. }
                | Self::OneWay { .. }
                | Self::Heal
                | Self::Path { .. }
        )
    }

    /// Whether it only says what must be so.
    pub fn is_expectation(&self) -> bool {
        matches!(
            self,
            Self::ExpectMembers { .. }
                | Self::ExpectTold { .. }
                | Self::ExpectTopics { .. }
                | Self::ExpectNodes { .. }
                | Self::ExpectReceived { .. }
                | Self::ExpectOutcomes { .. }
                | Self::ExpectMissed { .. }
                | Self::ExpectEverywhere { .. }
                | Self::ExpectReplies { .. }
                | Self::ExpectOutboundFull { .. }
        )
    }

    /// Every host that it names.
    pub fn hosts(&self) -> Vec<usize> {
        match self {
            Self::Heal | Self::ExpectReplies { .. } => Vec::new(),
            Self::Split { groups } => groups.concat(),
            Self::OneWay { from, to } => vec![*from, *to],
            Self::Path { from, to, .. } => from.iter().chain(to).copied().collect(),
            Self::ExpectMembers { on, .. }
            | Self::ExpectTold { on, .. }
            | Self::ExpectTopics { on, .. }
            | Self::ExpectNodes { on, .. } => on.clone(),
            Self::Publish {
                host,
                reach: Reach::Direct(to),
                ..
            } => vec![*host, *to],
            Self::Isolate { host }
            | Self::Rejoin { host }
            | Self::Crash { host }
            | Self::Start { host }
            | Self::Leave { host }
            | Self::Freeze { host }
            | Self::Thaw { host }
            | Self::Subscribe { host, .. }
            | Self::Update { host, .. }
            | Self::Describe { host, .. }
            | Self::Unsubscribe { host, .. }
            | Self::Everywhere { host, .. }
            | Self::Die { host, .. }
            | Self::Pause { host, .. }
            | Self::Resume { host, .. }
            | Self::Publish { host, .. }
            | Self::Assure { host, .. }
            | Self::Flood { host, .. }
            | Self::Serve { host, .. }
            | Self::Dismiss { host, .. }
            | Self::Ask { host, .. }
            | Self::Listen { host, .. }
            | Self::Change { host, .. }
            | Self::Write { host, .. }
            | Self::Follow { host, .. }
            | Self::ExpectReceived { host, .. }
            | Self::ExpectOutcomes { host, .. }
            | Self::ExpectMissed { host, .. }
            | Self::ExpectEverywhere { host, .. }
            | Self::ExpectOutboundFull { host } => vec![*host],
        }
    }
}
