//! The ways by which clients come to the gateway: TLS, WebSocket and Unix sockets, spoken to in the bare
//! protocol, by client libraries, and by who means it ill.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod authority;
mod client;
mod gate;
mod tls;
mod unix;
mod web_socket;
