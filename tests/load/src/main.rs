//! Loads Tidings and nats-server side by side and tells what each delivers, loses, takes, and makes
//! an innocent bystander wait.
//!
//! It is no test and passes no judgement: its figures depend on the machine and on what else runs
//! there. Within one run both servers have the same clients, which are as light as can be, and take
//! turns.

mod client;
mod clock;
mod contender;
mod counters;
mod latency;
mod outcome;
mod parser;
mod phase;
mod publisher;
mod run;
mod sequence;
mod servers;
mod site;
mod stamp;
mod subscriber;
mod summary;
mod table;
mod workload;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Clock;
use crate::contender::{Contender, Kind, certify};
use crate::outcome::Outcome;
use crate::run::{Setting, run};
use crate::servers::Servers;
use crate::summary::{Ratios, Summary};
use crate::workload::Workload;

/// Load Tidings and nats-server side by side
///
/// Figures can be compared within one run only, and on a machine that others use not even those
/// without repeating them.
#[derive(Debug, Parser)]
#[command(name = "tidings-load")]
struct Arguments {
    /// A workload, or the beginning of the names of several; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    workload: Vec<String>,
    /// Print the names of all workloads and end
    #[arg(long)]
    list: bool,
    /// For how many seconds each workload is published
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// How often each workload is run on each server, by turns
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// The program of Tidings [default: the release binary of this repository, built first]
    #[arg(long, value_name = "PATH")]
    tidings: Option<PathBuf>,
    /// The program of nats-server [default: as found in PATH]
    #[arg(long, value_name = "PATH")]
    nats: Option<PathBuf>,
    /// Run this one alone
    #[arg(long, value_name = "SERVER")]
    only: Option<Only>,
    /// Encrypt what goes between two nats-servers, too, with certificates as those of Tidings
    #[arg(long)]
    nats_tls: bool,
    /// Print every round and the ratios as JSON when all is done, and the workloads to standard error
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    Tidings,
    NatsServer,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        Workload::all().iter().for_each(|w| println!("{}", w.name));
        return Ok(ExitCode::SUCCESS);
    }
    raise_open_files()?;
    let servers = Servers::default();
    let dir = tempfile::Builder::new().prefix("tidings-load-").tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (mine, path) = (servers.clone(), dir.path().to_owned());
        let work = tokio::task::spawn_blocking(move || run_all(&arguments, &mine, &path));
        tokio::select! {
            result = work => result?,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    });
    // Whatever happened, no server is left.
    servers.close();
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS)
}

fn run_all(arguments: &Arguments, servers: &Servers, dir: &Path) -> Result<()> {
    let workloads = workloads(&arguments.workload)?;
    let contenders = contenders(arguments)?;
    if workloads.iter().any(|w| w.nodes > 1) && contenders.iter().any(|c| c.tls) {
        let made = contenders.iter().find(|c| c.kind == Kind::Tidings);
        let program = made.map_or_else(|| tidings(arguments), |c| Ok(c.program.clone()))?;
        certify(&program, dir)?;
    }
    let setting = Setting {
        servers,
        dir,
        clock: Clock::start(),
        duration: Duration::from_secs(arguments.seconds),
    };
    if !arguments.json {
        print!("{}\n\n{}", table::LEGEND, table::head());
    }
    let (mut results, mut failures) = (Vec::new(), 0);
    for (workload, number) in workloads.iter().zip(0..) {
        let mut rounds = vec![Vec::new(); contenders.len()];
        match arguments.json {
            true => eprintln!("{}", workload.name),
            false => println!("{}", workload.name),
        }
        for round in 0..arguments.rounds {
            // Who comes first has it no better.
            let turns = 0..contenders.len();
            let turns: Vec<_> = match (round + number) % 2 {
                0 => turns.collect(),
                _ => turns.rev().collect(),
            };
            for turn in turns {
                let (contender, name) = (&contenders[turn], &workload.name);
                // What the others have to tell is not lost with it.
                match run(workload, contender, &setting) {
                    Ok(outcome) => rounds[turn].push(outcome),
                    Err(error) => {
                        eprintln!("{name} on {}: {error:#}", contender.kind.name());
                        failures += 1;
                    }
                }
            }
        }
        results.push(report(workload, &contenders, &rounds, arguments.json));
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    }
    ensure!(failures == 0, "{failures} runs have failed");
    Ok(())
}

/// Prints the lines of a workload for people, and returns its figures for programs.
fn report(
    workload: &Workload,
    contenders: &[Contender],
    rounds: &[Vec<Outcome>],
    quiet: bool,
) -> Value {
    let mut value = json!({"workload": workload.name, "payload_bytes": workload.payload_bytes});
    let mut summaries = Vec::new();
    for (contender, rounds) in contenders.iter().zip(rounds) {
        let (name, summary) = (contender.kind.name(), Summary::of(rounds));
        if !quiet {
            print!("{}", table::contender(name, &summary));
        }
        value[name] = json!({"summary": summary, "rounds": rounds});
        summaries.push(summary);
    }
    if let [tidings, nats] = &summaries[..] {
        let ratios = Ratios::of(tidings, nats);
        if !quiet {
            print!("{}", table::ratios(&ratios));
        }
        value["ratios"] = json!(ratios);
    }
    value
}

fn workloads(names: &[String]) -> Result<Vec<Workload>> {
    if names.is_empty() {
        return Ok(Workload::all());
    }
    let mut workloads = Vec::new();
    for name in names {
        let named = Workload::named(name);
        ensure!(
            !named.is_empty(),
            "no workload begins with {name:?}; see --list"
        );
        workloads.extend(named);
    }
    Ok(workloads)
}

/// Tidings first.
fn contenders(arguments: &Arguments) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    if arguments.only != Some(Only::NatsServer) {
        contenders.push(Contender {
            kind: Kind::Tidings,
            program: tidings(arguments)?,
            tls: true,
        });
    }
    if arguments.only == Some(Only::Tidings) {
        return Ok(contenders);
    }
    let given = arguments.nats.clone();
    match given.or_else(|| in_path("nats-server")) {
        Some(program) => contenders.push(Contender {
            kind: Kind::NatsServer,
            program,
            tls: arguments.nats_tls,
        }),
        None => {
            let advice = "nats-server is not in PATH; on Debian: apt-get install nats-server";
            ensure!(!contenders.is_empty(), advice);
            eprintln!("{advice}. Tidings runs alone.");
        }
    }
    Ok(contenders)
}

/// The program given, or else the one of this repository as its code is now.
fn tidings(arguments: &Arguments) -> Result<PathBuf> {
    if let Some(given) = &arguments.tidings {
        return Ok(given.clone());
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--bin", "tidings"])
        .current_dir(&top)
        .status();
    ensure!(
        status.is_ok_and(|status| status.success()),
        "cannot build tidings; give --tidings PATH"
    );
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| top.join("target"));
    Ok(target.join("release/tidings"))
}

fn in_path(program: &str) -> Option<PathBuf> {
    // Debian has servers where not everybody's PATH leads.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let mut files = std::env::split_paths(&path)
        .chain(more)
        .map(|dir| dir.join(program));
    files.find(|file| file.is_file())
}

/// For the idle clients; the servers inherit it.
fn raise_open_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).context("raise the limit of open files")
}
