//! A client of the node's gateway, for the commands that are agents.
//!
//! It is written here, small, because of what these commands promise: that all is done when they say
//! so, which takes a PING of one's own, and that messages come in their order over all topics, which
//! takes one queue for all subscriptions. Applications are better served by a NATS client.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use tidings::{Headers, Message, Metadata, Pattern, QueueGroup, Scope, Topic};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use crate::cli::credentials::CredentialsArgs;

/// Which node to connect to, and as whom.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// The node to connect to, by the address of its client gateway
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "TIDINGS_SERVER",
        default_value = "127.0.0.1:4222",
        hide_env_values = true
    )]
    server: String,
    /// What to call oneself; shown with one's memberships
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// The scope of all topics; that of the node's clients if none is given
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    #[command(flatten)]
    credentials: CredentialsArgs,
}

/// A connection to a node.
///
/// An error of any call means that the connection is of no more use.
#[derive(Debug)]
pub(crate) struct Client {
    reader: BufReader<OwnedReadHalf>,
    writer: BufWriter<OwnedWriteHalf>,
    /// The largest payload that the node takes.
    payload_bytes_max: usize,
    subscriptions: u64,
}

/// Which other nodes have the subscriptions of a client in their routes.
#[derive(Debug, Deserialize)]
pub(crate) struct Everywhere {
    /// Those that have.
    pub(crate) nodes: Vec<String>,
    /// Those that have not said so.
    #[serde(default)]
    pub(crate) lacking: Vec<Lacking>,
}

/// A node that has not said so.
#[derive(Debug, Deserialize)]
pub(crate) struct Lacking {
    pub(crate) node: String,
    pub(crate) why: String,
}

/// What a node says.
enum ServerOp {
    Message(Message),
    Pong,
    /// Nothing that needs to be acted upon.
    Other,
}

/// What a node tells of itself first.
#[derive(Deserialize)]
struct Info {
    max_payload: usize,
}

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest line that a node may send.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// The largest message with its headers that a node may send: beyond what any can be set up to take.
const MESSAGE_BYTES_MAX: usize = 128 << 20;

impl ClientArgs {
    /// Connects.
    pub(crate) async fn connect(&self) -> anyhow::Result<Client> {
        let addr = self.server.strip_prefix("nats://").unwrap_or(&self.server);
        let connecting = Client::connect(addr, self);
        let greeted = timeout(PATIENCE, connecting).await;
        let client = greeted.context("no answer").and_then(|client| client);
        client.with_context(|| format!("cannot connect to {addr}"))
    }
}

impl Client {
    async fn connect(addr: &str, args: &ClientArgs) -> anyhow::Result<Self> {
        let ClientArgs {
            agent,
            scope,
            credentials,
            ..
        } = args;
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let mut client = Self {
            reader: BufReader::new(reader),
            writer: BufWriter::new(writer),
            payload_bytes_max: 0,
            subscriptions: 0,
        };
        let line = client.line().await?;
        let info = line
            .strip_prefix("INFO ")
            .context("this is no client gateway")?;
        let Info { max_payload } = serde_json::from_str(info).context("INFO is not as it is")?;
        client.payload_bytes_max = max_payload;
        let mut options = json!({
            "verbose": false, "pedantic": false, "echo": true, "headers": true, "protocol": 1,
            "no_responders": true,
            "lang": "tidings", "version": env!("CARGO_PKG_VERSION"), "name": agent,
        });
        if let Some(scope) = scope {
            options["user"] = format!("scope={scope}").into();
        }
        credentials.add_to(&mut options);
        client
            .write(format!("CONNECT {options}\r\n").as_bytes())
            .await?;
        client.flush().await?;
        Ok(client)
    }

    /// Publishes. The message may wait on this side until the connection is [flushed](Self::flush).
    pub(crate) async fn publish(&mut self, message: &Message) -> anyhow::Result<()> {
        let Message {
            topic,
            reply_to,
            headers,
            payload,
            ..
        } = message;
        let (bytes, max) = (message.size_bytes(), self.payload_bytes_max);
        ensure!(
            bytes <= max,
            "payload and headers have {bytes} bytes, the node takes {max}"
        );
        let subject = match reply_to {
            Some(reply_to) => format!("{} {}", topic.as_str(), reply_to.as_str()),
            None => topic.to_string(),
        };
        if headers.is_empty() {
            self.write(format!("PUB {subject} {bytes}\r\n").as_bytes())
                .await?;
        } else {
            let block = headers.as_block();
            let line = format!("HPUB {subject} {} {bytes}\r\n", block.len());
            self.write(line.as_bytes()).await?;
            self.write(block).await?;
        }
        self.write(payload).await?;
        self.write(b"\r\n").await
    }

    /// Subscribes, with effect when the connection is [flushed](Self::flush).
    pub(crate) async fn subscribe(&mut self, pattern: &Pattern) -> anyhow::Result<()> {
        self.join(pattern, None).await
    }

