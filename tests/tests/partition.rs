//! A cluster that is cut goes on in parts, and heals by itself.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tidings_tests::{Cluster, Inbox, holds_for, millis, wait_until};

const SOON: Duration = Duration::from_secs(5);

/// The names of those of a list of nodes of which this holds.
fn names_of(nodes: &Value, holds: impl Fn(&Value) -> bool) -> Vec<&str> {
    let nodes = nodes.as_array().into_iter().flatten();
    let chosen = nodes.filter(|node| holds(node));
    chosen.filter_map(|node| node["node"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_split_change_and_the_merge_is_exact() -> Result<()> {
    let cluster = Cluster::up(10)?;
    let (left, right) = ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]);
    let left_names = ["n1", "n2", "n3", "n4", "n5"];
    let mut stays_left = Inbox::open(&cluster.node(1)?, "kb").await?;
    let mut stays_right = Inbox::open(&cluster.node(10)?, "kb").await?;
    let leaves_left = Inbox::open(&cluster.node(2)?, "kb").await?;
    let leaves_right = Inbox::open(&cluster.node(9)?, "gone").await?;
    cluster.wait_members(&cluster.all(), "kb", 3, SOON).await?;
    cluster
        .wait_members(&cluster.all(), "gone", 1, SOON)
        .await?;

    cluster.partition(&["n1,n2,n3,n4,n5"])?;
    cluster.wait_agreed(&left, SOON).await?;
    cluster.wait_agreed(&right, SOON).await?;
    cluster.wait_members(&left, "kb", 2, SOON).await?;
    cluster.wait_members(&right, "kb", 1, SOON).await?;

    // A node knows that it cannot know of the other side, and that its own side agrees.
    let explained = cluster.node(1)?.http()?.explain("kb").await?;
    assert_eq!(
        names_of(&explained["nodes"], |node| node["live"] == true),
        left_names
    );
    let same = |other: &Value| other["says"] == "same";
    assert_eq!(names_of(&explained["others"], same), left_names[1..]);

    // Each side changes, and serves its own.
    leaves_left.unsubscribe().await?;
    leaves_right.unsubscribe().await?;
    let mut joins_left = Inbox::open(&cluster.node(3)?, "kb").await?;
    let mut joins_right = Inbox::open(&cluster.node(8)?, "kb").await?;
    cluster.wait_members(&left, "kb", 2, SOON).await?;
    cluster.wait_members(&right, "kb", 2, SOON).await?;
    let (from_left, from_right) = (
        cluster.node(4)?.connect().await?,
        cluster.node(7)?.connect().await?,
    );
    from_left.publish("kb", "left".into()).await?;
    from_right.publish("kb", "right".into()).await?;
    for inbox in [&mut stays_left, &mut joins_left] {
        assert_eq!(inbox.text().await?, "left");
    }
    for inbox in [&mut stays_right, &mut joins_right] {
        assert_eq!(inbox.text().await?, "right");
    }

    cluster.heal()?;
    let took = cluster.wait_agreed(&cluster.all(), SOON).await?;
    println!(
        "figure: ten nodes agree {} ms after a split of 5 and 5 is healed",
        millis(took)
    );
    let exact = async || {
        let mut lists = Vec::new();
        for number in cluster.all() {
            let Ok(http) = cluster.node(number).and_then(|node| node.http()) else {
                return false;
            };
            lists.push(async move { (http.members("kb").await, http.members("gone").await) });
        }
        futures::future::join_all(lists)
            .await
            .into_iter()
            .all(|(kb, gone)| {
                let Ok(kb) = kb else { return false };
                let nodes: Vec<&str> = kb.iter().map(|member| member.node.as_str()).collect();
                nodes == ["n1", "n10", "n3", "n8"] && gone.is_ok_and(|gone| gone.is_empty())
            })
    };
    holds_for(
        "what was left does not come back",
        Duration::from_secs(3),
        exact,
    )
    .await;

    let explained = cluster.node(1)?.http()?.explain("kb").await?;
    let same = |other: &Value| other["says"] == "same";
    assert_eq!(names_of(&explained["others"], same).len(), 9, "{explained}");
    let with_link = |node: &Value| node["link"]["up"] == true && node["version"].is_number();
    assert_eq!(
        names_of(&explained["nodes"], with_link).len(),
        9,
        "{explained}"
    );

    from_left.publish("kb", "all".into()).await?;
    from_right.publish("kb", "again".into()).await?;
    for inbox in [
        &mut stays_left,
        &mut joins_left,
        &mut stays_right,
        &mut joins_right,
    ] {
        let mut texts = inbox.texts(2).await?;
        texts.sort();
        assert_eq!(texts, ["again", "all"]);
        inbox.stays_empty(Duration::from_millis(100)).await?;
    }
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn splits_in_four_heal_in_any_order() -> Result<()> {
    let cluster = Cluster::up(8)?;
    let mut inboxes = Vec::new();
    for node in cluster.nodes()? {
        inboxes.push(Inbox::open(&node, "kb").await?);
    }
    let groups = [[1, 2], [3, 4], [5, 6], [7, 8]];
    cluster.partition(&["n1,n2", "n3,n4", "n5,n6", "n7,n8"])?;
    for group in groups {
        cluster.wait_agreed(&group, SOON).await?;
        cluster.wait_members(&group, "kb", 2, SOON).await?;
    }
    // First two pairs of groups, then all of them.
    cluster.heal()?;
    cluster.partition(&["n1,n2,n7,n8", "n3,n4,n5,n6"])?;
    for group in [[1, 2, 7, 8], [3, 4, 5, 6]] {
        cluster.wait_agreed(&group, SOON).await?;
        cluster.wait_members(&group, "kb", 4, SOON).await?;
    }
    cluster.heal()?;
    cluster.wait_agreed(&cluster.all(), SOON).await?;
    cluster.node(5)?.publish("kb", "all").await?;
    for inbox in &mut inboxes {
        assert_eq!(inbox.text().await?, "all");
    }
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_one_way_cut_harms_only_its_own_pair_and_heals_without_duplicates() -> Result<()> {
    let cluster = Cluster::up(3)?;
    let mut second = Inbox::open(&cluster.node(2)?, "kb").await?;
    let mut third = Inbox::open(&cluster.node(3)?, "kb").await?;
    cluster.wait_members(&cluster.all(), "kb", 2, SOON).await?;
    let publisher = cluster.node(1)?.connect().await?;

    // Longer than a link lives without a sign of life.
    cluster.cut_one_way("n1", "n2")?;
    for number in 0..80 {
        publisher.publish("kb", format!("{number}").into()).await?;
        // n3 hears each one as ever.
        assert_eq!(third.text().await?, format!("{number}"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What changes on n2 still becomes known on n1: n3 passes it on.
    let _relayed = Inbox::open(&cluster.node(2)?, "relayed").await?;
    cluster.wait_members(&[1, 3], "relayed", 1, SOON).await?;

    cluster.heal()?;
    cluster.wait_agreed(&cluster.all(), SOON).await?;
    // The link of n1 and n2 comes back by itself; until then messages between them may be lost.
    let mut texts = Vec::new();
    wait_until("n2 hears n1 again", SOON, async || {
        let published = publisher.publish("kb", "healed".into()).await;
        let text = second.text_within(Duration::from_millis(100)).await;
        texts.extend(text);
        published.is_ok() && texts.last().is_some_and(|text| text == "healed")
    })
    .await;
    let numbers: Vec<u32> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    assert!(
        numbers.is_sorted_by(|a, b| a < b),
        "a duplicate, or out of order: {texts:?}"
    );
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_longer_than_the_grace_heals_with_all_seeds_on_one_side() -> Result<()> {
    let cluster = Cluster::with_config(5, "[gossip]\ndead_node_grace = \"2s\"\n")?;
    let _seeds_side = Inbox::open(&cluster.node(1)?, "kb").await?;
    let mut other_side = Inbox::open(&cluster.node(5)?, "kb").await?;
    cluster.wait_members(&cluster.all(), "kb", 2, SOON).await?;

    // n1, n2 and n3 are the seeds; n4 and n5 have each other and so no reason to ask a seed.
    cluster.partition(&["n1,n2,n3"])?;
    cluster.wait_agreed(&[1, 2, 3], SOON).await?;
    cluster.wait_agreed(&[4, 5], SOON).await?;
    tokio::time::sleep(Duration::from_secs(8)).await; // past both graces: 2 s and 1.5 × 2 s
    cluster.wait_members(&[1, 2, 3], "kb", 1, SOON).await?;
    cluster.wait_members(&[4, 5], "kb", 1, SOON).await?;

    cluster.heal()?;
    let took = cluster.wait_agreed(&cluster.all(), SOON).await?;
    println!(
        "figure: five nodes agree {} ms after a split that outlived the graces",
        millis(took)
    );
    cluster.wait_members(&cluster.all(), "kb", 2, SOON).await?;
    cluster.node(1)?.publish("kb", "hello").await?;
    assert_eq!(other_side.text().await?, "hello");
    cluster.down()
}
