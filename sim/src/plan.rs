use serde::{Deserialize, Serialize};
use tidings::{Metadata, Overflow, Pattern, QueueGroup, Scope, Topic};

use crate::conditions::Conditions;
use crate::fault::Event;
use crate::lie::Liar;

/// Everything that a run does, except for chance: what a scenario file holds, and what is drawn from
/// a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// What it shows, in a sentence.
    pub promise: String,
    /// The seed with which it is run if no other is given.
    pub seed: u64,
    /// Hosts; each runs a node. At least 1.
    pub nodes: usize,
    /// Agents on each host that subscribe and publish by themselves.
    pub agents: usize,
    /// How many topics they have among them.
    pub topics: usize,
    /// The scopes in which agents are, at least one: each agent in that whose place is its number, and
    /// from the first again when there are no more.
    pub scopes: Vec<Scope>,
    /// Messages that they publish on each host in a second.
    pub rate: f64,
    /// How long these messages are at least, in bytes.
    pub payload_bytes: usize,
    /// Which part of them is published with assurance.
    pub assured: f64,
    /// How the network is while no event has changed it.
    pub network: Conditions,
    /// How many seconds the events and what follows them go on.
    pub chaos_s: f64,
    /// How many seconds of quiet there are in the end.
    pub quiet_s: f64,
    /// Whether the network loses packets even in the quiet, so that a live node may well be taken for
    /// dead there, and messages be lost with its link.
    pub lossy_quiet: bool,
    /// Whether a host crashes in the quiet, to see how long the others take to notice.
    pub detection: bool,
    /// Hosts that do not run when the network has become whole. All others are started.
    pub down: Vec<usize>,
    /// Hosts whose certificates expire, and after how many seconds from their start. In the end
    /// they are started anew, with others.
    pub expiring: Vec<usize>,
    /// See there.
    pub certificate_s: f64,
    /// By how many seconds the wall clocks of the hosts are off; 0 for those not given.
    pub clocks_off_s: Vec<i64>,
    /// How many messages wait for the last agent of a host at most.
    pub mailbox_messages_max: usize,
    /// And what happens with more.
    pub overflow: Overflow,
    /// What may wait for a peer on a lane, in bytes.
    pub outbound_bytes_max: usize,
    /// The longest payload, in bytes.
    pub payload_bytes_max: usize,
    /// How many bytes may wait on a node.
    pub waiting_bytes_max: usize,
    /// For how long nodes remember dead ones, in seconds.
    pub dead_node_grace_s: f64,
    /// Members that lie, on hosts of their own. These are numbered on from those that run nodes.
    pub liar: Vec<Liar>,
    /// What happens, in order of time.
    pub event: Vec<Timed>,
}

/// An event and when it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// Seconds since all hosts had found each other.
    pub at: f64,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

/// Why a text is not a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not TOML, or not of this form.
    #[error("the plan cannot be read")]
    Toml(#[from] toml::de::Error),
    /// A value that cannot be.
    #[error("{0}")]
    Value(String),
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            promise: String::new(),
            seed: 1,
            nodes: 3,
            agents: 0,
            topics: 6,
            scopes: vec![Scope::default()],
            rate: 0.0,
            payload_bytes: 100,
            assured: 0.0,
            network: Conditions::default(),
            chaos_s: 10.0,
            quiet_s: 3.0,
            lossy_quiet: false,
            detection: false,
            down: Vec::new(),
            expiring: Vec::new(),
            certificate_s: 20.0,
            clocks_off_s: Vec::new(),
            mailbox_messages_max: 65_536,
            overflow: Overflow::DropNewest,
            outbound_bytes_max: 16 << 20,
            payload_bytes_max: 1 << 20,
            waiting_bytes_max: 256 << 20,
            dead_node_grace_s: 600.0,
            liar: Vec::new(),
            event: Vec::new(),
        }
    }
}

