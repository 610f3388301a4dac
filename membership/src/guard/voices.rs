//! Whose word is whose.
//!
//! A node is believed about itself alone, whoever passes on what it says: by the seals of its records
//! ([`Statement`]) and the tokens of its beats ([`Beats`]). Two more things could be done with true
//! words: to hold some of them back, and to fill all nodes with runs of one's own. Against the first
//! a state is taken only when it is *whole*: when its versions make the sum that is sealed with its
//! newest record. Until then its parts are on the [`Shelf`]. Against the second the runs of one name
//! are few and only the newest is heard.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chitchat::{ChitchatId, NodeState};
use rustls_pki_types::CertificateDer;
use tidings_identity::{Certified, ClusterName, NodeRun, Subject, TrustError, Validity};
use tokio::time::Instant;

use super::allowance::Allowance;
use super::letter::{Known, Letter, Told, Value};
use super::pulse::{Beat, Beats, Worth};
use super::reader::Reader;
use super::refusal::Refusal;
use super::seal::{Record, Statement, Sum, text};
use super::shelf::{Part, Shelf};
use crate::credentials::{Credentials, Keyring};
use crate::message_kind::MessageKind;
use crate::peer::{CERTIFICATE_KEY, PULSE_KEY};

/// Those that this node hears, directly or through others.
pub(crate) struct Voices {
    cluster: ClusterName,
    keyring: Keyring,
    /// Each run that is known, and a few more.
    voices: BTreeMap<ChitchatId, Voice>,
    shelf: Shelf,
    /// How many more runs each name may have, if it has had some of late.
    runs: BTreeMap<Arc<str>, Allowance>,
}

/// What is known of who speaks for one run of a node.
#[derive(Debug)]
struct Voice {
    certified: Certified,
    beats: Beats,
    /// Records that are still to be checked in vain or not.
    records: Allowance,
}

/// What was left out of a message, and whether its sender has more to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Words of nodes whose certificate does not count here and now.
    pub(crate) uncertified: u64,
    /// Words of nodes that say more than can be checked.
    pub(crate) hasty: u64,
    /// There is more of a state than has come.
    pub(crate) is_unfinished: bool,
}

/// What becomes of what is told of a node.
enum Fate {
    /// It is to be taken, and makes the state whole.
    Whole,
    /// There is more of it, and a part may be on the shelf.
    Part,
    /// There is nothing in it for this node.
    Nothing,
    Uncertified,
    Hasty,
}

impl Voices {
    pub(crate) fn new(cluster: ClusterName, keyring: Keyring) -> Self {
        Self {
            cluster,
            keyring,
            voices: BTreeMap::new(),
            shelf: Shelf::default(),
            runs: BTreeMap::new(),
        }
    }

    /// Leaves out of a message of this peer what is no news to a node with these states, or cannot
    /// be known for the word of who it is of.
    ///
    /// # Errors
    /// When something in it is made up. Nobody passes on what has not been checked, so this peer did.
    pub(crate) fn hear(
        &mut self,
        from: &NodeRun,
        letter: &mut Letter,
        own: &ChitchatId,
        states: &BTreeMap<ChitchatId, NodeState>,
    ) -> Result<Heard, Refusal> {
        let now = Instant::now();
        self.forget(states, now);
        let Some(credentials) = self.keyring.credentials() else {
            letter.delta.clear();
            letter.digest.clear();
            return Ok(Heard::default());
        };
        let mut heard = Heard::default();
        let mut refusal = None;
        letter.delta.retain_mut(|told| {
            if refusal.is_some() {
                return false;
            }
            match self.hear_told(&credentials, from.addr, told, states, now) {
                Ok(Fate::Whole) => return true,
                Ok(Fate::Part) => heard.is_unfinished = true,
                Ok(Fate::Nothing) => {}
                Ok(Fate::Uncertified) => heard.uncertified += 1,
                Ok(Fate::Hasty) => heard.hasty += 1,
                Err(error) => refusal = Some(error),
            }
            false
        });
        letter.digest.retain_mut(|known| {
            refusal.is_none()
                && (known.node == *own
                    || self
                        .hear_known(&credentials, from, known, states, now)
                        .unwrap_or_else(|error| {
                            refusal = Some(error);
                            false
                        }))
        });
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        introduce(letter, states);
        Ok(heard)
    }

