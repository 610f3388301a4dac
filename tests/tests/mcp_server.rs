//! Agents that talk through the nodes beside them, each a stock client of MCP.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tidings_tests::{Cluster, Language, RawMcp, millis, wait_until};
use tokio::time::Instant;

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

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_to_a_stream_is_told_within_3_s_that_its_node_was_killed() -> Result<()> {
    let cluster = Cluster::up(3)?;
    let (listener, writer) = (cluster.node(1)?, cluster.node(3)?.connect().await?);
    let opened = writer.request("$TIDINGS.stream.open", "".into()).await?;
    let opened: Value = serde_json::from_slice(&opened.payload)?;
    let id = opened["stream"].as_str().context("an id")?;
    let uri = format!("tidings://streams/{id}");
    let read = async || {
        let uri = json!({ "uri": uri });
        let mut reading = RawMcp::ask(&listener, json!("read"), "resources/read", uri).await?;
        reading.told("state").await
    };
    let told = read().await?;
    ensure!(told.contains("open"), "{told}");
    let mut listening = RawMcp::listen(&listener, json!("listen"), &[&uri]).await?;
    listening.told("acknowledged").await?;

    let since = Instant::now();
    cluster.kill("n3")?;
    listening.told("notifications/resources/updated").await?;
    let took = since.elapsed();
    let told = read().await?;
    ensure!(told.contains("aborted"), "{told}");
    println!(
        "figure: who listens by MCP is told of it after {} ms",
        millis(took)
    );
    ensure!(took < Duration::from_secs(3), "{took:?}");
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_or_waits_at_a_node_that_drains_is_served_until_it_leaves_and_then_told()
-> Result<()> {
    let cluster = Cluster::up(2)?;
    let (first, second) = (cluster.node(1)?, cluster.node(2)?);
    let uris = ["tidings://topics/news"];
    let updated = "notifications/resources/updated";
    let mut listening = RawMcp::listen(&first, json!("first"), &uris).await?;
    listening.told("acknowledged").await?;
    let subscription = json!({ "topics": ["quiet"] });
    let mut subscribing = RawMcp::call(&first, "subscribe", subscription).await?;
    let told = subscribing.told("\"isError\"").await?;
    let inbox = told.split("\"inbox\":\"").nth(1).context("an inbox")?;
    let receive = json!({ "inbox": &inbox[..32], "wait_seconds": 240 });
    let mut waiting = RawMcp::call(&first, "receive", receive).await?;
    cluster.wait_members(&[2], "news", 1, SOON).await?;

    // As long as it has a client it does not leave.
    let client = first.connect().await?;
    first.drain()?;
    wait_until("the node drains", SOON, async || {
        let ready = async { first.http()?.status("/readyz").await };
        ready.await.is_ok_and(|status| status == 503)
    })
    .await;
    second.publish("news", "of the other").await?;
    let told = listening.told(updated).await?;
    ensure!(!told.contains("complete"), "{told}");

    drop(client);
    let told = listening.told("\"resultType\":\"complete\"").await?;
    ensure!(told.contains("\"id\":\"first\""), "{told}");
    let told = waiting.told("\"isError\":true").await?;
    ensure!(told.contains("leaving"), "{told}");
    // Elsewhere, and not at this one again.
    while let Ok(mut again) = RawMcp::listen(&first, json!(2), &uris).await {
        let told = again.told("acknowledged").await;
        ensure!(told.is_err(), "{told:?}");
    }
    let mut listening = RawMcp::listen(&second, json!("second"), &uris).await?;
    listening.told("acknowledged").await?;
    second.publish("news", "of its own").await?;
    listening.told(updated).await?;
    cluster.down()
}
