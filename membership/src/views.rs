//! The one owner of the view.
//!
//! Everything that changes the view is an operation here, each of them one step: joins and leaves
//! change what is on this node, on the caller's thread, so that the caller reads what it wrote;
//! the gossip task puts in what is on the others. Everybody else reads snapshots. The lock is that
//! of the channel and is held while a view is changed, which copies at most one bucket.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidings_identity::{NodeId, NodeRun};
use tokio::sync::watch;

use crate::bucket::{BucketError, MemberEntry};
use crate::config::Config;
use crate::error::{JoinError, LeaveError, UpdateError};
use crate::node_view::NodeView;
use crate::packed::{bucket_text_bytes, packed_bytes_max};
use crate::view::{NodeSummary, View};
use crate::{MemberId, Metadata, Pattern, Scope};

/// The newest view, and who waits for the next.
#[derive(Debug)]
pub(crate) struct Views {
    newest: watch::Sender<Arc<View>>,
    bucket_bytes_max: usize,
}

impl Views {
    /// The view of this node alone, without members.
    pub(crate) fn new(config: &Config, own: NodeRun) -> Self {
        let view = View::new(NodeView::new(own, config.buckets.get()));
        Self {
            newest: watch::Sender::new(Arc::new(view)),
            bucket_bytes_max: config.bucket_bytes_max.get(),
        }
    }

    /// The newest view.
    pub(crate) fn snapshot(&self) -> Arc<View> {
        self.newest.borrow().clone()
    }

