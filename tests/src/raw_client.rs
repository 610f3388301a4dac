use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Node;

const PATIENCE: Duration = Duration::from_secs(10);

/// A client that says exactly what it is told to: for input that no proper client sends.
#[derive(Debug)]
pub struct RawClient {
    stream: BufReader<TcpStream>,
}

impl RawClient {
    /// Connects and reads the greeting.
    pub async fn connect(node: &Node) -> Result<Self> {
        let mut client = Self {
            stream: BufReader::new(TcpStream::connect(&node.client).await?),
        };
        let greeting = client.line().await?;
        if !greeting.starts_with("INFO {") {
            bail!("unexpected greeting {greeting:?}");
        }
        Ok(client)
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.stream.write_all(bytes.as_ref()).await?)
    }

    /// The next line without its end; empty at the end of the stream.
    pub async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        timeout(PATIENCE, self.stream.read_line(&mut line))
            .await
            .context("no line")??;
        Ok(line.trim_end().to_owned())
    }

    /// Reads on until a line begins with the text, and returns that line.
    pub async fn line_with(&mut self, beginning: &str) -> Result<String> {
        loop {
            match self.line().await? {
                line if line.starts_with(beginning) => return Ok(line),
                line if line.is_empty() => bail!("closed before a line with {beginning:?}"),
                _ => {}
            }
        }
    }

    /// Everything up to the end of the stream, which must come.
    pub async fn rest(&mut self) -> Result<String> {
        let mut rest = Vec::new();
        // A reset is an end too: it comes when we sent more than the node has read.
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut rest))
            .await
            .context("no end")?;
        Ok(String::from_utf8_lossy(&rest).into_owned())
    }
}
