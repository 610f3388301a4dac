use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Node;

const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the MCP server of a node, on which one request is made as no SDK makes it.
#[derive(Debug)]
pub struct RawMcp {
    stream: TcpStream,
    told: Vec<u8>,
}

impl RawMcp {
    /// Connects, and asks nothing yet.
    pub async fn connect(node: &Node) -> Result<Self> {
        Ok(Self {
            stream: TcpStream::connect(&node.http).await?,
            told: Vec::new(),
        })
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.stream.write_all(bytes.as_ref()).await?)
    }

    /// Makes a request of the revision 2026-07-28. A node that refuses it may not have read all of it.
    pub async fn ask(node: &Node, id: Value, method: &str, params: Value) -> Result<Self> {
        let mut own = Self::connect(node).await?;
        let _ = own.send(request(node, id, method, params)).await;
        Ok(own)
    }

    /// Calls a tool.
    pub async fn call(node: &Node, tool: &str, arguments: Value) -> Result<Self> {
        let params = json!({ "name": tool, "arguments": arguments });
        Self::ask(node, json!(1), "tools/call", params).await
    }

    /// Listens to these resources.
    pub async fn listen(node: &Node, id: Value, uris: &[&str]) -> Result<Self> {
        let params = json!({ "notifications": { "resourceSubscriptions": uris } });
        Self::ask(node, id, "subscriptions/listen", params).await
    }

    /// Reads until it was told this, and returns everything that it was told.
    pub async fn told(&mut self, words: &str) -> Result<String> {
        let read = async {
            loop {
                let told = String::from_utf8_lossy(&self.told).into_owned();
                if told.contains(words) {
                    return Ok(told);
                }
                if self.stream.read_buf(&mut self.told).await.unwrap_or(0) == 0 {
                    bail!("closed without {words:?}: {told}");
                }
            }
        };
        let told = timeout(PATIENCE, read).await;
        told.with_context(|| format!("not told {words:?}"))?
    }
}

fn request(node: &Node, id: Value, method: &str, mut params: Value) -> String {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "raw", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    // What a request is about is shown to whoever does not read bodies.
    let name = params["name"].as_str().or(params["uri"].as_str());
    let name = name.unwrap_or_default().to_owned();
    let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let body = body.to_string();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\naccept: application/json, text/event-stream\r\n\
         content-type: application/json\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\n\
         mcp-name: {name}\r\ncontent-length: {}\r\n\r\n{body}",
        node.http,
        body.len()
    )
}
