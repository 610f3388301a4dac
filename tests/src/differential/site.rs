use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use super::script::Setting;
use crate::{Program, tidings, wait_until};

/// A server, or several that are one cluster, and where clients find them.
#[derive(Debug)]
pub struct Site {
    addrs: Vec<String>,
    is_cluster: bool,
    // Ends with it.
    _program: Program,
    _files: TempDir,
}

impl Site {
    /// Debian's NATS server.
    pub async fn nats(settings: &[Setting]) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"]);
        command.arg(files.path());
        let mut config = String::new();
        for (name, value) in settings {
            config.push_str(&match name.as_str() {
                "user" => user(value)?,
                name => format!("{name}: {value}\n"),
            });
        }
        let path = files.path().join("nats.conf");
        std::fs::write(&path, config)?;
        command.arg("-c").arg(path);
        let program = Program::start(command)
            .context("the NATS server is compared with: apt-get install nats-server")?;
        let mut addr = None;
        wait_until("the NATS server listens", SOON, async || {
            addr = addr_in(files.path());
            addr.is_some()
        })
        .await;
        Ok(Self {
            addrs: addr.into_iter().collect(),
            is_cluster: false,
            _program: program,
            _files: files,
        })
    }

    /// One node.
    pub async fn node(settings: &[Setting]) -> Result<Self> {
        let (mut config, mut identities) = (String::new(), String::new());
        for (name, value) in settings {
            config.push_str(&match name.as_str() {
                "max_payload" => format!("limits.payload_bytes_max = {value}\n"),
                "max_control_line" => format!("gateway.line_bytes_max = {value}\n"),
                "max_subscriptions" => {
                    format!("limits.subscriptions_per_session_max = {value}\n")
                }
                "user" => {
                    identities = identity(value)?;
                    continue;
                }
                name => bail!("nodes have no setting for {name}"),
            });
        }
        config.push_str(&identities);
        Self::with_config(&config).await
    }

    /// One node with these settings.
    pub async fn with_config(config: &str) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let path = files.path().join("tidings.toml");
        std::fs::write(&path, config)?;
        let config = path.to_string_lossy();
        let arguments = ["run", "--config", &config, "--client", "127.0.0.1:0"];
        let mut command = tidings(arguments);
        command.args(["--http", "none", "--log-format", "json"]);
        let program = Program::start(command)?;
        let mut addr = None;
        wait_until("the node listens", SOON, async || {
            let output = program.output();
            let lines = output
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut addrs = lines.filter_map(|line| Some(line["client"].as_str()?.to_owned()));
            addr = addrs.next();
            addr.is_some()
        })
        .await;
        Ok(Self {
            addrs: addr.into_iter().collect(),
            is_cluster: false,
            _program: program,
            _files: files,
        })
    }

    /// Three nodes, which know each other.
    pub async fn three_nodes() -> Result<Self> {
        let program = Program::start(tidings(["dev", "--nodes", "3"]))?;
        let mut addrs = Vec::new();
        wait_until("three nodes listen", SOON, async || {
            let output = program.output();
            let rows = output.lines().filter(|line| line.starts_with('n'));
            let addr = |row: &str| Some(row.split_whitespace().nth(1)?.to_owned());
            addrs = rows.filter_map(addr).collect();
            output.contains("Ctrl-C")
        })
        .await;
        Ok(Self {
            addrs,
            is_cluster: true,
            _program: program,
            _files: tempfile::tempdir()?,
        })
    }

    /// Where the client of this number connects: the clients are spread over the nodes.
    pub(super) fn addr(&self, client: usize) -> &str {
        &self.addrs[client % self.addrs.len()]
    }

    /// All of its addresses.
    pub fn addrs(&self) -> &[String] {
        &self.addrs
    }

    /// Whether what is said at one address takes a while to be known at another.
    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster
    }
}

/// `name:password`, as the NATS server is told.
fn user(value: &str) -> Result<String> {
    let (user, password) = value.split_once(':').context("@user name:password")?;
    Ok(format!(
        "authorization {{ user: {user}, password: {password} }}\n"
    ))
}

/// `name:password`, as a node is told.
fn identity(value: &str) -> Result<String> {
    let (name, password) = value.split_once(':').context("@user name:password")?;
    let mut hashing = tidings(["passwd"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = hashing.stdin.take().context("its input is a pipe")?;
    input.write_all(password.as_bytes())?;
    drop(input);
    let hash = String::from_utf8(hashing.wait_with_output()?.stdout)?;
    let hash = hash.trim();
    Ok(format!(
        "[[identities]]\nname = \"{name}\"\nrole = \"all\"\npassword = \"{hash}\"\n[roles.all]\n"
    ))
}

/// What the NATS server says of where it listens.
fn addr_in(directory: &Path) -> Option<String> {
    let entries = std::fs::read_dir(directory).ok()?.flatten();
    let mut ports = entries.map(|entry| entry.path());
    let file = ports.find(|path| path.extension().is_some_and(|ending| ending == "ports"))?;
    let ports: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let url = ports["nats"][0].as_str()?;
    Some(url.trim_start_matches("nats://").to_owned())
}

/// How long a server may take to listen.
const SOON: Duration = Duration::from_secs(30);
