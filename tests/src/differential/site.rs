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
        let (mut user, mut allowed) = (None, Allowed::default());
        for (name, value) in settings {
            match name.as_str() {
                "user" => user = Some(value),
                name if allowed.takes(name, value) => {}
                name => config.push_str(&format!("{name}: {value}\n")),
            }
        }
        if let Some(user) = user {
            config.push_str(&nats_user(user, &allowed)?);
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
        let mut config = String::new();
        let (mut user, mut allowed) = (None, Allowed::default());
        for (name, value) in settings {
            config.push_str(&match name.as_str() {
                "max_payload" => format!("limits.payload_bytes_max = {value}\n"),
                "max_control_line" => format!("gateway.line_bytes_max = {value}\n"),
                "max_subscriptions" => {
                    format!("limits.subscriptions_per_session_max = {value}\n")
                }
                "user" => {
                    user = Some(value);
                    continue;
                }
                name if allowed.takes(name, value) => continue,
                name => bail!("nodes have no setting for {name}"),
            });
        }
        if let Some(user) = user {
            config.push_str(&identity(user, &allowed)?);
        }
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

/// What a user may do: of each verb what is allowed and what is denied, patterns with spaces between.
#[derive(Default)]
struct Allowed {
    publish: [Option<String>; 2],
    subscribe: [Option<String>; 2],
    answers: bool,
}

impl Allowed {
    /// Whether a setting is one of this.
    fn takes(&mut self, name: &str, value: &str) -> bool {
        let place = match name {
            "publish" => &mut self.publish[0],
            "publish_not" => &mut self.publish[1],
            "subscribe" => &mut self.subscribe[0],
            "subscribe_not" => &mut self.subscribe[1],
            "answers" => {
                self.answers = true;
                return true;
            }
            _ => return false,
        };
        *place = Some(value.to_owned());
        true
    }

    /// The lists of a verb, in a syntax with this between name and value. A pattern has no space; a `+`
    /// stands for that before the name of a queue group.
    fn lists(lists: &[Option<String>; 2], sign: &str) -> String {
        let list = |(name, list): (&str, &Option<String>)| {
            let patterns = list.as_ref()?.split(' ');
            let patterns: Vec<_> = patterns
                .map(|one| format!("{:?}", one.replace('+', " ")))
                .collect();
            Some(format!("{name}{sign}[{}]", patterns.join(", ")))
        };
        let both: Vec<_> = ["allow", "deny"]
            .into_iter()
            .zip(lists)
            .filter_map(list)
            .collect();
        format!("{{ {} }}", both.join(", "))
    }
}

/// `name:password`, as the NATS server is told.
fn nats_user(value: &str, allowed: &Allowed) -> Result<String> {
    let (user, password) = value.split_once(':').context("@user name:password")?;
    let (publish, subscribe) = (
        Allowed::lists(&allowed.publish, ": "),
        Allowed::lists(&allowed.subscribe, ": "),
    );
    let mut permissions = Vec::new();
    if publish.contains('[') {
        permissions.push(format!("publish: {publish}"));
    }
    if subscribe.contains('[') {
        permissions.push(format!("subscribe: {subscribe}"));
    }
    if allowed.answers {
        permissions.push("allow_responses: true".into());
    }
    let permissions = permissions.join(", ");
    Ok(format!(
        "authorization {{ users: [ {{ user: {user}, password: {password}, permissions: {{ {permissions} }} }} ] }}\n"
    ))
}

/// `name:password`, as a node is told.
fn identity(value: &str, allowed: &Allowed) -> Result<String> {
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
    let (publish, subscribe) = (
        Allowed::lists(&allowed.publish, " = "),
        Allowed::lists(&allowed.subscribe, " = "),
    );
    let mut role = format!("publish = {publish}\nsubscribe = {subscribe}\n");
    if allowed.answers {
        role.push_str("allow_responses = true\n");
    }
    Ok(format!(
        "[[identities]]\nname = \"{name}\"\nrole = \"some\"\npassword = \"{hash}\"\n[roles.some]\n{role}"
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
