//! What the events of a plan do.

use std::time::Duration;

use tidings::{
    AssuredOptions, BroadcastError, PresenceError, Scope, SubscribeError, Topic, TopicInfo, WaitFor,
};

use crate::agent::Agent;
use crate::fault::Event;
use crate::host::Run;
use crate::note::Note;
use crate::world::World;
use crate::{name, plan};

impl World {
    /// Lets an event happen.
    pub(crate) async fn apply(&mut self, event: &Event) -> anyhow::Result<()> {
        self.count_before(event);
        if event.is_fault() {
            // What has arrived so far can be told from what the fault may take.
            self.look_at_links();
            self.fault(event).await?;
            let event = toml::to_string(event)?.trim_end().replace('\n', ", ");
            let cut = self.site.network.is_cut();
            self.site.journal.note(Note::Fault { event, cut });
            return Ok(());
        }
        // Deeds of one moment are not seen by the other side before it has had time to see them.
        self.act(event);
        if let Err(wrong) = self.expect(event) {
            self.site.journal.violate(format!("expectation: {wrong}"));
        }
        Ok(())
    }

    async fn fault(&mut self, event: &Event) -> anyhow::Result<()> {
        let Self { site, hosts, .. } = self;
        match event {
            Event::Split { groups } => site.network.split(groups),
            Event::Isolate { host } => site.network.isolate(*host),
            Event::Rejoin { host } => site.network.rejoin(*host),
            Event::OneWay { from, to } => site.network.cut_one_way(*from, *to),
            Event::Heal => site.network.heal(),
            Event::Path {
                from,
                to,
                conditions,
            } => site.network.set(*from, *to, conditions),
            Event::Crash { host } => hosts[*host].crash(site),
            Event::Leave { host } => hosts[*host].leave(site),
            Event::Freeze { host } => hosts[*host].freeze(site, true),
            Event::Thaw { host } => hosts[*host].freeze(site, false),
            Event::Start { host } => self.start(*host).await?,
            _ => {}
        }
        Ok(())
    }

