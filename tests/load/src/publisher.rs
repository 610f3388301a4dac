use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::client::Client;
use crate::phase::Phase;
use crate::stamp::Stamp;

/// What is written at a time, at least one message.
const BATCH_BYTES: usize = 256 << 10;
/// How often it is tried whether subscribers hear.
const PROBE_INTERVAL: Duration = Duration::from_millis(5);
/// How long it may take until they do.
const OPEN_MAX: Duration = Duration::from_secs(15);
/// How often the bystander sends.
const BYSTANDER_INTERVAL: Duration = Duration::from_millis(2);

/// Publishes on one topic.
#[derive(Debug)]
pub(crate) struct Publisher {
    client: Client,
    number: u32,
    batch: Batch,
}

/// What a publisher has done.
#[derive(Debug)]
pub(crate) struct Published {
    /// The messages that were written whole.
    pub(crate) messages: u64,
    pub(crate) started: Duration,
    /// When the server had taken the last.
    pub(crate) ended: Duration,
    /// Why it ended early, if it did.
    pub(crate) trouble: Option<String>,
}

impl Publisher {
    /// The publisher of this number, whose messages have payloads of this size.
    pub(crate) fn new(client: Client, number: u32, topic: &str, payload_bytes: usize) -> Self {
        Self {
            client,
            number,
            batch: Batch::new(topic, payload_bytes),
        }
    }

    /// Publishes as fast as the server takes, for so long from when all ways are open.
    pub(crate) fn flood(self, phase: &Phase, duration: Duration) -> Published {
        self.run(phase, |publisher, started, sent| {
            while phase.clock.now() < started + duration {
                let messages = publisher.batch.messages;
                publisher.send(messages, *sent, 0)?;
                *sent += messages as u64;
            }
            Ok(())
        })
    }

    /// Publishes a message each few milliseconds until the load is over.
    pub(crate) fn stand_by(self, phase: &Phase) -> Published {
        self.run(phase, |publisher, _, sent| {
            while !phase.is_drained() {
                publisher.send(1, *sent, phase.clock.nanos())?;
                *sent += 1;
                sleep(BYSTANDER_INTERVAL);
            }
            Ok(())
        })
    }

    fn run(
        mut self,
        phase: &Phase,
        publish: impl FnOnce(&mut Self, Duration, &mut u64) -> Result<()>,
    ) -> Published {
        let mut messages = 0;
        let opened = self.open(phase);
        let started = phase.clock.now();
        let result = opened
            .and_then(|()| publish(&mut self, started, &mut messages))
            .and_then(|()| self.client.flush());
        Published {
            messages,
            started,
            ended: phase.clock.now(),
            trouble: result.err().map(|error| format!("publisher: {error:#}")),
        }
    }

    /// Sends probes until all subscribers have heard of all publishers.
    fn open(&mut self, phase: &Phase) -> Result<()> {
        let start = phase.clock.now();
        while !phase.is_open() {
            let waited = phase.clock.now() - start;
            ensure!(
                waited < OPEN_MAX,
                "subscribers do not hear after {waited:.0?}"
            );
            self.send(1, Stamp::PROBE, 0)?;
            sleep(PROBE_INTERVAL);
        }
        Ok(())
    }

    fn send(&mut self, messages: usize, sequence: u64, sent_nanos: u64) -> Result<()> {
        let stamp = Stamp {
            publisher: self.number,
            sequence,
            sent_nanos,
        };
        self.client.send(self.batch.stamped(messages, stamp))
    }
}

/// Messages as they are written, made once: only their stamps differ from one time to the next.
#[derive(Debug)]
struct Batch {
    bytes: Vec<u8>,
    messages: usize,
    /// Of one message, and of what is before its payload.
    message_bytes: usize,
    line_bytes: usize,
}

impl Batch {
    fn new(topic: &str, payload_bytes: usize) -> Self {
        let mut message = format!("PUB {topic} {payload_bytes}\r\n").into_bytes();
        let line_bytes = message.len();
        message.resize(line_bytes + payload_bytes, b'x');
        message.extend(b"\r\n");
        let messages = (BATCH_BYTES / message.len()).max(1);
        Self {
            bytes: message.repeat(messages),
            messages,
            message_bytes: message.len(),
            line_bytes,
        }
    }

    /// The first so many messages, with stamps that count on from this one.
    fn stamped(&mut self, messages: usize, first: Stamp) -> &[u8] {
        let bytes = &mut self.bytes[..messages * self.message_bytes];
        for (message, n) in bytes.chunks_exact_mut(self.message_bytes).zip(0..) {
            let sequence = first.sequence + n;
            Stamp { sequence, ..first }.write(&mut message[self.line_bytes..]);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_whole_messages_that_are_counted_on() {
        let mut batch = Batch::new("a.b", 64);
        assert!(batch.messages > 1000 && batch.bytes.len() <= BATCH_BYTES);
        let first = Stamp {
            publisher: 2,
            sequence: 40,
            sent_nanos: 9,
        };
        let mut rest = batch.stamped(3, first);
        for sequence in 40..43 {
            rest = rest.strip_prefix(b"PUB a.b 64\r\n").unwrap();
            let stamp = Stamp::read(rest.first_chunk().unwrap());
            assert_eq!(stamp, Stamp { sequence, ..first });
            rest = rest[64..].strip_prefix(b"\r\n").unwrap();
        }
        assert!(rest.is_empty());
        assert_eq!(Batch::new("a", 1 << 20).messages, 1);
    }
}
