use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;

use crate::client::Client;
use crate::parser::Event;
use crate::phase::Phase;
use crate::sequence::{Sequences, Tally};
use crate::stamp::Stamp;
use crate::workload::Pace;

/// After how long without anything, when nobody publishes any more, what is missing is lost.
const SILENCE_MAX: Duration = Duration::from_secs(4);
/// After how long it is lost although others still come.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long a subscriber may sleep at a time.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// Reads what is published on one topic, and checks that it is all there.
#[derive(Debug)]
pub(crate) struct Subscriber {
    client: Client,
    publishers: Vec<u32>,
    pace: Pace,
    heard_of: Vec<u32>,
    sequences: Sequences,
    payload_bytes: u64,
    last: Duration,
    latencies: Option<Vec<Transit>>,
}

/// What a subscriber got.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) pace: Pace,
    /// How many messages it should have got.
    pub(crate) expected: u64,
    pub(crate) tally: Tally,
    pub(crate) payload_bytes: u64,
    /// When it got the last.
    pub(crate) last: Duration,
    /// How long each took, if that was to be measured.
    pub(crate) latencies: Vec<Transit>,
    /// Why the connection ended, if the server ended it.
    pub(crate) cut_off: Option<String>,
}

/// One message on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transit {
    pub(crate) sent: Duration,
    pub(crate) took: Duration,
}

impl Subscriber {
    /// On a connection that has subscribed to a topic of these publishers.
    pub(crate) fn new(client: Client, publishers: Vec<u32>, pace: Pace) -> Self {
        Self {
            client,
            heard_of: Vec::new(),
            sequences: Sequences::of(&publishers),
            publishers,
            pace,
            payload_bytes: 0,
            last: Duration::ZERO,
            latencies: None,
        }
    }

    /// The same, and it measures how long messages take.
    pub(crate) fn with_latencies(self) -> Self {
        Self {
            latencies: Some(Vec::new()),
            ..self
        }
    }

    /// Reads until everything is there, or nothing comes any more. `sent` says how much everything
    /// is, once that is known.
    pub(crate) fn run(mut self, phase: &Phase, sent: impl Fn(&[u32]) -> Option<u64>) -> Received {
        let result = self.read_all(phase, &sent);
        // Who was cut off early still has to know what it has missed.
        let expected = loop {
            match sent(&self.publishers) {
                Some(expected) => break expected,
                None => sleep(SLEEP_MAX),
            }
        };
        Received {
            pace: self.pace,
            expected,
            tally: self.sequences.tally(),
            payload_bytes: self.payload_bytes,
            last: self.last,
            latencies: self.latencies.unwrap_or_default(),
            cut_off: result.err().map(|error| format!("{error:#}")),
        }
    }

    fn read_all(&mut self, phase: &Phase, sent: impl Fn(&[u32]) -> Option<u64>) -> Result<()> {
        let mut ended = None;
        let mut last_read = phase.clock.now();
        loop {
            let expected = sent(&self.publishers);
            if let Some(expected) = expected {
                let now = phase.clock.now();
                let ended = *ended.get_or_insert(now);
                let missing = self.sequences.tally().distinct < expected;
                let silence = now.saturating_sub(last_read.max(ended));
                if !missing || silence > SILENCE_MAX || now - ended > DRAIN_MAX {
                    return Ok(());
                }
            }
            let pace = match self.pace {
                // Until then it has to tell that it hears.
                _ if expected.is_some() || !phase.is_open() => Pace::Full,
                pace => pace,
            };
            let bytes_max = match pace {
                Pace::Full => usize::MAX,
                Pace::BytesPerSecond(bytes) => bytes / 20,
                Pace::Stops => {
                    sleep(SLEEP_MAX);
                    continue;
                }
            };
            let bytes = self.read(phase, bytes_max)?;
            if bytes > 0 {
                last_read = phase.clock.now();
            }
            if let Pace::BytesPerSecond(bytes_per_second) = pace {
                sleep(Duration::from_secs_f64(
                    bytes as f64 / bytes_per_second as f64,
                ));
            }
        }
    }

    fn read(&mut self, phase: &Phase, bytes_max: usize) -> Result<usize> {
        let mut last = None;
        let on = |event: Event<'_>| {
            let Event::Message {
                stamp,
                payload_bytes,
            } = event
            else {
                return;
            };
            if stamp.sequence == Stamp::PROBE {
                let known = self.heard_of.contains(&stamp.publisher);
                if !known && self.publishers.contains(&stamp.publisher) {
                    self.heard_of.push(stamp.publisher);
                    phase.open_one();
                }
                return;
            }
            self.sequences.note(stamp.publisher, stamp.sequence);
            self.payload_bytes += payload_bytes as u64;
            // What is read at once has come at once.
            let now = *last.get_or_insert_with(|| phase.clock.now());
            if let Some(latencies) = &mut self.latencies {
                let sent = Duration::from_nanos(stamp.sent_nanos);
                let took = now.saturating_sub(sent);
                latencies.push(Transit { sent, took });
            }
        };
        let result = self.client.read(bytes_max, on);
        self.last = last.unwrap_or(self.last);
        result
    }
}
