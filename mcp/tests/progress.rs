//! What a tool says is told to its caller, which may be slow, and to whoever follows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(
    clippy::disallowed_methods,
    reason = "the servers of a test end with it"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ServerCapabilities,
    ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde_json::{Value, json};
use tidings::{
    Config, Count, Limits, LocalCluster, Node, Session, SessionOptions, StreamOptions, StreamWriter,
};
use tidings_mcp::with_progress;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

/// A server with a tool that says what it is to say in a stream, and returns the same.
#[derive(Clone)]
struct Talker {
    writes: Arc<Session>,
    follows: Arc<Session>,
    chunks: Vec<&'static [u8]>,
    /// Has a place once all is said.
    has_said: Arc<Semaphore>,
    /// Where the writer is left, if the tool does not end its stream.
    unfinished: Option<Arc<Mutex<Option<StreamWriter>>>>,
}

impl ServerHandler for Talker {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn call_tool(
        &self,
        _: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let mut writer = self.writes.stream(StreamOptions::default()).unwrap();
        let following = self.follows.follow(writer.id(), 0).unwrap();
        let said = with_progress(&context, following, async {
            for chunk in &self.chunks {
                writer.push(*chunk).unwrap();
                tokio::task::yield_now().await;
            }
            match &self.unfinished {
                Some(unfinished) => *unfinished.lock().unwrap() = Some(writer),
                None => drop(writer.finish()),
            }
            self.has_said.add_permits(1);
            String::from_utf8_lossy(&self.chunks.concat()).into_owned()
        });
        let said = ContentBlock::text(said.await);
        Ok(CallToolResult::success(vec![said]).into())
    }
}

/// What a caller was told.
#[derive(Debug, Default)]
struct Told {
    /// The numbers, and the messages with them.
    progress: Vec<(f64, Option<String>)>,
    result: String,
}

impl Told {
    /// The messages, joined.
    fn text(&self) -> String {
        let messages = self.progress.iter().filter_map(|(_, own)| own.as_deref());
        messages.collect()
    }
}

