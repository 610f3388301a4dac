//! What NATS promises its clients, with async-nats.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use async_nats::client::RequestErrorKind;
use async_nats::{Client, ConnectOptions, HeaderMap};
use futures::StreamExt;
use tidings_tests::{Cluster, Inbox, wait_until};

const COUNT: usize = 200;

/// All of it over three nodes.
pub(crate) async fn tours(cluster: &Cluster) -> Result<()> {
    let here = cluster.node(1)?.connect().await?;
    let there = cluster.node(2)?.connect().await?;
    let elsewhere = cluster.node(3)?.connect().await?;
    publishes_and_subscribes(&here, &there).await?;
    shares_work(&here, [&there, &elsewhere]).await?;
    asks_and_answers(&here, &there).await?;
    drains(&here, there).await
}

/// A subscription lives on at another node when the first is killed.
pub(crate) async fn goes_on(cluster: &Cluster) -> Result<()> {
    let nodes = [cluster.node(1)?.client, cluster.node(2)?.client];
    let client = ConnectOptions::new()
        .retain_servers_order()
        .reconnect_delay_callback(|_| Duration::from_millis(100))
        .connect(&nodes[..])
        .await?;
    let mut news = Inbox::on(client, "news").await?;
    cluster.wait_members(&[3], "news", 1, super::SOON).await?;
    cluster.kill("n1")?;
    super::moved(cluster).await?;
    cluster.node(3)?.publish("news", "more").await?;
    ensure!(news.text().await? == "more");
    Ok(())
}

/// A client that was given the address of one node is told of the others, and goes to one of them.
pub(crate) async fn finds_another(cluster: &Cluster) -> Result<()> {
    let client = ConnectOptions::new()
        .reconnect_delay_callback(|_| Duration::from_millis(100))
        .connect(cluster.node(1)?.client)
        .await?;
    let mut news = Inbox::on(client.clone(), "news").await?;
    cluster.wait_members(&[3], "news", 1, super::SOON).await?;
    wait_until("it is told of the others", super::SOON, async || {
        client.server_info().connect_urls.len() > 2
    })
    .await;
    cluster.kill("n1")?;
    super::moved(cluster).await?;
    cluster.node(3)?.publish("news", "more").await?;
    ensure!(news.text().await? == "more");
    Ok(())
}

/// Waits until all nodes know of the client's subscriptions.
async fn everywhere(client: &Client) -> Result<()> {
    let answer = client.request("$TIDINGS.barrier", "5s".into()).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.payload)?;
    ensure!(answer["everywhere"] == true, "{answer}");
    Ok(())
}

async fn publishes_and_subscribes(here: &Client, there: &Client) -> Result<()> {
    let mut subscriptions = vec![
        Inbox::on(here.clone(), "news.sport").await?,
        Inbox::on(there.clone(), "news.sport").await?,
        Inbox::on(there.clone(), "news.*").await?,
        Inbox::on(there.clone(), "news.>").await?,
    ];
    let mut limited = there.subscribe("limited").await?;
    limited.unsubscribe_after(2).await?;
    everywhere(here).await?;
    everywhere(there).await?;

    let headers = |number: usize| {
        let mut headers = HeaderMap::new();
        headers.insert("Number", number.to_string());
        headers.append("Language", "Rust");
        headers.append("Language", "English");
        headers
    };
    for number in 0..COUNT {
        here.publish_with_headers("news.sport", headers(number), "goal".into())
            .await?;
    }
    here.publish("news.sport.results", "".into()).await?;
    for number in 0..3 {
        here.publish("limited", number.to_string().into()).await?;
    }

    for subscription in &mut subscriptions {
        for number in 0..COUNT {
            let message = subscription.next().await?;
            ensure!(message.subject.as_str() == "news.sport", "{message:?}");
            ensure!(message.payload == "goal", "{message:?}");
            ensure!(message.headers == Some(headers(number)), "{message:?}");
        }
    }
    let results = subscriptions[3].next().await?;
    ensure!(results.subject.as_str() == "news.sport.results");
    ensure!(results.payload.is_empty() && results.headers.is_none());
    let texts: Vec<_> = limited.map(|message| message.payload).collect().await;
    ensure!(texts == ["0", "1"], "{texts:?}");
    Ok(())
}

async fn shares_work(here: &Client, workers: [&Client; 2]) -> Result<()> {
    let mut groups = Vec::new();
    for worker in workers {
        let jobs = worker.queue_subscribe("jobs", "workers".into()).await?;
        let end = Inbox::on(worker.clone(), "jobs.end").await?;
        everywhere(worker).await?;
        groups.push((jobs, end));
    }
    for number in 0..COUNT {
        here.publish("jobs", number.to_string().into()).await?;
    }
    here.publish("jobs.end", "".into()).await?;

    let mut done = Vec::new();
    for (mut jobs, mut end) in groups {
        // What comes after the end of a publisher comes after all that it published before.
        end.next().await?;
        jobs.drain().await?;
        let own: Vec<_> = jobs.map(|job| job.payload).collect().await;
        ensure!(!own.is_empty(), "the other one has got all jobs");
        done.extend(own);
    }
    ensure!(done.len() == COUNT, "{} jobs", done.len());
    let different: HashSet<_> = done.into_iter().collect();
    ensure!(different.len() == COUNT, "{} different", different.len());
    Ok(())
}

async fn asks_and_answers(here: &Client, there: &Client) -> Result<()> {
    let mut questions = there.subscribe("shout").await?;
    everywhere(there).await?;
    let answering = async {
        let question = questions.next().await?;
        let louder = String::from_utf8_lossy(&question.payload).to_uppercase();
        let reply = question.reply?;
        there.publish(reply, louder.into()).await.ok()
    };
    let (answered, response) = tokio::join!(answering, here.request("shout", "hello".into()));
    ensure!(answered.is_some());
    ensure!(response?.payload == "HELLO");

    let lonely = here.request("nobody.listens", "hello".into()).await;
    let error = lonely.map_err(|error| error.kind());
    ensure!(
        matches!(error, Err(RequestErrorKind::NoResponders)),
        "{error:?}"
    );
    Ok(())
}

async fn drains(here: &Client, there: Client) -> Result<()> {
    let words = there.subscribe("last.words").await?;
    let mut end = Inbox::on(there.clone(), "last.words.end").await?;
    everywhere(&there).await?;
    for number in 0..20 {
        here.publish("last.words", number.to_string().into())
            .await?;
    }
    here.publish("last.words.end", "".into()).await?;
    end.next().await?;
    there.drain().await?;
    let read: Vec<_> = words.map(|message| message.payload).collect().await;
    let said: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    ensure!(read == said, "{read:?}");
    Ok(())
}
