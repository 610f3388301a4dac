//! The text of a bucket in gossip.
//!
//! An empty bucket is an empty text. Any other is base64 (standard alphabet, no padding) of one
//! byte, the format (1), and then one record for each topic, in order: postcard of the scope, the
//! pattern and a list of members, each the 16 bytes of its id and what it says of itself: perhaps the
//! name of its agent, perhaps metadata.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::Serialize;

use crate::bucket::{Bucket, MemberEntry, TopicMembers};
use crate::card::Card;
use crate::{MemberId, Pattern, Scope};

type Record = (Scope, Pattern, Vec<([u8; 16], Card)>);

/// Why a text is not that of a bucket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("it has {0} bytes")]
    TooLong(usize),
    #[error("it is not base64")]
    Base64(#[source] base64::DecodeError),
    #[error("its format is {0:?}")]
    Format(Option<u8>),
    #[error("a topic in it cannot be read")]
    Record(#[source] postcard::Error),
    #[error("the topic {0} in it has no members, or they are out of order")]
    Members(Pattern),
    #[error("the topic {0} in it is out of order or belongs to another bucket")]
    Topic(Pattern),
}

/// The text of a bucket.
pub(crate) fn pack(bucket: &Bucket) -> String {
    if bucket.topics().is_empty() {
        return String::new();
    }
    let mut bytes = Vec::with_capacity(1 + bucket.packed_bytes());
    bytes.push(FORMAT);
    for topic in bucket.topics() {
        let members = topic.members.iter();
        let members: Vec<_> = members
            .map(|m| {
                (
                    m.member.to_bytes(),
                    Card::new(m.agent.as_ref(), &m.metadata),
                )
            })
            .collect();
        bytes = append((&topic.scope, &topic.pattern, members), bytes);
    }
    BASE64.encode(bytes)
}

/// The length of the text of a bucket whose topics pack to so many bytes.
pub(crate) fn bucket_text_bytes(packed_bytes: usize) -> usize {
    ((1 + packed_bytes) * 4).div_ceil(3)
}

/// How many bytes topics may pack to, so that the text is no longer than this.
pub(crate) fn packed_bytes_max(text_bytes_max: usize) -> usize {
    (text_bytes_max * 3 / 4).saturating_sub(1)
}

/// The bucket of a text: one of a node with so many buckets, at this index.
pub(crate) fn unpack(
    text: &str,
    text_bytes_max: usize,
    index: usize,
    buckets: usize,
) -> Result<Bucket, UnpackError> {
    if text.is_empty() {
        return Ok(Bucket::default());
    }
    if text.len() > text_bytes_max {
        return Err(UnpackError::TooLong(text.len()));
    }
    let bytes = BASE64.decode(text).map_err(UnpackError::Base64)?;
    let mut rest = match bytes.split_first() {
        Some((&FORMAT, rest)) => rest,
        first => return Err(UnpackError::Format(first.map(|(&format, _)| format))),
    };
    let mut topics: Vec<TopicMembers> = Vec::new();
    while !rest.is_empty() {
        let (record, left) =
            postcard::take_from_bytes::<Record>(rest).map_err(UnpackError::Record)?;
        rest = left;
        let topic = topic(record)?;
        let follows = topics.last().is_none_or(|last| last.key() < topic.key());
        if !follows || Bucket::index(&topic.scope, topic.pattern.as_str(), buckets) != index {
            return Err(UnpackError::Topic(topic.pattern));
        }
        topics.push(topic);
    }
    Ok(Bucket::from_sorted(topics))
}

fn append(record: impl Serialize, bytes: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(&record, bytes)
        .expect("names, ids and lists of known length are plain data")
}

fn topic((scope, pattern, members): Record) -> Result<TopicMembers, UnpackError> {
    let members: Vec<_> = members
        .into_iter()
        .map(|(id, card)| {
            let (agent, metadata) = card.read();
            MemberEntry {
                member: MemberId::from_bytes(id),
                agent,
                metadata,
            }
        })
        .collect();
    let sorted = members.is_sorted_by(|a, b| a.member < b.member);
    if members.is_empty() || !sorted {
        return Err(UnpackError::Members(pattern));
    }
    Ok(TopicMembers {
        scope,
        pattern,
        members: Arc::new(members),
    })
}

const FORMAT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BUCKET_BYTES_MAX;
    use crate::{AgentName, METADATA_BYTES_MAX, Metadata};
    use proptest::prelude::*;

    const ALL: usize = usize::MAX;

    /// A change of one bucket: topic, member, agent, metadata, and whether it is a join or a leave.
    type Change = (String, u8, Option<String>, Metadata, bool);

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let topic = prop_oneof!["[a-c]", "[a-c]\\.[*>]", "x{130,140}"];
        let agent = proptest::option::of("[a-zé]{1,20}");
        let metadata = prop_oneof![
            3 => Just(Metadata::default()),
            1 => "[a-zé]{0,200}".prop_map(|does| {
                Metadata::parse(&format!(r#"{{"does":"{does}"}}"#)).unwrap()
            }),
        ];
        let is_join = proptest::bool::weighted(0.8);
        proptest::collection::vec((topic, any::<u8>(), agent, metadata, is_join), 0..400)
    }

    fn bucket(changes: Vec<Change>) -> Bucket {
        let mut bucket = Bucket::default();
        for (topic, n, agent, metadata, is_join) in changes {
            let (scope, pattern) = (Scope::default(), Pattern::parse(&topic).unwrap());
            let member = MemberId::from_bytes([n; 16]);
            if is_join {
                let entry = MemberEntry {
                    member,
                    agent: agent.as_deref().and_then(AgentName::nearest),
                    metadata: metadata.clone(),
                };
                // Who is there already is updated.
                if bucket.join(&scope, &pattern, entry, ALL, 0).is_err() {
                    let updated = bucket.update(&scope, &pattern, &[member], &metadata, ALL, 0);
                    assert!(updated.is_ok());
                }
            } else {
                let _ = bucket.leave(&scope, &pattern, member);
            }
        }
        bucket
    }

    proptest! {
        #[test]
        fn a_bucket_comes_out_as_it_went_in_and_knew_its_length(changes in changes()) {
            let bucket = bucket(changes);
            let text = pack(&bucket);
            prop_assert!(text.is_ascii());
            if !text.is_empty() {
                prop_assert_eq!(text.len(), bucket_text_bytes(bucket.packed_bytes()));
            }
            prop_assert_eq!(unpack(&text, ALL, 0, 1).unwrap(), bucket);
        }

        #[test]
        fn leaving_together_is_leaving_one_by_one(changes in changes(), every in 1..4_usize) {
            let (mut together, mut one_by_one) = (bucket(changes.clone()), bucket(changes));
            let memberships = together.topics().iter().flat_map(|topic| {
                let of = |m: &MemberEntry| (topic.scope.clone(), topic.pattern.clone(), m.member);
                topic.members.iter().map(of).collect::<Vec<_>>()
            });
            let leaving: Vec<_> = memberships.step_by(every).collect();
            prop_assert_eq!(together.leave_all(&leaving), !leaving.is_empty());
            for (scope, pattern, member) in &leaving {
                prop_assert!(one_by_one.leave(scope, pattern, *member));
            }
            prop_assert_eq!(&together, &one_by_one);
            prop_assert!(!together.leave_all(&leaving), "they have left");
        }

        #[test]
        fn the_limits_on_packed_bytes_and_text_are_the_same_limit(packed in 0..100_000_usize) {
            for text_max in [bucket_text_bytes(packed), bucket_text_bytes(packed) + 1] {
                prop_assert!(packed <= packed_bytes_max(text_max));
            }
            prop_assert!(packed > packed_bytes_max(bucket_text_bytes(packed) - 1));
        }

        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            for start in [&[][..], &[FORMAT], &[FORMAT, 1, b's', 1, b'a']] {
                let text = BASE64.encode([start, &bytes].concat());
                if let Ok(bucket) = unpack(&text, BUCKET_BYTES_MAX, 0, 1) {
                    // Numbers may be written longer than need be, so the text may differ.
                    prop_assert_eq!(unpack(&pack(&bucket), ALL, 0, 1).unwrap(), bucket);
                }
            }
        }
    }

    #[test]
    fn the_bytes_of_a_bucket_are_as_documented() {
        let mut bucket = Bucket::default();
        let member = MemberId::from_bytes(std::array::from_fn(|n| n as u8));
        let agent = AgentName::parse("bo").ok();
        let pattern = Pattern::parse("a.b").unwrap();
        let membership = MemberEntry {
            member,
            agent: agent.clone(),
            metadata: Metadata::default(),
        };
        let scope = Scope::parse("s").unwrap();
        bucket.join(&scope, &pattern, membership, ALL, 0).unwrap();
        let ids: Vec<u8> = (0..16).collect();
        let bytes = |card: &[u8]| [b"\x01\x01s\x03a.b\x01", &ids[..], card].concat();
        assert_eq!(BASE64.decode(pack(&bucket)).unwrap(), bytes(b"\x01\x02bo"));

        let metadata = Metadata::parse(r#"{"a": 1}"#).unwrap();
        let grown = bucket.update(&scope, &pattern, &[member], &metadata, ALL, 0);
        assert_eq!(grown, Ok(Some(8)));
        let packed = BASE64.decode(pack(&bucket)).unwrap();
        assert_eq!(packed, bytes(b"\x03\x02bo\x07{\"a\":1}"));

        for (metadata, card) in [
            (metadata, &b"\x02\x07{\"a\":1}"[..]),
            (Metadata::default(), b"\x00"),
        ] {
            let mut bucket = Bucket::default();
            let entry = MemberEntry {
                member,
                agent: None,
                metadata,
            };
            bucket.join(&scope, &pattern, entry, ALL, 0).unwrap();
            assert_eq!(BASE64.decode(pack(&bucket)).unwrap(), bytes(card));
        }
    }

    #[test]
    fn what_breaks_a_rule_is_not_a_bucket() {
        let id = |n: u8| ([n; 16], Card::<AgentName, &str>::Nothing);
        let says = |json| ([1; 16], Card::<AgentName, _>::Metadata(json));
        let text = |records: &[(&str, Vec<_>)]| {
            let bytes = records
                .iter()
                .fold(vec![FORMAT], |bytes, (topic, members)| {
                    append((Scope::default(), topic, members), bytes)
                });
            BASE64.encode(bytes)
        };
        let unpack = |text: &str| unpack(text, 10_000, 0, 1);
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(METADATA_BYTES_MAX));
        assert!(unpack(&text(&[("a", vec![id(1), id(2)]), ("b", vec![id(1)])])).is_ok());
        assert!(unpack(&text(&[("a", vec![says(r#"{"a":1}"#)])])).is_ok());
        let broken = [
            text(&[("a", vec![says(r#"{"a":1"#)])]),
            text(&[("a", vec![says("1")])]),
            text(&[("a", vec![says("{\"a\":\"\u{9b}\"}")])]),
            text(&[("a", vec![says(&long)])]),
            text(&[("a", vec![])]),
            text(&[("a", vec![id(2), id(1)])]),
            text(&[("a", vec![id(1), id(1)])]),
            text(&[("b", vec![id(1)]), ("a", vec![id(1)])]),
            text(&[("a", vec![id(1)]), ("a", vec![id(2)])]),
            text(&[("a..b", vec![id(1)])]),
            "x".repeat(10_001),
            "?".into(),
            BASE64.encode([FORMAT + 1]),
        ];
        for text in broken {
            assert!(unpack(&text).is_err(), "{text}");
        }
        let a = text(&[("a", vec![id(1)])]);
        let index = Bucket::index(&Scope::default(), "a", 64);
        assert!(super::unpack(&a, 1_000, index, 64).is_ok());
        let wrong = super::unpack(&a, 1_000, index ^ 1, 64);
        assert!(matches!(wrong, Err(UnpackError::Topic(_))));
    }
}
