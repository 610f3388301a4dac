//! Nodes whose certificates are not this cluster's never get in, and the log says why.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tidings_tests::{
    Cluster, Guest, Http, create_authority, create_certificate, holds_for, wait_until,
};

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

/// Runs a node with these certificates beside n2, with n1 as its seed.
async fn stranger_stays_out(cluster: &Cluster, tls: &Path, name: &str, reason: &str) -> Result<()> {
    let mut stranger = Guest::start(cluster, (2, 0), name, tls, &[1])?;
    let (seed, http) = (cluster.node(1)?.http()?, stranger.http()?);
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
        stranger.program.runs(),
        "it ended by itself:\n{}",
        stranger.program.output()
    );
    holds_for(
        "neither sees the other",
        Duration::from_secs(2),
        async || {
            let (Ok(seen), Ok(sees)) = (member_names(&seed).await, member_names(&http).await)
            else {
                return false;
            };
            seen == ["n1", "n2"] && sees == [name]
        },
    )
    .await;
    assert_eq!(refusals(), 1, "one line is enough, however often it tries");
    Ok(())
}

async fn member_names(http: &Http) -> Result<Vec<String>> {
    let nodes = http.nodes().await?;
    Ok(nodes.into_iter().map(|node| node.node).collect())
}
