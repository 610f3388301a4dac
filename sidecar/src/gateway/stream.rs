use std::io::{self, ErrorKind, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::rustls::ServerConnection;
use tungstenite::protocol::frame::coding::CloseCode;

use super::cipher::Cipher;
use super::frames::Frames;
use super::socket::Socket;

/// What a connection reads from and writes to: a socket, and what there is around the bytes of the
/// protocol, TLS or frames of WebSocket, or both.
///
/// As with a socket of tokio, whoever uses it waits until it is [ready](Self::ready) and tries then. What
/// is in between holds back nothing that was read, so nothing more is to be known to wait for it.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    /// None for the bytes as they are, as most clients send them.
    wrapping: Option<Box<Wrapping>>,
}

#[derive(Debug)]
struct Wrapping {
    tls: Option<Cipher>,
    frames: Option<Frames>,
    /// Frames that came along with the request to speak WebSocket.
    early: Bytes,
}

impl Stream {
    pub(super) fn tcp(stream: TcpStream) -> Self {
        Self {
            socket: Socket::Tcp(stream),
            wrapping: None,
        }
    }

    pub(super) fn unix(stream: UnixStream) -> Self {
        Self {
            socket: Socket::Unix(stream),
            wrapping: None,
        }
    }

    pub(super) fn tls(stream: TcpStream, tls: ServerConnection) -> Self {
        Self {
            socket: Socket::Tcp(stream),
            wrapping: Some(Box::new(Wrapping {
                tls: Some(Cipher::new(tls)),
                frames: None,
                early: Bytes::new(),
            })),
        }
    }

    /// A connection that speaks WebSocket from now on; `early` was read of it already.
    pub(super) fn web_socket(
        stream: TcpStream,
        tls: Option<ServerConnection>,
        early: Bytes,
    ) -> Self {
        Self {
            socket: Socket::Tcp(stream),
            wrapping: Some(Box::new(Wrapping {
                tls: tls.map(Cipher::new),
                frames: Some(Frames::default()),
                early,
            })),
        }
    }

    /// Whether there is no TLS for sure. Of a WebSocket it is not known: a proxy may have had it.
    pub(super) fn is_plain(&self) -> bool {
        self.wrapping.is_none()
    }

    /// Waits until the socket is so.
    pub(super) fn ready(&self, interest: Interest) -> impl Future<Output = io::Result<Ready>> {
        self.socket.ready(interest)
    }

    /// Appends what has come; 0 at the end. An error of the kind `WouldBlock` says that it is not for
    /// now, also when something came that is no content.
    pub(super) fn try_read_buf(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        let Some(wrapping) = &mut self.wrapping else {
            return self.socket.try_read_buf(input);
        };
        let Wrapping { tls, frames, early } = &mut **wrapping;
        if frames.as_ref().is_some_and(|frames| frames.is_closed()) {
            // It came with the last content.
            return Ok(0);
        }
        let before = input.len();
        let mut bytes = early.len();
        if bytes > 0 {
            input.extend_from_slice(&std::mem::take(early));
        } else if let Some(tls) = tls {
            bytes = tls.read(&self.socket, input)?;
        } else {
            bytes = self.socket.try_read_buf(input)?;
        }
        let Some(frames) = frames.as_mut().filter(|_| bytes > 0) else {
            return Ok(bytes);
        };
        let content = frames.unframe(&mut input[before..]);
        input.truncate(before + *content.as_ref().unwrap_or(&0));
        match content? {
            0 if !frames.is_closed() => Err(ErrorKind::WouldBlock.into()),
            content => Ok(content),
        }
    }

    /// Writes as much of this as is taken now. What was once offered and not taken has to be offered
    /// again, with more after it or not: its length may be out already.
    pub(super) fn try_write(&mut self, out: &[u8]) -> io::Result<usize> {
        let Some(wrapping) = &mut self.wrapping else {
            return self.socket.try_write(out);
        };
        let Wrapping { tls, frames, .. } = &mut **wrapping;
        let whole = [IoSlice::new(out)];
        let framed = frames.as_mut().map(|frames| frames.next(out));
        let parts = framed.as_ref().map_or(&whole[..], |framed| &framed[..]);
        let written = match tls {
            Some(tls) => tls.write(&self.socket, parts)?,
            None if parts.iter().all(|part| part.is_empty()) => 0,
            None => self.socket.try_write_vectored(parts)?,
        };
        Ok(frames
            .as_mut()
            .map_or(written, |frames| frames.sent(written)))
    }

    /// Whether something waits to be written that is not the caller's: an empty write goes on with it.
    pub(super) fn is_behind(&self) -> bool {
        self.wrapping.as_ref().is_some_and(|wrapping| {
            let is_tls_behind = wrapping.tls.as_ref().is_some_and(Cipher::is_behind);
            is_tls_behind || wrapping.frames.as_ref().is_some_and(Frames::is_behind)
        })
    }

    /// Waits until something has come, and appends it; 0 at the end.
    pub(super) async fn read_buf(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        loop {
            match self.try_read_buf(input) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if self.is_behind() {
                // It may have been asked for a sign of life.
                let interest = Interest::READABLE | Interest::WRITABLE;
                if self.ready(interest).await?.is_writable() {
                    self.go_on()?;
                }
            } else {
                self.ready(Interest::READABLE).await?;
            }
        }
    }

    /// Writes all of this.
    pub(super) async fn write_all(&mut self, out: &mut BytesMut) -> io::Result<()> {
        while !out.is_empty() || self.is_behind() {
            match self.try_write(out) {
                Ok(written) => out.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.ready(Interest::WRITABLE).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Goes on with what waits beside what callers write.
    fn go_on(&mut self) -> io::Result<()> {
        match self.try_write(&[]) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// Says that nothing more comes, and why, then waits until the other side says so, too. Of what it
    /// says until then nothing is looked at.
    pub(super) async fn close(&mut self, code: CloseCode) -> io::Result<()> {
        if let Some(frames) = self.frames() {
            frames.close(code);
            self.write_all(&mut BytesMut::new()).await?;
        }
        if let Some(Wrapping { tls: Some(tls), .. }) = self.wrapping.as_deref_mut() {
            tls.end();
            self.write_all(&mut BytesMut::new()).await?;
        }
        self.socket.shutdown().await?;
        // Closing with input unread would reset the connection and lose the last words.
        let mut unread = vec![0; 4096];
        loop {
            match self.socket.try_read(&mut unread) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.ready(Interest::READABLE).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn frames(&mut self) -> Option<&mut Frames> {
        self.wrapping.as_mut()?.frames.as_mut()
    }
}
