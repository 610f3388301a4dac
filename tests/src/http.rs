use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Metrics;

/// A node as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct NodeInfo {
    /// Its name.
    pub node: String,
    /// Which run of the node this is; grows over restarts.
    pub incarnation: u64,
    /// The address its peers reach it at.
    pub addr: String,
    /// Whether it is thought to be alive.
    pub live: bool,
    /// Whether it is the observer itself.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// How things stand between the observer and it, unless it is the observer, or gone.
    pub link: Option<LinkCounts>,
}

/// What is missing between an observer and one of its peers, since the observer started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct LinkCounts {
    /// Frames to the peer that the observer dropped.
    pub dropped_frames: u64,
    /// Frames from the peer that were lost with links.
    pub lost_frames: u64,
    /// Frames from the peer that it says it dropped.
    pub dropped_frames_there: u64,
    /// Frames to the peer that it says were lost.
    pub lost_frames_there: u64,
    /// How often an unknown number of frames from the peer may be missing.
    pub unknown_gaps: u64,
}

/// A topic as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct TopicInfo {
    /// The scope it is in.
    pub scope: String,
    /// Its name; it may be a pattern.
    pub topic: String,
    /// How many members it has in the whole cluster.
    pub members: u64,
    /// How many of them are on the observer.
    pub local: u64,
}

/// A member of a topic as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Member {
    /// The node it is on.
    pub node: String,
    /// Its id.
    pub member: String,
    /// The name that its client connected with.
    pub agent: Option<String>,
}

/// Where a list goes on, by the header `Link`.
fn next_page(link: &reqwest::header::HeaderValue) -> Option<String> {
    let (path, relation) = link.to_str().ok()?.strip_prefix('<')?.split_once('>')?;
    (relation == "; rel=\"next\"").then(|| path.to_owned())
}

/// Asks one node over HTTP what it sees.
#[derive(Debug, Clone)]
pub struct Http {
    base: String,
    client: reqwest::Client,
}

impl Http {
    /// For the node whose HTTP gateway is at this `host:port`.
    pub fn new(address: &str) -> Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(2))
            .build()?;
        Ok(Self {
            base: format!("http://{address}"),
            client,
        })
    }

    /// The nodes it knows, in order of their names.
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>> {
        self.sorted("/v1/nodes").await
    }

    /// What is missing between it and a peer that it has a link to, or dials.
    pub async fn link_to(&self, peer: &str) -> Result<LinkCounts> {
        let nodes = self.nodes().await?;
        let node = nodes.into_iter().find(|node| node.node == peer);
        let link = node.and_then(|node| node.link);
        link.with_context(|| format!("{} shows no link to {peer}", self.base))
    }

    /// The live nodes as name and incarnation, in order.
    pub async fn live(&self) -> Result<Vec<(String, u64)>> {
        let nodes = self.nodes().await?;
        Ok(nodes
            .into_iter()
            .filter(|n| n.live)
            .map(|n| (n.node, n.incarnation))
            .collect())
    }

    /// The topics it knows, in order.
    pub async fn topics(&self) -> Result<Vec<TopicInfo>> {
        self.sorted("/v1/topics").await
    }

    /// The members of a topic, in order.
    pub async fn members(&self, topic: &str) -> Result<Vec<Member>> {
        self.sorted(&format!("/v1/topics/{topic}/members")).await
    }

    /// What it knows of a topic, how, and what the others see.
    pub async fn explain(&self, topic: &str) -> Result<serde_json::Value> {
        let path = format!("/v1/topics/{topic}/explain?timeout=1s");
        Ok(self.get(&path).await?.json().await?)
    }

    /// Its metrics.
    pub async fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.get("/metrics").await?.text().await?))
    }

    /// The status that a GET of the path is answered with.
    pub async fn status(&self, path: &str) -> Result<u16> {
        let answer = self
            .client
            .get(format!("{}{path}", self.base))
            .send()
            .await?;
        Ok(answer.status().as_u16())
    }

    async fn sorted<T: DeserializeOwned + Ord>(&self, path: &str) -> Result<Vec<T>> {
        let (mut list, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(path) = next {
            let answer = self.get(&path).await?;
            next = answer.headers().get("link").and_then(next_page);
            let page: Vec<T> = answer
                .json()
                .await
                .with_context(|| format!("{}{path}", self.base))?;
            list.extend(page);
        }
        list.sort();
        Ok(list)
    }

    async fn get(&self, path: &str) -> Result<reqwest::Response> {
        let url = format!("{}{path}", self.base);
        Ok(self.client.get(url).send().await?.error_for_status()?)
    }
}
