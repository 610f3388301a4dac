//! Streams are followed over HTTP and NATS from other nodes than the writer's, which may die.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tidings_tests::{Cluster, Node, millis};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(5);

/// A stream that is written over HTTP, and has no end yet.
struct Written {
    connection: TcpStream,
    id: String,
}

impl Written {
    async fn begin(node: &Node, first: &str) -> Result<Self> {
        let mut connection = TcpStream::connect(&node.http).await?;
        let head = format!(
            "POST /v1/streams HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n",
            node.http
        );
        connection.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let read = timeout(SOON, connection.read_buf(&mut answer)).await??;
            anyhow::ensure!(read > 0, "no answer");
        }
        let answer = String::from_utf8(answer)?;
        let mut lines = answer.lines();
        let id = lines.find_map(|line| line.strip_prefix("tidings-stream: "));
        let id = id.with_context(|| answer.clone())?.to_owned();
        let mut written = Self { connection, id };
        written.push(first).await?;
        Ok(written)
    }

    async fn push(&mut self, text: &str) -> Result<()> {
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        Ok(self.connection.write_all(chunk.as_bytes()).await?)
    }

    async fn finish(mut self) -> Result<String> {
        self.connection.write_all(b"0\r\n\r\n").await?;
        // Who hangs up before it is answered may have broken off.
        let mut answer = Vec::new();
        timeout(SOON, self.connection.read_to_end(&mut answer)).await??;
        let answer = String::from_utf8(answer)?;
        anyhow::ensure!(answer.contains(r#""state":"complete""#), "{answer}");
        Ok(self.id)
    }
}

/// Follows a stream over HTTP, and says what comes.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn of(node: &Node, id: &str) -> Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let url = format!("http://{}/v1/streams/{id}", node.http);
        let response = client.get(url).send().await?.error_for_status()?;
        let text = String::new();
        Ok(Self { response, text })
    }

    async fn until(&mut self, what: &str) -> Result<()> {
        while !self.text.contains(what) {
            let Some(part) = timeout(SOON, self.response.chunk()).await?? else {
                bail!("no {what:?} in {:?}", self.text);
            };
            self.text.push_str(std::str::from_utf8(&part)?);
        }
        Ok(())
    }
}

/// Asks over NATS until it is told of the end, and says how that is and what came before.
async fn read(client: &async_nats::Client, id: &str) -> Result<(String, Value)> {
    let (mut from, mut text) = (json!(0), String::new());
    loop {
        let payload = json!({ "from": from, "wait": "1s" }).to_string();
        let answer = client
            .request(format!("$TIDINGS.stream.{id}"), payload.into())
            .await?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        let chunks = answer["chunks"].as_array();
        let chunks = chunks.with_context(|| answer.to_string())?;
        text.extend(chunks.iter().filter_map(Value::as_str));
        from = answer["next"].clone();
        if !answer["end"].is_null() {
            return Ok((text, answer["end"].clone()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_is_told_within_3_s_that_the_node_of_the_stream_was_killed() -> Result<()> {
    let cluster = Cluster::up(3)?;
    let [n1, n2, n3] = [1, 2, 3].map(|number| cluster.node(number));
    let (n1, n2, n3) = (n1?, n2?, n3?);
    let mut written = Written::begin(&n3, "it is ").await?;
    let mut early = Events::of(&n1, &written.id).await?;
    early.until("data: it is \nid: 1").await?;
    written.push("sunny").await?;
    early.until("data: sunny\nid: 2").await?;

    // Who comes late has all of it, on whatever node.
    let whole = Written::begin(&n2, "all ").await?.finish().await?;
    let mut late = Events::of(&n1, &whole).await?;
    late.until(r#""state":"complete""#).await?;
    assert!(late.text.contains("data: all \nid: 1"), "{}", late.text);
    let client = n2.connect().await?;
    let own = read(&client, &whole).await?;
    assert_eq!(own, ("all ".to_owned(), json!("complete")));

    let reading = read(&client, &written.id);
    let killed = async {
        // It reads, and waits for more.
        late = Events::of(&n2, &written.id).await?;
        late.until("data: sunny").await?;
        let since = Instant::now();
        cluster.kill("n3")?;
        early.until(r#""state":"aborted""#).await?;
        Ok::<_, anyhow::Error>((since, since.elapsed()))
    };
    let (told, killed) = tokio::join!(reading, killed);
    let (since, over_http) = killed?;
    let both = since.elapsed();
    assert_eq!(told?, ("it is sunny".to_owned(), json!("aborted")));
    println!(
        "figure: who follows a stream is told of the death of its node after {} ms, over NATS as well after {} ms",
        millis(over_http),
        millis(both)
    );
    assert!(both < Duration::from_secs(3), "{both:?}");
    let mut again = Events::of(&n1, &written.id).await?;
    again.until(r#""state":"aborted""#).await?;
    cluster.down()
}
