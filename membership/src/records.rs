//! What one node tells of topics.
//!
//! Each record has a number, under which gossip has its text. A record of the same topic that is newer
//! takes its number; none is ever taken away, only emptied. So there is nothing that could come back.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::topic_info::{TopicInfoError, TopicRecord};
use crate::{Scope, Topic};

/// How many records a node has at most.
pub(crate) const RECORDS_MAX: usize = 256;
/// The longest text of a record: all of it in characters that JSON escapes.
pub(crate) const RECORD_BYTES_MAX: usize = 42_000;
/// How long the texts of all records of a node are at most, so that its peers have room for them.
pub(crate) const RECORDS_BYTES_MAX: usize = 512 << 10;

/// The records of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Records {
    numbered: BTreeMap<usize, Arc<TopicRecord>>,
    /// The newest of each topic, and its number.
    by_topic: BTreeMap<(Scope, Topic), (usize, Arc<TopicRecord>)>,
}

/// Why a text is not that of a record.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("it has {0} bytes")]
    TooLong(usize),
    #[error("it is no record")]
    Json(#[from] serde_json::Error),
    #[error("its time is {0}")]
    Time(u64),
    #[error(transparent)]
    Info(#[from] TopicInfoError),
}

impl Records {
    /// The newest record of this topic.
    pub(crate) fn get(&self, scope: &Scope, topic: &Topic) -> Option<&Arc<TopicRecord>> {
        // The key owns its parts, which are cheap to clone.
        let key = (scope.clone(), topic.clone());
        self.by_topic.get(&key).map(|(_, record)| record)
    }

    /// The newest record of each topic, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<TopicRecord>> {
        self.by_topic.values().map(|(_, record)| record)
    }

    /// Puts a record under the number of its topic, or a free one. False if there is none, or all texts
    /// would be too long.
    pub(crate) fn set(&mut self, record: Arc<TopicRecord>) -> bool {
        let key = (record.scope.clone(), record.topic.clone());
        let known = self.by_topic.get(&key).map(|(number, _)| *number);
        let free = || (0..RECORDS_MAX).find(|number| !self.numbered.contains_key(number));
        let Some(number) = known.or_else(free) else {
            return false;
        };
        let others = self.numbered.iter().filter(|(other, _)| **other != number);
        let bytes = others.map(|(_, record)| write(record).len()).sum::<usize>();
        if bytes + write(&record).len() > RECORDS_BYTES_MAX {
            return false;
        }
        self.numbered.insert(number, Arc::clone(&record));
        self.by_topic.insert(key, (number, record));
        true
    }

    /// Puts what gossip has under this number in the place of what it had.
    pub(crate) fn replace(&mut self, number: usize, record: TopicRecord) {
        self.numbered.insert(number, Arc::new(record));
        self.by_topic.clear();
        for (number, record) in &self.numbered {
            let key = (record.scope.clone(), record.topic.clone());
            let known = self.by_topic.get(&key);
            // Two of a topic are nothing that an honest node has.
            if known.is_none_or(|(_, known)| known.stamp < record.stamp) {
                self.by_topic.insert(key, (*number, Arc::clone(record)));
            }
        }
    }

    /// All records by their numbers, as gossip has them.
    pub(crate) fn numbered(&self) -> &BTreeMap<usize, Arc<TopicRecord>> {
        &self.numbered
    }
}

/// The text of a record in gossip.
pub(crate) fn write(record: &TopicRecord) -> String {
    serde_json::to_string(record).expect("names and texts are plain data")
}

/// The record of a text.
pub(crate) fn read(text: &str) -> Result<TopicRecord, RecordError> {
    if text.len() > RECORD_BYTES_MAX {
        return Err(RecordError::TooLong(text.len()));
    }
    let record: TopicRecord = serde_json::from_str(text)?;
    if record.stamp.unix_ms > UNIX_MS_MAX {
        return Err(RecordError::Time(record.stamp.unix_ms));
    }
    record.info.check()?;
    Ok(record)
}

