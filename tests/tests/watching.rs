//! Watching and publishing over HTTP and from the command line, with curl and stock clients.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tidings_tests::{Cluster, Inbox, Node, Program, repository, tidings, wait_until};

const SOON: Duration = Duration::from_secs(10);

/// curl, on this path of a node.
fn curl(node: &Node, arguments: &[&str], path: &str) -> Result<Program> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--no-buffer", "--noproxy", "*"]);
    command
        .args(arguments)
        .arg(format!("http://{}{path}", node.http));
    Program::start(command)
}

/// Waits until a program has said this, each after the one before.
async fn says(program: &Program, texts: &[&str]) {
    let what = format!("{texts:?}");
    let said = async || {
        let output = program.output();
        let mut rest = output.as_str();
        texts.iter().all(|text| {
            let found = rest.find(text);
            rest = found.map_or("", |at| &rest[at + text.len()..]);
            found.is_some()
        })
    };
    wait_until(&what, SOON, said).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_what_a_split_and_its_end_change() -> Result<()> {
    let cluster = Cluster::up(2)?;
    let (first, second) = (cluster.node(1)?, cluster.node(2)?);
    let _here = Inbox::open(&first, "kb").await?;
    let there = Inbox::open(&second, "kb").await?;
    cluster.wait_members(&[1, 2], "kb", 2, SOON).await?;
    let by_curl = curl(&first, &[], "/v1/watch?topic=kb")?;
    let by_command = Program::start(tidings(["watch", "kb", "--http", &first.http]))?;
    let nodes = Program::start(tidings(["watch", "--nodes", "--http", &first.http]))?;
    says(&by_curl, &["event: snapshot\n", "\"more\":false"]).await;
    says(
        &by_command,
        &["node\tn1\n", "node\tn2\n", "member\tkb\tdefault\tn1\t"],
    )
    .await;

    // What was on the other side leaves, then the node goes; in the end both come back, as they are then.
    cluster.partition(&["n1", "n2"])?;
    says(
        &by_curl,
        &["event: left\n", "event: node-down\n", "\"left\":false"],
    )
    .await;
    says(
        &by_command,
        &["left\tkb\tdefault\tn2", "node-down\tn2\tnot heard any more"],
    )
    .await;
    let _instead = Inbox::open(&second, "kb").await?;
    there.unsubscribe().await?;
    cluster.heal()?;
    says(
        &by_curl,
        &["event: node-down\n", "event: node-up\n", "event: joined\n"],
    )
    .await;
    says(
        &by_command,
        &["node-down\tn2", "node-up\tn2\n", "joined\tkb\tdefault\tn2"],
    )
    .await;
    // Nobody knows how much was missed on the way.
    says(&by_curl, &["event: gap\n", "\"frames\":null"]).await;
    says(&nodes, &["node-up\tn2\n"]).await;
    cluster.wait_members(&[1, 2], "kb", 2, SOON).await?;
    let output = by_curl.output();
    assert_eq!(output.matches("event: joined\n").count(), 1, "{output}");
    assert_eq!(output.matches("event: snapshot\n").count(), 1, "{output}");
    assert!(!nodes.output().contains("kb"), "{}", nodes.output());

    // A node ends while it is watched, and so do they who watch it.
    let (mut by_curl, mut by_command) = (by_curl, by_command);
    cluster.stop("n1")?;
    wait_until("watchers end with their node", SOON, async || {
        !by_curl.runs() && !by_command.runs()
    })
    .await;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_publishes_and_every_node_hears_it() -> Result<()> {
    let cluster = Cluster::up(2)?;
    let (first, second) = (cluster.node(1)?, cluster.node(2)?);
    let mut here = Inbox::open(&first, "a").await?;
    let mut there = Inbox::open(&second, "a").await?;
    cluster.wait_members(&[1, 2], "a", 2, SOON).await?;
    for number in 0..20 {
        let body = format!("{{\"c\":{number}}}");
        let receipt = curl(&first, &["-d", &body], "/v1/topics/a")?.finish()?;
        assert_eq!(receipt, r#"{"local":1,"nodes":1,"dropped":0}"#);
        assert_eq!(here.text().await?, body);
        assert_eq!(there.text().await?, body);
    }
    curl(&first, &["-d", "far"], "/v1/topics/a?node=n2")?.finish()?;
    curl(&first, &["-d", "near"], "/v1/topics/a?reach=local")?.finish()?;
    assert_eq!(here.text().await?, "near");
    assert_eq!(there.text().await?, "far");
    let refused = curl(
        &first,
        &["-d", "x", "-H", "Origin: http://evil"],
        "/v1/topics/a",
    )?;
    let refused = refused.finish()?;
    assert!(
        refused.contains("no page may change anything here"),
        "{refused}"
    );
    here.stays_empty(Duration::from_millis(100)).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_py_is_in_the_scope_that_it_says() -> Result<()> {
    let python = Program::start(Command::new(repository().join("tests/python/venv")))?.finish()?;
    let cluster = Cluster::up(1)?;
    let mut client = Command::new(python.trim());
    client.arg(repository().join("tests/python/scopes.py"));
    client.arg(cluster.node(1)?.client);
    let told = Program::start(client)?.finish()?;
    assert!(told.contains("scopes are apart"), "{told}");
    cluster.down()
}
