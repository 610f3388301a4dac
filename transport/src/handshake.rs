//! How two nodes agree on a link, once TLS has told each who the other is.
//!
//! The dialler opens the control stream with its Hello, the acceptor answers with its own, and the
//! dialler ends with Ready. Which connections are wanted is decided in the `pair` module.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use quinn::{Connection, ConnectionError, RecvStream, SendStream};
use tidings_identity::NodeId;
use tracing::debug;

use crate::LinkNumber;
use crate::control::{Control, ControlError, Hello};
use crate::hub::{Hub, Seat};
use crate::link::Link;
use crate::refusal::Refusal;
use crate::{CloseCode, tls};

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the connection broke")]
    Connection(#[from] ConnectionError),
    #[error("cannot write to the control stream")]
    Write(#[from] quinn::WriteError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("{0}")]
    Refused(CloseCode),
}

/// Introduces us on a connection that we dialled. On success the link is up.
pub(crate) async fn dialled(
    hub: &Arc<Hub>,
    connection: &Connection,
    addr: SocketAddr,
) -> Result<(), HandshakeError> {
    let peer = peer_name(connection)?;
    let (mut send, mut receive) = connection.open_bi().await?;
    if peer == hub.name {
        // Either we have found ourselves or somebody has our name. The other end tells which.
        send_hello(hub, &mut send, LinkNumber::default()).await?;
        Control::read(&mut receive, hub.config.control_bytes_max.get()).await?;
        return Err(HandshakeError::Refused(CloseCode::NameTaken));
    }
    let refused = HandshakeError::Refused;
    let seat = hub.offer(&peer, connection);
    let seat = seat.ok_or(refused(CloseCode::Abandoned))?;
    send_hello(hub, &mut send, seat.number).await?;
    let hello = read_hello(hub, &mut receive).await?;
    let seat = hub.answered(seat, &hello, connection).map_err(refused)?;
    send.write_chunk(Control::Ready.encode()).await?;
    up(hub, seat, &hello, connection, (send, receive), Some(addr))
}

/// Lets the other side introduce itself on a connection that it dialled. On success the link is
/// up.
pub(crate) async fn accepted(
    hub: &Arc<Hub>,
    connection: &Connection,
) -> Result<(), HandshakeError> {
    let peer = peer_name(connection)?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    let hello = read_hello(hub, &mut receive).await?;
    let refused = HandshakeError::Refused;
    if peer == hub.name {
        let oneself = hello.incarnation == hub.incarnation;
        return Err(refused(if oneself {
            CloseCode::SelfDial
        } else {
            CloseCode::NameTaken
        }));
    }
    let seat = hub.answer(&peer, &hello, connection).map_err(refused)?;
    send_hello(hub, &mut send, seat.number).await?;
    match Control::read(&mut receive, hub.config.control_bytes_max.get()).await? {
        Control::Ready => up(hub, seat, &hello, connection, (send, receive), None),
        other => Err(ControlError::Unexpected(other.name()).into()),
    }
}

/// Closes a connection on which the handshake failed, unless it is closed already, and tells
/// people if one side refused the other. Returns the code with which it was closed, by whomever.
pub(crate) fn failed(
    hub: &Hub,
    connection: &Connection,
    error: &HandshakeError,
) -> Option<CloseCode> {
    let remote = connection.remote_address();
    if let Some(reason) = connection.close_reason() {
        lost(hub, remote, &reason);
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
        _ => CloseCode::Violation,
    };
    connection.close(code.number(), error.to_string().as_bytes());
    if code == CloseCode::Violation {
        hub.counters.violations.fetch_add(1, Relaxed);
    }
    refused(hub, remote, Refusal::ours(code), error);
    Some(code)
}

/// A connection ended before there was a link: tells people if one side refused the other.
pub(crate) fn lost(hub: &Hub, remote: SocketAddr, reason: &ConnectionError) {
    match Refusal::from_error(reason) {
        Some(refusal) => refused(hub, remote, refusal, reason),
        None => debug!(%remote, %reason, "no link came of a connection"),
    }
}

fn refused(hub: &Hub, remote: SocketAddr, refusal: Refusal, detail: &dyn std::fmt::Display) {
    if refusal.concerns_people() {
        hub.counters.handshakes_refused.fetch_add(1, Relaxed);
        hub.refusals.tell(remote, refusal, detail);
    }
}

fn peer_name(connection: &Connection) -> Result<NodeId, HandshakeError> {
    tls::peer_name(connection).ok_or(HandshakeError::Refused(CloseCode::Unauthenticated))
}

async fn send_hello(
    hub: &Hub,
    stream: &mut SendStream,
    number: LinkNumber,
) -> Result<(), HandshakeError> {
    // Gossip decides who is alive, so it must not wait behind a full lane.
    let _ = stream.set_priority(CONTROL_PRIORITY);
    let hello = Control::Hello(Hello {
        incarnation: hub.incarnation,
        advertised: hub.advertise,
        lanes: hub.config.lane_count(),
        number,
    });
    Ok(stream.write_chunk(hello.encode()).await?)
}

async fn read_hello(hub: &Hub, stream: &mut RecvStream) -> Result<Hello, HandshakeError> {
    match Control::read(stream, hub.config.control_bytes_max.get()).await? {
        Control::Hello(hello) => Ok(hello),
        other => Err(ControlError::Unexpected(other.name()).into()),
    }
}

fn up(
    hub: &Arc<Hub>,
    seat: Seat,
    hello: &Hello,
    connection: &Connection,
    control: (SendStream, RecvStream),
    dialled: Option<SocketAddr>,
) -> Result<(), HandshakeError> {
    let peer = hub.peer(&seat.peer);
    let link = Arc::new(Link::new(peer, &seat, hello, connection.clone()));
    if !hub.up(&seat, &link, dialled) {
        return Err(HandshakeError::Refused(CloseCode::Replaced));
    }
    link.start(hub, seat, control);
    Ok(())
}

/// Lanes have priority 0.
const CONTROL_PRIORITY: i32 = 1;