    /// What this node knows of the heart of a run, and up to where it has heard of it from a peer.
    pub(crate) fn marks(&self, to: SocketAddr, node: &ChitchatId, version: u64) -> (Beat, u64) {
        let voice = self.voices.get(node);
        (
            voice.map_or(Beat::default(), |voice| voice.beats.last()),
            self.shelf.known_to(to, node, version, Instant::now()),
        )
    }

    fn hear_told(
        &mut self,
        credentials: &Credentials,
        from: SocketAddr,
        told: &mut Told,
        states: &BTreeMap<ChitchatId, NodeState>,
        now: Instant,
    ) -> Result<Fate, Refusal> {
        let state = states.get(&told.node);
        if state.is_none() && !is_newest(&told.node, states) {
            return Ok(Fate::Nothing);
        }
        let version = state.map_or(0, NodeState::max_version);
        let part = self.shelf.part(from, &told.node, version);
        let base = part.map_or(version, Part::version);
        told.values.retain(|value| value.version > base);
        if told.values.is_empty() {
            return Ok(Fate::Nothing);
        }
        if told.from > base {
            // A node tells its news to whom it takes to be up to date. Who is not asks for what it lacks.
            let is_own_word = from == told.node.gossip_advertise_addr && state.is_some();
            return Ok(match is_own_word && !self.shelf.is_telling(from, now) {
                true => Fate::Part,
                false => Fate::Nothing,
            });
        }
        // What it claims is checked below, unless nobody wants to hear it.
        let newest = told
            .values
            .last()
            .and_then(|value| Record::read(&value.value));
        let is_whole = newest.is_some_and(|newest| sum_with(state, part, told) == newest.sum);
        if !is_whole && !self.shelf.may_tell(from, &told.node, now) {
            return Ok(Fate::Nothing);
        }
        let shown = told
            .values
            .iter()
            .find(|value| value.key == CERTIFICATE_KEY);
        let shown = match shown {
            Some(value) => match certified(credentials, &told.node, value)? {
                Some(certified) => Some(certified),
                None => return Ok(Fate::Uncertified),
            },
            None => None,
        };
        let voice = self.voices.get_mut(&told.node);
        // What comes behind a renewed certificate is checked by that one, and what others tell by theirs.
        let shown = shown.or_else(|| part.and_then(Part::certified).cloned());
        let certified = match (&shown, &voice) {
            (Some(certified), _) => certified,
            (None, Some(voice)) => &voice.certified,
            (None, None) => return Ok(Fate::Nothing),
        }
        .clone();
        if !credentials.is_good(&certified) {
            return Ok(Fate::Uncertified);
        }
        // However many peers tell of it at once, it is one run.
        let is_new = state.is_none() && voice.is_none();
        if is_new && !runs_of(&mut self.runs, &told.node, now).has(1, now) {
            return Ok(Fate::Hasty);
        }
        let fresh = || Voice {
            certified: certified.clone(),
            beats: Beats::new(&told.node),
            records: Allowance::new(RECORDS_AT_ONCE, RECORD_EACH, now),
        };
        let mut records = voice.map_or_else(|| fresh().records, |voice| voice.records);
        if !records.take(told.values.len(), now) {
            return Ok(Fate::Hasty);
        }
        check(&certified, &self.cluster, told)?;
        let voice = self.voices.entry(told.node.clone()).or_insert_with(fresh);
        voice.records = records;
        voice.anchor(told)?;
        if is_new && !runs_of(&mut self.runs, &told.node, now).take(1, now) {
            return Ok(Fate::Hasty);
        }
        if is_whole {
            // Not before: else somebody could show another good certificate of this node, and its words
            // would be refused from then on.
            voice.certified = certified;
            told.from = version;
            if self.shelf.part(from, &told.node, version).is_some() {
                let mut part = self.shelf.take(from, &told.node, version, now);
                part.add(told, shown, now);
                told.values = part.into_values(version);
            }
            return Ok(Fate::Whole);
        }
        let mut part = self.shelf.take(from, &told.node, version, now);
        part.add(told, shown, now);
        let fits = self.shelf.put(&told.node, part, now);
        Ok(if fits { Fate::Part } else { Fate::Hasty })
    }

