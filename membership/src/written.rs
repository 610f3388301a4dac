use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::bucket::Bucket;
use crate::client_door::ClientDoor;
use crate::names::Numbering;
use crate::node_view::NodeView;
use crate::packed::pack;
use crate::peer::{CLIENTS_KEY, bucket_key, names_key, record_key};
use crate::records;
use crate::topic_info::TopicRecord;

/// What this node has, as it was last written to its gossip state.
///
/// An update that does not fit into the bucket of a member moves it into another one. The two are written
/// one after the other, and a peer may take in the first alone. If that were the one that it has left, the
/// peer would see it leave and join. So where a member has come to is written before where it has left.
#[derive(Debug)]
pub(crate) struct Written {
    buckets: Vec<Arc<Bucket>>,
    records: BTreeMap<usize, Arc<TopicRecord>>,
    door: Arc<ClientDoor>,
    /// What stands for the names of agents.
    numbering: Numbering,
}

/// What is to be written under a key, and of which bucket it is, if it is one.
pub(crate) struct Text {
    pub(crate) bucket: Option<usize>,
    pub(crate) key: String,
    pub(crate) text: String,
}

impl Written {
    /// All that a node has that has just begun: nothing.
    pub(crate) fn new(local: &NodeView) -> Self {
        Self {
            buckets: local.buckets().iter().cloned().collect(),
            records: BTreeMap::new(),
            door: Arc::clone(&local.door),
            numbering: Numbering::default(),
        }
    }

    /// The buckets that are not as they were written.
    pub(crate) fn unwritten<'a>(&'a self, local: &'a NodeView) -> impl Iterator<Item = usize> {
        let both = local.buckets().iter().zip(&self.buckets).enumerate();
        let unwritten = both.filter(|(_, (bucket, written))| !Arc::ptr_eq(bucket, written));
        unwritten.map(|(index, _)| index)
    }

    /// The records that are not as they were written.
    pub(crate) fn unwritten_records<'a>(
        &'a self,
        local: &'a NodeView,
    ) -> impl Iterator<Item = usize> {
        let unwritten = local.records.numbered().iter().filter(|(number, record)| {
            let written = self.records.get(number);
            !written.is_some_and(|written| Arc::ptr_eq(written, record))
        });
        unwritten.map(|(number, _)| *number)
    }

    /// Whether where clients connect is not as it was written.
    pub(crate) fn is_door_unwritten(&self, local: &NodeView) -> bool {
        !Arc::ptr_eq(&self.door, &local.door)
    }

    /// Those of these buckets that are not as they were written, and those that members have moved to
    /// from there, in the order in which they are to be written.
    pub(crate) fn order(&self, local: &NodeView, due: &[usize]) -> Vec<usize> {
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        for &index in due {
            self.add(local, index, &mut seen, &mut found);
        }
        found
    }

    fn add(
        &self,
        local: &NodeView,
        index: usize,
        seen: &mut BTreeSet<usize>,
        found: &mut Vec<usize>,
    ) {
        let written = &self.buckets[index];
        let is_written = Arc::ptr_eq(local.buckets().get(index), written);
        if is_written || !seen.insert(index) {
            return;
        }
        for place in local.moved_from(index, written) {
            self.add(local, place, seen, found);
        }
        found.push(index);
    }

    /// The texts of these buckets and records, which are written now, in their order, and of where clients
    /// connect, if it is not as it was written. Names come before those who have them.
    pub(crate) fn write(
        &mut self,
        local: &NodeView,
        buckets: &[usize],
        records: &[usize],
    ) -> Vec<Text> {
        let (mut texts, mut before) = (Vec::new(), Vec::new());
        for &index in buckets {
            let bucket = local.buckets().get(index);
            texts.push(Text {
                bucket: Some(index),
                key: bucket_key(index),
                text: pack(bucket, |name| self.numbering.take(name)),
            });
            let written = &mut self.buckets[index];
            before.push(std::mem::replace(written, Arc::clone(bucket)));
        }
        let names = self.numbering.take_changed().into_iter();
        let names = names.map(|(page, text)| Text {
            bucket: None,
            key: names_key(page),
            text,
        });
        texts.splice(..0, names);
        for bucket in before {
            self.numbering.release(&bucket);
        }
        for &number in records {
            if let Some(record) = local.records.numbered().get(&number) {
                self.records.insert(number, Arc::clone(record));
                texts.push(Text {
                    bucket: None,
                    key: record_key(number),
                    text: records::write(record),
                });
            }
        }
        if self.is_door_unwritten(local) {
            self.door = Arc::clone(&local.door);
            texts.push(Text {
                bucket: None,
                key: CLIENTS_KEY.to_owned(),
                text: self.door.write(),
            });
        }
        texts
    }
}

#[cfg(test)]
mod tests {
    use tidings_identity::NodeRun;

    use super::*;
    use crate::bucket::MemberEntry;
    use crate::{MemberId, Metadata, Scope};

    #[test]
    fn who_moves_is_told_at_the_new_place_first() {
        let run = NodeRun::new("n0".parse().unwrap(), 1.into(), ([10, 0, 0, 1], 1).into());
        let mut node = NodeView::new(run, 8);
        let (scope, pattern) = (Scope::default(), "a".parse().unwrap());
        let members = [1, 2, 3].map(|n| MemberId::from_bytes([n; 16]));
        for member in members {
            let entry = MemberEntry {
                member,
                agent: None,
                metadata: Metadata::default(),
                queue: None,
            };
            node.join(&scope, &pattern, entry, usize::MAX, 0).unwrap();
        }
        let written = Written::new(&node);
        let own = node.place_of(&scope, "a", members[0]).unwrap();
        assert!(written.order(&node, &[own]).is_empty());

        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(4_000));
        let large = Metadata::parse(&large).unwrap();
        for n in 10..30 {
            let member = MemberId::from_bytes([n; 16]);
            let entry = MemberEntry {
                member,
                agent: None,
                metadata: large.clone(),
                queue: None,
            };
            node.join(&scope, &pattern, entry, usize::MAX, 0).unwrap();
        }
        let updated = node.update(&scope, &pattern, &members, &large, usize::MAX, 0);
        assert!(updated.is_ok());
        let moved: Vec<_> = members
            .map(|m| node.place_of(&scope, "a", m).unwrap())
            .into();
        assert!(moved.iter().any(|&place| place != own));
        for due in [&[own][..], &[own, moved[0], moved[2]]] {
            let order = written.order(&node, due);
            let at = |index| order.iter().position(|&own| own == index);
            assert_eq!(at(own), Some(order.len() - 1), "{order:?}");
            assert!(moved.iter().all(|&place| at(place).is_some()));
        }
    }
}
