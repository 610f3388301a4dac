//! One connection to a server, with no more between the socket and the caller than the parser.
//! It writes as fast as the server takes, and hides no back-pressure.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::Instant;

use crate::parser::{Event, Parser};

/// How long a read waits, and so how soon a client sees that its workload has ended.
const POLL: Duration = Duration::from_millis(50);
/// How long the server may take nothing before the client gives up.
const WRITE_MAX: Duration = Duration::from_secs(20);
/// How long the server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);
const READ_BYTES: usize = 256 << 10;

/// A client of either server.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    parser: Parser,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects, and returns when the server has answered.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        Self::connect_with(address, "")
    }

    /// Connects and subscribes, and returns when the server has taken both.
    pub(crate) fn subscribe(address: SocketAddr, topic: &str) -> Result<Self> {
        Self::connect_with(address, &format!("SUB {topic} 1\r\n"))
    }

    fn connect_with(address: SocketAddr, operations: &str) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(POLL))?;
        stream.set_write_timeout(Some(WRITE_MAX))?;
        let mut client = Self {
            stream,
            parser: Parser::default(),
            buffer: vec![0; READ_BYTES],
        };
        let connect = r#"CONNECT {"verbose":false,"pedantic":false,"lang":"load"}"#;
        client.send(format!("{connect}\r\n{operations}").as_bytes())?;
        client.flush()?;
        Ok(client)
    }

    /// Sends bytes as they are; waits for as long as the server does not take them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self.stream.write_all(bytes) {
            Err(error) if is_timeout(error.kind()) => {
                bail!("the server took nothing for {WRITE_MAX:?}")
            }
            Err(error) => Err(self.last_words(error.into())),
            Ok(()) => Ok(()),
        }
    }

    /// Returns when the server has taken all that was sent before.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.send(b"PING\r\n")?;
        let (start, mut answered) = (Instant::now(), false);
        while !answered {
            self.read(READ_BYTES, |event| answered |= event == Event::Pong)?;
            if start.elapsed() > ANSWER_MAX {
                bail!("no PONG within {ANSWER_MAX:?}");
            }
        }
        Ok(())
    }

    /// Reads up to so many bytes and tells `on` what they say; 0 when nothing comes for a while.
    /// Questions of the server are answered, and its `-ERR` is an error here.
    pub(crate) fn read(
        &mut self,
        bytes_max: usize,
        mut on: impl FnMut(Event<'_>),
    ) -> Result<usize> {
        let size = bytes_max.clamp(1, self.buffer.len());
        let bytes = match self.stream.read(&mut self.buffer[..size]) {
            Ok(0) => bail!("closed by the server"),
            Ok(bytes) => bytes,
            Err(error) if is_timeout(error.kind()) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let (mut pings, mut refused) = (0, None);
        let noted = |event: Event<'_>| match event {
            Event::Ping => pings += 1,
            Event::Error(text) => refused = Some(text.to_owned()),
            other => on(other),
        };
        self.parser
            .feed(&self.buffer[..bytes], noted)
            .map_err(|malformed| anyhow::anyhow!("not the protocol: {:?}", malformed.0))?;
        if let Some(text) = refused {
            bail!("{text}");
        }
        for _ in 0..pings {
            self.stream.write_all(b"PONG\r\n").context("answer PING")?;
        }
        Ok(bytes)
    }

    /// The connection alone, for who only wants to be there.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Why the server has closed, if it said so, or else the error that the client got.
    fn last_words(&mut self, error: anyhow::Error) -> anyhow::Error {
        for _ in 0..100 {
            match self.read(READ_BYTES, |_| {}) {
                Ok(0) => break,
                Ok(_) => {}
                Err(words) => return words,
            }
        }
        error
    }
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
