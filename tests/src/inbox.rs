use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_nats::{Client, Message, Subscriber};
use futures::StreamExt;
use tokio::time::timeout;

use crate::Node;

/// How long a message that should come is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A subscription through the client gateway, and the connection that it lives on.
#[derive(Debug)]
pub struct Inbox {
    /// The connection.
    pub client: Client,
    subscriber: Subscriber,
}

impl Inbox {
    /// Connects to a node and subscribes; returns when the node has it.
    pub async fn open(node: &Node, topic: &str) -> Result<Self> {
        Self::on(node.connect().await?, topic).await
    }

    /// Subscribes on a connection that is there already.
    pub async fn on(client: Client, topic: &str) -> Result<Self> {
        let subscriber = client.subscribe(topic.to_owned()).await?;
        client.flush().await?;
        Ok(Self { client, subscriber })
    }

    /// The next message.
    pub async fn next(&mut self) -> Result<Message> {
        let message = timeout(PATIENCE, self.subscriber.next()).await;
        message
            .context("no message within ten seconds")?
            .context("the subscription has ended")
    }

    /// The next message's payload as text.
    pub async fn text(&mut self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.next().await?.payload).into_owned())
    }

    /// The payloads of the next so many messages.
    pub async fn texts(&mut self, count: usize) -> Result<Vec<String>> {
        let mut texts = Vec::with_capacity(count);
        while texts.len() < count {
            let got = texts.len();
            texts.push(
                self.text()
                    .await
                    .with_context(|| format!("after {got} of {count}"))?,
            );
        }
        Ok(texts)
    }

    /// The payload of a message that comes within this time, if one does.
    pub async fn text_within(&mut self, duration: Duration) -> Option<String> {
        let message = timeout(duration, self.subscriber.next()).await.ok()??;
        Some(String::from_utf8_lossy(&message.payload).into_owned())
    }

    /// Makes sure that nothing comes for as long as said.
    pub async fn stays_empty(&mut self, duration: Duration) -> Result<()> {
        match timeout(duration, self.subscriber.next()).await {
            Err(_) => Ok(()),
            Ok(message) => bail!("did not expect {message:?}"),
        }
    }

    /// Ends the subscription and keeps the connection.
    pub async fn unsubscribe(mut self) -> Result<Client> {
        self.subscriber.unsubscribe().await?;
        self.client.flush().await?;
        Ok(self.client)
    }
}
