use std::fmt::Write as _;
use std::net::SocketAddr;

use bytes::BytesMut;
use serde::Serialize;

use super::announcement::Announcement;
use super::client_error::ClientError;
use super::peer::Peer;
use tidings::{ClientAddr, Message, Node, Topic};

/// What the server says of itself. What is not here it does not offer.
#[derive(Debug, Serialize)]
pub(super) struct Info<'a> {
    server_id: String,
    server_name: &'a str,
    /// Of the NATS server whose core protocol this is: clients decide by it what they may say.
    version: &'a str,
    /// Of this program.
    tidings: &'a str,
    proto: u8,
    /// What the NATS server was built with. Some clients read it without asking whether it is there.
    go: &'a str,
    host: String,
    port: u16,
    headers: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    auth_required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    max_payload: usize,
    client_id: u64,
    /// None for who has no address in the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tls_required: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tls_verify: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tls_available: bool,
    /// Where clients of this node can go, itself included.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    connect_urls: &'a [ClientAddr],
    /// Whether the client is to go now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ldm: bool,
}

/// What a client is told of TLS.
#[derive(Debug, Clone, Copy)]
pub(super) struct TlsOffer {
    /// Whether it has to go on with TLS.
    pub(super) is_required: bool,
    /// Whether it has to show a certificate then.
    pub(super) is_verifying: bool,
}

impl<'a> Info<'a> {
    /// For this client, which has reached the node at this address.
    pub(super) fn new(
        node: &'a Node,
        local: Option<SocketAddr>,
        peer: &Peer,
        client_id: u64,
    ) -> Self {
        // A Unix socket has none. One that has none any more will not carry this either.
        let local = local.unwrap_or_else(|| SocketAddr::from(([0; 4], 0)));
        Self {
            server_id: format!("{}-{}", node.name(), node.incarnation()),
            server_name: node.name().as_str(),
            version: NATS_VERSION,
            tidings: env!("CARGO_PKG_VERSION"),
            proto: 1,
            go: "none",
            host: local.ip().to_string(),
            port: local.port(),
            headers: true,
            auth_required: false,
            nonce: None,
            max_payload: node.config().limits.payload_bytes_max.get(),
            client_id,
            client_ip: peer.ip(),
            tls_required: false,
            tls_verify: false,
            tls_available: false,
            connect_urls: &[],
            ldm: false,
        }
    }

    /// To a client that is to go on with TLS, or may, or has done so.
    pub(super) fn offering(mut self, tls: Option<TlsOffer>) -> Self {
        if let Some(tls) = tls {
            self.tls_required = tls.is_required;
            self.tls_available = !tls.is_required;
            self.tls_verify = tls.is_verifying;
        }
        self
    }

    /// Says what this announces, and if an address is advertised, that it is this node's.
    pub(super) fn announcing(
        mut self,
        announcement: &'a Announcement,
        advertised: Option<&ClientAddr>,
        ldm: bool,
    ) -> Self {
        self.connect_urls = &announcement.connect_urls;
        self.ldm = ldm;
        if let Some(addr) = advertised {
            (self.host, self.port) = (addr.host().to_owned(), addr.port());
        }
        self
    }
}

impl<'a> Info<'a> {
    /// Whether the client has to show who it is, and what it may sign for that.
    pub(super) fn asking(self, auth_required: bool, nonce: Option<&'a str>) -> Self {
        Self {
            auth_required,
            nonce,
            ..self
        }
    }
}

/// What clients are told is the NATS server's version.
pub(crate) const NATS_VERSION: &str = "2.9.10";

pub(super) fn info(out: &mut BytesMut, info: &Info<'_>) {
    let json = serde_json::to_vec(info).expect("texts and numbers always serialise");
    out.extend_from_slice(b"INFO ");
    out.extend_from_slice(&json);
    out.extend_from_slice(b" \r\n");
}

pub(super) fn ok(out: &mut BytesMut) {
    out.extend_from_slice(b"+OK\r\n");
}

pub(super) fn ping(out: &mut BytesMut) {
    out.extend_from_slice(b"PING\r\n");
}

pub(super) fn pong(out: &mut BytesMut) {
    out.extend_from_slice(b"PONG\r\n");
}

pub(super) fn error(out: &mut BytesMut, error: &ClientError) {
    write!(out, "-ERR '{error}'\r\n").expect("a buffer in memory takes all that is written");
}

