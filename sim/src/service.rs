//! What the events of a plan do that are about questions.

use std::collections::BTreeSet;
use std::time::Duration;

use tidings::{SubscribeError, Topic};

use crate::fault::Event;
use crate::host::Run;
use crate::note::Asking;
use crate::plan;
use crate::question::Question;
use crate::server::Server;
use crate::world::World;

impl World {
    /// What servers do, and who asks. On a host that stands still nobody does anything.
    pub(crate) fn service(&mut self, event: &Event) {
        match event {
            Event::Serve {
                host,
                server,
                topic,
                queue,
                passes_to,
            } => {
                let (site, own) = (&self.site, &mut self.hosts[*host]);
                if own.is_frozen() {
                    return;
                }
                let Some(Run {
                    node,
                    servers,
                    life,
                    ..
                }) = own.run_mut()
                else {
                    return;
                };
                let pattern = plan::pattern(topic);
                let queue = queue.as_ref().map(|queue| queue.parse());
                let queue = queue.map(|queue| queue.expect("a plan's queue groups were checked"));
                let place = (*host, SERVING + server);
                if !servers.contains_key(server) {
                    let passes_to = passes_to.as_deref().map(plan::topic);
                    let opened = Server::open(node, place, passes_to, life, &site.journal);
                    servers.extend(opened.ok().map(|opened| (*server, opened)));
                }
                let Some(server) = servers.get_mut(server) else {
                    return;
                };
                let subscribed = server.subscribe(&pattern, queue);
                if let Err(error) = subscribed
                    && !matches!(error, SubscribeError::Ended)
                {
                    let text = format!("host {host} refuses a member: {error}");
                    site.journal.violate(text);
                }
            }
            Event::Dismiss { host, server, dies } => {
                let own = &mut self.hosts[*host];
                if own.is_frozen() {
                    return;
                }
                let Some(Run { servers, .. }) = own.run_mut() else {
                    return;
                };
                if *dies {
                    servers.remove(server).into_iter().for_each(Server::die);
                } else if let Some(server) = servers.get_mut(server) {
                    server.unsubscribe();
                }
            }
            Event::Ask {
                host,
                topic,
                within_ms,
                asking,
            } => {
                let limit = Duration::from_millis(*within_ms);
                self.ask(*host, &plan::topic(topic), limit, *asking);
            }
            _ => self.listening(event),
        }
    }

    /// Asks on each topic of the plan's servers from some hosts, in all ways.
    pub(crate) fn ask_everywhere(&mut self) {
        let events = self.site.plan.event.iter();
        let served = events.filter_map(|timed| match &timed.event {
            Event::Serve { topic, .. } => topic.parse::<Topic>().ok(),
            _ => None,
        });
        let topics: BTreeSet<Topic> = served.collect();
        for topic in topics {
            for host in 0..self.hosts.len().min(ASKED_FROM) {
                for asking in [Asking::Request, Asking::Inbox, Asking::Gather] {
                    self.ask(host, &topic, LIMIT, asking);
                }
            }
        }
    }

    fn ask(&mut self, host: usize, topic: &Topic, limit: Duration, asking: Asking) {
        let own = &self.hosts[host];
        let Some(run) = own.run().filter(|_| !own.is_frozen()) else {
            return;
        };
        let question = Question {
            node: run.node.clone(),
            host,
            topic: topic.clone(),
            limit,
            asking,
            journal: self.site.journal.clone(),
        };
        run.life.spawn(question.ask());
    }
}

/// From here on servers are numbered among the agents of a host.
const SERVING: usize = 1_000;
/// From how many hosts all is asked in the end.
const ASKED_FROM: usize = 4;
/// And for how long answers are waited for.
const LIMIT: Duration = Duration::from_secs(2);
