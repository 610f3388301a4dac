use std::time::Duration;

use rand::Rng;
use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tidings::{Authority, BroadcastError, Net, SubscribeError, Validity};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::agent::{self, Agent};
use crate::blame::Blame;
use crate::host::{Host, Site};
use crate::journal::{Journal, Line};
use crate::liar::LyingHost;
use crate::name;
use crate::network::{Network, Traffic};
use crate::note::{Note, Phase, Reach};
use crate::oracle::detection;
use crate::oracle::views::{Expected, told_differently};
use crate::plan::Plan;
use crate::seam::{HostNet, Life};
use crate::sometimes::Sometimes;
use crate::{blame, draw, seed};

/// How often the counters of all nodes are read.
const LOOK: Duration = Duration::from_millis(250);
/// How often views are compared with the truth, while they are to become it.
const COMPARE: Duration = Duration::from_millis(50);
/// How long messages under way have to arrive, before the end is judged.
const SETTLE: Duration = Duration::from_secs(4);
/// Who holds something of what may wait on a node has up to some KiB more than there is in it.
const WAITING_BYTES_ROUNDED: usize = 64 << 10;

/// A whole cluster: hosts with real nodes, the network among them, agents, and the plan of what is
/// to happen.
#[derive(Debug)]
pub struct World {
    pub(crate) seed: u64,
    pub(crate) site: Site,
    pub(crate) hosts: Vec<Host>,
    liars: Vec<LyingHost>,
    pub(crate) sometimes: Sometimes,
    pub(crate) random: ChaCha8Rng,
    /// When each host publishes next.
    publish_at: Vec<Instant>,
    /// When the counters are read next.
    look_at: Instant,
    booted_after: Option<Duration>,
    healed_after: Option<Duration>,
    _driving: DropGuard,
}

/// What came of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The invariant that did not hold, if any.
    pub violation: Option<String>,
    /// The hash over everything that happened: the same for the same seed and plan.
    pub hash: u64,
    /// How long the run took, in simulated time.
    pub simulated: Duration,
    /// How long it took until all views were the truth, from the first start on.
    pub booted_after: Option<Duration>,
    /// How long it took until all views were the truth, after the network was whole.
    pub healed_after: Option<Duration>,
    /// How often nodes took a live one for dead, in whatever phase.
    pub false_deaths: u64,
    /// How often they did before there was any cut.
    pub false_deaths_uncut: u64,
    /// What went over the wire.
    pub traffic: Traffic,
    /// Rare situations.
    pub sometimes: Sometimes,
    /// The trace, if it was to be kept.
    pub lines: Vec<Line>,
}

impl World {
    /// Runs a plan from its beginning to its end, or to the first violation. Must be called on a
    /// fresh thread with its own entropy, in a runtime of its own whose clock is paused.
    pub async fn run(seed: u64, plan: Plan, keep_lines: bool) -> anyhow::Result<Outcome> {
        let mut world = Self::new(seed, plan, keep_lines)?;
        world.boot().await?;
        world.chaos().await?;
        world.heal().await?;
        world.quiet().await;
        world.detection().await;
        world.phase(Phase::Done);
        Ok(world.outcome())
    }

    fn new(seed: u64, plan: Plan, keep_lines: bool) -> anyhow::Result<Self> {
        let nodes = plan.nodes;
        let liars = plan.liar.len();
        let network = Network::new(seed, nodes + liars);
        network.set(None, None, &plan.network);
        let token = CancellationToken::new();
        let driving = token
            .clone()
            .run_until_cancelled_owned(network.clone().drive());
        TaskTracker::new().spawn(driving);
        let journal = Journal::new(nodes, liars, keep_lines);
        let began = Instant::now();
        let clock = HostNet::new(network.clone(), 0, began, 0, Life::default());
        // Longer than any clock is off.
        let validity = Validity::starting(clock.unix_time(), Duration::from_secs(10 * 86_400))?;
        let authority = Authority::create(&"sim".parse()?, validity)?;
        Ok(Self {
            seed,
            hosts: (0..nodes).map(Host::new).collect(),
            liars: Vec::new(),
            random: seed::stream(seed, "world", &[]),
            publish_at: vec![began; nodes],
            look_at: began,
            sometimes: Sometimes::default(),
            booted_after: None,
            healed_after: None,
            site: Site {
                network,
                authority,
                plan,
                journal,
                began,
            },
            _driving: token.drop_guard(),
        })
    }

    /// Starts all hosts, and waits until they have found each other.
    async fn boot(&mut self) -> anyhow::Result<()> {
        self.phase(Phase::Boot);
        for host in 0..self.hosts.len() {
            self.start(host).await?;
            let pause = self.random.random_range(0..20);
            sleep(Duration::from_millis(pause)).await;
        }
        self.converge().await;
        self.booted_after = Some(self.site.journal.elapsed());
        Ok(())
    }

