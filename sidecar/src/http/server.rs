use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tidings::Node;
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::hosts::Hosts;
use super::socket::Socket;
use super::source::Source;
use crate::acceptor::{Acceptor, Arrival};

/// Serves these answers on all connections until the node stops.
///
/// No caller can keep others out: when all slots are taken, a newcomer gets that of the connection
/// that has been there longest and has asked for nothing that is still being answered. An answer that
/// [lasts](Lasting) is being answered as long as it does.
pub(super) async fn run(node: Node, mut acceptor: Acceptor, app: Router, hosts: Hosts) {
    let server = Arc::new(Server {
        app,
        hosts,
        connections: Mutex::default(),
    });
    let mut number = 0;
    loop {
        let Arrival { stream, peer, slot } = acceptor.next().await;
        let slot = match slot {
            Some(slot) => Some(slot),
            None if server.end_oldest_idle() => {
                timeout(END_MAX, acceptor.slot()).await.ok().flatten()
            }
            None => None,
        };
        let Some(slot) = slot else {
            info!(%peer, "turned away a caller of HTTP: too many connections");
            // A fresh socket takes this much at once; who is gone already needs no answer.
            let _ = stream.try_write(TURNED_AWAY);
            continue;
        };
        number += 1;
        let connection = Arc::new(Connection::default());
        server.lock().insert(number, Arc::clone(&connection));
        let (server, token) = (Arc::clone(&server), node.token().clone());
        node.spawn(async move {
            let serving = server.serve(stream, Source(peer), &connection);
            token.run_until_cancelled(serving).await;
            server.lock().remove(&number);
            drop::<OwnedSemaphorePermit>(slot);
        });
    }
}

struct Server {
    app: Router,
    hosts: Hosts,
    /// Those that are open, from the oldest on.
    connections: Mutex<BTreeMap<u64, Arc<Connection>>>,
}

/// What others have to know of a connection.
#[derive(Debug, Default)]
struct Connection {
    /// Whether a question is being answered.
    is_asked: AtomicBool,
    /// Whether its last answer is given for as long as the caller wants it.
    lasts: AtomicBool,
    /// Told when its slot is needed for another.
    end: Notify,
}

/// Marks an answer that has no end of its own. Its connection becomes as old as it wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lasting;

/// The connection on which a request came, for whoever answers it.
#[derive(Debug, Clone)]
pub(super) struct Asking(Arc<Connection>);

impl Asking {
    /// Waits for the caller. Nothing is being answered meanwhile, so the connection may be closed for
    /// another.
    pub(super) async fn idle<T>(&self, caller: impl Future<Output = T>) -> T {
        self.0.is_asked.store(false, Relaxed);
        let done = caller.await;
        self.0.is_asked.store(true, Relaxed);
        done
    }

    /// What is asked may take as long as it takes, and the connection becomes as old as that.
    pub(super) fn keep(self) -> Kept {
        self.0.lasts.store(true, Relaxed);
        Kept(self.0)
    }
}

/// Keeps a connection until it is dropped, however old that is, and that of an answer with it that
/// [lasts](Lasting). The next question on it is one like any other.
#[derive(Debug)]
pub(super) struct Kept(Arc<Connection>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.lasts.store(false, Relaxed);
        self.0.is_asked.store(false, Relaxed);
    }
}

impl Server {
    async fn serve(&self, stream: TcpStream, source: Source, connection: &Arc<Connection>) {
        let app = TowerToHyperService::new(self.app.clone());
        let service = service_fn(async |mut request: Request<Incoming>| {
            if let Err(refusal) = self.hosts.check(&request) {
                return Ok::<Response<_>, Infallible>(refusal.into_response());
            }
            let asking = Asking(Arc::clone(connection));
            request.extensions_mut().insert(asking);
            request.extensions_mut().insert(source);
            connection.is_asked.store(true, Relaxed);
            let answer = app.call(request).await;
            let lasts = answer.as_ref().is_ok_and(|answer| {
                let lasting = answer.extensions().get::<Lasting>();
                lasting.is_some()
            });
            connection.lasts.store(lasts, Relaxed);
            connection.is_asked.store(lasts, Relaxed);
            answer
        });
        let aged = async {
            sleep(AGE_MAX).await;
            while connection.lasts.load(Relaxed) {
                sleep(LASTING_LOOK).await;
            }
        };
        let stream = Socket::new(stream, STALL_MAX);
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut serving = pin!(serving);
        let served = tokio::select! {
            served = serving.as_mut() => served,
            () = connection.end.notified() => return debug!("closed a connection for another"),
            () = aged => {
                serving.as_mut().graceful_shutdown();
                match timeout(ANSWER_MAX, serving).await {
                    Ok(served) => served,
                    Err(_) => return debug!("a caller of HTTP did not take its answer"),
                }
            }
        };
        if let Err(error) = served {
            debug!(%error, "a connection of HTTP ended");
        }
    }

    /// Ends the oldest connection on which nothing is being answered; false if there is none.
    fn end_oldest_idle(&self) -> bool {
        let mut connections = self.lock();
        let is_idle = |connection: &Connection| !connection.is_asked.load(Relaxed);
        let oldest = connections.iter().find(|(_, one)| is_idle(one));
        let Some(number) = oldest.map(|(number, _)| *number) else {
            return false;
        };
        if let Some(oldest) = connections.remove(&number) {
            oldest.end.notify_one();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        // Nothing panics while the lock is held, so what is behind a poisoned one is whole.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

const TURNED_AWAY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/json\r\ncontent-length: 33\r\nconnection: close\r\n\r\n\
    {\"error\":\"too many connections\"}\n";

/// How long a caller may take for the head of a request, and be silent between two.
const HEADERS_MAX: Duration = Duration::from_secs(10);
/// How old a connection becomes: after this, the present answer is the last.
const AGE_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether an answer that made a connection older still lasts.
const LASTING_LOOK: Duration = Duration::from_secs(5);
/// How long that may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long it may take until a connection that has to end has ended.
const END_MAX: Duration = Duration::from_secs(1);
/// For how long a caller may take nothing of what is written to it.
const STALL_MAX: Duration = Duration::from_secs(30);
/// What is read of a request before it is refused as too large.
const BUFFER_BYTES_MAX: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_turned_away_gets_a_whole_answer() {
        let text = std::str::from_utf8(TURNED_AWAY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
    }
}