    /// What agents do. One on a host that stands still does nothing.
    fn act(&mut self, event: &Event) {
        match event {
            Event::Subscribe {
                host,
                agent,
                pattern,
                times,
            } => {
                let pattern = plan::pattern(pattern);
                let Some(agent) = self.agent(*host, *agent) else {
                    return;
                };
                for _ in 0..*times {
                    let subscribed = agent.subscribe(&pattern);
                    if let Err(error) = subscribed
                        && !matches!(error, SubscribeError::Ended)
                    {
                        let text = format!("host {host} refuses a member: {error}");
                        return self.site.journal.violate(text);
                    }
                }
            }
            Event::Update {
                host,
                agent,
                pattern,
                metadata,
            } => {
                let (pattern, metadata) = (plan::pattern(pattern), plan::metadata(metadata));
                let Some(agent) = self.agent(*host, *agent) else {
                    return;
                };
                let updated = agent.update(&pattern, &metadata);
                // Who is no member says nothing of itself.
                if let Err(error) = updated
                    && !matches!(error, PresenceError::Ended | PresenceError::NotSubscribed)
                {
                    let text = format!("host {host} refuses an update: {error}");
                    self.site.journal.violate(text);
                }
            }
            Event::Unsubscribe {
                host,
                agent,
                pattern,
                times,
            } => {
                let pattern = plan::pattern(pattern);
                let Some(agent) = self.agent(*host, *agent) else {
                    return;
                };
                (0..*times).for_each(|_| agent.unsubscribe(&pattern));
            }
            Event::Everywhere {
                host,
                agent,
                within_s,
            } => {
                let limit = Duration::from_secs_f64(*within_s);
                let Some(waiting) = self
                    .agent(*host, *agent)
                    .map(|agent| agent.everywhere(limit))
                else {
                    return;
                };
                if let Some(run) = self.hosts[*host].run() {
                    run.life.spawn(waiting);
                }
            }
            Event::Describe {
                host,
                topic,
                description,
            } => {
                let topic = plan::topic(topic);
                let own = &self.hosts[*host];
                let Some(run) = own.run().filter(|_| !own.is_frozen()) else {
                    return;
                };
                let info = TopicInfo {
                    description: Some(description.clone()).filter(|text| !text.is_empty()),
                    ..TopicInfo::default()
                };
                if let Err(error) = run.node.describe_topic(&Scope::default(), &topic, info) {
                    let text = format!("host {host} refuses what is told of {topic}: {error}");
                    self.site.journal.violate(text);
                }
            }
            Event::Die { host, agent } => {
                let is_frozen = self.hosts[*host].is_frozen();
                let run = self.hosts[*host].run_mut().filter(|_| !is_frozen);
                if let Some(agent) = run.and_then(|run| run.agents.remove(agent)) {
                    agent.die();
                }
                self.restore_agents(*host);
            }
            Event::Pause { host, agent } => self.set_reading(*host, *agent, false),
            Event::Resume { host, agent } => self.set_reading(*host, *agent, true),
            Event::Publish {
                host,
                agent,
                topic,
                times,
                bytes,
                reach,
                refused,
            } => {
                let topic = plan::topic(topic);
                let Some(agent) = self.agent(*host, *agent) else {
                    return;
                };
                for _ in 0..*times {
                    let published = agent.publish(&topic, *bytes, *reach, name::of);
                    let has_ended = matches!(published, Err(BroadcastError::Ended));
                    // A session that was cut off refuses everything, which is no fault.
                    if published.is_err() != *refused && !has_ended {
                        let text = format!("host {host} publishing on {topic}: {published:?}");
                        return self.site.journal.violate(text);
                    }
                }
            }
            Event::Assure {
                host,
                agent,
                topic,
                times,
                bytes,
                timeout_ms,
                acknowledged,
            } => {
                let topic = plan::topic(topic);
                for _ in 0..*times {
                    self.assure(
                        (*host, *agent),
                        &topic,
                        *bytes,
                        (*timeout_ms, *acknowledged),
                    );
                }
            }
            Event::Flood {
                host,
                agent,
                topic,
                times,
                bytes,
            } => {
                let topic = plan::topic(topic);
                if self.agent(*host, *agent).is_none() {
                    return;
                }
                let Some(run) = self.hosts[*host].run_mut() else {
                    return;
                };
                if let Some(agent) = run.agents.remove(agent) {
                    run.life.spawn(agent.flood(topic, *times, *bytes));
                }
            }
            Event::Write { .. } | Event::Follow { .. } => self.stream(event),
            _ => self.service(event),
        }
    }

    /// An agent publishes with assurance, for so long and to be acknowledged or not.
    pub(crate) fn assure(
        &mut self,
        (host, number): (usize, usize),
        topic: &Topic,
        bytes: usize,
        (timeout_ms, acknowledged): (u64, bool),
    ) {
        if self.agent(host, number).is_none() {
            return;
        }
        let options = AssuredOptions {
            timeout: Duration::from_millis(timeout_ms)
                .try_into()
                .expect("a plan has times that can be"),
            wait_for: match acknowledged {
                true => WaitFor::Acknowledged,
                false => WaitFor::Taken,
            },
        };
        let Some(Run { agents, life, .. }) = self.hosts[host].run_mut() else {
            return;
        };
        let Some(agent) = agents.get_mut(&number) else {
            return;
        };
        let published = agent.assure(topic, bytes, options, life);
        // The bounds of what may be open are no fault, nor is a session that was cut off.
        let is_bounded = |error: &BroadcastError| {
            matches!(
                error,
                BroadcastError::Ended
                    | BroadcastError::TooManyAssured { .. }
                    | BroadcastError::NoRoom
            )
        };
        if let Err(error) = published
            && !is_bounded(&error)
        {
            let text = format!("host {host} refuses an assured message: {error}");
            self.site.journal.violate(text);
        }
    }

    fn set_reading(&mut self, host: usize, agent: usize, reading: bool) {
        if let Some(agent) = self.hosts[host]
            .run()
            .and_then(|run| run.agents.get(&agent))
        {
            agent.set_reading(reading);
        }
    }

    fn agent(&mut self, host: usize, agent: usize) -> Option<&mut Agent> {
        if self.hosts[host].is_frozen() {
            return None;
        }
        self.hosts[host].run_mut()?.agent(&self.site, (host, agent))
    }
}