impl Plan {
    /// Reads a plan, and checks that its events name hosts and topics that can be.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let plan: Self = toml::from_str(text)?;
        let wrong = |what: String| Err(PlanError::Value(what));
        if plan.nodes == 0 || plan.topics == 0 {
            return wrong("there is at least one node and one topic".into());
        }
        if plan.scopes.is_empty() {
            return wrong("there is at least one scope".into());
        }
        for Timed { at, event } in &plan.event {
            let hosts = if event.is_of_network() {
                plan.nodes + plan.liar.len()
            } else {
                plan.nodes
            };
            if let Some(host) = event.hosts().into_iter().find(|host| *host >= hosts) {
                return wrong(format!("there is no host {host}, at {at} s"));
            }
            if !at.is_finite() || *at < 0.0 || *at > plan.chaos_s {
                return wrong(format!("{at} s is not within the time of events, chaos_s"));
            }
            if let Event::Update { metadata, .. }
            | Event::ExpectMembers {
                saying: Some(metadata),
                ..
            } = event
                && let Err(error) = Metadata::parse(metadata)
            {
                return wrong(format!("{metadata:?} at {at} s: {error}"));
            }
            if let Event::Serve {
                queue, passes_to, ..
            } = event
            {
                let is_queue = |queue: &String| queue.parse::<QueueGroup>().is_ok();
                let is_topic = |topic: &String| topic.parse::<Topic>().is_ok();
                if !queue.iter().all(is_queue) || !passes_to.iter().all(is_topic) {
                    return wrong(format!("{queue:?} or {passes_to:?} cannot be, at {at} s"));
                }
            }
            let text = match event {
                Event::Serve { topic, .. } => topic,
                Event::Subscribe { pattern, .. }
                | Event::Update { pattern, .. }
                | Event::Unsubscribe { pattern, .. } => pattern,
                Event::ExpectMembers { topic, .. } => topic,
                Event::Publish { topic, .. }
                | Event::Assure { topic, .. }
                | Event::Flood { topic, .. }
                | Event::Describe { topic, .. }
                | Event::Ask { topic, .. }
                | Event::ExpectReplies { topic, .. }
                | Event::ExpectTold { topic, .. }
                    if topic.parse::<Topic>().is_err() =>
                {
                    return wrong(format!("{topic:?} is no topic, at {at} s"));
                }
                _ => continue,
            };
            if text.parse::<Pattern>().is_err() {
                return wrong(format!("{text:?} is no pattern, at {at} s"));
            }
        }
        for Liar {
            rate, lying, lies, ..
        } in &plan.liar
        {
            let is_part = (0.0..=1.0).contains(lying);
            if !rate.is_finite() || *rate <= 0.0 || !is_part || lies.is_empty() {
                return wrong("a liar says something in some way, now and then".into());
            }
        }
        if !plan.event.is_sorted_by(|a, b| a.at <= b.at) {
            return wrong("events are not in order of time".into());
        }
        Ok(plan)
    }

    /// The plan as a scenario file holds it.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a plan has nothing that toml cannot hold")
    }

    /// The scope of the agents with this number.
    pub fn scope(&self, agent: usize) -> &Scope {
        &self.scopes[agent % self.scopes.len()]
    }

    /// When the last event happens, in seconds.
    pub fn last_event_s(&self) -> f64 {
        self.event.last().map_or(0.0, |timed| timed.at)
    }
}

/// A topic as a plan names it.
pub(crate) fn topic(text: &str) -> Topic {
    text.parse().expect("a plan's topics were checked")
}

/// A pattern as a plan names it.
pub(crate) fn pattern(text: &str) -> Pattern {
    text.parse().expect("a plan's patterns were checked")
}

/// What a plan lets members say of themselves.
pub(crate) fn metadata(json: &str) -> Metadata {
    json.parse().expect("a plan's metadata was checked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw;

    #[test]
    fn a_drawn_plan_survives_being_written_and_read() {
        for seed in 0..50 {
            let plan = draw::plan(seed, 7);
            assert_eq!(Plan::parse(&plan.to_toml()).unwrap(), plan, "seed {seed}");
        }
    }

    #[test]
    fn a_plan_that_names_what_is_not_there_is_refused() {
        let plan = |event: &str| Plan::parse(&format!("nodes = 2\n[[event]]\nat = 1.0\n{event}"));
        assert!(plan("do = 'crash'\nhost = 1").is_ok());
        assert!(plan("do = 'crash'\nhost = 2").is_err());
        assert!(plan("do = 'crush'\nhost = 1").is_err());
        assert!(plan("do = 'subscribe'\nhost = 0\nagent = 0\npattern = 'a..b'").is_err());
        let update = "do = 'update'\nhost = 0\nagent = 0\npattern = 'a'\nmetadata = ";
        assert!(plan(&format!("{update}'{{\"a\": 1}}'")).is_ok());
        assert!(plan(&format!("{update}'1'")).is_err());
    }
}