    /// Lets the events of the plan happen.
    async fn chaos(&mut self) -> anyhow::Result<()> {
        self.phase(Phase::Chaos);
        let began = Instant::now();
        for number in 0..self.site.plan.liar.len() {
            let liar = LyingHost::start(&self.site, self.seed, number)?;
            self.liars.push(liar);
        }
        for timed in self.site.plan.event.clone() {
            self.go_on_until(began + Duration::from_secs_f64(timed.at))
                .await;
            if self.is_over() {
                return Ok(());
            }
            self.apply(&timed.event).await?;
        }
        self.go_on_until(began + Duration::from_secs_f64(self.site.plan.chaos_s))
            .await;
        Ok(())
    }

    /// Makes the network whole, starts all hosts that are to run, and waits until the views agree.
    async fn heal(&mut self) -> anyhow::Result<()> {
        if self.is_over() {
            return Ok(());
        }
        self.phase(Phase::Healing);
        let liars = self.liars.iter().zip(&self.site.plan.liar);
        liars
            .filter(|(_, liar)| !liar.persists)
            .for_each(|(host, _)| host.fall_silent());
        self.site.network.heal();
        self.site
            .network
            .set(None, None, &self.site.plan.network.clone());
        for host in 0..self.hosts.len() {
            let is_down = self.site.plan.down.contains(&host);
            let own = &mut self.hosts[host];
            own.freeze(&self.site, false);
            if is_down || own.run().is_some_and(|run| run.expires.is_some()) {
                own.crash(&self.site);
            }
            // What a session that was cut off shows, one learns by reading on.
            own.run()
                .into_iter()
                .flat_map(|run| run.agents.values())
                .for_each(Agent::resume);
            if !is_down {
                own.start(&self.site, None).await?;
                self.restore_agents(host);
            }
        }
        self.sometimes
            .add("node stays down", self.site.plan.down.len() as u64);
        let began = Instant::now();
        self.converge().await;
        self.healed_after = Some(began.elapsed());
        // A link that is broken at one end may still swallow messages until it is given up.
        let idle_timeout = self.site.config(0).links.idle_timeout.get();
        self.go_on_until(began + idle_timeout + Duration::from_secs(1))
            .await;
        self.converge().await;
        Ok(())
    }

    /// Publishes while nothing goes wrong, waits until all has arrived, and judges the whole.
    async fn quiet(&mut self) {
        if self.is_over() || self.site.plan.lossy_quiet {
            return;
        }
        self.phase(Phase::Quiet);
        self.ask_everywhere();
        self.follow_everywhere();
        let until = Instant::now() + Duration::from_secs_f64(self.site.plan.quiet_s);
        if self.site.plan.rate > 0.0 {
            self.go_on_until(until).await;
        }
        self.site.plan.rate = 0.0;
        self.go_on_until(Instant::now() + SETTLE).await;
        self.look();
        self.look_at_links();
        self.explain_to_the_end().await;
        if !self.is_over() {
            self.site.journal.finish();
        }
    }

    /// Crashes a host, and waits until the others have noticed.
    async fn detection(&mut self) {
        if self.is_over() || !self.site.plan.detection {
            return;
        }
        let running: Vec<usize> = self
            .site
            .journal
            .truth(|t| t.running().map(|r| r.0).collect());
        let victim = running.into_iter().choose(&mut self.random);
        let Some(victim) = victim else { return };
        self.phase(Phase::Detection);
        self.hosts[victim].crash(&self.site);
        let bound = detection::detection_bound(&self.site.config(0));
        self.agree_within(bound, "detection").await;
    }

    /// Waits until all views are the truth, for as long as that may take.
    async fn converge(&mut self) {
        let bound = detection::healing_bound(&self.site.config(0), self.hosts.len());
        self.agree_within(bound, "views").await;
    }

    async fn agree_within(&mut self, bound: Duration, what: &str) {
        let deadline = Instant::now() + bound;
        while !self.is_over() {
            let Some(disagreement) = self.disagreement() else {
                return;
            };
            if Instant::now() >= deadline {
                let text = format!("{what}: after {bound:?}, {disagreement}");
                return self.site.journal.violate(text);
            }
            self.go_on_until(Instant::now() + COMPARE).await;
        }
    }

    /// Lets time pass: agents publish, and the counters are read now and then.
    async fn go_on_until(&mut self, until: Instant) {
        while !self.is_over() {
            let next = if self.site.plan.rate > 0.0 {
                self.publish_at.iter().min()
            } else {
                None
            };
            let next = next
                .copied()
                .unwrap_or(until)
                .min(Instant::now() + LOOK)
                .min(until);
            sleep_until(next).await;
            let now = Instant::now();
            if now >= until {
                return;
            }
            if self.look_at <= now {
                self.look();
                self.explain_something();
                self.look_at = now + LOOK;
            }
            for host in 0..self.hosts.len() {
                if self.site.plan.rate > 0.0 && self.publish_at[host] <= now {
                    self.publish_something(host);
                    let pause = self.random.random_range(0.5..1.5) / self.site.plan.rate;
                    self.publish_at[host] = now + Duration::from_secs_f64(pause);
                }
            }
        }
    }

