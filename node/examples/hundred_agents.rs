//! A hundred agents over ten nodes: all of them follow `kb.updates`, one message reaches each of them
//! once, and an agent that ends is out of everybody's view.
//!
//! `cargo run --example hundred_agents`

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use tidings::{
    AgentName, Delivery, Inbox, LocalCluster, Message, Node, Pattern, Scope, Session,
    SessionOptions, Topic,
};
use tokio::time::{Instant, sleep, timeout};

const NODES: usize = 10;
const AGENTS_PER_NODE: usize = 10;
const AGENTS: usize = NODES * AGENTS_PER_NODE;
const TOPIC: &str = "kb:updates";
const PATIENCE: Duration = Duration::from_secs(30);

struct Agent {
    // Held for its memberships, which last as long as it does.
    _session: Session,
    inbox: Inbox,
}

impl Agent {
    fn start(node: &Node, number: usize) -> anyhow::Result<Self> {
        let agent = Some(AgentName::parse(&format!("agent-{number}"))?);
        let (session, inbox) = node.session(SessionOptions {
            agent,
            ..Default::default()
        })?;
        session.subscribe(&Pattern::parse(TOPIC)?)?;
        Ok(Self {
            _session: session,
            inbox,
        })
    }

    async fn read(&mut self) -> anyhow::Result<String> {
        match timeout(PATIENCE, self.inbox.recv())
            .await
            .context("an agent waits in vain")??
        {
            Delivery::Message { message, .. } => Ok(String::from_utf8(message.payload.to_vec())?),
            Delivery::Missed(messages) => anyhow::bail!("an agent has missed {messages}"),
        }
    }
}

/// Waits until every node knows so many members of the topic. Says how long it took.
async fn known(cluster: &LocalCluster, members: usize) -> anyhow::Result<Duration> {
    let topic = Pattern::parse(TOPIC)?;
    let knows = |node: &Node| node.members(&Scope::default(), &topic).len() == members;
    let begun = Instant::now();
    let everywhere = async {
        while !cluster.nodes().iter().all(knows) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, everywhere)
        .await
        .context("the views do not agree in time")?;
    Ok(begun.elapsed())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let begun = Instant::now();
    let cluster = LocalCluster::start(NODES).await?;
    cluster.joined(PATIENCE).await?;
    println!("{NODES} nodes know each other after {:?}", begun.elapsed());

    let nodes = cluster.nodes();
    let start = |number: usize| Agent::start(&nodes[number % NODES], number);
    let mut agents = (0..AGENTS).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    println!(
        "{AGENTS} agents are in the view of every node after {:?}",
        known(&cluster, AGENTS).await?
    );

    let members = nodes[0].members(&Scope::default(), &Pattern::parse(TOPIC)?);
    let mut per_node = BTreeMap::<_, usize>::new();
    for member in members {
        *per_node.entry(member.node).or_default() += 1;
    }
    ensure!(
        per_node.values().all(|&agents| agents == AGENTS_PER_NODE),
        "{per_node:?}"
    );

    let (editor, _) = nodes[3].session(SessionOptions::default())?;
    let publish = |text: &str| {
        anyhow::Ok(editor.broadcast(Message::new(Topic::parse(TOPIC)?, text.to_owned()))?)
    };
    let begun = Instant::now();
    let receipt = publish("page 7 has changed")?;
    let nodes_but_one = NODES - 1;
    ensure!(
        (receipt.local, receipt.nodes) == (AGENTS_PER_NODE, nodes_but_one),
        "{receipt:?}"
    );
    let heard = try_join_all(agents.iter_mut().map(Agent::read)).await?;
    ensure!(heard.iter().all(|text| text == "page 7 has changed"));
    println!(
        "one broadcast, {nodes_but_one} frames: all have read it after {:?}",
        begun.elapsed()
    );

    agents.truncate(AGENTS / 2);
    let took = known(&cluster, agents.len()).await?;
    println!("half of the agents end; no view has them after {took:?}");

    // Had anybody got the first message twice, that copy would come before this one.
    publish("page 8 has changed")?;
    let heard = try_join_all(agents.iter_mut().map(Agent::read)).await?;
    ensure!(
        heard.iter().all(|text| text == "page 8 has changed"),
        "each message once"
    );
    println!("the others have read the next message, and each message once");
    cluster.leave().await;
    Ok(())
}
