use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::letter::{Kind, Known, Letter, Record, Run, Told};

/// All that a liar has heard.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Some of the messages, of all times alike.
    pub(super) messages: Vec<Bytes>,
    heard: usize,
    pub(super) runs: BTreeMap<Run, State>,
    /// Up to where each peer knew each run, as it said last.
    said: BTreeMap<SocketAddr, BTreeMap<Run, u64>>,
}

/// What is known of a run.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) beat: u64,
    pub(super) token: u64,
    pub(super) records: BTreeMap<String, Record>,
    /// Records of which there are newer ones.
    pub(super) past: Vec<Record>,
}

impl State {
    pub(super) fn version(&self) -> u64 {
        let versions = self.records.values().map(|record| record.version);
        versions.max().unwrap_or_default()
    }

    fn take(&mut self, record: &Record) -> bool {
        let known = self.records.get(&record.key);
        if known.is_some_and(|known| known.version >= record.version) {
            return false;
        }
        let old = self.records.insert(record.key.clone(), record.clone());
        if self.past.len() < PAST_MAX {
            self.past.extend(old);
        }
        true
    }
}

impl Memory {
    /// Takes a message in; returns of which runs it told something new.
    pub(super) fn hear(
        &mut self,
        from: SocketAddr,
        bytes: &Bytes,
        letter: &Letter,
        random: &mut ChaCha8Rng,
    ) -> BTreeSet<Run> {
        self.heard += 1;
        if self.messages.len() < MESSAGES_MAX {
            self.messages.push(bytes.clone());
        } else if let Some(place) = self.messages.get_mut(random.random_range(0..self.heard)) {
            *place = bytes.clone();
        }
        if letter.kind != Kind::Ack {
            let known = letter.digest.iter();
            let known = known.map(|known| (known.run.clone(), known.version));
            self.said.insert(from, known.collect());
        }
        for known in &letter.digest {
            let state = self.runs.entry(known.run.clone()).or_default();
            if known.beat > state.beat {
                (state.beat, state.token) = (known.beat, known.token);
            }
        }
        let mut news = BTreeSet::new();
        for told in &letter.delta {
            let state = self.runs.entry(told.run.clone()).or_default();
            for record in &told.records {
                if state.take(record) {
                    news.insert(told.run.clone());
                }
            }
        }
        news
    }

    /// Up to where all runs are known.
    pub(super) fn digest(&self) -> Vec<Known> {
        let known = |(run, state): (&Run, &State)| Known {
            run: run.clone(),
            beat: state.beat,
            token: state.token,
            version: state.version(),
        };
        self.runs.iter().map(known).collect()
    }

    /// Up to where a peer knows a run.
    pub(super) fn said(&self, by: SocketAddr, run: &Run) -> u64 {
        let said = self.said.get(&by).and_then(|said| said.get(run));
        said.copied().unwrap_or_default()
    }

    /// What is to be told of a run to who knows it up to this version.
    pub(super) fn told(&self, run: &Run, from: u64) -> Option<Told> {
        let records = self.runs.get(run)?.records.values();
        let mut records: Vec<Record> = records
            .filter(|record| record.version > from)
            .cloned()
            .collect();
        records.sort_by_key(|record| record.version);
        let run = run.clone();
        (!records.is_empty()).then_some(Told {
            run,
            from,
            records,
            version: None,
        })
    }

    /// What a peer does not know yet, as far as it fits into a message.
    pub(super) fn lacks(&self, peer: SocketAddr) -> Vec<Told> {
        let told = |run| self.told(run, self.said(peer, run));
        let (mut bytes, mut lacks) = (0, Vec::new());
        for told in self.runs.keys().filter_map(told) {
            let records = told.records.iter();
            bytes += records.map(|record| 32 + record.value.len()).sum::<usize>();
            if bytes > DELTA_BYTES_MAX {
                break;
            }
            lacks.push(told);
        }
        lacks
    }
}

const MESSAGES_MAX: usize = 300;
const PAST_MAX: usize = 50;
const DELTA_BYTES_MAX: usize = 40_000;
