use std::net::SocketAddr;

/// Whence a request comes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source(pub(super) SocketAddr);
