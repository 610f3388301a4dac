//! Schemas of topics: what payloads have to look like, checked where they are published.
//!
//! A topic has a schema if what is told of it carries one, or names by its digest one that is told of
//! any topic. While no topic has one, a message costs one look at a flag. A schema is prepared when the
//! first message is published under it, and kept for the next.
//!
//! Schemas come from others, and messages are checked on the way of their publishers. So a schema that
//! could take long is refused: one that refers to others or to itself, that is very deep or branches
//! very often; and a message that is too large for its schema is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use tidings_membership::{Schema, SchemaDigest, Scope, Topic, View};

use crate::schema_size::Size;
use crate::session_error::BroadcastError;

/// The schemas of all topics that have one.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    /// Whether any topic has one.
    any: AtomicBool,
    of_topics: ArcSwap<HashMap<(Scope, Topic), Demanded>>,
    /// Those that were used, ready for use.
    ready: Mutex<HashMap<SchemaDigest, Arc<Ready>>>,
}

/// What a topic demands.
#[derive(Debug, Clone)]
enum Demanded {
    Schema(SchemaDigest, Schema),
    /// One that nobody tells.
    Unknown(SchemaDigest),
}

/// A schema ready for use, or why it is not used.
#[derive(Debug)]
enum Ready {
    Schema(Box<Validator>, Size),
    Refused(String),
}

impl Schemas {
    /// Takes in what this view tells of topics.
    pub(crate) fn follow(&self, view: &View) {
        let records = view.topic_records();
        let carried = records
            .iter()
            .filter_map(|record| record.info.json_schema.as_ref());
        let known: HashMap<_, _> = carried.map(|schema| (schema.digest(), schema)).collect();
        let mut of_topics = HashMap::new();
        for record in &records {
            let carried = record.info.json_schema.as_ref();
            let named = || record.info.schema.as_ref()?.parse().ok();
            let Some(digest) = carried.map(Schema::digest).or_else(named) else {
                continue;
            };
            let demanded = match known.get(&digest) {
                Some(schema) => Demanded::Schema(digest, (*schema).clone()),
                None => Demanded::Unknown(digest),
            };
            of_topics.insert((record.scope.clone(), record.topic.clone()), demanded);
        }
        let any = !of_topics.is_empty();
        self.lock().retain(|digest, _| known.contains_key(digest));
        self.of_topics.store(Arc::new(of_topics));
        self.any.store(any, Relaxed);
    }

    /// Checks a message that is to be published.
    pub(crate) fn check(
        &self,
        scope: &Scope,
        topic: &Topic,
        payload: &[u8],
    ) -> Result<(), BroadcastError> {
        if !self.any.load(Relaxed) {
            return Ok(());
        }
        let of_topics = self.of_topics.load();
        // The key owns its parts, which are cheap to clone.
        let ready = match of_topics.get(&(scope.clone(), topic.clone())) {
            None => return Ok(()),
            Some(Demanded::Schema(digest, schema)) => self.ready(*digest, schema),
            Some(Demanded::Unknown(digest)) => {
                let problem = format!("no node tells the one that it names, {digest}");
                return Err(BroadcastError::Schema { problem });
            }
        };
        match &*ready {
            Ready::Schema(validator, size) => check(validator, size, payload),
            Ready::Refused(problem) => Err(BroadcastError::Schema {
                problem: problem.clone(),
            }),
        }
    }

    fn ready(&self, digest: SchemaDigest, schema: &Schema) -> Arc<Ready> {
        if let Some(ready) = self.lock().get(&digest) {
            return Arc::clone(ready);
        }
        // Not under the lock, which others need meanwhile.
        let ready = match prepare(schema) {
            Ok((validator, size)) => Ready::Schema(Box::new(validator), size),
            Err(problem) => Ready::Refused(problem),
        };
        let ready = Arc::new(ready);
        let mut all = self.lock();
        if all.len() >= READY_MAX {
            all.clear();
        }
        all.insert(digest, Arc::clone(&ready));
        ready
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SchemaDigest, Arc<Ready>>> {
        // Nothing panics while the lock is held.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a schema can be used, and if not, why.
pub(crate) fn prove_usable(schema: &Schema) -> Result<(), String> {
    prepare(schema).map(drop)
}

fn prepare(schema: &Schema) -> Result<(Validator, Size), String> {
    let value: Value = serde_json::from_str(schema.as_str()).map_err(|error| error.to_string())?;
    let size = Size::of(&value)?;
    let patterns = PatternOptions::regex()
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX);
    let options = jsonschema::options()
        .offline()
        .should_validate_formats(false);
    let validator = options.with_pattern_options(patterns).build(&value);
    let validator = validator.map_err(|error| {
        let problem = cut(error.masked().to_string());
        format!("at {:?}, {problem}", error.instance_path().as_str())
    })?;
    Ok((validator, size))
}

fn check(validator: &Validator, size: &Size, payload: &[u8]) -> Result<(), BroadcastError> {
    let bytes_max = size.payload_bytes_max();
    if payload.len() > bytes_max {
        let bytes = payload.len();
        let problem =
            format!("it has {bytes} bytes, and by a schema like this {bytes_max} are checked");
        return Err(BroadcastError::Payload {
            pointer: String::new(),
            problem,
        });
    }
    let value: Value =
        serde_json::from_slice(payload).map_err(|error| BroadcastError::Payload {
            pointer: String::new(),
            problem: format!("it is no JSON: {error}"),
        })?;
    validator
        .validate(&value)
        .map_err(|error| BroadcastError::Payload {
            pointer: error.instance_path().as_str().to_owned(),
            problem: cut(error.masked().to_string()),
        })
}

/// What is told of an error may quote the schema, but not all of it.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(PROBLEM_BYTES_MAX));
    text
}

/// How many schemas are kept ready; with more, all are prepared anew.
const READY_MAX: usize = 256;
/// What one regular expression may take.
const PATTERN_BYTES_MAX: usize = 256 << 10;
/// How much is told of what is wrong.
const PROBLEM_BYTES_MAX: usize = 300;
