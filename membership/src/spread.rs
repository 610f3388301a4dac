use rpds::RedBlackTreeSetSync;

/// The buckets that topics are in besides the one that is theirs: when a topic has more members than
/// are kept together, or its own bucket is full.
///
/// A copy shares what is in it with the original.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spread(RedBlackTreeSetSync<(u64, usize)>);

impl Spread {
    /// The buckets, besides its own, where a topic with this hash may be.
    pub(crate) fn of(&self, hash: u64) -> impl Iterator<Item = usize> {
        let of_topic = self.0.range((hash, 0)..=(hash, usize::MAX));
        of_topic.map(|(_, index)| *index)
    }

    /// A topic with this hash is in this bucket.
    pub(crate) fn add(&mut self, hash: u64, index: usize) {
        if !self.0.contains(&(hash, index)) {
            self.0.insert_mut((hash, index));
        }
    }

    /// No topic with this hash is in this bucket any more.
    pub(crate) fn remove(&mut self, hash: u64, index: usize) {
        self.0.remove_mut(&(hash, index));
    }
}
