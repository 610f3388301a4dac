//! What a scenario expects.

use tidings::{Metadata, Node, Scope};

use crate::agent::Agent;
use crate::fault::Event;
use crate::plan;
use crate::world::World;

impl World {
    /// Looks whether what an event says is so, if it is an expectation.
    pub(crate) fn expect(&self, event: &Event) -> Result<(), String> {
        let node = |host: usize| self.hosts[host].run().map(|run| &run.node);
        let each = |on: &[usize], what: &str, expected: usize, seen: &dyn Fn(&Node) -> usize| {
            on.iter().try_for_each(|host| match node(*host).map(seen) {
                Some(seen) if seen != expected => {
                    Err(format!("host {host} shows {seen} {what}, not {expected}"))
                }
                Some(_) => Ok(()),
                None => Err(format!("host {host} runs no node")),
            })
        };
        let truth_of = |host: usize, agent: usize| {
            let run = self.hosts[host].run();
            let session = run
                .and_then(|run| run.agents.get(&agent))
                .map(Agent::session);
            session.ok_or(format!("there is no agent {agent} on host {host}"))
        };
        match event {
            Event::ExpectMembers {
                on,
                scope,
                topic,
                members,
                saying,
            } => {
                let pattern = plan::pattern(topic);
                let what = match saying {
                    Some(saying) => format!("members of {topic} in {scope} that say {saying}"),
                    None => format!("members of {topic} in {scope}"),
                };
                let saying = saying.as_deref().map(plan::metadata);
                let seen = |node: &Node| {
                    let members = node.members(scope, &pattern).into_iter();
                    let is_one = |said: &Metadata| saying.as_ref().is_none_or(|own| own == said);
                    members.filter(|member| is_one(&member.metadata)).count()
                };
                each(on, &what, *members, &seen)
            }
            Event::ExpectTold {
                on,
                topic,
                description,
            } => {
                let of = plan::topic(topic);
                let told = |node: &Node| {
                    let record = node.topic_info(&Scope::default(), &of);
                    let told = record.and_then(|record| record.info.description.clone());
                    usize::from(told.unwrap_or_default() == *description)
                };
                each(on, &format!("times {description:?} of {topic}"), 1, &told)
            }
            Event::ExpectTopics { on, topics } => {
                each(on, "topics", *topics, &|node| node.topics().len())
            }
            Event::ExpectNodes { on, nodes } => {
                let live = |node: &Node| node.nodes().iter().filter(|seen| seen.live).count();
                each(on, "live nodes", *nodes, &live)
            }
            Event::ExpectReceived {
                host,
                agent,
                messages,
            } => {
                let session = truth_of(*host, *agent)?;
                let received = self
                    .site
                    .journal
                    .truth(|truth| truth.sessions[session].received);
                if received == *messages {
                    return Ok(());
                }
                Err(format!(
                    "agent {agent} of host {host} received {received}, not {messages}"
                ))
            }
            Event::ExpectOutcomes {
                host,
                agent,
                outcome,
                times,
            } => {
                let session = truth_of(*host, *agent)?;
                let counted = self.site.journal.truth(|truth| {
                    let outcomes = truth.outcomes.get(&(session, *outcome));
                    outcomes.copied().unwrap_or_default()
                });
                if counted == *times {
                    return Ok(());
                }
                Err(format!(
                    "of the assured messages of agent {agent} of host {host} {counted} are told as \
                     {outcome}, not {times}"
                ))
            }
            Event::ExpectMissed { host, agent, any } => {
                let session = truth_of(*host, *agent)?;
                let missed = self
                    .site
                    .journal
                    .truth(|truth| truth.sessions[session].missed);
                if (missed > 0) == *any {
                    return Ok(());
                }
                Err(format!("agent {agent} of host {host} missed {missed}"))
            }
            Event::ExpectEverywhere { host, agent, times } => {
                let session = truth_of(*host, *agent)?;
                let was = self
                    .site
                    .journal
                    .truth(|truth| truth.sessions[session].everywhere);
                if was == *times {
                    return Ok(());
                }
                Err(format!(
                    "the subscriptions of agent {agent} of host {host} were {was} times everywhere, not {times}"
                ))
            }
            Event::ExpectReplies {
                topic,
                ending,
                times,
            } => {
                let of = (plan::topic(topic), *ending);
                let ended = self.site.journal.truth(|truth| {
                    let ended = truth.endings.get(&of);
                    ended.copied().unwrap_or_default()
                });
                if ended == *times {
                    return Ok(());
                }
                Err(format!(
                    "{ended} questions on {topic} are {ending:?}, not {times}"
                ))
            }
            Event::ExpectOutboundFull { host } => {
                let transport = node(*host).and_then(|node| node.stats().transport);
                match transport.map_or(0, |transport| transport.dropped_outbound_full) {
                    0 => Err(format!("host {host} dropped nothing for a full queue")),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
