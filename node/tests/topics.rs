//! What the cluster tells of topics.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tidings::{LocalCluster, Node, Scope, Topic, TopicInfo};
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(20);

fn topic() -> Topic {
    "kb.updates".parse().unwrap()
}

fn says(text: &str) -> TopicInfo {
    TopicInfo {
        description: Some(text.into()),
        ..TopicInfo::default()
    }
}

fn told(node: &Node) -> Option<String> {
    let record = node.topic_info(&Scope::default(), &topic())?;
    record.info.description.clone()
}

async fn all_tell(nodes: &[Node], text: Option<&str>) {
    let all = async {
        while nodes.iter().any(|node| told(node).as_deref() != text) {
            sleep(Duration::from_millis(2)).await;
        }
    };
    let in_time = timeout(SOON, all).await;
    let seen: Vec<_> = nodes.iter().map(told).collect();
    assert!(in_time.is_ok(), "{seen:?}, not {text:?}");
}

#[tokio::test]
async fn what_is_told_of_a_topic_reaches_all_and_outlives_the_node_that_said_it_last() {
    let cluster = LocalCluster::start(3).await.unwrap();
    let nodes = cluster.nodes();
    let describe = |node: &Node, info| node.describe_topic(&Scope::default(), &topic(), info);
    describe(&nodes[0], says("first")).unwrap();
    assert_eq!(told(&nodes[0]).as_deref(), Some("first"), "at once");
    all_tell(nodes, Some("first")).await;
    describe(&nodes[1], says("second")).unwrap();
    all_tell(nodes, Some("second")).await;

    // The first node has something to say of it, too, and goes on with the newest.
    nodes[1].leave().await;
    let gone = async {
        let lives = |node: &Node| node.nodes().iter().filter(|one| one.live).count();
        while lives(&nodes[2]) != 2 {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, gone).await.expect("it has left");
    all_tell(&nodes[2..], Some("second")).await;
    describe(&nodes[2], TopicInfo::default()).unwrap();
    all_tell(&[nodes[0].clone(), nodes[2].clone()], None).await;
    cluster.leave().await;
}
