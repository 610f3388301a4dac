use std::sync::Arc;

use crate::bucket::Bucket;

/// The buckets of a node, by index.
///
/// They are in groups. A copy shares all of them with the original, and a change copies one group, so
/// a view of a node costs little however many buckets it has.
#[derive(Debug, Clone)]
pub(crate) struct Buckets {
    groups: Box<[Arc<[Arc<Bucket>]>]>,
    count: usize,
}

impl Buckets {
    /// So many empty ones.
    pub(crate) fn new(count: usize) -> Self {
        let empty = Arc::<Bucket>::default();
        let group = |count| -> Arc<[Arc<Bucket>]> { vec![Arc::clone(&empty); count].into() };
        let mut groups = vec![group(GROUP); count / GROUP];
        if !count.is_multiple_of(GROUP) {
            groups.push(group(count % GROUP));
        }
        Self {
            groups: groups.into(),
            count,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// All in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Bucket>> {
        self.groups.iter().flat_map(|group| &**group)
    }

    /// Those that are not the same as in another version, by index, each with the one that is there.
    pub(crate) fn changed_from<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (usize, &'a Bucket, &'a Bucket)> {
        let groups = self.groups.iter().zip(&other.groups).enumerate();
        let groups = groups.filter(|(_, (own, other))| !Arc::ptr_eq(own, other));
        let buckets = groups.flat_map(|(group, (own, other))| {
            let buckets = own.iter().zip(&**other).enumerate();
            buckets.map(move |(at, pair)| (group * GROUP + at, pair))
        });
        let changed = buckets.filter(|(_, (own, other))| !Arc::ptr_eq(own, other));
        changed.map(|(index, (own, other))| (index, &**own, &**other))
    }

    /// The one at this index, which is below their number.
    pub(crate) fn get(&self, index: usize) -> &Arc<Bucket> {
        &self.groups[index / GROUP][index % GROUP]
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, index: usize) -> &mut Arc<Bucket> {
        &mut Arc::make_mut(&mut self.groups[index / GROUP])[index % GROUP]
    }
}

/// About the root of the most buckets there can be.
const GROUP: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_in_one_version_alone_and_is_found_from_the_other() {
        for count in [1, 31, 32, 33, 1_024] {
            let old = Buckets::new(count);
            let mut new = old.clone();
            assert_eq!((old.len(), old.iter().count()), (count, count));
            for index in [0, count / 2, count - 1] {
                *new.get_mut(index) = Arc::default();
            }
            let found: Vec<_> = new.changed_from(&old).map(|(index, ..)| index).collect();
            let mut expected = vec![0, count / 2, count - 1];
            expected.dedup();
            assert_eq!(found, expected);
            assert_eq!(old.changed_from(&old.clone()).count(), 0);
            for (index, own, other) in new.changed_from(&old) {
                assert!(std::ptr::eq(own, &**new.get(index)));
                assert!(std::ptr::eq(other, &**old.get(index)));
            }
        }
    }
}
