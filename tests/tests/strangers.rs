//! Nodes whose certificates are not this cluster's never get in, and the log says why.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidings_tests::{Cluster, Http, Program, binary, holds_for, tidings, wait_until};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_authority_never_appears_in_a_view() -> Result<()> {
    let cluster = Cluster::up(2)?;
    let directory = tempfile::tempdir()?;
    create_authority(cluster.name(), &directory.path().join("ca"))?;
    let tls = directory.path().join("tls");
    create_certificate(&directory.path().join("ca"), &tls, "n9", &[])?;
    stranger_stays_out(&cluster, &tls, "n9", "not from the cluster's authority").await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_an_expired_certificate_never_appears_in_a_view() -> Result<()> {
    let cluster = Cluster::up(2)?;
    let directory = tempfile::tempdir()?;
    let tls = directory.path().join("tls");
    create_certificate(
        &cluster.directory().join("ca"),
        &tls,
        "n9",
        &["--valid-for", "1s"],
    )?;
    tokio::time::sleep(Duration::from_secs(3)).await; // past its end, to the second
    stranger_stays_out(&cluster, &tls, "n9", "expired or not yet valid").await?;
    cluster.down()
}

/// Runs a node with these certificates beside n2, on another port, with n1 as its seed.
async fn stranger_stays_out(cluster: &Cluster, tls: &Path, name: &str, reason: &str) -> Result<()> {
    let (seed, host) = (cluster.node(1)?, cluster.node(2)?);
    let at = |port: u16| host.cluster.replace(":7946", &format!(":{port}"));
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{}", host.ns))
        .arg(binary())
        .env_remove("TIDINGS_BIN");
    command.args([
        "run",
        "--name",
        name,
        "--cluster",
        cluster.name(),
        "--seed",
        &seed.cluster,
    ]);
    command.args([
        "--listen",
        &at(7950),
        "--client",
        &at(4250),
        "--http",
        &at(8250),
    ]);
    command.arg("--tls-dir").arg(tls);
    let mut stranger = Program::start(command)?;

    let http = Http::new(&at(8250))?;
    wait_until("the stranger is up", SOON, async || {
        http.status("/livez").await.is_ok()
    })
    .await;
    let refusals = || {
        let log = cluster.log("n1").unwrap_or_default();
        log.lines()
            .filter(|line| line.contains("WARN") && line.contains(reason))
            .count()
    };
    wait_until("the log tells why it was refused", SOON, async || {
        refusals() > 0
    })
    .await;
    assert!(
        stranger.runs(),
        "it ended by itself:\n{}",
        stranger.output()
    );
    holds_for(
        "neither sees the other",
        Duration::from_secs(2),
        async || {
            let (Ok(seen), Ok(sees)) = (
                member_names(&seed.http).await,
                member_names(&at(8250)).await,
            ) else {
                return false;
            };
            seen == ["n1", "n2"] && sees == [name]
        },
    )
    .await;
    assert_eq!(refusals(), 1, "one line is enough, however often it tries");
    Ok(())
}

async fn member_names(http: &str) -> Result<Vec<String>> {
    let nodes = Http::new(http)?.nodes().await?;
    Ok(nodes.into_iter().map(|node| node.node).collect())
}

fn create_authority(cluster: &str, directory: &Path) -> Result<()> {
    let directory = directory.to_string_lossy();
    run(&[
        "tls",
        "ca",
        "create",
        "--cluster",
        cluster,
        "--dir",
        &directory,
    ])
}

fn create_certificate(ca: &Path, directory: &Path, node: &str, more: &[&str]) -> Result<()> {
    let (ca, directory) = (ca.to_string_lossy(), directory.to_string_lossy());
    let create = [
        "tls", "cert", "create", "--node", node, "--ca-dir", &ca, "--dir", &directory,
    ];
    run(&[&create, more].concat())
}

fn run(arguments: &[&str]) -> Result<()> {
    let output = tidings(arguments).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tidings {arguments:?}: {errors}");
    Ok(())
}
