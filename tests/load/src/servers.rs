//! The processes that are measured: started, read in /proc, and ended by their id.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};

/// All servers that run now. A clone is one more handle to the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Servers {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    children: BTreeMap<u32, Child>,
    closed: bool,
}

/// What a process has taken so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// The most memory that it had at a time.
    pub(crate) memory_peak_kib: u64,
    /// The memory that it has now.
    pub(crate) memory_kib: u64,
    /// Time of processors, its own and the kernel's for it.
    pub(crate) cpu_seconds: f64,
}

impl Servers {
    /// Starts a process, its output going to a file, and returns its id.
    pub(crate) fn start(&self, command: &mut Command, log: &Path) -> Result<u32> {
        let mut state = self.state();
        ensure!(!state.closed, "interrupted");
        let output = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {:?}", command.get_program()))?;
        let pid = child.id();
        state.children.insert(pid, child);
        Ok(pid)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&self, pid: u32) -> bool {
        let mut state = self.state();
        let child = state.children.get_mut(&pid);
        child.is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Ends a process and waits until it is gone.
    pub(crate) fn end(&self, pid: u32) {
        if let Some(mut child) = self.state().children.remove(&pid) {
            end(&mut child);
        }
    }

    /// Ends all, and lets none start any more.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.children.values_mut().for_each(end);
        state.children.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever panicked, the processes are to be ended all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself; then there is nothing left to end.
    let _ = child.kill();
    let _ = child.wait();
}

impl Usage {
    /// Of a process that runs.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let read = |name| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&path).with_context(|| path)
        };
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        Self::parse(&read("status")?, &read("stat")?, ticks_per_second)
            .context("cannot read what a server has taken")
    }

    /// From the texts of `status` and `stat`.
    fn parse(status: &str, stat: &str, ticks_per_second: u64) -> Option<Self> {
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse().ok()
        };
        // The second field is the program's name, which may have spaces in it.
        let fields = stat.rsplit_once(") ")?.1.split(' ');
        let mut times = fields.skip(11).map_while(|field| field.parse::<u64>().ok());
        let ticks = times.next()? + times.next()?;
        Some(Self {
            memory_peak_kib: kib("VmHWM:")?,
            memory_kib: kib("VmRSS:")?,
            cpu_seconds: ticks as f64 / ticks_per_second as f64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_as_the_kernel_writes_it() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 500 0 0 0 150 50 7 8 20 0 9 0 1 2";
        let usage = Usage::parse(status, stat, 100).unwrap();
        assert_eq!((usage.memory_peak_kib, usage.memory_kib), (2048, 1024));
        assert_eq!(usage.cpu_seconds, 2.0);
        assert!(Usage::parse("", stat, 100).is_none());
    }

    #[test]
    fn usage_of_oneself_is_known() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.memory_peak_kib >= usage.memory_kib && usage.memory_kib > 0);
    }

    #[test]
    fn a_server_ends_when_it_is_told_and_none_starts_after_the_close() {
        let (servers, log) = (Servers::default(), tempfile::NamedTempFile::new().unwrap());
        let sleep = || {
            let mut command = Command::new("sleep");
            command.arg("60");
            command
        };
        let pid = servers.start(&mut sleep(), log.path()).unwrap();
        assert!(!servers.has_ended(pid));
        servers.end(pid);
        assert!(servers.has_ended(pid));
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        servers.start(&mut sleep(), log.path()).unwrap();
        servers.close();
        assert!(servers.start(&mut sleep(), log.path()).is_err());
    }
}