    /// Subscribes in a queue group, or in none, with effect when the connection is
    /// [flushed](Self::flush).
    pub(crate) async fn join(
        &mut self,
        pattern: &Pattern,
        queue: Option<&QueueGroup>,
    ) -> anyhow::Result<()> {
        self.subscriptions += 1;
        let (pattern, sid) = (pattern.as_str(), self.subscriptions);
        let line = match queue {
            None => format!("SUB {pattern} {sid}\r\n"),
            Some(queue) => format!("SUB {pattern} {queue} {sid}\r\n"),
        };
        self.write(line.as_bytes()).await
    }

    /// Lets all memberships of this topic or pattern say this of themselves, with effect when the
    /// connection is [flushed](Self::flush).
    pub(crate) async fn update(
        &mut self,
        pattern: &Pattern,
        metadata: &Metadata,
    ) -> anyhow::Result<()> {
        let (pattern, json) = (pattern.as_str(), metadata.as_json());
        let bytes = json.len();
        let request = format!("PUB $TIDINGS.presence.{pattern} {bytes}\r\n{json}\r\n");
        self.write(request.as_bytes()).await
    }

    /// Waits until the node has done everything that it was asked for so far, and returns the
    /// messages that came in the meantime. An error has the node's own words, if it refused
    /// something.
    pub(crate) async fn flush(&mut self) -> anyhow::Result<Vec<Message>> {
        self.write(b"PING\r\n").await?;
        self.write_out().await?;
        let mut messages = Vec::new();
        let answered = timeout(PATIENCE, async {
            loop {
                match self.read_op().await? {
                    ServerOp::Message(message) => messages.push(message),
                    ServerOp::Pong => return anyhow::Ok(()),
                    ServerOp::Other => {}
                }
            }
        });
        answered.await.context("the node does not answer")??;
        Ok(messages)
    }

    /// Waits until all nodes have the subscriptions in their routes, for so long at most, and returns the
    /// node's answer, and the messages that came in the meantime.
    pub(crate) async fn everywhere(
        &mut self,
        limit: Duration,
    ) -> anyhow::Result<(Everywhere, Vec<Message>)> {
        let reply = inbox();
        self.subscribe(&Pattern::from(&reply)).await?;
        let sid = self.subscriptions;
        let wait = humantime::format_duration(limit).to_string();
        let request = format!("PUB $TIDINGS.barrier {reply} {}\r\n{wait}\r\n", wait.len());
        self.write(request.as_bytes()).await?;
        self.write_out().await?;
        let mut messages = Vec::new();
        let answered = timeout(limit.saturating_add(PATIENCE), async {
            loop {
                let message = self.next().await?;
                if message.topic == reply {
                    return anyhow::Ok(message);
                }
                messages.push(message);
            }
        });
        let answer = answered.await.context("the node does not answer")??;
        self.write(format!("UNSUB {sid}\r\n").as_bytes()).await?;
        self.write_out().await?;
        let answer = serde_json::from_slice(&answer.payload);
        Ok((answer.context("the answer is not as it is")?, messages))
    }

    /// Waits for the next message on a topic, for so long.
    pub(crate) async fn answer(
        &mut self,
        on: &Topic,
        wait_max: Duration,
    ) -> anyhow::Result<Message> {
        let answered = timeout(wait_max + PATIENCE, async {
            loop {
                let message = self.next().await?;
                if message.topic == *on {
                    return anyhow::Ok(message);
                }
            }
        });
        answered.await.context("the node does not answer")?
    }