    /// Makes an entry of a digest what is known to be true; tells whether it is to be heeded.
    fn hear_known(
        &mut self,
        credentials: &Credentials,
        from: &NodeRun,
        known: &mut Known,
        states: &BTreeMap<ChitchatId, NodeState>,
        now: Instant,
    ) -> Result<bool, Refusal> {
        let is_own = is_run(&known.node, from);
        let voice = self.voices.get_mut(&known.node);
        let voice = voice.filter(|voice| credentials.is_good(&voice.certified));
        let said = Beat {
            count: known.heartbeat,
            token: known.token,
        };
        let mut is_true = is_own;
        if let Some(voice) = voice {
            match voice.beats.take(said) {
                Worth::Wrong => return Err(Refusal::Beat),
                Worth::Unknown if is_own => {}
                worth => {
                    is_true |= worth != Worth::Unknown;
                    known.heartbeat = voice.beats.last().count;
                }
            }
        } else if !is_own {
            known.heartbeat = 0;
        }
        if states.contains_key(&known.node) {
            return Ok(true);
        }
        // Who has a link was certified, and its Hello said which run it is.
        let is_new = is_true && is_newest(&known.node, states);
        Ok(is_new && (!is_own || runs_of(&mut self.runs, &known.node, now).take(1, now)))
    }

    /// Drops what is of no use any more.
    fn forget(&mut self, states: &BTreeMap<ChitchatId, NodeState>, now: Instant) {
        let version = |node: &ChitchatId| states.get(node).map_or(0, NodeState::max_version);
        self.shelf.forget(version, now);
        if self.voices.len() > states.len() + STRANGERS_MAX {
            self.voices.retain(|node, _| states.contains_key(node));
        }
        if self.runs.len() > states.len() + STRANGERS_MAX {
            self.runs.retain(|_, runs| !runs.is_full(now));
        }
    }
}

impl Voice {
    /// Takes in the anchors of the heart, if they are told.
    fn anchor(&mut self, told: &Told) -> Result<(), Refusal> {
        let told = told.values.iter().find(|value| value.key == PULSE_KEY);
        match told {
            Some(value) if !self.beats.anchor(text(&value.value)) => Err(Refusal::Beat),
            _ => Ok(()),
        }
    }
}

/// The certificate that a node shows in a record. None if it does not count here and now.
fn certified(
    credentials: &Credentials,
    node: &ChitchatId,
    value: &Value,
) -> Result<Option<Certified>, Refusal> {
    let record = Record::read(&value.value).ok_or(Refusal::Seal)?;
    let chain = read_chain(record.text)?;
    let checked = credentials.trust.check(&chain, (credentials.unix_time)());
    match checked {
        Ok(certified) if certified.subject().node.as_str() == &*node.node_id => {
            Ok(Some(certified).filter(|certified| credentials.is_good(certified)))
        }
        Ok(_) => Err(Refusal::Speaker),
        // The clock of who passes it on may be another, or the authority new.
        Err(TrustError::Invalid(_)) => Ok(None),
        Err(error) => Err(Refusal::Certificate(error)),
    }
}

/// Checks the seals of all records.
fn check(certified: &Certified, cluster: &ClusterName, told: &Told) -> Result<(), Refusal> {
    for value in &told.values {
        let record = Record::read(&value.value).ok_or(Refusal::Seal)?;
        let statement = Statement {
            cluster: cluster.as_str(),
            node: &told.node,
            key: &value.key,
            version: value.version,
            sum: record.sum,
            text: record.text,
        };
        if !statement.is_of(certified, &record) {
            return Err(Refusal::Signature);
        }
    }
    Ok(())
}

/// The sum of a state with a part of it and what is told to go on from there.
fn sum_with(state: Option<&NodeState>, part: Option<&Part>, told: &Told) -> Sum {
    let heard = part.into_iter().flat_map(Part::values);
    let news = heard.chain(&told.values);
    let news = news.map(|value| (value.key.as_str(), value.version));
    Sum::with(state, &news.collect())
}