/// What the NATS server says when nobody has got a request, for the subscription that awaits the answer.
pub(super) fn no_responders(out: &mut BytesMut, reply_to: &Topic, sid: &str) {
    const STATUS: &str = "NATS/1.0 503\r\n\r\n";
    let bytes = STATUS.len();
    write!(out, "HMSG {reply_to} {sid} {bytes} {bytes}\r\n{STATUS}\r\n")
        .expect("a buffer in memory takes all that is written");
}

/// What the client is told of messages that were lost, on this subject.
pub(super) fn gap(out: &mut BytesMut, subject: &str, sid: &str, gap: &str, takes_headers: bool) {
    const STATUS: &str = "NATS/1.0 100 Gap\r\n\r\n";
    let (status, bytes) = (STATUS.len(), gap.len());
    let all = status + bytes;
    match takes_headers {
        true => write!(
            out,
            "HMSG {subject} {sid} {status} {all}\r\n{STATUS}{gap}\r\n"
        ),
        false => write!(out, "MSG {subject} {sid} {bytes}\r\n{gap}\r\n"),
    }
    .expect("a buffer in memory takes all that is written");
}

/// A message for the subscription `sid`: HMSG if it has headers and the client takes them, else MSG.
pub(super) fn message(out: &mut BytesMut, sid: &str, message: &Message, takes_headers: bool) {
    let reply_to = message.reply_to.as_ref();
    let reply_to = reply_to.map_or("", |reply_to| reply_to.as_str());
    message_to(out, sid, message, reply_to, takes_headers);
}

/// The same, with another reply subject.
pub(super) fn message_to(
    out: &mut BytesMut,
    sid: &str,
    message: &Message,
    reply_to: &str,
    takes_headers: bool,
) {
    /// Verb, separators, two sizes and line ends.
    const FRAME_BYTES: usize = 64;
    let headers = message.headers.as_block();
    let has_headers = takes_headers && !headers.is_empty();
    let topic = message.topic.as_str();
    let line_bytes = topic.len() + sid.len() + reply_to.len() + FRAME_BYTES;
    out.reserve(line_bytes + message.size_bytes());

    out.extend_from_slice(if has_headers { b"HMSG " } else { b"MSG " });
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(sid.as_bytes());
    out.extend_from_slice(b" ");
    if !reply_to.is_empty() {
        out.extend_from_slice(reply_to.as_bytes());
        out.extend_from_slice(b" ");
    }
    if has_headers {
        number(out, headers.len());
        out.extend_from_slice(b" ");
        number(out, message.size_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(headers);
    } else {
        number(out, message.payload.len());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(&message.payload);
    out.extend_from_slice(b"\r\n");
}

/// Decimal digits, without the cost of formatting: there is one of these in every message.
fn number(out: &mut BytesMut, mut number: usize) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings::{Headers, Topic};

    fn text(message: &Message, takes_headers: bool) -> String {
        let mut out = BytesMut::new();
        super::message(&mut out, "7", message, takes_headers);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn messages_are_framed_as_clients_expect() {
        let mut message = Message::new(Topic::parse("a.b").unwrap(), "hello");
        assert_eq!(text(&message, true), "MSG a.b 7 5\r\nhello\r\n");
        message.reply_to = Some(Topic::parse("r").unwrap());
        assert_eq!(text(&message, true), "MSG a.b 7 r 5\r\nhello\r\n");
        let headers = Headers::default().with("k", "v").unwrap();
        let message = message.with_headers(headers);
        let expected = "HMSG a.b 7 r 18 23\r\nNATS/1.0\r\nk: v\r\n\r\nhello\r\n";
        assert_eq!(text(&message, true), expected);
        assert_eq!(text(&message, false), "MSG a.b 7 r 5\r\nhello\r\n");
        let headers = Headers::from_block("NATS/1.0 503\r\nno colon".into());
        let message = message.with_headers(headers);
        let expected = "HMSG a.b 7 r 22 27\r\nNATS/1.0 503\r\nno colonhello\r\n";
        assert_eq!(text(&message, true), expected);
    }

    #[test]
    fn numbers_are_decimal() {
        for n in [0, 9, 10, 1_048_576, usize::MAX] {
            let mut out = BytesMut::new();
            number(&mut out, n);
            assert_eq!(out, n.to_string());
        }
    }
}