/// No stamp is later. Whoever sets it anew can always be later than another: in 2^52 ways.
pub(crate) const UNIX_MS_MAX: u64 = 1 << 52;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topic_info::{Stamp, TopicInfo};
    use crate::{SCHEMA_BYTES_MAX, Schema};

    fn record(topic: &str, unix_ms: u64, node: &str, says: &str) -> TopicRecord {
        TopicRecord {
            scope: Scope::default(),
            topic: topic.parse().unwrap(),
            stamp: Stamp {
                unix_ms,
                node: node.parse().unwrap(),
                incarnation: 1.into(),
            },
            info: TopicInfo {
                description: Some(says.into()),
                ..TopicInfo::default()
            },
        }
    }

    proptest! {
        #[test]
        fn whatever_can_be_told_fits_into_a_record_and_comes_out_again(
            description in "\\PC{1,300}", label in "\\PC{1,60}", at in 0..=UNIX_MS_MAX,
        ) {
            let mut record = record("a.b", at, "n1", &description);
            record.info.owner = Some(label.clone());
            record.info.content_type = Some(label);
            prop_assume!(record.info.check().is_ok());
            prop_assert_eq!(read(&write(&record)).unwrap(), record);
        }

        #[test]
        fn the_newest_record_of_a_topic_counts_in_whatever_order_they_come(
            told in proptest::collection::vec((0..8_usize, 0..3_u8, 0..4_u64), 0..30),
        ) {
            let mut records = Records::default();
            let mut last = BTreeMap::new();
            for (number, topic, at) in told {
                let one = record(&format!("t{topic}"), at, "n1", "x");
                last.insert(number, one.clone());
                records.replace(number, one);
            }
            for topic in 0..3 {
                let topic: Topic = format!("t{topic}").parse().unwrap();
                let all = last.values().filter(|record| record.topic == topic);
                let newest = all.map(|record| &record.stamp).max();
                let shown = records.get(&Scope::default(), &topic);
                prop_assert_eq!(shown.map(|record| &record.stamp), newest);
            }
        }

        #[test]
        fn no_text_does_harm(text in "\\PC{0,80}") {
            prop_assert!(read(&text).is_err());
        }
    }

    #[test]
    fn the_longest_record_is_short_enough() {
        let mut longest = record(
            &"\"".repeat(255),
            UNIX_MS_MAX,
            &"n".repeat(63),
            &"\"".repeat(1_024),
        );
        let label = || Some("\\".repeat(256));
        let info = &mut longest.info;
        (info.content_type, info.owner, info.schema) = (label(), label(), label());
        let title = "\\\"".repeat(SCHEMA_BYTES_MAX / 2 - 7);
        info.json_schema = Some(Schema::parse(&format!(r#"{{"title":"{title}"}}"#)).unwrap());
        longest.scope = "s".repeat(63).parse().unwrap();
        let text = write(&longest);
        assert!(text.len() <= RECORD_BYTES_MAX, "{}", text.len());
        assert_eq!(read(&text).unwrap(), longest);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let good = r#"{"scope":"s","topic":"a","unix_ms":1,"node":"n1","incarnation":1"#;
        assert!(read(&format!("{good}}}")).unwrap().info.is_empty());
        // A later version may tell more.
        assert!(read(&format!(r#"{good},"more":[1]}}"#)).is_ok());
        let long = "x".repeat(RECORD_BYTES_MAX);
        for bad in [
            String::new(),
            good.into(),
            format!(r#"{good},"description":""}}"#),
            format!(r#"{good},"owner":"a\nb"}}"#),
            format!(r#"{good},"owner":"{}"}}"#, "x".repeat(257)),
            format!(r#"{good},"more":"{long}"}}"#),
            format!(r#"{good},"json_schema":"1"}}"#),
            format!(r#"{good},"json_schema":{{}}}}"#),
            format!("{}}}", good.replace("_ms\":1", "_ms\":9007199254740992")),
            format!("{}}}", good.replace("\"a\"", "\"a.*\"")),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn all_texts_together_are_bounded() {
        let mut records = Records::default();
        let large = Schema::parse(&format!(r#"{{"title":"{}"}}"#, "x".repeat(16_000))).unwrap();
        let set = |records: &mut Records, topic: &str, schema: Option<Schema>| {
            let mut one = record(topic, 1, "n1", "x");
            one.info.json_schema = schema;
            records.set(Arc::new(one))
        };
        let count = (0..RECORDS_MAX)
            .take_while(|n| set(&mut records, &format!("t{n}"), Some(large.clone())))
            .count();
        assert_eq!(count, RECORDS_BYTES_MAX / 16_200);
        assert!(set(&mut records, "t0", None), "what is less fits");
        assert!(set(&mut records, "another", Some(large)));
    }

    #[test]
    fn a_topic_keeps_its_number_and_no_more_are_taken_than_there_are() {
        let mut records = Records::default();
        for n in 0..RECORDS_MAX {
            let topic = format!("t{n}");
            assert!(records.set(Arc::new(record(&topic, 1, "n1", "first"))));
        }
        let before = records.clone();
        assert!(!records.set(Arc::new(record("another", 1, "n1", "x"))));
        assert_eq!(records, before);
        assert!(records.set(Arc::new(record("t7", 2, "n1", "second"))));
        let changed: Vec<_> = records
            .numbered()
            .iter()
            .filter(|(number, record)| before.numbered().get(number) != Some(record))
            .map(|(number, record)| (*number, record.stamp.unix_ms))
            .collect();
        assert_eq!(changed, [(7, 2)]);
    }
}
