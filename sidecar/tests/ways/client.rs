use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::time::timeout;

/// Longer than anything takes that is waited for.
pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const QUIET: &str = "CONNECT {\"verbose\":false,\"headers\":true}\r\n";

/// Waits until the server has closed, and does not mind what it says before.
pub(crate) async fn closed(mut stream: impl AsyncRead + Unpin) {
    let mut rest = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut rest)).await;
    // A socket that is closed with something unread is reset.
    let _ = read.expect("the server closes");
}

/// A topic that no one else has.
pub(crate) fn own_topic() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    format!("own.{}", LAST.fetch_add(1, Relaxed))
}

/// Speaks the protocol byte by byte over whatever it is given.
pub(crate) struct Client<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next line without its end; empty when the server has closed.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        let read = self.stream.read_until(b'\n', &mut line);
        let read = timeout(SOON, read).await;
        read.expect("the server says something").unwrap();
        let line = String::from_utf8(line).unwrap();
        line.trim_end_matches("\r\n").to_owned()
    }

    pub(crate) async fn expect(&mut self, lines: &[&str]) {
        for expected in lines {
            assert_eq!(self.line().await, *expected);
        }
    }

    /// What the server says of itself.
    pub(crate) async fn info(&mut self) -> serde_json::Value {
        let line = self.line().await;
        let info = line
            .strip_prefix("INFO ")
            .expect("the greeting comes first");
        serde_json::from_str(info).unwrap()
    }

    /// That the server closes without another word.
    pub(crate) async fn expect_closed(&mut self) {
        let mut rest = Vec::new();
        let read = timeout(SOON, self.stream.read_to_end(&mut rest)).await;
        // A socket that is closed with something unread is reset.
        let _ = read.expect("the server closes");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream.into_inner()
    }

    /// Subscribes to a topic of its own, publishes and gets it back.
    pub(crate) async fn expect_served(&mut self) -> String {
        let topic = own_topic();
        self.send(QUIET).await;
        self.send(format!(
            "SUB {topic} 7\r\nPUB {topic} 5\r\nhello\r\nPING\r\n"
        ))
        .await;
        let message = format!("MSG {topic} 7 5");
        self.expect(&[&message, "hello", "PONG"]).await;
        topic
    }
}
