//! The conformance tool of MCP against three replicas of a server on three nodes, behind a balancer that gives each request
//! to the next replica: a client listens at one, and what it is to hear of changes at another. And against a node, which is an
//! MCP server itself.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidings_tests::{
    Balancer, Check, Cluster, Program, conformance, create_certificate, example, repository,
    tidings, wait_until,
};

const SOON: Duration = Duration::from_secs(20);
const SCENARIOS: [&str; 13] = [
    "caching",
    "dns-rebinding-protection",
    "http-header-validation",
    "prompts-list",
    "resources-list",
    "resources-read-text",
    "sep-2164-resource-not-found",
    "server-sse-multiple-streams",
    "server-stateless",
    "tools-call-error",
    "tools-call-simple-text",
    "tools-call-with-progress",
    "tools-list",
];
/// What needs replicas to hear of each other's changes.
const CHANGES: [&str; 2] = [
    "sep-2575-server-sends-prompts-list-changed-on-subscription",
    "sep-2575-server-sends-tools-list-changed-on-subscription",
];

/// Checks that do not succeed and are no shortcomings, and why.
const FINE: [(&str, &str, &str); 1] = [(
    "server-sse-streams-functional",
    "INFO",
    "a server may answer with JSON instead of a stream, and the one in Python does",
)];

/// Checks of which a node falls short, what the tool then says, and why that is so. All others succeed.
const NOT_OF_A_NODE: [(&str, &str, &str); 12] = [
    (
        "sep-2549-prompts-list-caching-hints",
        "prompts/list",
        NO_PROMPTS,
    ),
    ("prompts-list", "prompts/list", NO_PROMPTS),
    ("resources-read-text", "no resource of this URI", FIXTURES),
    (
        "sep-2575-server-rejects-undeclared-capability",
        "'test_missing_capability'",
        FIXTURES,
    ),
    (
        "sep-2575-missing-capability-http-400",
        "'test_missing_capability'",
        FIXTURES,
    ),
    (
        "sep-2575-http-server-no-independent-requests-on-stream",
        "'test_streaming_elicitation'",
        FIXTURES,
    ),
    (
        "sep-2575-server-no-log-without-loglevel",
        "'test_logging_tool'",
        FIXTURES,
    ),
    (
        "sep-2575-server-sends-prompts-list-changed-on-subscription",
        "SKIPPED",
        LISTS_STAY,
    ),
    (
        "sep-2575-server-sends-tools-list-changed-on-subscription",
        "SKIPPED",
        LISTS_STAY,
    ),
    ("tools-call-error", "\"test_error_handling\"", FIXTURES),
    ("tools-call-simple-text", "\"test_simple_text\"", FIXTURES),
    (
        "tools-call-with-progress",
        "\"test_tool_with_progress\"",
        FIXTURES,
    ),
];
const NO_PROMPTS: &str = "a node has no prompts, and says so by not having the method";
const FIXTURES: &str = "it asks for a tool or a resource that only a server made for this has";
const LISTS_STAY: &str = "the lists of a node never change, and it does not say that they do";

/// Checks that do not succeed though they should.
fn shortcomings(checks: Vec<Check>) -> Vec<Check> {
    let is_fine = |check: &Check| {
        let is = |(id, status, _): &(_, _, _)| (*id, *status) == (&*check.id, &*check.status);
        check.status == "SUCCESS" || FINE.iter().any(is)
    };
    let (good, bad): (Vec<_>, Vec<_>) = checks.into_iter().partition(is_fine);
    println!("{} checks are as they should be", good.len());
    bad
}

/// The replicas, whose programs end with it, behind a balancer.
struct Replicas {
    _programs: Vec<Program>,
    balancer: Balancer,
}

impl Replicas {
    /// Waits until all these serve, at their addresses.
    async fn start(replicas: Vec<(String, Command)>) -> Result<Self> {
        let (mut programs, mut addrs) = (Vec::new(), Vec::new());
        for (addr, command) in replicas {
            programs.push(Program::start(command)?);
            addrs.push(addr);
        }
        for program in &mut programs {
            wait_until("a replica serves", SOON, async || {
                program.output().contains("serves") || !program.runs()
            })
            .await;
            ensure!(program.runs(), "{}", program.output());
        }
        let balancer = Balancer::start(addrs).await?;
        Ok(Self {
            _programs: programs,
            balancer,
        })
    }

