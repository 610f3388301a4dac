//! What Linux says that a process takes.

use std::fs::read_to_string;

use anyhow::{Context, Result};

use crate::words::Usage;

/// The usage of this process, whose node has sent so many bytes of gossip.
pub(crate) fn of_this_process(gossip_bytes_out: u64) -> Result<Usage> {
    let status = read_to_string("/proc/self/status")?;
    let stat = read_to_string("/proc/self/stat")?;
    // The name of the program, in parentheses, may have spaces.
    let (_, fields) = stat.rsplit_once(") ").context("no end of the name")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .context("too few fields")?
            .parse::<u64>()
            .context("no number")
    };
    Ok(Usage {
        resident_kib: kib(&status, "VmRSS:")?,
        peak_kib: kib(&status, "VmHWM:")?,
        cpu_ms: (ticks(USER)? + ticks(SYSTEM)?) * MS_PER_TICK,
        gossip_bytes_out,
    })
}

fn kib(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.context("no such line")?.parse().context("no number")
}

/// Behind the name, time in the program and for it in the system.
const USER: usize = 11;
const SYSTEM: usize = 12;
/// `USER_HZ` is 100 on all machines that this runs on.
const MS_PER_TICK: u64 = 10;
