use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::wait_until;

/// The top of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is in the repository")
}

/// The release binary: the one that `TIDINGS_BIN` names, or else built now, once.
///
/// # Panics
/// When it cannot be built: no test can say anything then.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("TIDINGS_BIN") {
            return given.into();
        }
        let status = cargo()
            .args(["build", "--quiet", "--release", "--bin", "tidings"])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "cannot build the release binary"
        );
        target().join("release/tidings")
    })
}

/// An example of one of our crates, built as `scripts/test` has built it, if it did.
pub fn example(name: &str) -> Result<PathBuf> {
    let status = cargo()
        .args(["build", "--quiet", "--workspace"])
        .args(["--exclude", "tidings-tests", "--example", name])
        .status()?;
    ensure!(status.success(), "cannot build the example {name}");
    Ok(target().join("debug/examples").join(name))
}

/// Cargo without what it has told this test of its own package: ring would be built again for that, and all that needs it.
fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(repository());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| repository().join("target"))
}

/// The release binary of the version before this one: the one that `TIDINGS_PREVIOUS_BIN` names, or
/// else what `scripts/previous` builds. None, and a line that says why, where its history is not
/// known.
///
/// # Panics
/// When it cannot be built.
pub fn previous_binary() -> Option<PathBuf> {
    if let Some(given) = std::env::var_os("TIDINGS_PREVIOUS_BIN") {
        return Some(given.into());
    }
    binary(); // built first, so that the other needs only what differs
    let output = Command::new(repository().join("scripts/previous")).output();
    let output = output.expect("scripts/previous can be run");
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(NO_HISTORY) {
        println!("NOT CHECKED: {}", errors.trim_end());
        return None;
    }
    assert!(output.status.success(), "scripts/previous: {errors}");
    let path = String::from_utf8_lossy(&output.stdout);
    Some(path.trim_end().into())
}

/// The release binary with these arguments, and nothing of our own `TIDINGS_…` environment.
pub fn tidings<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .env_remove("TIDINGS_BIN")
        .env_remove("TIDINGS_PREVIOUS_BIN")
        .stdin(Stdio::null());
    command
}

/// A process that runs beside the test and dies with it, its output kept in a file.
#[derive(Debug)]
pub struct Program {
    child: std::process::Child,
    output: tempfile::NamedTempFile,
}

impl Program {
    /// Starts the command, its standard output and error going to one file.
    pub fn start(mut command: Command) -> Result<Self> {
        let output = tempfile::NamedTempFile::new()?;
        let child = command
            .stdout(output.reopen()?)
            .stderr(output.reopen()?)
            .spawn()
            .with_context(|| format!("start {:?}", command.get_program()))?;
        Ok(Self { child, output })
    }

    /// Everything it has written so far.
    pub fn output(&self) -> String {
        let bytes = std::fs::read(self.output.path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it has written this, or has ended without.
    pub async fn says(&mut self, words: &str, limit: Duration) -> Result<()> {
        wait_until(words, limit, async || {
            self.output().contains(words) || !self.runs()
        })
        .await;
        ensure!(self.output().contains(words), "{}", self.output());
        Ok(())
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it as `kill -9` does and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Makes it stand still.
    pub fn freeze(&self) -> Result<()> {
        signal(self.child.id(), "STOP")
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        signal(self.child.id(), "CONT")
    }

    /// Waits for its own end, which must be a success.
    pub fn finish(mut self) -> Result<String> {
        let status = self.child.wait()?;
        ensure!(status.success(), "ended with {status}:\n{}", self.output());
        Ok(self.output())
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) -> Result<()> {
    let pid = pid.to_string();
    let status = Command::new("kill").args(["-s", name, &pid]).status()?;
    ensure!(status.success(), "there is no process {pid}");
    Ok(())
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to kill.
        let _ = self.kill();
    }
}

/// What `scripts/previous` ends with when it does not know what was before.
const NO_HISTORY: i32 = 3;
