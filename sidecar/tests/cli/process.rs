use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// The binary, without any settings from the environment of this test.
pub(crate) fn tidings(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("TIDINGS_"))
        {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn output(arguments: &[&str]) -> Output {
    tidings(arguments).output().unwrap()
}

/// What it prints when all goes well.
pub(crate) fn printed(arguments: &[&str]) -> String {
    let output = output(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// What it complains of when it fails as it should, in a single line.
pub(crate) fn complaint(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
    let complaint = text(&output.stderr);
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    complaint.trim_end().to_owned()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A process that goes on until it is told to end, or the test does.
pub(crate) struct Running {
    child: Child,
    errors: Receiver<String>,
    /// Lines that were not the one waited for.
    passed: RefCell<Vec<String>>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, errors) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            errors,
            passed: RefCell::default(),
        }
    }

    /// Waits for a line on standard error that contains this.
    pub(crate) fn says(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.errors.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => {
                    self.passed.borrow_mut().push(line.clone());
                    seen.push(line);
                }
                Err(error) => panic!("{error}: {text:?} is not among {seen:?}"),
            }
        }
    }

    /// Such a line, whether it has come already or not.
    pub(crate) fn has_said(&self, text: &str) -> String {
        let passed = self.passed.borrow();
        let line = passed.iter().find(|line| line.contains(text)).cloned();
        drop(passed);
        line.unwrap_or_else(|| self.says(text))
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.child.stdout.take().unwrap())
    }

    /// Waits for its end, and returns its exit code and the rest of standard error.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        loop {
            match self.errors.recv_timeout(PATIENCE) {
                Ok(line) => rest += &(line + "\n"),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(error) => panic!("{error}: it does not end: {rest}"),
            }
        }
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node alone, on ports of its own.
pub(crate) struct Node {
    pub(crate) running: Running,
    pub(crate) client: String,
    pub(crate) http: String,
}

impl Node {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_as(|command| command, arguments)
    }

    /// Started by a command that this makes of the usual one.
    pub(crate) fn start_as(change: impl FnOnce(Command) -> Command, arguments: &[&str]) -> Self {
        let any = ["run", "--client", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        let mut command = tidings(&any);
        command.args(["--log-format", "json"]).args(arguments);
        let running = Running::start(change(command));
        let line: Value = serde_json::from_str(&running.says("listening")).unwrap();
        let addr = |door: &str| line[door].as_str().unwrap().to_owned();
        let (client, http) = (addr("client"), addr("http"));
        Self {
            running,
            client,
            http,
        }
    }

    pub(crate) fn subscriber(&self, arguments: &[&str]) -> Running {
        let mut command = tidings(&["sub", "--server", &self.client]);
        command.args(arguments);
        let running = Running::start(command);
        running.says("subscribed");
        running
    }

    /// Somebody who answers questions.
    pub(crate) fn answerer(&self, arguments: &[&str]) -> Running {
        let mut command = tidings(&["reply", "--server", &self.client]);
        command.args(arguments);
        let running = Running::start(command);
        running.says("answering");
        running
    }

    pub(crate) fn nodes(&self) -> Vec<Value> {
        serde_json::from_str(&printed(&["nodes", "--http", &self.http, "--json"])).unwrap()
    }

    pub(crate) fn publish(&self, arguments: &[&str]) {
        printed(&[&["pub", "--server", &self.client], arguments].concat());
    }
}

pub(crate) fn lines(reader: impl Read) -> Vec<String> {
    BufReader::new(reader).lines().map(Result::unwrap).collect()
}

pub(crate) fn path(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).to_str().unwrap().to_owned()
}
