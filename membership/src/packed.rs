//! The text of a bucket in gossip.
//!
//! An empty bucket is an empty text. Any other is base64 (standard alphabet, no padding) of one
//! byte, the format (2), what most ids have in common, and then one record for each topic, in order:
//! postcard of the scope, the pattern and the number of members, and each member: its id, what stands
//! for the name of its agent, and its metadata and queue group if it has any of them. What stands for the name is in the pages
//! of [`names`](crate::names).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bucket::{Bucket, MemberEntry, TopicMembers};
use crate::kin::{Chain, Kin, Step};
use crate::names::{NUMBERS, Names};
use crate::{AgentName, MemberId, Metadata, Pattern, QueueGroup, QueueGroupError, Scope};

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
    #[error("a member id in it is none")]
    Id,
    #[error("a queue group in it is none")]
    Queue(#[source] QueueGroupError),
    #[error("no agent has the number {0}")]
    Agent(u16),
    #[error("the topic {0} in it has no members, or they are out of order")]
    Members(Pattern),
    #[error("the topic {0} in it is out of order or belongs to another bucket")]
    Topic(Pattern),
}

/// The text of a bucket. `number` says what stands for a name.
pub(crate) fn pack(bucket: &Bucket, mut number: impl FnMut(&AgentName) -> u16) -> String {
    if bucket.topics().is_empty() {
        return String::new();
    }
    let mut bytes = Vec::with_capacity(1 + bucket.packed_bytes());
    bytes.push(FORMAT);
    let kin = bucket.kin();
    bytes = append(kin.map(|kin| (kin.random, kin.unix_ms)), bytes);
    for topic in bucket.topics() {
        let TopicMembers {
            scope,
            pattern,
            members,
        } = topic;
        bytes = append((scope, pattern, members.len()), bytes);
        let mut chain = Chain::new(kin);
        for member in &**members {
            bytes = append_member(member, &mut chain, &mut number, bytes);
        }
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

/// The bucket of a text: one of a node with so many buckets, at this index, whose agents have these
/// names.
pub(crate) fn unpack(
    text: &str,
    text_bytes_max: usize,
    index: usize,
    buckets: usize,
    names: &Names,
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
    let kin: Option<(u64, u64)> = take(&mut rest)?;
    let kin = kin.map(|(random, unix_ms)| Kin { random, unix_ms });
    let mut topics: Vec<TopicMembers> = Vec::new();
    while !rest.is_empty() {
        let topic = take_topic(&mut rest, kin, names)?;
        let last = topics.last();
        let follows = last.is_none_or(|last| last.key() < topic.key());
        if !follows || !Bucket::is_place(topic.hash(), index, buckets) {
            return Err(UnpackError::Topic(topic.pattern));
        }
        topics.push(topic);
    }
    Ok(Bucket::from_sorted(kin, topics))
}

fn take_topic(
    rest: &mut &[u8],
    kin: Option<Kin>,
    names: &Names,
) -> Result<TopicMembers, UnpackError> {
    let (scope, pattern, count): (Scope, Pattern, usize) = take(rest)?;
    // What the number announces may not come, so no more memory is taken for it.
    let mut members = Vec::with_capacity(count.min(rest.len() / MEMBER_BYTES_MIN));
    let mut chain = Chain::new(kin);
    for _ in 0..count {
        members.push(take_member(rest, &mut chain, names)?);
    }
    if members.is_empty() || !members.is_sorted_by(|a, b| a.member < b.member) {
        return Err(UnpackError::Members(pattern));
    }
    Ok(TopicMembers {
        scope,
        pattern,
        members: Arc::new(members),
    })
}

fn append_member(
    entry: &MemberEntry,
    chain: &mut Chain,
    number: &mut impl FnMut(&AgentName) -> u16,
    bytes: Vec<u8>,
) -> Vec<u8> {
    let mut bytes = match chain.step_to(entry.member) {
        Step::Kin { later_ms, number } => append((later_ms << 1, number), bytes),
        Step::Other(member) => append((OTHER, member.to_bytes()), bytes),
    };
    let number = entry.agent.as_ref().map_or(0, number);
    if entry.metadata.is_empty() && entry.queue.is_none() {
        bytes.extend(number.to_le_bytes());
        return bytes;
    }
    bytes.extend((number | HAS_MORE).to_le_bytes());
    let queue = entry.queue.as_ref().map_or("", QueueGroup::as_str);
    match entry.metadata.is_empty() {
        true => append(("", queue), bytes),
        false => append((&entry.metadata, queue), bytes),
    }
}

fn take_member(
    rest: &mut &[u8],
    chain: &mut Chain,
    names: &Names,
) -> Result<MemberEntry, UnpackError> {
    let step = match take::<u64>(rest)? {
        OTHER => Step::Other(MemberId::from_bytes(take(rest)?)),
        later if later & 1 == 0 => Step::Kin {
            later_ms: later >> 1,
            number: take(rest)?,
        },
        _ => return Err(UnpackError::Id),
    };
    let member = chain.follow(step).ok_or(UnpackError::Id)?;
    let says = u16::from_le_bytes(take(rest)?);
    let agent = match says & !HAS_MORE {
        0 => None,
        number => Some(names.get(number).ok_or(UnpackError::Agent(number))?.clone()),
    };
    let (metadata, queue) = match says & HAS_MORE {
        0 => (Metadata::default(), None),
        _ => (take_metadata(rest)?, take_queue(rest)?),
    };
    Ok(MemberEntry {
        member,
        agent,
        metadata,
        queue,
    })
}

fn take_metadata(rest: &mut &[u8]) -> Result<Metadata, UnpackError> {
    match rest.split_first() {
        Some((0, left)) => {
            *rest = left;
            Ok(Metadata::default())
        }
        _ => take(rest),
    }
}

fn take_queue(rest: &mut &[u8]) -> Result<Option<QueueGroup>, UnpackError> {
    let name: &str;
    (name, *rest) = postcard::take_from_bytes(rest).map_err(UnpackError::Record)?;
    match name {
        "" => Ok(None),
        name => QueueGroup::parse(name)
            .map(Some)
            .map_err(UnpackError::Queue),
    }
}

fn append(record: impl Serialize, bytes: Vec<u8>) -> Vec<u8> {
    postcard::to_extend(&record, bytes).expect("names, ids and numbers are plain data")
}

fn take<T: DeserializeOwned>(rest: &mut &[u8]) -> Result<T, UnpackError> {
    let (taken, left) = postcard::take_from_bytes(rest).map_err(UnpackError::Record)?;
    *rest = left;
    Ok(taken)
}

const FORMAT: u8 = 2;
/// Added to what stands for the name of an agent, of a member with metadata or in a queue group.
const HAS_MORE: u16 = NUMBERS as u16;
/// Stands before an id that is not of the kin.
const OTHER: u64 = 1;
/// No member takes less.
const MEMBER_BYTES_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemberIds;
    use crate::config::BUCKET_BYTES_MAX;
    use crate::names::Numbering;
    use crate::{AgentName, METADATA_BYTES_MAX, Profile};
    use proptest::prelude::*;

    const ALL: usize = usize::MAX;

    /// A change of one bucket: topic, member, agent, metadata, queue group, and whether it is a join or a
    /// leave.
    type Change = (String, u8, Option<String>, Metadata, Option<String>, bool);

    /// The text of a bucket, and the names that are told before.
    fn told(bucket: &Bucket) -> (String, Names) {
        let (mut numbering, mut names) = (Numbering::default(), Names::default());
        let text = pack(bucket, |name| numbering.take(name));
        for (page, text) in numbering.take_changed() {
            names.set_page(page, &text).unwrap();
        }
        (text, names)
    }

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let topic = prop_oneof![
            3 => "[a-c]",
            3 => "[a-c]\\.[*>]",
            2 => "x{130,140}",
            1 => (4_090..=4_096_usize).prop_map(|bytes| "y".repeat(bytes)),
        ];
        let agent = proptest::option::of("[a-zé]{1,20}");
        let metadata = prop_oneof![
            3 => Just(Metadata::default()),
            1 => "[a-zé]{0,200}".prop_map(|does| {
                Metadata::parse(&format!(r#"{{"does":"{does}"}}"#)).unwrap()
            }),
        ];
        let queue = proptest::option::weighted(0.3, "[a-zé]{1,20}");
        let is_join = proptest::bool::weighted(0.8);
        let change = (topic, any::<u8>(), agent, metadata, queue, is_join);
        proptest::collection::vec(change, 0..400)
    }

    fn bucket(changes: Vec<Change>) -> Bucket {
        let mut bucket = Bucket::default();
        for (topic, n, agent, metadata, queue, is_join) in changes {
            let (scope, pattern) = (Scope::default(), Pattern::parse(&topic).unwrap());
            // Some of the kin, in bursts and far apart, some of another, some of none.
            let member = match n % 8 {
                0 => MemberId::from_bytes([n; 16]),
                1 => MemberId::from_parts(n.into(), 0, 2),
                _ => MemberId::from_parts(1 << (n % 46), n.into(), 1),
            };
            if !is_join {
                bucket.leave(&scope, &pattern, member);
            } else if bucket.member(&scope, &topic, member).is_none() {
                let entry = MemberEntry {
                    member,
                    agent: agent.as_deref().and_then(AgentName::nearest),
                    metadata,
                    queue: queue.map(|name| QueueGroup::parse(&name).unwrap()),
                };
                bucket.join(&scope, &pattern, entry);
            } else {
                bucket.update(&scope, &pattern, member, &metadata);
            }
        }
        bucket
    }

    proptest! {
        #[test]
        fn a_bucket_comes_out_as_it_went_in_and_knew_its_length(changes in changes()) {
            let bucket = bucket(changes);
            let (text, names) = told(&bucket);
            prop_assert!(text.is_ascii());
            if !text.is_empty() {
                prop_assert_eq!(text.len(), bucket_text_bytes(bucket.packed_bytes()));
            }
            prop_assert_eq!(unpack(&text, ALL, 0, 1, &names).unwrap(), bucket);
        }

        #[test]
        fn leaving_together_is_leaving_one_by_one(changes in changes(), every in 1..4_usize) {
            let (mut together, mut one_by_one) = (bucket(changes.clone()), bucket(changes));
            let memberships = together.topics().iter().flat_map(|topic| {
                let of = |m: &MemberEntry| (topic.scope.clone(), topic.pattern.clone(), m.member);
                topic.members.iter().map(of).collect::<Vec<_>>()
            });
            let leaving: Vec<_> = memberships.step_by(every).collect();
            prop_assert_eq!(together.leave_all(&leaving).len(), leaving.len());
            for (scope, pattern, member) in &leaving {
                prop_assert!(one_by_one.leave(scope, pattern, *member).is_some());
            }
            prop_assert_eq!(&together, &one_by_one);
            prop_assert!(together.leave_all(&leaving).is_empty(), "they have left");
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
            let kin = [FORMAT, 1, 1, 1, 1, b's', 1, b'a'];
            for start in [&[][..], &[FORMAT], &[FORMAT, 0, 1, b's', 1, b'a'], &kin] {
                let text = BASE64.encode([start, &bytes].concat());
                if let Ok(bucket) = unpack(&text, BUCKET_BYTES_MAX, 0, 1, &Names::default()) {
                    // Numbers may be written longer than need be, so the text may differ.
                    let (again, names) = told(&bucket);
                    prop_assert!(again.len() <= text.len());
                    prop_assert_eq!(unpack(&again, ALL, 0, 1, &names).unwrap(), bucket);
                }
            }
        }
    }

    #[test]
    fn the_bytes_of_a_bucket_are_as_documented() {
        let mut bucket = Bucket::default();
        let (scope, pattern) = (Scope::parse("s").unwrap(), Pattern::parse("a.b").unwrap());
        let ids: Vec<u8> = (0x80..0x90).collect();
        let other = MemberId::from_bytes(std::array::from_fn(|n| ids[n]));
        let (bo, metadata) = (AgentName::parse("bo").ok(), Metadata::default());
        let second = MemberId::from_parts(364, 200, 5);
        for (member, agent) in [
            (MemberId::from_parts(300, 0, 5), None),
            (second, bo),
            (other, None),
        ] {
            let metadata = metadata.clone();
            let entry = MemberEntry {
                member,
                agent,
                metadata,
                queue: None,
            };
            bucket.join(&scope, &pattern, entry);
        }
        let bytes = |second: &[u8]| {
            let head = b"\x02\x01\x05\xac\x02\x01s\x03a.b\x03\x00\x00\x00\x00\x80\x01\xc8\x01";
            [head, second, b"\x01", &ids, b"\x00\x00"].concat()
        };
        let packed = |bucket: &Bucket| BASE64.decode(told(bucket).0).unwrap();
        assert_eq!(packed(&bucket), bytes(b"\x01\x00"));
        let metadata = Metadata::parse(r#"{"a": 1}"#).unwrap();
        bucket.update(&scope, &pattern, second, &metadata);
        assert_eq!(packed(&bucket), bytes(b"\x01\x80\x07{\"a\":1}\x00"));
    }

    #[test]
    fn the_queue_group_of_a_member_stands_behind_its_metadata() {
        let mut bucket = Bucket::default();
        let queue = QueueGroup::parse("q").ok();
        let profile = Profile {
            queue,
            ..Profile::default()
        };
        let member = MemberId::from_parts(300, 0, 5);
        let entry = MemberEntry::new(member, profile);
        let (scope, pattern) = (Scope::parse("s").unwrap(), Pattern::parse("a").unwrap());
        bucket.join(&scope, &pattern, entry);
        let head = b"\x02\x01\x05\xac\x02\x01s\x01a\x01\x00\x00\x00\x80";
        let expected = [&head[..], b"\x00\x01q"].concat();
        assert_eq!(BASE64.decode(told(&bucket).0).unwrap(), expected);
        let metadata = Metadata::parse("{\"a\":1}").unwrap();
        bucket.update(&scope, &pattern, member, &metadata);
        let expected = [&head[..], b"\x07{\"a\":1}\x01q"].concat();
        assert_eq!(BASE64.decode(told(&bucket).0).unwrap(), expected);
    }

    #[test]
    fn members_of_one_run_take_a_few_bytes_each() {
        let (mut ids, mut bucket) = (MemberIds::default(), Bucket::default());
        for n in 0..1_000 {
            // One every five minutes.
            let member = ids.next(1_700_000_000_000 + n * 300_000);
            let agent = AgentName::parse(&format!("{n:064}")).ok();
            let metadata = Metadata::default();
            let entry = MemberEntry {
                member,
                agent,
                metadata,
                queue: None,
            };
            bucket.join(&Scope::default(), &"a".parse().unwrap(), entry);
        }
        assert!(bucket.packed_bytes() < 6_100, "{}", bucket.packed_bytes());
    }

    #[test]
    fn what_breaks_a_rule_is_not_a_bucket() {
        let id = |n: u8| [&[1][..], &[n; 16], &[0, 0]].concat();
        let kin = |later: u8, number: u8| vec![later, number, 0, 0];
        let is = |json: &str, queue: &str| append((json, queue), vec![0, 0, 0, 0x80]);
        let says = |json: &str| is(json, "");
        let text = |records: &[(&str, Vec<Vec<u8>>)]| {
            let bytes = append(Some((5_u64, 9_u64)), vec![FORMAT]);
            let bytes = records.iter().fold(bytes, |bytes, (topic, members)| {
                let head = append((Scope::default(), topic, members.len()), bytes);
                [head, members.concat()].concat()
            });
            BASE64.encode(bytes)
        };
        let mut names = Names::default();
        names.set_page(0, &BASE64.encode(b"\x01\x01n")).unwrap();
        let unpack = |text: &str| unpack(text, 10_000, 0, 1, &names);
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(METADATA_BYTES_MAX));
        let good = [
            text(&[("a", vec![id(1), id(2)]), ("b", vec![id(1)])]),
            text(&[("a", vec![kin(0, 0), kin(0, 1), kin(2, 0)])]),
            text(&[("a", vec![vec![0, 0, 1, 0]])]),
            text(&[("a", vec![says(r#"{"a":1}"#)])]),
            text(&[("a", vec![is(r#"{"a":1}"#, "q")])]),
            text(&[("a", vec![is("", "q")])]),
        ];
        for text in good {
            assert!(unpack(&text).is_ok(), "{text}");
        }
        let broken = [
            text(&[("a", vec![says(r#"{"a":1"#)])]),
            text(&[("a", vec![says("1")])]),
            text(&[("a", vec![says("{\"a\":\"\u{9b}\"}")])]),
            text(&[("a", vec![says(&long)])]),
            text(&[("a", vec![is("", "two words")])]),
            text(&[("a", vec![is("", &"q".repeat(256))])]),
            text(&[("a", vec![])]),
            text(&[("a", vec![id(2), id(1)])]),
            text(&[("a", vec![id(1), id(1)])]),
            text(&[("a", vec![kin(0, 1), kin(0, 1)])]),
            text(&[("a", vec![kin(3, 1)])]),
            text(&[("a", vec![vec![0, 0, 2, 0]])]),
            text(&[("a", vec![vec![0, 0xff, 0x7f, 0, 0]])]),
            text(&[("b", vec![id(1)]), ("a", vec![id(1)])]),
            text(&[("a", vec![id(1)]), ("a", vec![id(2)])]),
            text(&[("a..b", vec![id(1)])]),
            "x".repeat(10_001),
            "?".into(),
            BASE64.encode([FORMAT - 1]),
        ];
        for text in broken {
            assert!(unpack(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bucket_in_another_format_is_refused_and_not_misread() {
        let one = ("a".to_owned(), 1, None, Metadata::default(), None, true);
        let own = BASE64.decode(told(&bucket(vec![one])).0).unwrap();
        let read = |format: u8| {
            let text = BASE64.encode([&[format], &own[1..]].concat());
            unpack(&text, BUCKET_BYTES_MAX, 0, 1, &Names::default())
        };
        assert!(read(FORMAT).is_ok());
        for format in [0, FORMAT - 1, FORMAT + 1] {
            let refused = read(format).unwrap_err();
            assert!(
                matches!(refused, UnpackError::Format(Some(other)) if other == format),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_topic_is_not_in_a_bucket_far_from_its_own() {
        let mut bucket = Bucket::default();
        let entry = MemberEntry {
            member: MemberId::from_bytes([1; 16]),
            agent: None,
            metadata: Metadata::default(),
            queue: None,
        };
        bucket.join(&Scope::default(), &"a".parse().unwrap(), entry);
        let text = told(&bucket).0;
        let own = Bucket::index(Bucket::hash(&Scope::default(), "a"), 1_024);
        for (further, is_right) in [(0, true), (127, true), (128, false), (1_023, false)] {
            let index = (own + further) % 1_024;
            let read = unpack(&text, 1_000, index, 1_024, &Names::default());
            assert_eq!(read.is_ok(), is_right, "{further}");
        }
    }
}
