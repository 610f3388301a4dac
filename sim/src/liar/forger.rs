use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;
use rand::Rng;
use rand::seq::{IndexedMutRandom, IndexedRandom, IteratorRandom};
use rand_chacha::ChaCha8Rng;

use super::letter::{self, Kind, Known, Letter, Record, Run, Told};
use super::memory::Memory;
use super::seal;
use super::tricks::{alter, omit, shuffle, vary};
use crate::lie::{Liar, Lie};

/// Makes up the gossip of a liar. What it says follows from what it hears and from chance.
#[derive(Debug)]
pub(super) struct Forger {
    cluster: String,
    own: Run,
    /// How often it has spoken: its own heartbeat, which nobody can check.
    beat: u64,
    peers: Vec<SocketAddr>,
    liar: Liar,
    memory: Memory,
    random: ChaCha8Rng,
}

/// Something that is to be said.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) to: SocketAddr,
    pub(super) bytes: Bytes,
    /// None if it is true.
    pub(super) lie: Option<Lie>,
}

impl Forger {
    pub(super) fn new(
        cluster: String,
        own: Run,
        peers: Vec<SocketAddr>,
        liar: Liar,
        random: ChaCha8Rng,
    ) -> Self {
        Self {
            cluster,
            own,
            beat: 0,
            peers,
            liar,
            memory: Memory::default(),
            random,
        }
    }

    /// Takes a message in; returns what is said to it. What is new in it others hear as well, before
    /// they may hear it of anybody else.
    pub(super) fn hear(&mut self, from: SocketAddr, bytes: &Bytes) -> Vec<Word> {
        let Some(letter) = Letter::read(bytes) else {
            return Vec::new();
        };
        let news = self.memory.hear(from, bytes, &letter, &mut self.random);
        let mut words = Vec::new();
        let answer = match letter.kind {
            Kind::Syn => Some(Kind::SynAck),
            Kind::SynAck => Some(Kind::Ack),
            Kind::Ack => None,
        };
        if let Some(kind) = answer {
            let delta = self.memory.lacks(from);
            words.push(self.word(from, kind, delta));
        }
        if !news.is_empty() {
            for to in self
                .peers
                .choose_multiple(&mut self.random, TOLD_NEWS)
                .copied()
                .collect::<Vec<_>>()
            {
                let told = |run| self.memory.told(run, self.memory.said(to, run));
                let delta = news.iter().filter_map(told).collect();
                words.push(self.word(to, Kind::Ack, delta));
            }
        }
        words
    }

    /// Says something of its own accord.
    pub(super) fn speak(&mut self) -> Option<Word> {
        let to = *self.peers.choose(&mut self.random)?;
        if self.random.random_bool(0.5) {
            return Some(self.word(to, Kind::Syn, Vec::new()));
        }
        let delta = self.memory.lacks(to);
        let kind = *[Kind::SynAck, Kind::Ack].choose(&mut self.random)?;
        Some(self.word(to, kind, delta))
    }

    /// A message with what is true, or a lie in its place.
    fn word(&mut self, to: SocketAddr, kind: Kind, delta: Vec<Told>) -> Word {
        self.beat += 1;
        let mut digest = self.memory.digest();
        let own = Known {
            run: self.own.clone(),
            beat: self.beat,
            token: 0,
            version: 0,
        };
        digest.retain(|known| known.run != self.own);
        digest.push(own);
        let mut letter = Letter {
            kind,
            digest,
            delta,
        };
        sort(&mut letter.digest);
        let lies = self.random.random_bool(self.liar.lying);
        let lie = self.liar.lies.choose(&mut self.random).copied();
        let lie = lie.filter(|_| lies && self.memory.runs.len() > 1);
        let told = lie.and_then(|lie| self.lie(lie, to, letter.clone()));
        let lie = lie.filter(|_| told.is_some());
        let bytes = told.unwrap_or_else(|| letter.write(&self.cluster)).into();
        Word { to, bytes, lie }
    }

