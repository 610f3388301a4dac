use std::process::Command;

use tidings_sim::runner::Ran;

/// Says what runs, in the first line: the commit, and every option, given or not.
pub(crate) fn begin(command: &str, options: &[(&str, String)]) {
    let options: Vec<_> = options
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    println!(
        "tidings-sim {command} {} commit={}",
        options.join(" "),
        commit()
    );
}

/// Says what came of a run, in a line.
pub(crate) fn outcome(ran: &Ran) {
    let outcome = &ran.outcome;
    let healed = match outcome.healed_after {
        Some(healed) => format!("views were the truth {healed:?} after the network was whole"),
        None => "the network was never made whole".into(),
    };
    println!(
        "{:.1} simulated seconds in {:.2} s of CPU and {} MiB; {healed}; {} packets, {} lost; live nodes \
         taken for dead {} times",
        outcome.simulated.as_secs_f64(),
        ran.cpu.as_secs_f64(),
        ran.memory_bytes >> 20,
        outcome.traffic.packets,
        outcome.traffic.lost,
        outcome.false_deaths,
    );
    if let Some(violation) = &outcome.violation {
        println!("VIOLATION {violation}");
    }
}

/// Says how to have it again, in the last line.
pub(crate) fn end(hash: u64, again: &str) {
    println!("trace={hash:016x} again: tidings-sim {again}");
}

/// The commit this is run at, if it is run in a clone.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".into();
    };
    let is_changed = git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty());
    if is_changed {
        format!("{commit}+changes")
    } else {
        commit
    }
}
