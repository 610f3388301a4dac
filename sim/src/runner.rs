use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;

use crate::plan::Plan;
use crate::world::{Outcome, World};
use crate::{entropy, seed};

/// What a run needs at the depth of its deepest calls, with room.
const STACK_BYTES: usize = 16 << 20;
/// What a run may have in memory in all, and for each node. Many times what they have, unless they are
/// a hundred, each of which knows all others; and little against what they would have if something in
/// them grew without bound.
const MEMORY_BYTES_MAX: u64 = 128 << 20;
const MEMORY_BYTES_MAX_PER_NODE: u64 = 20 << 20;
/// A run that takes longer than this, in real time, is stuck: so long in all, and for each node.
const REAL_TIME_MAX: Duration = Duration::from_secs(120);
const REAL_TIME_MAX_PER_NODE: Duration = Duration::from_secs(10);

/// What came of a run, and what it cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ran {
    /// What came of it.
    pub outcome: Outcome,
    /// The time that the processor spent on it.
    pub cpu: Duration,
    /// The most memory that its process had at a time, in bytes; 0 where the kernel does not say.
    pub memory_bytes: u64,
}

/// A run that is to be made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// The seed of all chance.
    pub seed: u64,
    /// What it does.
    pub plan: Plan,
    /// Whether its trace is wanted.
    pub keep_lines: bool,
}

/// Makes runs, each in a process of its own: a program that reads an order, calls [`here`] and
/// writes the result.
///
/// A process keeps what was made once, and counts some things (tokio, the runtimes, whose number
/// goes into the order in which it polls). So only the first run of a process is repeatable; and one
/// that gets stuck or brings its process down is a violation, and no more.
#[derive(Debug, Clone)]
pub struct Runner {
    program: PathBuf,
    arguments: Vec<String>,
}

impl Runner {
    /// With this program and these arguments.
    pub fn new(program: PathBuf, arguments: &[&str]) -> Self {
        Self {
            program,
            arguments: arguments.iter().map(ToString::to_string).collect(),
        }
    }

    /// Runs a plan with a seed. The same plan and seed give the same outcome, at any time.
    ///
    /// # Errors
    /// When the process did not give a result: it could not set the world up, panicked or got stuck.
    pub fn run(&self, seed: u64, plan: &Plan, keep_lines: bool) -> anyhow::Result<Ran> {
        let order = Order {
            seed,
            plan: plan.clone(),
            keep_lines,
        };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        let mut stdin = child.stdin.take().context("standard input was asked for")?;
        stdin.write_all(&serde_json::to_vec(&order)?)?;
        drop(stdin);
        let nodes = u32::try_from(plan.nodes)?;
        let limit = REAL_TIME_MAX + REAL_TIME_MAX_PER_NODE * nodes;
        let output = read_in_time(&mut child, limit)?;
        let status = child.wait()?;
        if !status.success() {
            bail!("panic: the process of the run ended with {status}");
        }
        let mut ran: Ran =
            serde_json::from_slice(&output).context("the process of the run gave no result")?;
        let bytes_max = MEMORY_BYTES_MAX + MEMORY_BYTES_MAX_PER_NODE * plan.nodes as u64;
        if ran.memory_bytes > bytes_max && !keep_lines {
            let text = format!(
                "memory: {} bytes were in use, {bytes_max} may",
                ran.memory_bytes
            );
            ran.outcome.violation.get_or_insert(text);
        }
        Ok(ran)
    }
}

fn read_in_time(child: &mut Child, limit: Duration) -> anyhow::Result<Vec<u8>> {
    let mut stdout = child
        .stdout
        .take()
        .context("standard output was asked for")?;
    let (done, output) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.read_to_end(&mut bytes);
        // Nobody listens any more if it came too late.
        let _ = done.send(read.map(|_| bytes));
    });
    match output.recv_timeout(limit) {
        Ok(output) => Ok(output?),
        Err(_) => {
            child.kill()?;
            child.wait()?;
            bail!("stuck: the run was not over after {limit:?} of real time");
        }
    }
}

/// Makes a run in this process, on a fresh thread. Repeatable only if it is the first one here.
///
/// # Errors
/// When the world could not be set up, or something in it panicked.
pub fn here(order: Order) -> anyhow::Result<Ran> {
    let Order {
        seed,
        plan,
        keep_lines,
    } = order;
    let thread = thread::Builder::new()
        .name(format!("seed {seed}"))
        .stack_size(STACK_BYTES);
    let running = thread.spawn(move || {
        // First of all, before anything on this thread draws randomness.
        entropy::seed(seed::stream(seed, "entropy", &[]));
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        let outcome = runtime.block_on(World::run(seed, plan, keep_lines))?;
        drop(runtime);
        Ok(Ran {
            outcome,
            cpu: thread_cpu(),
            memory_bytes: peak_memory(),
        })
    })?;
    // The panic itself has been told already.
    running.join().map_err(|_| anyhow!("the run panicked"))?
}

/// The processor time of this thread, as the kernel counts it; zero where there is no such count.
fn thread_cpu() -> Duration {
    let read = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
        let nanos = text.split(' ').next().unwrap_or_default();
        anyhow::Ok(Duration::from_nanos(nanos.parse()?))
    };
    read().unwrap_or_default()
}

/// The most memory that this process had at a time, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
