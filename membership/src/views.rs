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

use crate::bucket::MemberEntry;
use crate::client_door::ClientDoor;
use crate::config::{BUCKET_BYTES_MAX, Config};
use crate::error::{DescribeError, JoinError, LeaveError, UpdateError};
use crate::node_view::{NodeView, Refused};
use crate::packed::{bucket_text_bytes, packed_bytes_max};
use crate::records::{RECORDS_BYTES_MAX, RECORDS_MAX, UNIX_MS_MAX};
use crate::share::Share;
use crate::topic_info::{Stamp, TopicInfo, TopicRecord};
use crate::view::{NodeSummary, View};
use crate::{MemberId, Metadata, Pattern, Profile, Scope, Topic};

/// The newest view, and who waits for the next.
#[derive(Debug)]
pub(crate) struct Views {
    newest: watch::Sender<Arc<View>>,
    bytes_max: usize,
}

impl Views {
    /// The view of this node alone, without members.
    pub(crate) fn new(config: &Config, own: NodeRun) -> Self {
        let view = View::new(NodeView::new(own, config.buckets.get()));
        Self {
            newest: watch::Sender::new(Arc::new(view)),
            bytes_max: config.memberships_bytes_max.get(),
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

    /// Makes a membership of this node, unless that leaves less of its room than `held`, what its holder
    /// would have of it.
    pub(crate) fn join(
        &self,
        scope: &Scope,
        pattern: &Pattern,
        entry: MemberEntry,
        held: usize,
    ) -> Result<(), JoinError> {
        let mut result = Ok(());
        let bytes_max = packed_bytes_max(self.bytes_max);
        self.newest.send_if_modified(|view| {
            let local = Arc::make_mut(&mut Arc::make_mut(view).local);
            result = local.join(scope, pattern, entry, bytes_max, held);
            result.is_ok()
        });
        result.map_err(|error| self.refusal(error, held))
    }

    /// Makes these memberships of this node in one step, each for itself, and takes what each needs from
    /// this share, which is not to have more than is left free. To be quick they are all of one bucket.
    pub(crate) fn join_all<'a>(
        &self,
        share: &mut Share,
        scope: &Scope,
        memberships: impl Iterator<Item = (&'a Pattern, MemberId)>,
        profile: &Profile,
    ) -> Vec<Result<(), JoinError>> {
        let bytes_max = packed_bytes_max(self.bytes_max);
        let mut results = Vec::new();
        self.newest.send_if_modified(|view| {
            let local = Arc::make_mut(&mut Arc::make_mut(view).local);
            for (pattern, member) in memberships {
                let held = share.bytes_with(scope, pattern, profile);
                let entry = MemberEntry::new(member, profile.clone());
                let joined = local.join(scope, pattern, entry, bytes_max, held);
                if joined.is_ok() {
                    share.take(scope, pattern, profile);
                }
                results.push(joined.map_err(|error| self.refusal(error, held)));
            }
            results.iter().any(Result::is_ok)
        });
        results
    }

    fn refusal(&self, error: Refused, held: usize) -> JoinError {
        match error {
            // The second is never the answer to a join.
            Refused::AlreadyMember | Refused::NotAMember => JoinError::AlreadyMember,
            Refused::Full(packed_bytes) => JoinError::Full {
                bytes: bucket_text_bytes(packed_bytes),
                bytes_max: self.bytes_max,
            },
            Refused::BucketsFull(buckets) => JoinError::BucketsFull {
                buckets,
                bytes_max: BUCKET_BYTES_MAX,
            },
            Refused::Crowded(left) => JoinError::Crowded { bytes: held, left },
        }
    }

    /// Gives these memberships of this node other metadata, all in one step, as
    /// [`NodeView::update`] does. Tells by how many bytes they have grown.
    pub(crate) fn update(
        &self,
        scope: &Scope,
        pattern: &Pattern,
        members: &[MemberId],
        metadata: &Metadata,
        held: usize,
    ) -> Result<isize, UpdateError> {
        let mut result = Ok(None);
        let bytes_max = packed_bytes_max(self.bytes_max);
        self.newest.send_if_modified(|view| {
            let local = Arc::make_mut(&mut Arc::make_mut(view).local);
            result = local.update(scope, pattern, members, metadata, bytes_max, held);
            matches!(result, Ok(Some(_)))
        });
        let grown = result.map_err(|error| match error {
            // The first is never the answer to an update.
            Refused::AlreadyMember | Refused::NotAMember => UpdateError::NotAMember,
            Refused::Full(packed_bytes) => UpdateError::Full {
                bytes: bucket_text_bytes(packed_bytes),
                bytes_max: self.bytes_max,
            },
            Refused::BucketsFull(buckets) => UpdateError::BucketsFull {
                buckets,
                bytes_max: BUCKET_BYTES_MAX,
            },
            Refused::Crowded(left) => UpdateError::Crowded { left },
        })?;
        Ok(grown.unwrap_or(0))
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

    /// Those of these memberships that this node has, by bucket, in which they can be ended together.
    pub(crate) fn by_bucket(
        &self,
        memberships: impl IntoIterator<Item = (Scope, Pattern, MemberId)>,
    ) -> BTreeMap<usize, Vec<(Scope, Pattern, MemberId)>> {
        let local = Arc::clone(&self.newest.borrow().local);
        let mut buckets: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (scope, pattern, member) in memberships {
            let Some(index) = local.place_of(&scope, pattern.as_str(), member) else {
                continue;
            };
            let membership = (scope, pattern, member);
            buckets.entry(index).or_default().push(membership);
        }
        buckets
    }

    /// The places in this list of the topics that are in the same bucket, for each bucket in which
    /// there are any.
    pub(crate) fn places_by_bucket<'a>(
        &self,
        topics: impl Iterator<Item = (&'a Scope, &'a Pattern)>,
    ) -> BTreeMap<usize, Vec<usize>> {
        let local = Arc::clone(&self.newest.borrow().local);
        let mut buckets: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (place, (scope, pattern)) in topics.enumerate() {
            let index = local.index(scope, pattern.as_str());
            buckets.entry(index).or_default().push(place);
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

    /// Lets this node tell this of a topic, at this time, and later than what is known.
    pub(crate) fn describe(
        &self,
        scope: &Scope,
        topic: &Topic,
        info: TopicInfo,
        unix_ms: u64,
    ) -> Result<(), DescribeError> {
        info.check()?;
        let mut result = Ok(());
        self.newest.send_if_modified(|view| {
            let known = view.topic_record(scope, topic);
            if known.map_or(info.is_empty(), |known| known.info == info) {
                return false;
            }
            let unix_ms = known.map_or(unix_ms, |known| unix_ms.max(known.stamp.unix_ms + 1));
            if unix_ms > UNIX_MS_MAX {
                result = Err(DescribeError::Time);
                return false;
            }
            let local = Arc::make_mut(&mut Arc::make_mut(view).local);
            let record = Arc::new(TopicRecord {
                scope: scope.clone(),
                topic: topic.clone(),
                stamp: Stamp {
                    unix_ms,
                    node: local.run.node.clone(),
                    incarnation: local.run.incarnation,
                },
                info,
            });
            let is_set = Arc::make_mut(&mut local.records).set(record);
            if !is_set {
                result = Err(DescribeError::Full {
                    max: RECORDS_MAX,
                    bytes_max: RECORDS_BYTES_MAX,
                });
            }
            is_set
        });
        result
    }

    /// Of topics of which this node tells something, tells what these others say that is newer. So it
    /// does not end with them.
    pub(crate) fn adopt(&self, others: &[Arc<NodeView>]) {
        self.newest.send_if_modified(|view| {
            let records = others.iter().flat_map(|other| other.records.iter());
            let newer: Vec<_> = records
                .filter(|record| {
                    let own = view.local.records.get(&record.scope, &record.topic);
                    own.is_some_and(|own| own.stamp < record.stamp)
                })
                .cloned()
                .collect();
            if newer.is_empty() {
                return false;
            }
            let local = Arc::make_mut(&mut Arc::make_mut(view).local);
            let own = Arc::make_mut(&mut local.records);
            for record in newer {
                let later = |own: &Arc<TopicRecord>| own.stamp < record.stamp;
                if own.get(&record.scope, &record.topic).is_some_and(later) {
                    own.set(record);
                }
            }
            true
        });
    }

    /// Lets this node say that its clients connect here.
    pub(crate) fn set_door(&self, door: ClientDoor) {
        self.newest.send_if_modified(|view| {
            if *view.local.door == door {
                return false;
            }
            let local = Arc::make_mut(&mut Arc::make_mut(view).local);
            local.door = Arc::new(door);
            true
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
    use crate::view::TopicSummary;

    fn run(name: &str) -> NodeRun {
        NodeRun::new(name.parse().unwrap(), 1.into(), ([10, 0, 0, 1], 1).into())
    }

    fn entry(n: u128) -> MemberEntry {
        MemberEntry {
            member: MemberId::from_bytes(n.to_be_bytes()),
            agent: None,
            metadata: Metadata::default(),
            queue: None,
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
    fn topics_can_be_listed_of_one_scope_or_of_this_node() {
        let views = Views::new(&Config::default(), run("n0"));
        let (first, second) = (Scope::default(), Scope::parse("other").unwrap());
        let topic = |text: &str| Pattern::parse(text).unwrap();
        let mut peer = NodeView::new(run("n1"), 4);
        for (n, scope, pattern) in [(1, &first, "a"), (2, &first, "b"), (3, &second, "a")] {
            peer.join(scope, &topic(pattern), entry(n), 10_000, 0)
                .unwrap();
        }
        let remote = BTreeMap::from([(peer.run.node.clone(), Arc::new(peer))]);
        views.set_peers(Arc::new(remote), Arc::default());
        for (n, scope, pattern) in [(4, &second, "z.>"), (5, &first, "b"), (6, &first, "b")] {
            views.join(scope, &topic(pattern), entry(n), 0).unwrap();
        }
        let view = views.snapshot();
        let names = |topics: Vec<TopicSummary>| {
            let name = |one: TopicSummary| (one.pattern.to_string(), one.members, one.local);
            topics.into_iter().map(name).collect::<Vec<_>>()
        };
        let (a, b) = (("a".to_owned(), 1, 0), ("b".to_owned(), 3, 2));
        let z = ("z.>".to_owned(), 1, 1);
        let all = |scope| names(view.topics_in(scope, None, usize::MAX));
        assert_eq!(all(&first), [a.clone(), b.clone()]);
        assert_eq!(all(&second), [a.clone(), z.clone()]);
        assert_eq!(all(&Scope::parse("e").unwrap()), []);
        assert_eq!(names(view.topics_in(&first, None, 1)), [a]);
        let after = names(view.topics_in(&first, Some(&topic("a")), 5));
        assert_eq!(after, std::slice::from_ref(&b));
        assert_eq!(names(view.local_topics()), [b, z]);
    }

    #[test]
    fn many_memberships_are_made_each_for_itself_and_in_one_step() {
        let views = Views::new(&Config::default(), run("n0"));
        let (scope, pattern) = (Scope::default(), Pattern::parse("a").unwrap());
        let mut share = Share::default();
        let newest = views.subscribe();
        views.join(&scope, &pattern, entry(2), 0).unwrap();
        let before = views.snapshot();
        let joins = [1, 2, 3].map(|n| (&pattern, entry(n).member));
        let profile = Profile::default();
        let joined = views.join_all(&mut share, &scope, joins.into_iter(), &profile);
        let refused = Err(JoinError::AlreadyMember);
        assert_eq!(joined, [Ok(()), refused, Ok(())]);
        assert_eq!(before.members(&scope, &pattern).len(), 1);
        assert_eq!(newest.borrow().members(&scope, &pattern).len(), 3);
        assert_eq!(
            share.bytes(),
            2 * Share::bytes_of(&scope, &pattern, &profile)
        );
    }

    #[test]
    fn what_is_told_of_a_topic_is_the_newest_and_does_not_end_with_who_said_it() {
        let views = Views::new(&Config::default(), run("n0"));
        let other = Views::new(&Config::default(), run("n1"));
        let (scope, topic) = (Scope::default(), Topic::parse("a").unwrap());
        let info = |text: &str| TopicInfo {
            description: Some(text.into()),
            ..TopicInfo::default()
        };
        let told = |views: &Views| {
            let record = views.snapshot().topic_info(&scope, &topic);
            record.map(|record| record.info.description.clone().unwrap())
        };
        let meet = |views: &Views, other: Option<&Views>| {
            let remote = other.map(|other| other.snapshot().local.clone());
            let remote: Vec<_> = remote.into_iter().collect();
            let named = remote
                .iter()
                .map(|node| (node.run.node.clone(), Arc::clone(node)));
            views.set_peers(Arc::new(named.collect()), Arc::default());
            views.adopt(&remote);
        };
        views.describe(&scope, &topic, info("first"), 50).unwrap();
        meet(&other, Some(&views));
        assert_eq!(told(&other).as_deref(), Some("first"));
        let nothing = other.snapshot().local.records.numbered().len();
        assert_eq!(nothing, 0, "it is not its own word");

        // Who comes later is later, whatever its clock says.
        other.describe(&scope, &topic, info("second"), 7).unwrap();
        meet(&views, Some(&other));
        assert_eq!(told(&views).as_deref(), Some("second"));
        meet(&views, None);
        assert_eq!(
            told(&views).as_deref(),
            Some("second"),
            "it has taken it over"
        );

        // Nothing is told of it any more, and nobody who knows less brings it back.
        views
            .describe(&scope, &topic, TopicInfo::default(), 0)
            .unwrap();
        meet(&views, Some(&other));
        assert_eq!(told(&views), None);
        assert!(views.snapshot().described_topics().is_empty());
        let before = views.snapshot();
        views
            .describe(&scope, &topic, TopicInfo::default(), 99)
            .unwrap();
        assert!(
            Arc::ptr_eq(&before, &views.snapshot()),
            "nothing has changed"
        );
    }

    #[test]
    fn no_more_topics_are_described_than_may_be() {
        let views = Views::new(&Config::default(), run("n0"));
        let describe = |n: usize| {
            let topic = Topic::parse(&format!("t{n}")).unwrap();
            let info = TopicInfo {
                owner: Some("me".into()),
                ..TopicInfo::default()
            };
            views.describe(&Scope::default(), &topic, info, 1)
        };
        assert!((0..RECORDS_MAX).all(|n| describe(n).is_ok()));
        let refused = describe(RECORDS_MAX);
        assert!(matches!(
            refused,
            Err(DescribeError::Full {
                max: RECORDS_MAX,
                ..
            })
        ));
        let all = views.snapshot().described_topics();
        assert_eq!(all.len(), RECORDS_MAX);
        assert!(all.is_sorted_by_key(|topic| topic.pattern.to_string()));
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