    /// Each next view, as soon as it is there.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<View>> {
        self.newest.subscribe()
    }

    /// Makes a membership of this node, unless that leaves less of its bucket than `held`, what its
    /// holder would have of it.
    pub(crate) fn join(
        &self,
        scope: &Scope,
        pattern: &Pattern,
        entry: MemberEntry,
        held: usize,
    ) -> Result<(), JoinError> {
        let mut result = Ok(());
        let packed_bytes_max = packed_bytes_max(self.bucket_bytes_max);
        self.newest.send_if_modified(|view| {
            let local = Arc::make_mut(&mut Arc::make_mut(view).local);
            result = local.join(scope, pattern, entry, packed_bytes_max, held);
            result.is_ok()
        });
        result.map_err(|error| match error {
            // The second is never the answer to a join.
            BucketError::AlreadyMember | BucketError::NotAMember => JoinError::AlreadyMember,
            BucketError::Full(packed_bytes) => JoinError::BucketFull {
                bytes: bucket_text_bytes(packed_bytes),
                bytes_max: self.bucket_bytes_max,
            },
            BucketError::Crowded(left) => JoinError::Crowded { bytes: held, left },
        })
    }

    /// Gives these memberships of this node other metadata, all in one step, as
    /// [`Bucket::update`](crate::bucket::Bucket::update) does. Tells by how many bytes they have grown.
    pub(crate) fn update(
        &self,
        scope: &Scope,
        pattern: &Pattern,
        members: &[MemberId],
        metadata: &Metadata,
        held: usize,
    ) -> Result<isize, UpdateError> {
        let mut result = Ok(None);
        let max = packed_bytes_max(self.bucket_bytes_max);
        self.newest.send_if_modified(|view| {
            let local = Arc::make_mut(&mut Arc::make_mut(view).local);
            result = local.update(scope, pattern, members, metadata, max, held);
            matches!(result, Ok(Some(_)))
        });
        match result {
            Ok(grown) => Ok(grown.unwrap_or(0)),
            Err(BucketError::Full(packed_bytes)) => Err(UpdateError::BucketFull {
                bytes: bucket_text_bytes(packed_bytes),
                bytes_max: self.bucket_bytes_max,
            }),
            Err(BucketError::Crowded(left)) => Err(UpdateError::Crowded { left }),
            // The first is never the answer to an update.
            Err(BucketError::AlreadyMember | BucketError::NotAMember) => {
                Err(UpdateError::NotAMember)
            }
        }
    }

    /// Ends a membership of this node.
    pub(crate) fn leave(
        &self,
        scope: &Scope,
        pattern: &Pattern,
        member: MemberId,
    ) -> Result<(), LeaveError> {
        let is_gone = self.newest.send_if_modified(|view| {
            let local = Arc::make_mut(&mut Arc::make_mut(view).local);
            local.leave(scope, pattern, member)
        });
        if is_gone {
            Ok(())
        } else {
            Err(LeaveError::NotAMember)
        }
    }

    /// These memberships of this node by bucket, in which they can be ended together.
    pub(crate) fn by_bucket(
        &self,
        memberships: impl IntoIterator<Item = (Scope, Pattern, MemberId)>,
    ) -> BTreeMap<usize, Vec<(Scope, Pattern, MemberId)>> {
        let local = Arc::clone(&self.newest.borrow().local);
        let mut buckets: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (scope, pattern, member) in memberships {
            let index = local.index(&scope, pattern.as_str());
            buckets
                .entry(index)
                .or_default()
                .push((scope, pattern, member));
        }
        buckets
    }

    /// Ends those of these memberships that this node has. All are of the bucket at this index.
    pub(crate) fn leave_all(&self, index: usize, memberships: &[(Scope, Pattern, MemberId)]) {
        self.newest.send_if_modified(|view| {
            let local = Arc::make_mut(&mut Arc::make_mut(view).local);
            local.leave_all(index, memberships)
        });
    }

    /// Puts these other nodes in the place of those there were.
    pub(crate) fn set_peers(
        &self,
        remote: Arc<BTreeMap<NodeId, Arc<NodeView>>>,
        gone: Arc<Vec<NodeSummary>>,
    ) {
        self.newest.send_modify(|view| {
            let view = Arc::make_mut(view);
            (view.remote, view.gone) = (remote, gone);
        });
    }

    /// Adds what has been found missing between two nodes, each.
    pub(crate) fn add_gaps(&self, gaps: impl IntoIterator<Item = ((NodeId, NodeId), Option<u64>)>) {
        self.newest.send_modify(|view| {
            let all = Arc::make_mut(&mut Arc::make_mut(view).gaps);
            for (between, messages) in gaps {
                all.add(between, messages);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str) -> NodeRun {
        NodeRun::new(name.parse().unwrap(), 1.into(), ([10, 0, 0, 1], 1).into())
    }

    fn entry(n: u128) -> MemberEntry {
        MemberEntry {
            member: MemberId::from_bytes(n.to_be_bytes()),
            agent: None,
            metadata: Metadata::default(),
        }
    }

    #[test]
    fn a_snapshot_never_changes_and_the_next_one_has_what_was_written() {
        let views = Views::new(&Config::default(), run("n0"));
        let (scope, pattern) = (Scope::default(), Pattern::parse("a").unwrap());
        let before = views.snapshot();
        views.join(&scope, &pattern, entry(1), 0).unwrap();
        assert_eq!(views.snapshot().members(&scope, &pattern).len(), 1);
        assert!(before.members(&scope, &pattern).is_empty());
        let again = views.join(&scope, &pattern, entry(1), 0);
        assert_eq!(again, Err(JoinError::AlreadyMember));
        let mut newest = views.subscribe();
        newest.mark_unchanged();
        let other = entry(2).member;
        assert_eq!(
            views.leave(&scope, &pattern, other),
            Err(LeaveError::NotAMember)
        );
        assert!(
            !newest.has_changed().unwrap(),
            "nobody is woken for nothing"
        );
        views.leave(&scope, &pattern, entry(1).member).unwrap();
        assert!(newest.has_changed().unwrap());
    }

    #[test]
    fn changes_from_many_threads_at_once_are_all_kept() {
        let views = Views::new(&Config::default(), run("n0"));
        let scope = Scope::default();
        let peer = NodeView::new(run("n1"), 1);
        let remote = Arc::new(BTreeMap::from([(peer.run.node.clone(), Arc::new(peer))]));
        std::thread::scope(|threads| {
            let joins: Vec<_> = (0..3)
                .map(|thread| {
                    let (views, scope) = (&views, &scope);
                    threads.spawn(move || {
                        for n in 0..3_000 {
                            let pattern = format!("t.{}", n % 100).parse().unwrap();
                            views
                                .join(scope, &pattern, entry(thread * 10_000 + n), 0)
                                .unwrap();
                        }
                    })
                })
                .collect();
            while !joins.iter().all(|join| join.is_finished()) {
                views.set_peers(Arc::default(), Arc::default());
                views.set_peers(Arc::clone(&remote), Arc::default());
            }
        });
        let view = views.snapshot();
        assert_eq!(view.count_memberships(), (9_000, 9_000));
        assert_eq!(view.nodes().len(), 2);
    }
}