    async fn shortcomings(&self, scenarios: &[&str]) -> Result<Vec<Check>> {
        let url = self.balancer.url("/mcp");
        Ok(shortcomings(conformance(&url, scenarios).await?))
    }
}

/// Replicas with a node of their own each, in the networks of the cluster's nodes.
fn rust(cluster: &Cluster) -> Result<Vec<(String, Command)>> {
    let replica = example("replica")?;
    let mut replicas = Vec::new();
    for node in cluster.nodes()? {
        let tls = cluster.directory().join(format!("{}-replica", node.node));
        let name = format!("{}-replica", node.node);
        create_certificate(&cluster.directory().join("ca"), &tls, &name, &[])?;
        let at = |port| node.cluster.replace(":7946", port);
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", node.ns));
        command.arg(&replica).args([at(":8900"), at(":7950")]);
        command.arg(tls).arg(&node.cluster);
        replicas.push((at(":8900"), command));
    }
    Ok(replicas)
}

/// Replicas whose bus is that of the SDK, or one for each of these nodes.
fn python(nodes: [Option<String>; 3]) -> Result<Vec<(String, Command)>> {
    let venv = Command::new(repository().join("tests/python/venv"));
    let venv = Program::start(venv)?.finish()?;
    let mut replicas = Vec::new();
    for node in nodes {
        let port = free_port()?;
        let mut command = Command::new(venv.trim());
        command.arg(repository().join("tests/python/mcp_replica.py"));
        command.arg(port.to_string()).args(node);
        replicas.push((format!("127.0.0.1:{port}"), command));
    }
    Ok(replicas)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_in_rust_conform_behind_a_balancer_that_is_not_sticky() -> Result<()> {
    let cluster = Cluster::up(3)?;
    let replicas = Replicas::start(rust(&cluster)?).await?;
    assert_eq!(replicas.shortcomings(&SCENARIOS).await?, []);
    drop(replicas);
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_in_python_conform_behind_a_balancer_that_is_not_sticky() -> Result<()> {
    let cluster = Cluster::up(3)?;
    let nodes = [1, 2, 3].map(|number| cluster.node(number).ok().map(|node| node.client));
    let replicas = Replicas::start(python(nodes)?).await?;
    assert_eq!(replicas.shortcomings(&SCENARIOS).await?, []);
    drop(replicas);
    cluster.down()
}

/// So the tool would notice.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_do_not_hear_of_each_other_fall_short_in_what_they_tell() -> Result<()> {
    let mut alone = Vec::new();
    for _ in 0..3 {
        let addr = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(example("replica")?);
        command.arg(&addr);
        alone.push((addr, command));
    }
    for replicas in [alone, python([None, None, None])?] {
        let replicas = Replicas::start(replicas).await?;
        let found = replicas.shortcomings(&SCENARIOS).await?;
        let ids: Vec<_> = found.iter().map(|check| &*check.id).collect();
        assert_eq!(ids, CHANGES, "{found:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_conforms_in_all_that_it_has() -> Result<()> {
    let addr = format!("127.0.0.1:{}", free_port()?);
    let doors = ["--listen", "127.0.0.1:0", "--client", "none"];
    let mut node = tidings(["run", "--http", &addr]);
    node.args(doors);
    let mut node = Program::start(node)?;
    node.says("listening", SOON).await?;
    let found = conformance(&format!("http://{addr}/mcp"), &SCENARIOS).await?;
    let found = shortcomings(found);
    let ids: Vec<_> = found.iter().map(|check| &*check.id).collect();
    assert_eq!(ids, NOT_OF_A_NODE.map(|(id, ..)| id), "{found:?}");
    for (check, (id, says, _)) in found.iter().zip(NOT_OF_A_NODE) {
        let said = check.error_message.as_ref().unwrap_or(&check.status);
        ensure!(said.contains(says), "{id}: {said}");
    }
    Ok(())
}