impl Talker {
    fn new(writes: &Node, follows: &Node, chunks: &[&'static [u8]]) -> Self {
        let session = |node: &Node| Arc::new(node.session(SessionOptions::default()).unwrap().0);
        Self {
            writes: session(writes),
            follows: session(follows),
            chunks: chunks.into(),
            has_said: Arc::new(Semaphore::new(0)),
            unfinished: None,
        }
    }

    async fn alone(limits: Limits, chunks: &[&'static [u8]]) -> Self {
        let config = Config {
            limits,
            ..Config::default()
        };
        let node = Node::start(config, None).await.unwrap();
        Self::new(&node, &node, chunks)
    }

    /// Calls the tool, with this progress token or none, over a connection that holds little, and reads nothing before all
    /// is said if `is_slow`.
    async fn call(self, token: Option<&str>, is_slow: bool) -> Told {
        let (own, other) = tokio::io::duplex(1 << 10);
        let has_said = Arc::clone(&self.has_said);
        tokio::spawn(async move { self.serve(other).await.unwrap().waiting().await });
        let mut own = BufReader::new(own);
        let hello = json!({
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "caller", "version": "1" },
        });
        say(
            &mut own,
            json!({ "id": 1, "method": "initialize", "params": hello }),
        )
        .await;
        hear(&mut own).await;
        say(&mut own, json!({ "method": "notifications/initialized" })).await;
        let mut call = json!({ "name": "talk" });
        if let Some(token) = token {
            call["_meta"] = json!({ "progressToken": token });
        }
        say(
            &mut own,
            json!({ "id": 2, "method": "tools/call", "params": call }),
        )
        .await;
        if is_slow {
            drop(timeout(LIMIT, has_said.acquire()).await.unwrap());
        }
        let mut told = Told::default();
        loop {
            let message = hear(&mut own).await;
            if message["id"] == 2 {
                let text = &message["result"]["content"][0]["text"];
                text.as_str().unwrap().clone_into(&mut told.result);
                return told;
            }
            assert_eq!(message["method"], "notifications/progress", "{message}");
            let params = &message["params"];
            assert_eq!(params["progressToken"].as_str(), token);
            let text = params["message"].as_str().map(str::to_owned);
            told.progress
                .push((params["progress"].as_f64().unwrap(), text));
        }
    }
}

async fn say(to: &mut BufReader<DuplexStream>, mut message: Value) {
    message["jsonrpc"] = "2.0".into();
    let line = format!("{message}\n");
    to.write_all(line.as_bytes()).await.unwrap();
}

async fn hear(from: &mut BufReader<DuplexStream>) -> Value {
    let mut line = String::new();
    let heard = timeout(LIMIT, from.read_line(&mut line)).await;
    heard.expect("it is told in time").unwrap();
    serde_json::from_str(&line).unwrap()
}

#[tokio::test]
async fn a_slow_caller_gets_what_was_said_meanwhile_in_one_and_then_the_whole_result() {
    let chunks = [&b"token "[..]; 2_000];
    let talker = Talker::alone(Limits::default(), &chunks).await;
    let told = talker.call(Some("t"), true).await;
    assert_eq!(told.result, "token ".repeat(2_000));
    assert_eq!(told.text(), told.result, "and each of it once, in order");
    let numbers: Vec<_> = told.progress.iter().map(|(number, _)| *number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(numbers.last(), Some(&2_000.0));
    assert!(numbers.len() < 50, "{} notifications", numbers.len());
}

#[tokio::test]
async fn what_a_stream_does_not_keep_any_more_is_told_in_numbers_only() {
    let limits = Limits {
        stream_bytes_max: Count::of::<{ 64 << 10 }>(),
        ..Limits::default()
    };
    let chunks = [&[b'x'; 1_000][..]; 500];
    let told = Talker::alone(limits, &chunks).await.call(Some("t"), true);
    let told = told.await;
    assert_eq!(told.result.len(), 500_000);
    assert!(told.text().len() < 400_000);
    let first_number = told.progress.iter().position(|(_, text)| text.is_none());
    let numbers = &told.progress[first_number.expect("something is not kept")..];
    assert!(numbers.iter().all(|(_, text)| text.is_none()));
    assert_eq!(numbers.last().unwrap().0, 500.0);
}

#[tokio::test]
async fn who_has_not_asked_for_progress_gets_the_result_alone() {
    let talker = Talker::alone(Limits::default(), &[b"it is ", b"sunny"]).await;
    let told = talker.call(None, false).await;
    assert_eq!((told.progress.len(), &*told.result), (0, "it is sunny"));
}

#[tokio::test]
async fn a_stream_without_an_end_does_not_hold_up_the_result_on_whatever_node_it_is() {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(LIMIT).await.unwrap();
    let nodes = cluster.nodes();
    for (writes, follows) in [(&nodes[0], &nodes[0]), (&nodes[0], &nodes[1])] {
        let chunks: [&[u8]; 3] = [b"s\xc3", b"\xbcnny", b" here"];
        let mut talker = Talker::new(writes, follows, &chunks);
        talker.unfinished = Some(Arc::default());
        let told = talker.call(Some("t"), false).await;
        assert_eq!(told.text(), "sünny here", "with whole characters");
        assert_eq!(told.result, "sünny here");
    }
    cluster.leave().await;
}

#[tokio::test]
async fn what_is_no_text_is_told_in_numbers() {
    let talker = Talker::alone(Limits::default(), &[b"text ", b"\xff", b" text"]).await;
    let told = talker.call(Some("t"), false).await;
    assert_eq!(told.progress.last().unwrap().0, 3.0);
    assert!("text ".starts_with(&told.text()), "{told:?}");
}
