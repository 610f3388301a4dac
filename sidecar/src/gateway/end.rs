use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::timeout;
use tracing::{debug, info, warn};
use tungstenite::protocol::frame::coding::CloseCode;

use super::client_error::ClientError;
use super::parser::ParseError;
use super::peer::Peer;
use super::reply;
use super::stream::Stream;
use tidings::RecvError;

/// How long a client has to take the last words, and then to close its side.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The client closed it, or its process or machine is gone.
    Gone(io::ErrorKind),
    /// The client is told why.
    Refused(ClientError),
    /// All that was there for the client has been translated.
    NodeStopped,
}

impl End {
    /// Tells whoever runs the node what they may have to know.
    pub(super) fn log(&self, peer: &Peer) {
        match self {
            Self::Gone(kind) => debug!(%peer, reason = %kind, "a client went"),
            Self::Refused(ClientError::SlowConsumer) => {
                warn!(%peer, "cut off a client that did not keep up with its messages");
            }
            Self::Refused(error) => info!(%peer, %error, "closed a client's connection"),
            Self::NodeStopped => debug!(%peer, "closed a client's connection, the node stops"),
        }
    }

    /// The same in the words of the NATS server, for its tools.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Gone(_) => "Client Closed",
            Self::Refused(error) => error.reason(),
            Self::NodeStopped => "Server Shutdown",
        }
    }

    /// Whether the client did not keep up with its messages.
    pub(super) fn is_slow(&self) -> bool {
        *self == Self::Refused(ClientError::SlowConsumer)
    }

    /// Says the last words and closes, as far as the client goes along.
    pub(super) async fn close(&self, stream: &mut Stream, mut out: BytesMut) {
        if let Self::Refused(error) = self {
            reply::error(&mut out, error);
        }
        // What browsers are told besides, with WebSocket.
        let code = match self {
            Self::Gone(_) => CloseCode::Normal,
            Self::Refused(_) => CloseCode::Policy,
            Self::NodeStopped => CloseCode::Away,
        };
        let last_words = async {
            stream.write_all(&mut out).await?;
            stream.close(code).await
        };
        // Who is not there any more needs no last words.
        let _ = timeout(CLOSE_TIMEOUT, last_words).await;
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Gone(error.kind())
    }
}

impl From<RecvError> for End {
    fn from(closed: RecvError) -> Self {
        match closed {
            RecvError::Overflow { .. } => Self::Refused(ClientError::SlowConsumer),
            RecvError::Withdrawn => Self::Refused(ClientError::NotAuthorized),
            // The session has ended, and only a node that stops ends one whose inbox is here.
            _ => Self::NodeStopped,
        }
    }
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> Self {
        Self::Refused(error)
    }
}

impl From<ParseError> for End {
    fn from(error: ParseError) -> Self {
        Self::Refused(error.into())
    }
}
