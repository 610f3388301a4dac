use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tidings::{
    Authority, Config, Count, Event, GossipConfig, Identity, Limits, LinksConfig, MailboxConfig,
    Net, Node, NodeRun, NodeSummary, Time, Validity, Watch,
};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::TaskTracker;

use crate::agent::Agent;
use crate::journal::Journal;
use crate::name;
use crate::network::Network;
use crate::note::Note;
use crate::plan::Plan;
use crate::replica;
use crate::seam::{HostNet, Life};
use crate::server::Server;
use crate::told::Told;

/// How long certificates are good for that are not to expire.
const LONG: Duration = Duration::from_secs(86_400);
/// How many of the first hosts are seeds.
const SEEDS: usize = 3;

/// A machine of the cluster, on which one node at a time runs.
#[derive(Debug)]
pub struct Host {
    /// Its number.
    pub number: usize,
    run: Option<Run>,
    /// When the last one started.
    started: Option<Instant>,
    /// Knows the task in which a node leaves.
    leaving: TaskTracker,
}

/// One run of a node on a host.
#[derive(Debug)]
pub struct Run {
    /// The node.
    pub node: Node,
    /// The agents that were opened, by number.
    pub agents: BTreeMap<usize, Agent>,
    /// The servers, by number.
    pub servers: BTreeMap<usize, Server>,
    /// When its certificate expires, if it does.
    pub expires: Option<Instant>,
    /// What runs there.
    pub life: Life,
    /// What the node showed of the others when the host began to stand still.
    seen_before: Vec<NodeSummary>,
}

/// What all hosts of a run share.
#[derive(Debug)]
pub struct Site {
    /// The wire.
    pub network: Arc<Network>,
    /// Who certifies the nodes.
    pub authority: Authority,
    /// The plan.
    pub plan: Plan,
    /// Where everything is told.
    pub journal: Journal,
    /// When it began.
    pub began: Instant,
}

impl Site {
    /// How nodes are configured: the defaults of the product, except where the plan says otherwise.
    pub fn config(&self, host: usize) -> Config {
        let plan = &self.plan;
        let seeds = (0..SEEDS.min(plan.nodes)).filter(|seed| *seed != host);
        Config {
            listen: Network::addr(host),
            seeds: seeds.map(|seed| Network::addr(seed).into()).collect(),
            drain: Time::of_ms::<2_000>(),
            gossip: GossipConfig {
                dead_node_grace: Duration::from_secs_f64(plan.dead_node_grace_s)
                    .try_into()
                    .expect("plans have a grace of some seconds"),
                ..GossipConfig::default()
            },
            links: LinksConfig {
                outbound_bytes_max: plan
                    .outbound_bytes_max
                    .try_into()
                    .expect("a plan has what nodes can be told"),
                ..LinksConfig::default()
            },
            limits: Limits {
                payload_bytes_max: within(plan.payload_bytes_max),
                waiting_bytes_max: within(plan.waiting_bytes_max),
                ..Limits::default()
            },
            ..Config::default()
        }
    }
}

impl Host {
    /// A host on which nothing runs yet.
    pub fn new(number: usize) -> Self {
        Self {
            number,
            run: None,
            started: None,
            leaving: TaskTracker::new(),
        }
    }

    /// What runs on it, unless its node has begun to leave.
    pub fn run(&self) -> Option<&Run> {
        self.run.as_ref()
    }

    /// The same, to change it.
    pub fn run_mut(&mut self) -> Option<&mut Run> {
        self.run.as_mut()
    }

    /// Starts a node, once the one before has left, with a new certificate that is good for so long.
    /// Does nothing if one runs.
    pub async fn start(&mut self, site: &Site, good_for: Option<Duration>) -> anyhow::Result<()> {
        if self.run.is_some() {
            return Ok(());
        }
        self.leaving.close();
        self.leaving.wait().await;
        self.leaving.reopen();
        if let Some(started) = self.started {
            sleep_until(started + RESTART_MIN).await;
        }
        self.started = Some(Instant::now());
        let life = Life::default();
        let clock_off = site
            .plan
            .clocks_off_s
            .get(self.number)
            .copied()
            .unwrap_or_default();
        let network = site.network.clone();
        let net = HostNet::new(network, self.number, site.began, clock_off, life.clone());
        let validity = Validity::starting(net.unix_time(), good_for.unwrap_or(LONG))?;
        let name = name::of(self.number);
        let certificate = site.authority.issue(&name, validity)?;
        let ca = site.authority.certificate_pem();
        let identity = Identity::from_pem(ca, &certificate.certificate_pem, &certificate.key_pem)?;
        let config = site.config(self.number);
        let node = Node::start_on(config, Some(identity), Arc::new(net)).await;
        let node = node.with_context(|| format!("host {} does not start", self.number))?;
        let (host, incarnation) = (self.number, node.incarnation());
        site.journal.note(Note::Started { host, incarnation });
        let (_, watch) = node.watch();
        life.spawn(follow(watch, host, site.journal.clone()));
        let expires = good_for.map(|good_for| Instant::now() + good_for);
        self.run = Some(Run {
            node,
            agents: BTreeMap::new(),
            servers: BTreeMap::new(),
            expires,
            life,
            seen_before: Vec::new(),
        });
        Ok(())
    }

