//! A node that is revoked is out everywhere, and stays out.

use std::time::Duration;

use anyhow::Result;
use tidings_tests::{Cluster, holds_for, millis, revoke, wait_until};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_loses_all_links_and_gets_none_after_all_have_restarted() -> Result<()> {
    let cluster = Cluster::up(3)?;
    let links = async |expected: [f64; 3]| {
        for (number, expected) in (1..).zip(expected) {
            let links = cluster.metric(&[number], "tidings_links").await;
            if !links.is_ok_and(|links| links == expected) {
                return false;
            }
        }
        true
    };
    wait_until("all have links", SOON, async || links([2.0; 3]).await).await;

    let directory = cluster.directory();
    let list = directory.join("n1/tls/revoked.list");
    revoke(&directory.join("ca"), "n3")?;
    std::fs::copy(directory.join("ca/revoked.list"), &list)?;
    cluster.node(1)?.hang_up()?;
    let without = [1.0, 1.0, 0.0];
    let limit = Duration::from_secs(2);
    let took = wait_until("n3 has no links", limit, async || links(without).await).await;
    println!("shut out everywhere after {} ms", millis(took));
    let seen_by = async |number| cluster.metric(&[number], "tidings_peers").await;
    wait_until("n3 is in no view", limit, async || {
        let peers = [seen_by(1).await, seen_by(2).await];
        peers
            .iter()
            .all(|peers| peers.as_ref().is_ok_and(|peers| *peers == 1.0))
    })
    .await;

    // From now on it is only in their data directories.
    std::fs::remove_file(list)?;
    for node in ["n1", "n2", "n3"] {
        cluster.stop(node)?;
    }
    for node in ["n3", "n1", "n2"] {
        cluster.start(node)?;
    }
    wait_until("the others have a link", SOON, async || {
        links(without).await
    })
    .await;
    holds_for("n3 stays out", Duration::from_secs(3), async || {
        links(without).await
    })
    .await;
    // It knows itself that it is revoked, and would say so on a link.
    let changes = cluster.metric(&[3], "tidings_link_changes_total").await?;
    assert_eq!(changes, 0.0, "it has had a link");
    let log = cluster.log("n3")?;
    assert!(log.contains("our certificate is revoked"), "{log}");
    cluster.down()
}
