//! Agents that talk through the nodes beside them, each a stock client of MCP.

use std::time::Duration;

use anyhow::Result;
use tidings_tests::{Cluster, Language};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn agents_of_different_languages_and_revisions_ask_answer_and_see_each_other() -> Result<()> {
    let cluster = Cluster::up(2)?;
    let url = |node: &str| format!("http://{node}/mcp");
    let nodes = cluster.nodes()?;
    let mut answerer = Language::Python.run("mcp_agent", &[&url(&nodes[0].http)])?;
    answerer.says("listens", SOON).await?;
    let mut asker = Language::TypeScript.run("mcp_agent", &[&url(&nodes[1].http)])?;
    asker.says("answer 42", SOON).await?;
    asker.says("subscribed", SOON).await?;
    answerer
        .says("told tidings://topics/sums/members", SOON)
        .await?;
    answerer.says("members answerer asker", SOON).await?;
    cluster.down()
}
