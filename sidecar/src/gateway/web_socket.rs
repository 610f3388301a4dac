use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use axum::http::header::{CONNECTION, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tracing::debug;
use tungstenite::handshake::server::create_response_with_body;

use super::door::Door;
use super::peer::Peer;
use super::tls::Secured;

/// What WebSocket is spoken on after its handshake.
#[derive(Debug)]
pub(crate) struct WebSocket {
    pub(super) transport: Transport,
    /// What has come after the handshake and was read with it.
    pub(super) early: Bytes,
}

#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A request to go on with WebSocket that is granted.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// What the client is to be told.
    pub(crate) response: Response<()>,
    /// The connection, once the client was told.
    pub(crate) connection: OnUpgrade,
}

/// Why a request is not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) problem: &'static str,
}

impl WebSocket {
    pub(crate) fn plain(stream: TcpStream, early: Bytes) -> Self {
        Self {
            transport: Transport::Plain(stream),
            early,
        }
    }

    /// With who is at the other end; none if that has gone.
    pub(super) fn with_peer(self) -> Option<(Self, Peer)> {
        let addr = match &self.transport {
            Transport::Plain(stream) => stream.peer_addr(),
            Transport::Tls(stream) => stream.get_ref().0.peer_addr(),
        };
        Some((self, Peer::network(addr.ok()?)))
    }
}

impl Upgrade {
    /// Grants a request that comes from one of these pages, or from what is no page.
    pub(crate) fn new<B>(request: &mut Request<B>, origins: &[String]) -> Result<Self, Refusal> {
        if !is_from(request.headers(), origins) {
            return Err(Refusal {
                status: StatusCode::FORBIDDEN,
                problem: "this page may not connect; `gateway.origins` says which may",
            });
        }
        let response = create_response_with_body(request, || ()).map_err(|_| Refusal {
            status: StatusCode::BAD_REQUEST,
            problem: "only WebSocket, of version 13, is spoken here",
        })?;
        Ok(Self {
            response,
            connection: hyper::upgrade::on(request),
        })
    }
}

/// Browsers always say from which page, and let no page say something else.
fn is_from(headers: &HeaderMap, origins: &[String]) -> bool {
    let is_known = |origin: &HeaderValue| {
        let known = |known: &String| known.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
        origins.iter().any(known)
    };
    headers.get_all(ORIGIN).iter().all(is_known)
}

/// Serves the handshake to a client that may ask for nothing else, under any path; none for who did not
/// get through it.
pub(super) async fn accept(door: &Door, stream: TcpStream, peer: &Peer) -> Option<WebSocket> {
    let secured = match &door.tls {
        None => Secured::Plain(stream),
        Some(tls) => match tls.secure(stream, &mut BytesMut::new()).await {
            Ok(secured) => secured,
            Err(refused) => {
                refused.tell(peer).await;
                return None;
            }
        },
    };
    match secured {
        Secured::Plain(stream) => {
            let (stream, early) = upgraded(door, stream).await?;
            Some(WebSocket::plain(stream, early))
        }
        Secured::Tls(stream) => {
            let (stream, early) = upgraded(door, stream).await?;
            let transport = Transport::Tls(stream);
            Some(WebSocket { transport, early })
        }
    }
}

/// The same stream after the handshake, and what was read of it already.
async fn upgraded<S>(door: &Door, stream: S) -> Option<(S, Bytes)>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let granted = Mutex::new(None);
    let service = service_fn(async |mut request: Request<Incoming>| {
        let upgrade = Upgrade::new(&mut request, &door.config.origins);
        Ok::<_, Infallible>(match upgrade {
            Ok(upgrade) => {
                *granted.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade.connection);
                upgrade.response.map(|()| String::new())
            }
            Err(refusal) => {
                let mut response = Response::new(format!("{}\n", refusal.problem));
                *response.status_mut() = refusal.status;
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
                response
            }
        })
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    match timeout(door.config.connect_timeout.get(), serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a request for websocket ended"),
        Err(_) => debug!("a request for websocket took too long"),
    }
    let granted = granted
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)?;
    let upgraded: Upgraded = granted.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<S>>().ok()?;
    Some((parts.io.into_inner(), parts.read_buf))
}

/// What is read of a request before it is refused as too large.
const REQUEST_BYTES_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn upgrade(headers: &[(&'static str, &'static str)]) -> Result<Upgrade, Refusal> {
        let mut request = Request::builder().uri("/nats");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let origins = ["https://app.example".to_owned()];
        Upgrade::new(&mut request.body(()).unwrap(), &origins)
    }

    const HANDSHAKE: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn a_handshake_is_answered_as_the_standard_says_and_offers_nothing_else() {
        let mut headers = HANDSHAKE.to_vec();
        headers.push(("sec-websocket-extensions", "permessage-deflate"));
        headers.push(("sec-websocket-protocol", "nats"));
        let response = upgrade(&headers).unwrap().response;
        assert_eq!(response.status(), 101);
        let accept = &response.headers()["sec-websocket-accept"];
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(response.headers().len(), 3, "{response:?}");
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        for missing in 0..HANDSHAKE.len() {
            let mut headers = HANDSHAKE.to_vec();
            headers.remove(missing);
            assert_eq!(upgrade(&headers).unwrap_err().status, 400);
        }
    }

    #[test]
    fn a_page_connects_only_from_an_origin_that_was_named() {
        let from = |origins: &[&'static str]| {
            let mut headers = HANDSHAKE.to_vec();
            headers.extend(origins.iter().map(|origin| ("origin", *origin)));
            upgrade(&headers).map_or_else(|refusal| refusal.status.as_u16(), |_| 101)
        };
        assert_eq!(from(&[]), 101);
        assert_eq!(from(&["https://APP.example"]), 101);
        for refused in [
            "https://evil.example",
            "http://app.example",
            "https://app.example:444",
            "https://app.example.evil.example",
            "null",
            "",
        ] {
            assert_eq!(from(&[refused]), 403, "{refused}");
        }
        assert_eq!(from(&["https://app.example", "https://evil.example"]), 403);
    }
}
