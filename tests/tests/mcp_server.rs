//! Agents that talk through the nodes beside them, each a stock client of MCP.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
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
    asker.says("received kept", SOON).await?;
    asker.says("subscribed", SOON).await?;
    answerer
        .says("told tidings://topics/sums/members", SOON)
        .await?;
    answerer.says("members answerer asker", SOON).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reads_what_is_written_on_another_node_as_it_is_written() -> Result<()> {
    let cluster = Cluster::up(2)?;
    let nodes = cluster.nodes()?;
    let writer = nodes[1].connect().await?;
    let opened = writer.request("$TIDINGS.stream.open", "".into()).await?;
    let opened: Value = serde_json::from_slice(&opened.payload)?;
    let named = |name: &str| {
        let text = opened[name].as_str().map(str::to_owned);
        text.with_context(|| opened.to_string())
    };
    let push = named("push")?;
    writer.request(push.clone(), "it is ".into()).await?;
    let url = format!("http://{}/mcp", nodes[0].http);
    let uri = format!("tidings://streams/{}", named("stream")?);
    let mut reader = Language::Python.run("mcp_stream", &[&url, &uri])?;
    reader.says("read it is  open", SOON).await?;
    writer.request(push, "sunny".into()).await?;
    reader.says("read sunny open", SOON).await?;
    writer.request(named("finish")?, "".into()).await?;
    reader.says("read  complete", SOON).await?;
    cluster.down()
}
