use bytes::BytesMut;
use tokio::net::{TcpStream, UnixStream};

use super::door::Door;
use super::peer::Peer;
use super::place::Place;
use super::reply::TlsOffer;
use super::stream::Stream;
use super::tls::{self, Secured};
use super::web_socket::{Transport, WebSocket};

/// A client that has come in, by whichever way. From here on all are served alike.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) stream: Stream,
    pub(super) place: Box<Place>,
    /// What is to be said first, as far as it has not been said.
    pub(super) greeting: BytesMut,
}

impl Entry {
    /// Over TCP, with TLS if that is served; none for who did not get through it.
    pub(super) async fn tcp(door: &Door, stream: TcpStream, peer: Peer) -> Option<Self> {
        // Answers are short and awaited. A socket that cannot do it is served all the same.
        let _ = stream.set_nodelay(true);
        let (id, local) = (door.next_client_id(), stream.local_addr().ok());
        let offer = door.tls.as_ref().map(|tls| tls.offer());
        let mut place = Place::enter(&door.clients, id, peer, local, offer);
        let mut greeting = place.greeting();
        let Some(tls) = &door.tls else {
            return Some(Self {
                stream: Stream::tcp(stream),
                place,
                greeting,
            });
        };
        let mut nothing = BytesMut::new();
        let said_before = if tls.is_first() {
            &mut nothing
        } else {
            &mut greeting
        };
        let securing = tls.secure(stream, said_before);
        let stream = match door.node.leaving().run_until_cancelled(securing).await? {
            Ok(Secured::Plain(stream)) => Stream::tcp(stream),
            Ok(Secured::Tls(stream)) => {
                place.peer.certificate = tls::names(&stream);
                let (stream, connection) = stream.into_inner();
                Stream::tls(stream, connection)
            }
            Err(refused) => {
                refused.tell(&place.peer).await;
                return None;
            }
        };
        Some(Self {
            stream,
            place,
            greeting,
        })
    }

    /// By WebSocket, after its handshake.
    pub(super) fn web_socket(door: &Door, socket: WebSocket, mut peer: Peer) -> Self {
        let (stream, tls) = match socket.transport {
            Transport::Plain(stream) => (stream, None),
            Transport::Tls(stream) => {
                peer.certificate = tls::names(&stream);
                let (stream, tls) = stream.into_inner();
                (stream, Some(tls))
            }
        };
        let _ = stream.set_nodelay(true);
        // There is no upgrade within WebSocket: it has TLS, or goes without.
        let offer = door.tls.as_ref().filter(|_| tls.is_some()).map(|served| {
            let offer = served.offer();
            TlsOffer {
                is_required: true,
                ..offer
            }
        });
        let (id, local) = (door.next_client_id(), stream.local_addr().ok());
        let mut place = Place::enter(&door.clients, id, peer, local, offer);
        place.stays();
        Self {
            stream: Stream::web_socket(stream, tls, socket.early),
            greeting: place.greeting(),
            place,
        }
    }

    /// By a Unix socket.
    pub(super) fn unix(door: &Door, stream: UnixStream, peer: Peer) -> Self {
        let place = Place::enter(&door.clients, door.next_client_id(), peer, None, None);
        Self {
            stream: Stream::unix(stream),
            greeting: place.greeting(),
            place,
        }
    }
}