    fn publish_something(&mut self, host: usize) {
        let plan = &self.site.plan;
        let number = self.random.random_range(0..plan.agents.max(1));
        let topic = draw::topic(self.random.random_range(0..plan.topics));
        let reach = match self.random.random_range(0..10) {
            0 => Reach::Others,
            1 => Reach::Local,
            _ => Reach::All,
        };
        let is_assured = plan.assured > 0.0 && self.random.random_bool(plan.assured);
        let (bytes, own) = (plan.payload_bytes, &mut self.hosts[host]);
        if own.is_frozen() {
            return;
        }
        self.restore_agents(host);
        let Some(run) = self.hosts[host].run_mut() else {
            return;
        };
        let Some(agent) = run.agent(&self.site, (host, number)) else {
            return;
        };
        let topic = topic.parse().expect("the workload's topics are topics");
        if is_assured {
            let acknowledged = self.random.random_bool(0.5);
            // Not all agents acknowledge. Otherwise it is waited for until links are back.
            let timeout_ms_max = if acknowledged { 3_000 } else { 20_000 };
            let timeout_ms = self.random.random_range(500..timeout_ms_max);
            return self.assure((host, number), &topic, bytes, (timeout_ms, acknowledged));
        }
        let published = agent.publish(&topic, bytes, reach, name::of);
        // A session that was cut off a moment ago refuses everything, which is no fault.
        if let Err(error) = published
            && error != BroadcastError::Ended
        {
            self.site
                .journal
                .violate(format!("host {host} refuses a message: {error}"));
        }
    }

    /// Starts a host with its agents. What is to expire does.
    pub(crate) async fn start(&mut self, host: usize) -> anyhow::Result<()> {
        let plan = &self.site.plan;
        let expires = plan.expiring.contains(&host);
        let good_for = expires.then(|| Duration::from_secs_f64(plan.certificate_s));
        self.hosts[host].start(&self.site, good_for).await?;
        self.restore_agents(host);
        Ok(())
    }

    /// Opens the agents of the workload that are not there, with what they subscribe to.
    pub(crate) fn restore_agents(&mut self, host: usize) {
        for number in 0..self.site.plan.agents {
            let wishes = agent::wishes(&self.site.plan, self.seed, host, number);
            let Some(run) = self.hosts[host].run_mut() else {
                return;
            };
            let known = run.agents.get(&number).map(Agent::session);
            let Some(agent) = run.agent(&self.site, (host, number)) else {
                continue;
            };
            if known == Some(agent.session()) {
                continue;
            }
            for wish in &wishes {
                self.sometimes
                    .add("wildcard member", u64::from(!wish.is_literal()));
                let subscribed = agent.subscribe(wish);
                if let Err(error) = subscribed
                    && !matches!(error, SubscribeError::Ended)
                {
                    self.site
                        .journal
                        .violate(format!("host {host} refuses a member: {error}"));
                }
            }
        }
    }

    /// Lets the oracles see the counters of all nodes.
    pub(crate) fn look(&self) {
        for Blame { node, why } in blame::take() {
            self.site.journal.note(Note::Blamed { node, why });
        }
        for host in &self.hosts {
            let Some(run) = host.run() else { continue };
            let stats = run.node.stats();
            self.site.journal.counted(host.number, &stats);
            let (waiting, max) = (stats.waiting_bytes, self.site.plan.waiting_bytes_max);
            if waiting > max + WAITING_BYTES_ROUNDED {
                self.site.journal.violate(format!(
                    "budget: {waiting} bytes wait on host {}, {max} may",
                    host.number
                ));
            }
        }
    }

    /// Lets the oracles see the links of all nodes.
    pub(crate) fn look_at_links(&self) {
        for host in &self.hosts {
            let Some(run) = host.run() else { continue };
            self.site.journal.linked(host.number, &run.node.links());
        }
    }

    fn disagreement(&self) -> Option<String> {
        let expected = self
            .site
            .journal
            .truth(|truth| Expected::of(truth, name::of));
        let runs = || {
            self.hosts
                .iter()
                .filter_map(|host| Some((host.number, host.run()?)))
        };
        let first = runs().next().map(|(_, run)| run.node.view());
        runs().find_map(|(host, run)| {
            let view = run.node.view();
            let wrong = expected.disagreement(&view);
            let differs = || told_differently(first.as_ref()?, &view);
            Some(format!("host {host} {}", wrong.or_else(differs)?))
        })
    }

    fn phase(&self, phase: Phase) {
        self.site.journal.note(Note::Phase { phase });
    }

    fn is_over(&self) -> bool {
        self.site.journal.violation().is_some()
    }

    fn outcome(mut self) -> Outcome {
        self.count_situations();
        let journal = &self.site.journal;
        let traffic = self.site.network.traffic();
        Outcome {
            violation: journal.violation(),
            hash: journal.hash(traffic.hash),
            simulated: journal.elapsed(),
            booted_after: self.booted_after,
            healed_after: self.healed_after,
            false_deaths: journal.truth(|truth| truth.false_deaths),
            false_deaths_uncut: journal.truth(|truth| truth.false_deaths_uncut),
            traffic,
            sometimes: std::mem::take(&mut self.sometimes),
            lines: journal.take_lines(),
        }
    }
}
