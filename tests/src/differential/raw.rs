use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::heard::{Heard, Operation, Told, first};

/// A client that says what it is told to, and keeps what it hears.
#[derive(Debug)]
pub(super) struct Raw {
    stream: TcpStream,
    said: Vec<u8>,
    /// How many answers to PING are still to come.
    pongs: isize,
    /// What of them is for this side alone.
    own: usize,
    told: Told,
    is_closed: bool,
}

impl Raw {
    /// Connects, and hears the greeting.
    pub(super) async fn connect(addr: &str) -> Result<Self> {
        let mut raw = Self {
            stream: TcpStream::connect(addr).await?,
            said: Vec::new(),
            pongs: 0,
            own: 0,
            told: Told::default(),
            is_closed: false,
        };
        raw.stream.set_nodelay(true)?;
        let greeted = async {
            while raw.told == Told::default() && !raw.is_closed {
                raw.hear().await?;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, greeted).await??;
        Ok(raw)
    }

    /// Sends bytes in pieces. The server may have closed; then it hears nothing.
    pub(super) async fn send<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) {
        for piece in pieces {
            let _ = self.stream.write_all(piece).await;
        }
    }

    /// Waits until the server has done all that it was told: until it answers a PING, or closes.
    pub(super) async fn sync(&mut self, pings: isize) -> Result<()> {
        if self.is_closed {
            return Ok(());
        }
        self.pongs += pings + 1;
        self.own += 1;
        self.send(std::iter::once(&b"PING\r\n"[..])).await;
        let answered = async {
            while self.pongs > 0 && !self.is_closed {
                self.hear().await?;
            }
            anyhow::Ok(())
        };
        match timeout(PATIENCE, answered).await {
            Ok(heard) => heard,
            Err(_) => {
                self.told.add_rest(b"no answer to PING");
                Ok(())
            }
        }
    }

    /// Waits until the server closes.
    pub(super) async fn end(&mut self) -> Result<()> {
        let ended = async {
            while !self.is_closed {
                self.hear().await?;
            }
            anyhow::Ok(())
        };
        if let Ok(heard) = timeout(PATIENCE, ended).await {
            heard?;
        }
        Ok(())
    }

    /// Hears what else comes within this time.
    pub(super) async fn hear_for(&mut self, time: Duration) -> Result<()> {
        if !self.is_closed
            && let Ok(heard) = timeout(time, self.hear()).await
        {
            heard?;
        }
        Ok(())
    }

    /// What it has heard so far of the present step.
    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// What it has heard, and from now on it is the next step.
    pub(super) fn take(&mut self) -> Told {
        std::mem::take(&mut self.told)
    }

    async fn hear(&mut self) -> Result<()> {
        self.said.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.said).await {
            Ok(bytes) if bytes > 0 => {}
            // That it was reset is an end as well: the server did not read all.
            _ => {
                if !self.said.is_empty() {
                    self.told.add_rest(&self.said);
                }
                self.told.add_end();
                self.is_closed = true;
            }
        }
        let mut at = 0;
        while let Heard::Whole(operation, bytes) = first(&self.said[at..])? {
            let said = &self.said[at..at + bytes];
            at += bytes;
            if matches!(operation, Operation::Pong) {
                self.pongs -= 1;
                if self.pongs == 0 && self.own > 0 {
                    self.own -= 1;
                    continue;
                }
            }
            self.told.add(operation, said);
        }
        self.said.drain(..at);
        Ok(())
    }
}

/// How much is read at a time.
const READ_BYTES: usize = 64 << 10;
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
