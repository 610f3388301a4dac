//! Token streaming: a model answers a request token by token, each a message on the request's own
//! topic. Whoever watches it, on any node, gets all tokens in their order; so does one who comes late,
//! from there on.
//!
//! `cargo run --example tokens`

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tidings::{
    Delivery, Inbox, LocalCluster, Message, Node, Pattern, Scope, SessionOptions, Topic,
};
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER: &str =
    "A group is a name, and whoever joined it; a message to the name reaches them all.";

/// Says that the answer is complete. A header, because any payload might be a token.
const END: &str = "End";

/// Reads a token; none if the answer is complete.
async fn token(inbox: &mut Inbox) -> anyhow::Result<Option<String>> {
    match timeout(PATIENCE, inbox.recv())
        .await
        .context("no more tokens come")??
    {
        Delivery::Message { message, .. } if message.headers.get(END).is_some() => Ok(None),
        Delivery::Message { message, .. } => Ok(Some(String::from_utf8(message.payload.to_vec())?)),
        Delivery::Missed(tokens) => bail!("{tokens} tokens are lost"),
    }
}

/// Reads tokens until the answer is complete.
async fn read(inbox: &mut Inbox) -> anyhow::Result<String> {
    let mut text = String::new();
    while let Some(token) = token(inbox).await? {
        text += &token;
    }
    Ok(text)
}

/// Waits until a node knows so many members of a topic.
async fn known(node: &Node, topic: &Pattern, members: usize) -> anyhow::Result<()> {
    let all = async {
        while node.members(&Scope::default(), topic).len() < members {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, all)
        .await
        .context("the members are not known in time")
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cluster = LocalCluster::start(2).await?;
    cluster.joined(PATIENCE).await?;
    let nodes = cluster.nodes();
    let topic = Topic::parse("tool:llm:req-123")?;
    let request = Pattern::parse(topic.as_str())?;

    let (caller, mut callers_inbox) = nodes[0].session(SessionOptions::default())?;
    caller.subscribe(&request)?;
    let (auditor, mut auditors_inbox) = nodes[1].session(SessionOptions::default())?;
    auditor.subscribe(&Pattern::parse("tool:llm:>")?)?;
    println!(
        "the caller on {} watches its request, an auditor all of them",
        nodes[0].name()
    );

    let (model, _) = nodes[1].session(SessionOptions::default())?;
    known(&nodes[1], &request, 2).await?;
    let tokens: Vec<&str> = ANSWER.split_inclusive(' ').collect();
    let (early, rest) = tokens.split_at(tokens.len() / 2);
    for token in early {
        model.broadcast(Message::new(topic.clone(), token.to_owned()))?;
    }
    let mut answer = String::new();
    for _ in early {
        answer += &token(&mut callers_inbox)
            .await?
            .context("the answer ends early")?;
    }
    println!("the caller has read:     {answer}…");

    let (latecomer, mut latecomers_inbox) = nodes[0].session(SessionOptions::default())?;
    latecomer.subscribe(&request)?;
    known(&nodes[1], &request, 3).await?;
    println!("somebody else begins to watch on {}", nodes[0].name());
    for token in rest {
        model.broadcast(Message::new(topic.clone(), token.to_owned()))?;
    }
    let headers = tidings::Headers::default().with(END, "true")?;
    model.broadcast(Message::new(topic, "").with_headers(headers))?;

    answer += &read(&mut callers_inbox).await?;
    println!("the caller has read:     {answer}");
    ensure!(answer == ANSWER, "every token, in order");
    ensure!(
        read(&mut auditors_inbox).await? == ANSWER,
        "the same for the auditor"
    );
    let late = read(&mut latecomers_inbox).await?;
    println!("the latecomer has read:  …{late}");
    ensure!(late == rest.concat(), "the rest, without a gap");
    cluster.leave().await;
    Ok(())
}
