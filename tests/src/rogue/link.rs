use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use quinn::{Connection, ConnectionError, RecvStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::heard::Heard;
use super::run::Run;

/// A link of a rogue to a node. It ends when it is dropped.
#[derive(Debug)]
pub struct RogueLink {
    connection: Connection,
    frames: mpsc::Sender<Vec<u8>>,
    gossip: mpsc::Receiver<Heard>,
    _tasks: JoinSet<()>,
}

/// Why a node has closed a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The close code.
    pub code: u64,
    /// For people.
    pub reason: String,
}

impl RogueLink {
    async fn end(&self) -> anyhow::Error {
        match self.closed().await {
            Ok(closed) => closed.into(),
            Err(other) => other,
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "closed with {}: {}", self.code, self.reason)
    }
}

impl std::error::Error for Closed {}

impl Closed {
    /// Whether it was for something against the protocol.
    pub fn is_violation(&self) -> bool {
        self.code == VIOLATION
    }
}

impl RogueLink {
    /// Says hello, as this run and with this number, on a connection that it has dialled.
    pub(super) async fn open(connection: Connection, run: &Run, number: u64) -> Result<Self> {
        let (mut send, mut receive) = connection.open_bi().await?;
        send.write_all(&frame(HELLO, &hello(run, number)?)).await?;
        let (kind, _) = timeout(PATIENCE, read(&mut receive)).await??;
        ensure!(kind == HELLO, "not a Hello but {kind}");
        send.write_all(&frame(READY, &[])).await?;
        let (frames, mut to_write) = mpsc::channel::<Vec<u8>>(QUEUE);
        let (heard, gossip) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(frame) = to_write.recv().await {
                if send.write_all(&frame).await.is_err() {
                    break;
                }
            }
        });
        tasks.spawn(async move {
            while let Ok((kind, body)) = read(&mut receive).await {
                // Whoever does not listen hears only what has room, and the node goes on talking.
                if kind == GOSSIP
                    && let Ok(message) = Heard::read(&body)
                {
                    let _ = heard.try_send(message);
                }
            }
        });
        let lanes = connection.clone();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok(mut lane) = lanes.accept_uni().await {
                open.spawn(async move {
                    while let Ok(Some(_)) = lane.read_chunk(usize::MAX, false).await {}
                });
            }
        });
        Ok(Self {
            connection,
            frames,
            gossip,
            _tasks: tasks,
        })
    }

    /// Sends a gossip message; waits while the node takes no more.
    pub async fn say(&self, message: &[u8]) -> Result<()> {
        let frame = frame(GOSSIP, message);
        match self.frames.send(frame).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.end().await),
        }
    }

    /// The next gossip message of the node.
    pub async fn hear(&mut self) -> Result<Heard> {
        match self.gossip.recv().await {
            Some(heard) => Ok(heard),
            None => Err(self.end().await),
        }
    }

    /// Whether it still is a link.
    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Waits until the node closes it.
    pub async fn closed(&self) -> Result<Closed> {
        let closed = timeout(PATIENCE, self.connection.closed()).await;
        Closed::of(&closed.context("the link stays")?)
    }
}

impl Closed {
    /// What a node said when it ended this connection.
    pub(super) fn of(error: &ConnectionError) -> Result<Self> {
        match error {
            ConnectionError::ApplicationClosed(close) => Ok(Self {
                code: close.error_code.into_inner(),
                reason: String::from_utf8_lossy(&close.reason).into_owned(),
            }),
            other => bail!("not closed by the node: {other}"),
        }
    }
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(1 + body.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), &[kind][..], body].concat()
}

async fn read(stream: &mut RecvStream) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let [a, b, c, d, kind] = head;
    let length = u32::from_be_bytes([a, b, c, d]);
    let mut body = vec![0; length.saturating_sub(1) as usize];
    stream.read_exact(&mut body).await?;
    Ok((kind, body))
}

fn hello(run: &Run, number: u64) -> Result<Vec<u8>> {
    let std::net::SocketAddr::V4(addr) = run.addr else {
        bail!("a rogue has an address of IPv4");
    };
    let lanes = 1;
    Ok([
        PROTOCOL.to_be_bytes().to_vec(),
        varint(run.incarnation),
        [&[0], &addr.ip().octets()[..]].concat(),
        varint(addr.port().into()),
        vec![lanes],
        varint(run.incarnation),
        varint(number),
    ]
    .concat())
}

/// A number as postcard writes it.
pub(super) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

const PROTOCOL: u16 = 5;
const HELLO: u8 = 1;
const READY: u8 = 2;
const GOSSIP: u8 = 3;
const VIOLATION: u64 = 6;
/// Messages that wait on each way.
const QUEUE: usize = 64;
/// How long a node may take to answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