    /// Ends the node without a word: the network first, so that nothing is said on the way out.
    pub fn crash(&mut self, site: &Site) {
        let Some(run) = self.run.take() else { return };
        site.network.unplug(self.number);
        site.journal.note(Note::Crashed { host: self.number });
        run.life.token.cancel();
        run.node.token().cancel();
    }

    /// Lets the node leave in good order, which takes a while.
    pub fn leave(&mut self, site: &Site) {
        let Some(run) = self.run.take() else { return };
        // One who stands still cannot leave.
        run.life.gate.open();
        let host = self.number;
        site.journal.note(Note::Leaving { host });
        let network = site.network.clone();
        self.leaving.spawn(async move {
            run.node.leave().await;
            // What it said last is still on its way out.
            sleep(LINGER).await;
            run.life.token.cancel();
            network.unplug(host);
        });
    }

    /// Makes the host stand still, or lets it go on.
    pub fn freeze(&mut self, site: &Site, frozen: bool) {
        let Some(run) = &mut self.run else { return };
        if run.life.gate.is_shut() == frozen {
            return;
        }
        site.journal.note(Note::Frozen {
            host: self.number,
            frozen,
        });
        if frozen {
            run.life.gate.shut();
            run.seen_before = run.node.nodes();
        } else {
            if run.node.nodes() != run.seen_before {
                let host = self.number;
                let text = format!("freeze: the node on host {host} went on while it stood still");
                site.journal.violate(text);
            }
            run.life.gate.open();
        }
    }

    /// Whether it stands still.
    pub fn is_frozen(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.life.gate.is_shut())
    }
}

impl Run {
    /// The agent of this number, opened if it is not there, or no longer open.
    pub fn agent(&mut self, site: &Site, (host, agent): (usize, usize)) -> Option<&mut Agent> {
        let is_open = |agent: &Agent| {
            site.journal
                .truth(|truth| truth.sessions[agent.session()].open)
        };
        if !self.agents.get(&agent).is_some_and(is_open) {
            let plan = &site.plan;
            let is_last = plan.agents == 0 || agent + 1 >= plan.agents;
            let mailbox = MailboxConfig {
                messages_max: if is_last {
                    within(plan.mailbox_messages_max)
                } else {
                    Count::of::<65_536>()
                },
                overflow: plan.overflow,
                ..MailboxConfig::default()
            };
            let (life, journal) = (&self.life, &site.journal);
            let scope = plan.scope(agent).clone();
            let opened = Agent::open(&self.node, (host, agent), scope, mailbox, life, journal);
            let opened = opened.ok()?;
            self.agents.insert(agent, opened);
        }
        self.agents.get_mut(&agent)
    }
}

/// A number of the plan as a setting: the nearest one that there is.
fn within<const MIN: usize, const MAX: usize>(number: usize) -> Count<MIN, MAX> {
    let nearest = number.clamp(MIN, MAX);
    nearest.try_into().expect("it is clamped to the bounds")
}

/// Tells the journal whom a node takes to be up and down, and how much its view shows.
async fn follow(mut watch: Watch, on: usize, journal: Journal) {
    let mut told = Told::new(name::of(on));
    while let Some(events) = watch.next().await {
        for event in events {
            if replica::is_of_replicas(&event) {
                continue;
            }
            if let Err(wrong) = told.add(&event) {
                journal.violate(format!("monitor: on host {on}, {wrong}"));
            }
            match event {
                Event::NodeUp {
                    run:
                        NodeRun {
                            node, incarnation, ..
                        },
                } => {
                    let Some(host) = name::host(&node) else {
                        continue;
                    };
                    journal.note(Note::NodeUp {
                        on,
                        host,
                        incarnation,
                    });
                }
                Event::NodeDown {
                    run:
                        NodeRun {
                            node, incarnation, ..
                        },
                    ..
                } => {
                    let Some(host) = name::host(&node) else {
                        continue;
                    };
                    journal.note(Note::NodeDown {
                        on,
                        host,
                        incarnation,
                    });
                }
                Event::Gap { from, to, frames } => {
                    let (Some(from), Some(to)) = (name::host(&from), name::host(&to)) else {
                        continue;
                    };
                    journal.note(Note::Gap {
                        on,
                        from,
                        to,
                        frames,
                    });
                }
                _ => {}
            }
        }
        let (nodes, members) = (told.nodes(), told.members());
        journal.note(Note::View {
            on,
            nodes,
            members,
            said: told.said(),
        });
    }
}

/// No process starts, ends and starts again within less. Incarnations are told apart by the
/// millisecond.
const RESTART_MIN: Duration = Duration::from_millis(10);
/// How long quinn's tasks outlive a node that has left.
const LINGER: Duration = Duration::from_millis(50);