    /// Waits for the next message. Answers the node when it asks for a sign of life.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Message> {
        loop {
            if let ServerOp::Message(message) = self.read_op().await? {
                return Ok(message);
            }
        }
    }

    async fn read_op(&mut self) -> anyhow::Result<ServerOp> {
        let line = self.line().await?;
        let mut words: Vec<_> = line.split_ascii_whitespace().collect();
        match words.first() {
            Some(&"MSG") => {
                let size = words.pop();
                self.message(&words, Some("0"), size)
                    .await
                    .map(ServerOp::Message)
            }
            Some(&"HMSG") => {
                let (size, block) = (words.pop(), words.pop());
                self.message(&words, block, size)
                    .await
                    .map(ServerOp::Message)
            }
            Some(&"PONG") => Ok(ServerOp::Pong),
            Some(&"PING") => {
                self.write(b"PONG\r\n").await?;
                self.write_out().await?;
                Ok(ServerOp::Other)
            }
            _ => Ok(ServerOp::Other),
        }
    }

    /// Reads what follows the first line of a message: a block of headers and then the payload.
    async fn message(
        &mut self,
        words: &[&str],
        block: Option<&str>,
        size: Option<&str>,
    ) -> anyhow::Result<Message> {
        let number = |word: Option<&str>| word?.parse::<usize>().ok();
        let (topic, reply_to, block, size) = match (words, number(block), number(size)) {
            (&[_, topic, _], Some(block), Some(size)) => (topic, None, block, size),
            (&[_, topic, _, reply], Some(block), Some(size)) => (topic, Some(reply), block, size),
            _ => bail!("the node sends a message that does not say what it is"),
        };
        ensure!(
            block <= size && size <= MESSAGE_BYTES_MAX,
            "the node sends {size} bytes at once"
        );
        let mut bytes = vec![0; size + 2];
        self.reader.read_exact(&mut bytes).await.context(LOST)?;
        let mut payload = Bytes::from(bytes);
        payload.truncate(size);
        let headers = Headers::from_block(payload.split_to(block));
        let mut message = Message::new(Topic::parse(topic)?, payload).with_headers(headers);
        message.reply_to = reply_to.map(Topic::parse).transpose()?;
        Ok(message)
    }

    /// The next line, which is no error.
    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = Vec::new();
        let mut reader = (&mut self.reader).take(LINE_BYTES_MAX);
        reader.read_until(b'\n', &mut line).await.context(LOST)?;
        ensure!(
            line.ends_with(b"\n"),
            if line.is_empty() {
                LOST
            } else {
                "a line has no end"
            }
        );
        let line = String::from_utf8(line).context("the node sends a line that is no text")?;
        match line.strip_prefix("-ERR") {
            Some(reason) => bail!("the node refuses: {}", reason.trim().trim_matches('\'')),
            None => Ok(line),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.writer.write_all(bytes).await.context(LOST)
    }

    async fn write_out(&mut self) -> anyhow::Result<()> {
        self.writer.flush().await.context(LOST)
    }
}

const LOST: &str = "the node closed the connection";

/// A subject for answers that nobody else has.
pub(crate) fn inbox() -> Topic {
    let inbox = format!("_INBOX.{:032x}", rand::random::<u128>());
    Topic::parse(&inbox).expect("it has letters, digits and dots")
}

/// Whether a message says that nobody has got what was asked.
pub(crate) fn is_nobody(message: &Message) -> bool {
    message.payload.is_empty() && message.headers.status() == Some("503")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener};

    use super::*;

    /// What a client makes of a node that says just this, and nothing more.
    async fn client_of(says: &str) -> anyhow::Result<Client> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let says = says.to_owned();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(says.as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // Reads to the end, because what is not read would reset the connection.
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        ClientArgs {
            server,
            agent: None,
            scope: None,
            credentials: CredentialsArgs::default(),
        }
        .connect()
        .await
    }

    #[tokio::test]
    async fn messages_come_with_all_that_belongs_to_them() {
        let mut client = client_of(
            "INFO {\"max_payload\": 10}\r\nPONG\r\nMSG a.b 1 5\r\nsunny\r\nPING\r\n\
             HMSG a.b 1 back 20 21\r\nNATS/1.0\r\nTr: 1 \r\n\r\nx\r\n",
        )
        .await
        .unwrap();
        let topic = || Topic::parse("a.b").unwrap();
        assert_eq!(client.next().await.unwrap(), Message::new(topic(), "sunny"));
        let second = client.next().await.unwrap();
        assert_eq!(second.reply_to, Some(Topic::parse("back").unwrap()));
        assert_eq!(second.headers.get("tr"), Some("1"));
        assert_eq!(second.payload, "x");
        assert_eq!(client.next().await.unwrap_err().to_string(), LOST);
    }

    #[tokio::test]
    async fn an_error_is_told_in_the_words_of_the_node() {
        let refused = client_of("-ERR 'maximum connections exceeded'\r\n")
            .await
            .unwrap_err();
        let told = format!("{refused:#}");
        assert!(
            told.ends_with("the node refuses: maximum connections exceeded"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn what_no_node_would_say_is_an_error() {
        for wrong in [
            "MSG a 1 x",
            "MSG a",
            "HMSG a 1 5 2",
            "MSG a 1 99999999999999",
        ] {
            let says = format!("INFO {{\"max_payload\": 10}}\r\nPONG\r\n{wrong}\r\n");
            let mut client = client_of(&says).await.unwrap();
            assert!(client.next().await.is_err(), "{wrong}");
        }
        assert!(client_of("HTTP/1.1 400 Bad Request\r\n").await.is_err());
    }

    #[tokio::test]
    async fn a_payload_over_the_nodes_limit_is_not_sent() {
        let mut client = client_of("INFO {\"max_payload\": 10}\r\nPONG\r\n")
            .await
            .unwrap();
        let message = Message::new(Topic::parse("a").unwrap(), "eleven bytes");
        let error = client.publish(&message).await.unwrap_err().to_string();
        assert_eq!(
            error,
            "payload and headers have 12 bytes, the node takes 10"
        );
    }
}