    /// A lie in place of this message. None if it takes something that was not heard yet.
    fn lie(&mut self, lie: Lie, to: SocketAddr, mut letter: Letter) -> Option<Vec<u8>> {
        match lie {
            Lie::Garble => return Some(self.garbled(&letter)),
            Lie::Splice => return Some(self.spliced(&letter)),
            Lie::Replay => return Some(self.heard(&letter)),
            Lie::Beats => self.lie_of_beats(&mut letter),
            Lie::Versions => self.lie_of_versions(&mut letter),
            Lie::Runs => self.invent_runs(&mut letter),
            Lie::Omit | Lie::Shuffle | Lie::Alter | Lie::Forge | Lie::Certify | Lie::Impute => {
                if letter.kind == Kind::Syn {
                    letter.kind = Kind::Ack;
                }
                self.lie_of_values(lie, to, &mut letter)?;
            }
        }
        Some(letter.write(&self.cluster))
    }

    /// A message that was heard, or this one.
    fn heard(&mut self, letter: &Letter) -> Vec<u8> {
        let heard = self.memory.messages.choose(&mut self.random);
        heard.map_or_else(|| letter.write(&self.cluster), |bytes| bytes.to_vec())
    }

    fn garbled(&mut self, letter: &Letter) -> Vec<u8> {
        let heard = self.heard(letter);
        self.within(&heard, |bytes, random| {
            for _ in 0..random.random_range(1..4) {
                if let Some(byte) = bytes.choose_mut(random) {
                    *byte ^= 1 << random.random_range(0..8);
                }
            }
        })
    }

    fn spliced(&mut self, letter: &Letter) -> Vec<u8> {
        let (heard, other) = (self.heard(letter), self.heard(letter));
        let other = letter::open(&other).map_or(other.clone(), |(_, delta)| delta);
        self.within(&heard, |bytes, random| {
            let mut piece = |len: usize| {
                let at = random.random_range(0..=len);
                at..(at + random.random_range(0..100)).min(len)
            };
            let (from, to) = (piece(other.len()), piece(bytes.len()));
            bytes.splice(to, other[from].iter().copied());
        })
    }

    /// Changes a message, or what is packed in it.
    fn within(
        &mut self,
        message: &[u8],
        change: impl FnOnce(&mut Vec<u8>, &mut ChaCha8Rng),
    ) -> Vec<u8> {
        let opened = letter::open(message).filter(|_| self.random.random_bool(0.7));
        let Some((front, mut delta)) = opened else {
            let mut bytes = message.to_vec();
            change(&mut bytes, &mut self.random);
            return bytes;
        };
        change(&mut delta, &mut self.random);
        let mut bytes = front.to_vec();
        letter::pack(&delta, &mut bytes);
        bytes
    }

    fn lie_of_beats(&mut self, letter: &mut Letter) {
        let (random, own) = (&mut self.random, &self.own);
        let few = random.random_bool(0.5);
        for known in letter.digest.iter_mut().filter(|known| known.run != *own) {
            if few && random.random_bool(0.8) {
                continue;
            }
            match random.random_range(0..4) {
                0 => known.beat += random.random_range(1..100),
                1 => known.beat += random.random_range(1..1 << 40),
                2 => (known.beat, known.token) = (known.beat / 2, random.random()),
                _ => (known.beat, known.token) = (known.beat + 1, random.random()),
            }
        }
    }

    fn lie_of_versions(&mut self, letter: &mut Letter) {
        let random = &mut self.random;
        for known in &mut letter.digest {
            known.version = match random.random_range(0..3) {
                0 => random.random_range(0..=known.version),
                1 => known.version + random.random_range(1..20),
                _ => continue,
            };
        }
        for told in &mut letter.delta {
            let last = told.records.last().map_or(0, |record| record.version);
            match random.random_range(0..4) {
                0 => told.from += random.random_range(0..10),
                1 => (told.records, told.version) = (Vec::new(), Some(last)),
                2 => told.version = Some(last + random.random_range(1..10)),
                _ => {}
            }
        }
    }

