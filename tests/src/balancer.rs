use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Passes HTTP requests on to some servers by turns, each to the next one, as a balancer does that is not sticky. It ends
/// when it is dropped.
#[derive(Debug)]
pub struct Balancer {
    addr: SocketAddr,
    _accepts: JoinSet<()>,
}

impl Balancer {
    /// Starts on a free port of loopback, before the servers that are at these addresses (`host:port`).
    pub async fn start(servers: Vec<String>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let mut accepts = JoinSet::new();
        accepts.spawn(accept(listener, Arc::new(servers)));
        Ok(Self {
            addr,
            _accepts: accepts,
        })
    }

    /// A URL of this path at the servers.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

async fn accept(listener: TcpListener, servers: Arc<Vec<String>>) {
    let turn = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (servers, turn) = (servers.clone(), turn.clone());
        let pass = service_fn(move |request| {
            let turn = turn.fetch_add(1, Ordering::Relaxed) % servers.len();
            pass_on(request, servers[turn].clone())
        });
        let mut http = server::conn::http1::Builder::new();
        http.preserve_header_case(true);
        let connection = http.serve_connection(TokioIo::new(stream), pass);
        // A client may go in the middle of an answer.
        connections.spawn(async move { drop(connection.await) });
    }
}

/// On a connection of its own, which lasts as long as the answer does.
async fn pass_on(request: Request<Incoming>, server: String) -> Result<Response<Incoming>> {
    let stream = TokioIo::new(TcpStream::connect(server).await?);
    let mut http = client::conn::http1::Builder::new();
    http.preserve_header_case(true);
    let (mut sender, connection) = http.handshake(stream).await?;
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the answer, which ends with the balancer"
    )]
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}
