use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_membership::{Scope, Topic};

/// What was published here on topics of changes: each distinct message once, by the number of its last
/// publication. A compacted log, as others call it.
///
/// Numbers are given in order, one to each publication, whatever server it is of. When there are too many
/// messages, those go that have not been published for longest.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    bounds: LogBounds,
    /// The last that was given.
    number: u64,
    /// The highest of those that are forgotten.
    forgotten: u64,
    servers: HashMap<Arc<Server>, Entries>,
    /// Of whom each message is, by its number.
    order: BTreeMap<u64, Arc<Server>>,
    bytes: usize,
}

/// What a log keeps within.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogBounds {
    pub(crate) messages_max: usize,
    /// What all messages may take, topics and payloads.
    pub(crate) bytes_max: usize,
    /// A longer one is kept as one of which the content is not known.
    pub(crate) message_bytes_max: usize,
}

/// Whose changes they are: what the topics begin with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Server {
    pub(crate) scope: Scope,
    pub(crate) prefix: String,
}

/// The messages of a server. There is always one.
#[derive(Debug, Default)]
struct Entries {
    numbers: HashMap<Arc<Entry>, u64>,
    by_number: BTreeMap<u64, Arc<Entry>>,
    /// The number of its last publication.
    last: u64,
    /// Of what was published up to here, some may be missing.
    incomplete_until: u64,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Entry {
    topic: Topic,
    /// None if it was too long.
    payload: Option<Bytes>,
}

/// What was published since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Since {
    /// Up to this number it is all.
    pub(crate) number: u64,
    /// The messages, topics and payloads, in the order of their last publications.
    pub(crate) messages: Vec<(Topic, Bytes)>,
    /// Whether all is there. Otherwise anything may have been published.
    pub(crate) is_complete: bool,
    /// Whether there is more after this number.
    pub(crate) has_more: bool,
}

