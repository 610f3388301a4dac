//! How two nodes agree on a link, once TLS has told each who the other is.
//!
//! The dialler opens the control stream with its Hello, the acceptor answers with its own, and the
//! dialler ends with Ready. Which connections are wanted is decided in the `mesh` module.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tidings_identity::{NodeId, Validity};
use tracing::debug;

use crate::candidate::Candidate;
use crate::control::{Control, ControlError, Hello};
use crate::link::Link;
use crate::links::Links;
use crate::refusal::{Refusal, RefusalLog};
use crate::stats::Counters;
use crate::traffic::Traffic;
use crate::{CloseCode, LinkNumber, tls};

/// What it takes to bring up links.
pub(crate) struct Handshake {
    pub(crate) node: NodeId,
    /// Our Hello, but for the number of the link.
    pub(crate) hello: Hello,
    pub(crate) control_bytes_max: usize,
    pub(crate) links: Arc<Links>,
    pub(crate) traffic: Traffic,
    pub(crate) refusals: RefusalLog,
    pub(crate) counters: Arc<Counters>,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the connection broke")]
    Connection(#[from] ConnectionError),
    #[error("cannot write to the control stream")]
    Write(#[from] quinn::WriteError),
    #[error(transparent)]
    Control(#[from] ControlError),
    /// It broke the protocol, and is refused for so long.
    #[error("it broke the protocol, and gets no link for another {0:?}")]
    Paused(Duration),
    /// We refuse the peer, or this connection with it.
    #[error("{0}")]
    Refused(CloseCode),
}

impl Handshake {
    /// Introduces us on a connection that we dialled. On success the link is up.
    pub(crate) async fn dialled(
        &self,
        connection: &Connection,
        addr: SocketAddr,
    ) -> Result<(), HandshakeError> {
        let (peer, validity) = certified(connection)?;
        let (mut send, mut receive) = connection.open_bi().await?;
        if peer == self.node {
            // Either we have found ourselves or somebody has our name. The other end tells which.
            self.send_hello(&mut send, LinkNumber::default()).await?;
            Control::read(&mut receive, self.control_bytes_max).await?;
            return Err(HandshakeError::Refused(CloseCode::NameTaken));
        }
        let refused = HandshakeError::Refused;
        self.check_pause(&peer)?;
        let candidate = Candidate::new(self.links.clone(), peer, connection);
        let number = candidate.offer().ok_or(refused(CloseCode::Abandoned))?;
        self.send_hello(&mut send, number).await?;
        let hello = self.read_hello(&mut receive).await?;
        let number = candidate.answered(hello.claim()).map_err(refused)?;
        send.write_chunk(Control::Ready.encode()).await?;
        let link = self.link(&candidate, number, &hello, validity, connection);
        self.begin(&link, candidate, (send, receive), Some(addr))
    }

    /// Lets the other side introduce itself on a connection that it dialled. On success the link
    /// is up.
    pub(crate) async fn accepted(&self, connection: &Connection) -> Result<(), HandshakeError> {
        let (peer, validity) = certified(connection)?;
        self.check_pause(&peer)?;
        let (mut send, mut receive) = connection.accept_bi().await?;
        let hello = self.read_hello(&mut receive).await?;
        let refused = HandshakeError::Refused;
        if peer == self.node {
            let is_self = hello.incarnation == self.hello.incarnation;
            return Err(refused(if is_self {
                CloseCode::SelfDial
            } else {
                CloseCode::NameTaken
            }));
        }
        let candidate = Candidate::new(self.links.clone(), peer, connection);
        let number = candidate.answer(hello.claim()).map_err(refused)?;
        self.send_hello(&mut send, number).await?;
        match Control::read(&mut receive, self.control_bytes_max).await? {
            Control::Ready => {
                let link = self.link(&candidate, number, &hello, validity, connection);
                self.begin(&link, candidate, (send, receive), None)
            }
            other => Err(ControlError::Unexpected(other.name()).into()),
        }
    }

    /// Closes a connection on which the handshake failed, unless it is closed already, and tells
    /// people if one side refused the other. Returns the code with which it was closed, unless we
    /// had closed it before.
    pub(crate) fn failed(
        &self,
        connection: &Connection,
        error: &HandshakeError,
    ) -> Option<CloseCode> {
        let remote = connection.remote_address();
        if let Some(reason) = connection.close_reason() {
            self.lost(remote, &reason);
            return match reason {
                ConnectionError::ApplicationClosed(close) => {
                    CloseCode::from_number(close.error_code.into_inner())
                }
                _ => None,
            };
        }
        let code = match error {
            HandshakeError::Refused(code) => *code,
            HandshakeError::Control(ControlError::Version(_)) => CloseCode::Version,
            HandshakeError::Paused(_) => CloseCode::Violation,
            // A node that stops drops its streams before its connection. That breaks no rule.
            HandshakeError::Control(ControlError::Read(_)) | HandshakeError::Write(_) => {
                CloseCode::Gone
            }
            _ => {
                self.counters.violations.fetch_add(1, Relaxed);
                CloseCode::Violation
            }
        };
        let latest = (code == CloseCode::Stale)
            .then(|| tls::peer(connection))
            .flatten()
            .and_then(|(peer, _)| self.links.latest_run(&peer));
        match latest {
            Some(latest) => code.close_because(connection, &format_args!("{error}: {latest}")),
            None => code.close_because(connection, error),
        }
        self.refused(remote, Refusal::ours(code), error);
        Some(code)
    }

    /// A connection ended before there was a link: tells people if one side refused the other.
    pub(crate) fn lost(&self, remote: SocketAddr, reason: &ConnectionError) {
        if let ConnectionError::ApplicationClosed(close) = reason
            && CloseCode::from_number(close.error_code.into_inner()) == Some(CloseCode::Stale)
        {
            self.links.refused_as_old(&close.reason);
        }
        match Refusal::from_error(reason) {
            Some(refusal) => self.refused(remote, refusal, reason),
            None => debug!(%remote, %reason, "no link came of a connection"),
        }
    }

    fn refused(&self, remote: SocketAddr, refusal: Refusal, detail: &dyn std::fmt::Display) {
        if refusal.concerns_people() {
            self.counters.handshakes_refused.fetch_add(1, Relaxed);
            self.refusals.log(remote, refusal, detail);
        }
    }

    /// After a violation nothing is done for a peer for a while.
    fn check_pause(&self, peer: &NodeId) -> Result<(), HandshakeError> {
        match self.links.pause(peer) {
            Some(left) => Err(HandshakeError::Paused(left)),
            None => Ok(()),
        }
    }

    async fn send_hello(
        &self,
        stream: &mut SendStream,
        number: LinkNumber,
    ) -> Result<(), HandshakeError> {
        // Gossip decides who is alive, so it must not wait behind a full lane.
        let _ = stream.set_priority(CONTROL_PRIORITY);
        let hello = Control::Hello(Hello {
            number,
            ..self.hello
        });
        Ok(stream.write_chunk(hello.encode()).await?)
    }

    async fn read_hello(&self, stream: &mut RecvStream) -> Result<Hello, HandshakeError> {
        match Control::read(stream, self.control_bytes_max).await? {
            Control::Hello(hello) => Ok(hello),
            other => Err(ControlError::Unexpected(other.name()).into()),
        }
    }

    fn link(
        &self,
        candidate: &Candidate,
        number: LinkNumber,
        hello: &Hello,
        validity: Validity,
        connection: &Connection,
    ) -> Arc<Link> {
        let peer = self.links.peer(candidate.peer());
        Arc::new(Link::new(peer, number, hello, validity, connection.clone()))
    }

    fn begin(
        &self,
        link: &Arc<Link>,
        candidate: Candidate,
        control: (SendStream, RecvStream),
        dialled: Option<SocketAddr>,
    ) -> Result<(), HandshakeError> {
        if !candidate.up(link, dialled) {
            return Err(HandshakeError::Refused(CloseCode::Replaced));
        }
        self.traffic.start(link, candidate, control);
        Ok(())
    }
}

fn certified(connection: &Connection) -> Result<(NodeId, Validity), HandshakeError> {
    tls::peer(connection).ok_or(HandshakeError::Refused(CloseCode::Unauthenticated))
}

/// Lanes have priority 0.
const CONTROL_PRIORITY: i32 = 1;
