//! One node in a process of its own, which does what it is told on its standard input.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tidings::{
    AgentName, Config, Count, Event, Identity, Inbox, MemberId, Net, Node, Pattern, Seed, Session,
    SessionOptions, SystemNet,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout};
use tokio::time::{Instant, interval, sleep};

use crate::usage;
use crate::words::{Command, Load, Reply};

/// Does what is asked until there is nothing more.
pub(crate) async fn serve() -> Result<()> {
    let mut lines = BufReader::new(stdin()).lines();
    let mut member = None;
    while let Some(line) = lines.next_line().await? {
        let reply = match answer(&mut member, serde_json::from_str(&line)?).await {
            Ok(reply) => reply,
            Err(error) => Reply::Failed {
                why: format!("{error:#}"),
            },
        };
        let line = serde_json::to_string(&reply)? + "\n";
        stdout().write_all(line.as_bytes()).await?;
        stdout().flush().await?;
    }
    Ok(())
}

async fn answer(member: &mut Option<Member>, command: Command) -> Result<Reply> {
    if let Command::Start {
        authority,
        certificate,
        key,
        seed,
        buckets,
    } = command
    {
        let identity = Identity::from_pem(&authority, &certificate, &key)?;
        let mut config = Config {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            seeds: seed.map(Seed::from).into_iter().collect(),
            ..Config::default()
        };
        if let Some(buckets) = buckets {
            config.gossip.buckets = Count::try_from(buckets)?;
        }
        let started = Member::start(Node::start(config, Some(identity)).await?)?;
        let addr = started.node.addr().context("the node has no address")?;
        *member = Some(started);
        return Ok(Reply::Started { addr });
    }
    let Some(member) = member else {
        bail!("the node was not started");
    };
    match command {
        Command::Load(load) => member.load(load).await,
        Command::Wait { nodes, memberships } => member.wait(nodes, memberships).await,
        Command::Join { topic } => member.join(&topic),
        Command::Seen { topic } => member.seen(&topic).await,
        Command::Change {
            per_second,
            seconds,
        } => member.change(per_second, seconds).await,
        Command::Usage => {
            let bytes_out = member.node.stats().membership.bytes_out;
            Ok(Reply::Usage(usage::of_this_process(bytes_out)?))
        }
        Command::Start { .. } => bail!("the node was started before"),
    }
}

struct Member {
    node: Node,
    // Held for their memberships.
    agents: Vec<(Session, Inbox)>,
    memberships: Vec<(usize, Pattern, MemberId)>,
    prober: (Session, Inbox),
    seen: Arc<Mutex<HashMap<String, u64>>>,
}

impl Member {
    fn start(node: Node) -> Result<Self> {
        let seen = Arc::new(Mutex::new(HashMap::new()));
        let (_, mut watch) = node.watch();
        let times = Arc::clone(&seen);
        node.spawn(async move {
            while let Some(events) = watch.next().await {
                let now = unix_ns();
                for event in events {
                    if let Event::Joined { pattern, .. } = event
                        && pattern.as_str().starts_with(PROBE)
                    {
                        let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
                        times.insert(pattern.to_string(), now);
                    }
                }
            }
        });
        Ok(Self {
            prober: node.session(SessionOptions::default())?,
            node,
            agents: Vec::new(),
            memberships: Vec::new(),
            seen,
        })
    }

    async fn load(&mut self, load: Load) -> Result<Reply> {
        let begun = Instant::now();
        let (mut refused, mut why) = (0, None);
        for number in 0..load.agents {
            let name = format!("{number:0>width$}", width = load.name_bytes);
            let agent = (load.name_bytes > 0).then(|| AgentName::parse(&name));
            let options = SessionOptions {
                agent: agent.transpose()?,
                ..SessionOptions::default()
            };
            self.agents.push(self.node.session(options)?);
        }
        let each = load.memberships.div_ceil(load.agents);
        for number in 0..load.memberships {
            let agent = number % load.agents;
            let topic = if number < load.of_one {
                "scale.of.one".to_owned()
            } else {
                let topic = (agent * each + number / load.agents) % load.topics;
                format!("scale.topic.{topic:05}")
            };
            let pattern = Pattern::parse(&topic)?;
            match self.agents[agent].0.subscribe(&pattern) {
                Ok(member) => self.memberships.push((agent, pattern, member)),
                Err(error) => {
                    refused += 1;
                    why.get_or_insert_with(|| format!("{:#}", anyhow::Error::from(error)));
                }
            }
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(Reply::Loaded {
            seconds: begun.elapsed().as_secs_f64(),
            refused,
            why,
        })
    }

    async fn wait(&self, nodes: usize, memberships: usize) -> Result<Reply> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let stats = self.node.stats().membership;
            if (stats.nodes_live, stats.memberships) == (nodes, memberships) {
                return Ok(Reply::Done);
            }
            sleep(Duration::from_millis(20)).await;
        }
        let stats = self.node.stats().membership;
        bail!("sees {stats:?}");
    }

    fn join(&self, topic: &str) -> Result<Reply> {
        let unix_ns = unix_ns();
        self.prober.0.subscribe(&topic.parse()?)?;
        Ok(Reply::At { unix_ns })
    }

    async fn seen(&self, topic: &str) -> Result<Reply> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let at = {
                let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.get(topic).copied()
            };
            if let Some(unix_ns) = at {
                return Ok(Reply::At { unix_ns });
            }
            sleep(Duration::from_millis(5)).await;
        }
        bail!("{topic} was not seen");
    }

    async fn change(&mut self, per_second: f64, seconds: f64) -> Result<Reply> {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let mut tick = interval(Duration::from_secs_f64(1.0 / per_second));
        let (mut at, mut gone) = (0, false);
        let count = self.memberships.len();
        while Instant::now() < end {
            tick.tick().await;
            let (agent, pattern, member) = &mut self.memberships[at];
            let session = &self.agents[*agent].0;
            if gone {
                *member = session.subscribe(pattern)?;
                at = (at + STRIDE) % count;
            } else {
                session.unsubscribe(*member)?;
            }
            gone = !gone;
        }
        if gone {
            let (agent, pattern, member) = &mut self.memberships[at];
            *member = self.agents[*agent].0.subscribe(pattern)?;
        }
        Ok(Reply::Done)
    }
}

fn unix_ns() -> u64 {
    u64::try_from(SystemNet.unix_time().as_nanos()).unwrap_or(u64::MAX)
}

/// What the topics begin with that are watched for.
pub(crate) const PROBE: &str = "probe.";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// So far apart are memberships that change one after the other, to be in different buckets.
const STRIDE: usize = 1_009;
