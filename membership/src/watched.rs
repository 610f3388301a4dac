use crate::bucket::Bucket;
use crate::{Pattern, Scope};

/// What a watch tells of.
///
/// Nodes that come and go, and gaps, are told by every watch: what they do to memberships is not
/// understood without them. What is chosen is which memberships are told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Watched {
    /// All memberships.
    #[default]
    Everything,
    /// No memberships, only nodes and gaps.
    Nodes,
    /// The memberships in this scope.
    Scope(Scope),
    /// Of this scope, the memberships that a message could be for that is published on a topic which
    /// this pattern matches. So of a topic everyone whom a broadcast on it reaches, by a
    /// pattern with wildcards, too; of `a.*` the members of `a.b` as well as those of `a.*` and `>`.
    Topic(Scope, Pattern),
}

impl Watched {
    /// Whether memberships of this topic or pattern are told.
    pub fn has(&self, scope: &Scope, pattern: &Pattern) -> bool {
        match self {
            Self::Everything => true,
            Self::Nodes => false,
            Self::Scope(own) => own == scope,
            Self::Topic(own, topic) => own == scope && topic.overlaps(pattern),
        }
    }

    /// Whether there may be such memberships in this bucket.
    pub(crate) fn may_be_in(&self, bucket: &Bucket) -> bool {
        match self {
            Self::Everything | Self::Scope(_) => true,
            Self::Nodes => false,
            Self::Topic(scope, topic) => {
                !topic.is_literal()
                    || !bucket.members(scope, topic.as_str()).is_empty()
                    || !bucket.wildcards_in(scope).is_empty()
            }
        }
    }
}
