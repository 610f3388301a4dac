//! Makes many memberships on many nodes, each a process, and tells what they cost: memory on every
//! node, processor time while nothing and while something changes, and how soon a new one is seen
//! on all nodes.
//!
//! It is no test and passes no judgement: its figures depend on the machine and on what else runs
//! there.

mod member;
mod nodes;
mod usage;
mod words;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use tikv_jemallocator::Jemalloc;
use tokio::time::{Instant, sleep};

use crate::member::PROBE;
use crate::nodes::Nodes;
use crate::words::{Command, Load, Reply, Usage};

/// The same as in the program `tidings`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Make many memberships on many nodes and tell what they cost
#[derive(Debug, Parser)]
#[command(name = "tidings-spread")]
struct Arguments {
    /// How many nodes
    #[arg(long, default_value_t = 10)]
    nodes: usize,
    /// Memberships of each node
    #[arg(long, default_value_t = 100_000)]
    memberships: usize,
    /// Topics of each node, the same on all
    #[arg(long, default_value_t = 10_000)]
    topics: usize,
    /// Agents of each node
    #[arg(long, default_value_t = 1_000)]
    agents: usize,
    /// How many memberships of each node are of one topic
    #[arg(long, default_value_t = 0)]
    of_one: usize,
    /// How long the names of agents are, in bytes; 0 for none
    #[arg(long, default_value_t = 20)]
    name_bytes: usize,
    /// How many buckets each node has [default: as many as by default]
    #[arg(long)]
    buckets: Option<usize>,
    /// How many joins to follow until all nodes have seen them
    #[arg(long, default_value_t = 100)]
    joins: usize,
    /// How many changes a second there are to be in the cluster, one run after the other
    #[arg(long, value_delimiter = ',', default_value = "0,10,100")]
    changes: Vec<u32>,
    /// For how many seconds processor time is measured
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Start one more node in the end, and tell how soon it has seen all
    #[arg(long)]
    late: bool,
    /// Be one of the nodes
    #[arg(long, hide = true)]
    member: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    if arguments.member {
        return runtime.block_on(member::serve());
    }
    runtime.block_on(measure(&arguments))
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let &Arguments {
        nodes,
        memberships,
        seconds,
        ..
    } = arguments;
    let mut cluster = Nodes::start(nodes, arguments.buckets).await?;
    cluster
        .ask_all(&Command::Wait {
            nodes,
            memberships: 0,
        })
        .await?;
    let empty = cluster.usage().await?;
    let load = Load {
        memberships,
        topics: arguments.topics,
        agents: arguments.agents,
        of_one: arguments.of_one,
        name_bytes: arguments.name_bytes,
    };
    println!("{nodes} nodes, each {load:?}");

    let begun = Instant::now();
    let mut refused = 0;
    for reply in cluster.ask_all(&Command::Load(load)).await? {
        let Reply::Loaded {
            seconds,
            refused: of_one,
            why,
        } = reply
        else {
            bail!("{reply:?} is not what a node has loaded");
        };
        refused += of_one;
        if let Some(why) = why {
            println!("refused {of_one}, in {seconds:.1} s: {why}");
        }
    }
    println!("loaded after {:.2?}, refused {refused}", begun.elapsed());
    let all = nodes * memberships - refused;
    cluster
        .ask_all(&Command::Wait {
            nodes,
            memberships: all,
        })
        .await?;
    println!("seen by all after {:.2?}", begun.elapsed());
    sleep(SETTLING).await;
    tell_memory("memory", &empty, &cluster.usage().await?, all);

    for &rate in &arguments.changes {
        let before = cluster.usage().await?;
        if rate == 0 {
            sleep(Duration::from_secs_f64(seconds)).await;
        } else {
            let per_second = f64::from(rate) / nodes as f64;
            cluster
                .ask_all(&Command::Change {
                    per_second,
                    seconds,
                })
                .await?;
        }
        tell_time(rate, &before, &cluster.usage().await?, seconds);
    }
    tell_joins(&mut cluster, arguments.joins).await?;
    tell_memory("memory in the end", &empty, &cluster.usage().await?, all);

    if arguments.late {
        let begun = Instant::now();
        cluster.start_one().await?;
        let memberships = all + arguments.joins;
        let wait = Command::Wait {
            nodes: nodes + 1,
            memberships,
        };
        if let Some(late) = cluster.all.last_mut() {
            late.ask(&wait).await?;
        }
        println!("one more node has seen all after {:.2?}", begun.elapsed());
    }
    Ok(())
}

async fn tell_joins(cluster: &mut Nodes, joins: usize) -> Result<()> {
    let mut slowest = Vec::new();
    let nodes = cluster.all.len();
    for number in 0..joins {
        let topic = format!("{PROBE}{number}");
        let joined = Command::Join {
            topic: topic.clone(),
        };
        let begun = at(cluster.all[number % nodes].ask(&joined).await?)?;
        let mut last = 0;
        for reply in cluster.ask_all(&Command::Seen { topic }).await? {
            last = last.max(at(reply)?);
        }
        slowest.push(last.saturating_sub(begun) as f64 / 1e6);
        sleep(BETWEEN_JOINS).await;
    }
    slowest.sort_by(f64::total_cmp);
    if let (Some(most), false) = (slowest.last(), slowest.is_empty()) {
        let part = |part: usize| slowest[(slowest.len() - 1) * part / 100];
        println!(
            "join seen by all: median {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, most {most:.1} ms",
            part(50),
            part(90),
            part(99)
        );
    }
    Ok(())
}

fn at(reply: Reply) -> Result<u64> {
    match reply {
        Reply::At { unix_ns } => Ok(unix_ns),
        other => bail!("{other:?} is no time"),
    }
}

fn tell_memory(what: &str, empty: &[Usage], full: &[Usage], all: usize) {
    let most = full
        .iter()
        .map(|usage| usage.resident_kib)
        .max()
        .unwrap_or(0);
    let peak = full.iter().map(|usage| usage.peak_kib).max().unwrap_or(0);
    let more: u64 = full
        .iter()
        .zip(empty)
        .map(|(full, empty)| full.resident_kib.saturating_sub(empty.resident_kib))
        .sum();
    let each = more as f64 * 1024.0 / full.len() as f64 / all.max(1) as f64;
    println!(
        "{what}: at most {} MiB a node, peak {} MiB, {each:.0} bytes for each membership in the cluster",
        most / 1024,
        peak / 1024
    );
}

fn tell_time(rate: u32, before: &[Usage], after: &[Usage], seconds: f64) {
    let spent = before
        .iter()
        .zip(after)
        .map(|(before, after)| after.cpu_ms - before.cpu_ms);
    let percent: Vec<f64> = spent.map(|ms| ms as f64 / seconds / 10.0).collect();
    let mean = percent.iter().sum::<f64>() / percent.len() as f64;
    let most = percent.iter().copied().fold(0.0, f64::max);
    let sent = before
        .iter()
        .zip(after)
        .map(|(before, after)| after.gossip_bytes_out - before.gossip_bytes_out);
    let sent = sent.sum::<u64>() as f64 / seconds / 1000.0 / after.len() as f64;
    println!(
        "{rate} changes a second: {mean:.2} % of a core a node, at most {most:.2} %, {sent:.1} kB/s of gossip sent by each"
    );
}

/// For what is still under way, and memory that is given back late.
const SETTLING: Duration = Duration::from_secs(12);
const BETWEEN_JOINS: Duration = Duration::from_millis(60);