impl ChangeLog {
    pub(crate) fn new(bounds: LogBounds) -> Self {
        Self {
            bounds,
            number: 0,
            forgotten: 0,
            servers: HashMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Notes that this is published now. Returns the number of what this server published before, as far as
    /// is known, and the number of this.
    pub(crate) fn add(&mut self, server: &Server, topic: &Topic, payload: &Bytes) -> (u64, u64) {
        self.number += 1;
        let number = self.number;
        let bytes = topic.as_str().len() + payload.len();
        let is_kept = bytes <= self.bounds.message_bytes_max;
        let entry = Arc::new(Entry {
            topic: topic.clone(),
            // A slice would keep the whole of what it was received with.
            payload: is_kept.then(|| Bytes::copy_from_slice(payload)),
        });
        let own = match self.servers.get_key_value(server) {
            Some((own, _)) => Arc::clone(own),
            None => Arc::new(server.clone()),
        };
        let fresh = || Entries {
            last: self.forgotten,
            incomplete_until: self.forgotten,
            ..Entries::default()
        };
        let entries = self.servers.entry(Arc::clone(&own)).or_insert_with(fresh);
        let before = std::mem::replace(&mut entries.last, number);
        self.bytes += entry.bytes();
        if let Some(earlier) = entries.numbers.insert(Arc::clone(&entry), number) {
            self.bytes -= entry.bytes();
            entries.by_number.remove(&earlier);
            self.order.remove(&earlier);
        }
        entries.by_number.insert(number, entry);
        self.order.insert(number, own);
        while self.order.len() > self.bounds.messages_max || self.bytes > self.bounds.bytes_max {
            self.forget_one();
        }
        (before, number)
    }

    /// What the server published after this number, as much as goes into so many bytes, and at least one.
    pub(crate) fn since(&self, server: &Server, after: u64, bytes_max: usize) -> Since {
        let mut since = Since {
            number: self.number,
            messages: Vec::new(),
            is_complete: true,
            has_more: false,
        };
        let Some(entries) = self.servers.get(server) else {
            since.is_complete = after >= self.forgotten;
            return since;
        };
        since.is_complete = after >= entries.incomplete_until;
        let (mut bytes, mut last) = (0, after);
        // A number that was never given is after all that were.
        let later = after
            .checked_add(1)
            .map(|first| entries.by_number.range(first..));
        for (number, entry) in later.into_iter().flatten() {
            bytes += entry.bytes();
            if bytes > bytes_max && !since.messages.is_empty() {
                (since.number, since.has_more) = (last, true);
                break;
            }
            last = *number;
            match &entry.payload {
                Some(payload) => since.messages.push((entry.topic.clone(), payload.clone())),
                None => since.is_complete = false,
            }
        }
        since
    }

    /// Forgets what has not been published for longest.
    fn forget_one(&mut self) {
        let Some((number, server)) = self.order.pop_first() else {
            return;
        };
        self.forgotten = number;
        let Some(entries) = self.servers.get_mut(&server) else {
            return;
        };
        entries.incomplete_until = number;
        if let Some(entry) = entries.by_number.remove(&number) {
            self.bytes -= entry.bytes();
            entries.numbers.remove(&entry);
        }
        if entries.by_number.is_empty() {
            self.servers.remove(&server);
        }
    }
}

impl Entry {
    /// What it takes besides what it is found by.
    fn bytes(&self) -> usize {
        self.topic.as_str().len() + self.payload.as_ref().map_or(0, Bytes::len)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const BOUNDS: LogBounds = LogBounds {
        messages_max: 4,
        bytes_max: 1_000,
        message_bytes_max: 100,
    };

    fn server(n: usize) -> Server {
        Server {
            scope: Scope::default(),
            prefix: format!("mcp.s{n}."),
        }
    }

    fn topic(n: usize) -> Topic {
        format!("mcp.s{n}.updated").parse().unwrap()
    }

    fn payload(n: usize) -> Bytes {
        format!("{n}").into()
    }

    fn payloads(since: &Since) -> Vec<&[u8]> {
        since
            .messages
            .iter()
            .map(|(_, payload)| &payload[..])
            .collect()
    }

    #[test]
    fn a_message_is_kept_once_with_the_number_of_its_last_publication() {
        let mut log = ChangeLog::new(BOUNDS);
        let numbers = [0, 1, 0].map(|n| log.add(&server(1), &topic(1), &payload(n)));
        assert_eq!(numbers, [(0, 1), (1, 2), (2, 3)]);
        let all = log.since(&server(1), 0, 100);
        assert_eq!((payloads(&all), all.number), (vec![&b"1"[..], b"0"], 3));
        assert_eq!(payloads(&log.since(&server(1), 2, 100)), [b"0"]);
        assert!(log.since(&server(1), 3, 100).messages.is_empty());
        assert!(log.since(&server(1), u64::MAX, 100).messages.is_empty());
    }

    #[test]
    fn what_is_too_long_is_known_to_have_been_published() {
        let mut log = ChangeLog::new(BOUNDS);
        log.add(&server(1), &topic(1), &vec![b'x'; 200].into());
        assert!(!log.since(&server(1), 0, 100).is_complete);
        assert!(log.since(&server(1), 1, 100).is_complete);
    }

    #[test]
    fn much_is_told_in_parts() {
        let mut log = ChangeLog::new(BOUNDS);
        for n in 0..4 {
            log.add(&server(1), &topic(1), &payload(n));
        }
        let (mut after, mut told) = (0, Vec::new());
        loop {
            let part = log.since(&server(1), after, 1);
            told.extend(part.messages);
            after = part.number;
            if !part.has_more {
                break;
            }
        }
        assert_eq!((told.len(), after), (4, 4));
    }

    proptest! {
        /// Whatever was published after a number is told, or it is told that something may be missing; and what
        /// is kept stays within its bounds.
        #[test]
        fn nothing_is_missing_without_being_told(
            published in prop::collection::vec((0..3_usize, 0..6_usize), 0..60),
            after in 0..60_u64,
        ) {
            let mut log = ChangeLog::new(BOUNDS);
            let mut all: Vec<(usize, u64, Bytes)> = Vec::new();
            for (n, what) in published {
                let (before, number) = log.add(&server(n), &topic(n), &payload(what));
                let last = all.iter().rev().find(|(of, ..)| *of == n).map(|(_, last, _)| *last);
                // It may be later than the truth, so that who looks for it asks; never earlier.
                prop_assert!(before >= last.unwrap_or(0) && before < number);
                all.push((n, number, payload(what)));
            }
            prop_assert!(log.order.len() <= BOUNDS.messages_max);
            let kept: usize = log.servers.values().map(|own| own.by_number.len()).sum();
            prop_assert_eq!(kept, log.order.len());
            for n in 0..3 {
                let since = log.since(&server(n), after, usize::MAX);
                let told: HashSet<_> = since.messages.iter().map(|(_, payload)| payload.clone()).collect();
                let truth = all.iter().filter(|(of, number, _)| *of == n && *number > after);
                let truth: HashSet<_> = truth.map(|(.., payload)| payload.clone()).collect();
                prop_assert!(told.is_subset(&truth), "what was not published is told");
                prop_assert!(!since.is_complete || told == truth, "{:?} of {:?}", told, truth);
            }
        }
    }
}
