//! What a server itself counts as gone wrong.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::contender::Kind;

const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Counts that are not 0, by their names.
pub(crate) type Counters = BTreeMap<String, u64>;

/// Asks a node over HTTP.
pub(crate) fn ask(kind: Kind, http: SocketAddr) -> Result<Counters> {
    Ok(match kind {
        Kind::Tidings => dropped(&get(http, "/metrics")?),
        Kind::NatsServer => slow_consumers(&get(http, "/varz")?),
    })
}

/// Tidings counts what it dropped, by reason.
fn dropped(metrics: &str) -> Counters {
    let mut counters = Counters::new();
    for line in metrics.lines() {
        let Some(series) = line.strip_prefix("tidings_messages_dropped_total{") else {
            continue;
        };
        let reason = series.split("reason=\"").nth(1).unwrap_or_default();
        let reason = reason.split('"').next().unwrap_or_default();
        let count = series.rsplit(' ').next().and_then(|n| n.parse().ok());
        *counters.entry(reason.to_owned()).or_default() += count.unwrap_or(0);
    }
    counters.retain(|_, count| *count > 0);
    counters
}

/// nats-server counts whom it cut off, clients and routes alike, and not what they lost.
fn slow_consumers(varz: &str) -> Counters {
    let varz: Value = serde_json::from_str(varz).unwrap_or_default();
    let count = varz["slow_consumers"].as_u64().unwrap_or(0);
    let counter = ("slow_consumers".to_owned(), count);
    [counter].into_iter().filter(|(_, n)| *n > 0).collect()
}

/// The body of the answer. In HTTP/1.0 it goes to the end of the connection, as it is.
fn get(http: SocketAddr, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&http, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {http}\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        bail!("{path}: {status}");
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_told_by_reason() {
        let metrics = "# HELP x y\n\
            tidings_messages_dropped_total{reason=\"outbound_full\"} 3\n\
            tidings_messages_dropped_total{reason=\"mailbox_full\"} 0\n\
            tidings_messages_sent_total{to=\"local\"} 9\n";
        let expected = [("outbound_full".to_owned(), 3)];
        assert_eq!(dropped(metrics), expected.into_iter().collect());
    }

    #[test]
    fn who_was_cut_off_is_told() {
        let counters = slow_consumers(r#"{"port": 4222, "slow_consumers": 2}"#);
        assert_eq!(counters.get("slow_consumers"), Some(&2));
        assert!(slow_consumers(r#"{"slow_consumers": 0}"#).is_empty());
        assert!(slow_consumers("").is_empty());
    }
}