impl fmt::Debug for Voices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Voices")
            .field("cluster", &self.cluster)
            .field("voices", &self.voices)
            .finish_non_exhaustive()
    }
}

/// Adds an entry for each run that is told of but not known. chitchat learns of a run by a digest,
/// which an Ack does not have: it becomes a SynAck, whose sender lacks nothing.
fn introduce(letter: &mut Letter, states: &BTreeMap<ChitchatId, NodeState>) {
    let is_new = |told: &&Told| !states.contains_key(&told.node);
    let new: Vec<_> = letter
        .delta
        .iter()
        .filter(is_new)
        .map(Told::known)
        .collect();
    if new.is_empty() {
        return;
    }
    if letter.kind == MessageKind::Ack {
        letter.kind = MessageKind::SynAck;
        letter.digest = states.iter().map(Known::of).collect();
    }
    for known in new {
        match letter
            .digest
            .binary_search_by(|other| other.node.cmp(&known.node))
        {
            // What the sender's own entry says of it stands.
            Ok(_) => {}
            Err(at) => letter.digest.insert(at, known),
        }
    }
}

/// The certificates in the text of a record.
fn read_chain(text: &str) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let bytes = BASE64.decode(text).map_err(|_| Refusal::Seal)?;
    let from = &mut Reader::new(&bytes);
    let mut chain = Vec::new();
    while from.left() > 0 {
        let len = from.u16()?;
        chain.push(CertificateDer::from(from.bytes(len.into())?.to_vec()));
    }
    Ok(chain)
}

/// From when until when the certificate in the text of a record is valid.
pub(crate) fn shown_validity(text: &str) -> Option<Validity> {
    let chain = read_chain(text).ok()?;
    let (_, validity) = Subject::with_validity(chain.first()?).ok()?;
    Some(validity)
}

/// The text of a record with these certificates.
pub(crate) fn write_chain(chain: &[CertificateDer<'_>]) -> String {
    let mut bytes = Vec::new();
    for certificate in chain {
        // A longer one would not fit into the record either.
        let len = u16::try_from(certificate.len()).unwrap_or(u16::MAX);
        bytes.extend(len.to_le_bytes());
        bytes.extend(certificate.iter());
    }
    BASE64.encode(bytes)
}

fn is_run(node: &ChitchatId, run: &NodeRun) -> bool {
    (
        &*node.node_id,
        node.generation_id,
        node.gossip_advertise_addr,
    ) == (run.node.as_str(), run.incarnation.get(), run.addr)
}

/// Whether a run that is not known is later than all known ones of its name.
fn is_newest(node: &ChitchatId, states: &BTreeMap<ChitchatId, NodeState>) -> bool {
    let of_name = states.range(first_run(node)..).map(|(known, _)| known);
    let mut of_name = of_name.take_while(|known| known.node_id == node.node_id);
    of_name.all(|known| known.generation_id < node.generation_id)
}

/// What comes before all runs of this name, which are sorted.
fn first_run(node: &ChitchatId) -> ChitchatId {
    let addr = ([0; 4], 0).into();
    ChitchatId::new(Arc::clone(&node.node_id), 0, addr)
}

/// How many more runs this name may have now.
fn runs_of<'a>(
    runs: &'a mut BTreeMap<Arc<str>, Allowance>,
    node: &ChitchatId,
    now: Instant,
) -> &'a mut Allowance {
    let fresh = || Allowance::new(RUNS_AT_ONCE, RUN_EACH, now);
    let name = Arc::clone(&node.node_id);
    runs.entry(name).or_insert_with(fresh)
}

/// How many voices are kept of runs that are not known, or not any more.
const STRANGERS_MAX: usize = 64;

/// How many records of one run are checked at once, and after how long one more: more than a node
/// writes that has all buckets there can be, or changes 256 of them each interval.
const RECORDS_AT_ONCE: u32 = 8_192;
const RECORD_EACH: Duration = Duration::from_micros(976);

/// How many runs of one name may come at once, and after how long one more.
const RUNS_AT_ONCE: u32 = 64;
const RUN_EACH: Duration = Duration::from_secs(10);