    fn invent_runs(&mut self, letter: &mut Letter) {
        let random = &mut self.random;
        for _ in 0..random.random_range(1..5) {
            let Some(known) = letter.digest.iter().choose(random) else {
                return;
            };
            let mut known = known.clone();
            vary(&mut known.run, random);
            letter.digest.push(known);
        }
        // In the order in which they must be, for the most part, and none twice.
        if random.random_bool(0.9) {
            sort(&mut letter.digest);
        }
    }

    fn lie_of_values(&mut self, lie: Lie, to: SocketAddr, letter: &mut Letter) -> Option<()> {
        if let Lie::Forge | Lie::Certify = lie {
            letter.delta = vec![self.forged(lie, to)?];
            return Some(());
        }
        if letter.delta.is_empty() {
            let run = self.memory.runs.keys().choose(&mut self.random)?;
            // It may be news to a reader who has said nothing for long.
            let from = self.memory.said(to, run);
            let from = if self.random.random_bool(0.5) {
                from
            } else {
                0
            };
            letter.delta.extend(self.memory.told(run, from));
        }
        let runs: BTreeSet<Run> = self.memory.runs.keys().cloned().collect();
        let random = &mut self.random;
        for told in &mut letter.delta {
            let records = &mut told.records;
            match lie {
                Lie::Omit => omit(records, random),
                Lie::Shuffle => shuffle(records, random),
                Lie::Alter => alter(records, random),
                _ => {
                    if let Some(other) = runs.iter().choose(random) {
                        told.run = other.clone();
                    }
                    if random.random_bool(0.3) {
                        vary(&mut told.run, random);
                    }
                }
            }
        }
        Some(())
    }

    /// What there is of a node, and then a record that nobody has written.
    fn forged(&mut self, lie: Lie, to: SocketAddr) -> Option<Told> {
        let random = &mut self.random;
        let runs = self.memory.runs.iter();
        let runs: Vec<_> = runs
            .filter(|(_, state)| !state.records.is_empty())
            .collect();
        let pairs = runs
            .iter()
            .flat_map(|one| runs.iter().map(move |other| (one, other)));
        let pairs: Vec<_> = pairs.filter(|(one, other)| one.0 != other.0).collect();
        let alike = pairs
            .iter()
            .filter(|(one, other)| one.0.name == other.0.name);
        let ((run, state), (_, other)) = match lie {
            Lie::Certify => alike.choose(random)?,
            _ => pairs.choose(random)?,
        };
        let key = match lie {
            Lie::Certify => "cert".to_owned(),
            _ if random.random_bool(0.2) => "left".to_owned(),
            _ => state.records.keys().choose(random)?.clone(),
        };
        let elsewhere = other.records.get(&key).into_iter();
        let old = state.past.iter().filter(|_| lie == Lie::Forge);
        let text = elsewhere.chain(old).choose(random);
        let text = match text.map(|record| seal::text(&record.value)) {
            _ if key == "left" => "1",
            _ if key.starts_with("b/") && random.random_bool(0.3) => "",
            text => text.unwrap_or_default(),
        };
        let version = state.version() + random.random_range(1..4);
        let sealed = state.records.values().choose(random)?;
        let value = seal::forge(text, &sealed.value, &state.records, &key, version);
        let from = self.memory.said(to, run);
        let true_ones = self.memory.told(run, from).map(|told| told.records);
        let mut records = true_ones.unwrap_or_default();
        records.retain(|record| record.key != key);
        records.push(Record {
            key,
            value,
            version,
        });
        Some(Told {
            run: (*run).clone(),
            from,
            records,
            version: None,
        })
    }
}

fn sort(digest: &mut Vec<Known>) {
    digest.sort_by(|one, other| one.run.cmp(&other.run));
    digest.dedup_by(|one, other| one.run == other.run);
}

/// How many others hear at once what is new.
const TOLD_NEWS: usize = 3;
