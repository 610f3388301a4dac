//! What happened between two views.
//!
//! Buckets that two views share are skipped, so the cost is that of what changed. Nothing is
//! queued for anyone: whoever comes late gets the difference of more.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidings_identity::NodeId;

use crate::bucket::{Bucket, MemberEntry, TopicMembers, find};
use crate::event::Event;
use crate::node_view::NodeView;
use crate::view::View;
use crate::watched::Watched;

/// What leads from one view to another.
///
/// For each node: what left, in the order of the member ids, then what was updated and what joined,
/// each in that order. A member that is in both views was never away: it was updated, or nothing is
/// told. A node that went away or was restarted has all its members leave, then goes down; one that
/// came goes up, then its members join. Last comes what is missing between nodes. Of memberships only
/// those are told that are watched.
pub(crate) fn difference(old: &View, new: &View, watched: &Watched) -> Vec<Event> {
    let mut events = Vec::new();
    let (before, after) = (Some(&old.local), Some(&new.local));
    node_difference(before, after, false, watched, &mut events);
    if !Arc::ptr_eq(&old.remote, &new.remote) {
        peer_differences(old, new, watched, &mut events);
    }
    if !Arc::ptr_eq(&old.gaps, &new.gaps) {
        events.extend(new.gaps.since(&old.gaps));
    }
    events
}

fn peer_differences(old: &View, new: &View, watched: &Watched, events: &mut Vec<Event>) {
    let nodes: BTreeSet<_> = old.remote.keys().chain(new.remote.keys()).collect();
    for node in nodes {
        let (before, after) = (old.remote.get(node), new.remote.get(node));
        let left = after.is_none()
            && new
                .gone
                .iter()
                .any(|gone| gone.left && gone.run.node == *node);
        node_difference(before, after, left, watched, events);
    }
}

fn node_difference(
    old: Option<&Arc<NodeView>>,
    new: Option<&Arc<NodeView>>,
    left: bool,
    watched: &Watched,
    events: &mut Vec<Event>,
) {
    if let (Some(old), Some(new)) = (old, new)
        && old.run == new.run
    {
        if !Arc::ptr_eq(old, new) {
            member_differences(&old.run.node, Some(old), Some(new), watched, events);
        }
        return;
    }
    if let Some(old) = old {
        member_differences(&old.run.node, Some(old), None, watched, events);
        events.push(Event::NodeDown {
            run: old.run.clone(),
            left,
        });
    }
    if let Some(new) = new {
        events.push(Event::NodeUp {
            run: new.run.clone(),
        });
        member_differences(&new.run.node, None, Some(new), watched, events);
    }
}

/// One membership with all that an event says of it.
type Change<'a> = (&'a TopicMembers, &'a MemberEntry);

/// What leads from one view of a run of a node to another.
#[derive(Default)]
struct Changes<'a> {
    left: Vec<Change<'a>>,
    updated: Vec<Change<'a>>,
    joined: Vec<Change<'a>>,
}

fn member_differences(
    node: &NodeId,
    old: Option<&NodeView>,
    new: Option<&NodeView>,
    watched: &Watched,
    events: &mut Vec<Event>,
) {
    let mut changes = Changes::default();
    match (old, new) {
        (Some(old), Some(new)) => compare(old, new, watched, &mut changes),
        (Some(old), None) => changes.left = all(old, watched),
        (None, Some(new)) => changes.joined = all(new, watched),
        (None, None) => {}
    }
    let Changes {
        mut left,
        mut updated,
        mut joined,
    } = changes;
    for changes in [&mut left, &mut updated, &mut joined] {
        changes.sort_unstable_by_key(|(topic, entry)| (entry.member, topic.key()));
        // Who moves to another bucket of its topic is found in both.
        changes.dedup_by_key(|(topic, entry)| (entry.member, topic.key()));
    }
    let node = || node.clone();
    events.extend(left.into_iter().map(|(topic, entry)| Event::Left {
        scope: topic.scope.clone(),
        pattern: topic.pattern.clone(),
        node: node(),
        member: entry.member,
        queue: entry.queue.clone(),
    }));
    events.extend(updated.into_iter().map(|(topic, entry)| Event::Updated {
        scope: topic.scope.clone(),
        pattern: topic.pattern.clone(),
        node: node(),
        member: entry.member,
        agent: entry.agent.clone(),
        metadata: entry.metadata.clone(),
        queue: entry.queue.clone(),
    }));
    events.extend(joined.into_iter().map(|(topic, entry)| Event::Joined {
        scope: topic.scope.clone(),
        pattern: topic.pattern.clone(),
        node: node(),
        member: entry.member,
        agent: entry.agent.clone(),
        metadata: entry.metadata.clone(),
        queue: entry.queue.clone(),
    }));
}

/// All memberships of a node that are watched.
fn all<'a>(node: &'a NodeView, watched: &Watched) -> Vec<Change<'a>> {
    let topics = node.distinct_topics();
    let watched = topics.filter(|topic| watched.has(&topic.scope, &topic.pattern));
    let members = watched.flat_map(|topic| {
        let members = node.members(&topic.scope, topic.pattern.as_str());
        members.into_iter().map(move |entry| (topic, entry))
    });
    members.collect()
}

/// Finds what has changed of the memberships that are watched, some of it more than once.
fn compare<'a>(old: &'a NodeView, new: &'a NodeView, watched: &Watched, changes: &mut Changes<'a>) {
    for (_, after, before) in new.buckets().changed_from(old.buckets()) {
        if !watched.may_be_in(before) && !watched.may_be_in(after) {
            continue;
        }
        for (one, other) in [(before, after), (after, before)] {
            for (topic, entry) in differing(one, other, watched) {
                // It may be in other buckets, too, and what counts is what it is in all.
                let (scope, pattern) = (&topic.scope, topic.pattern.as_str());
                let was = old.member(scope, pattern, entry.member);
                let is = new.member(scope, pattern, entry.member);
                match (was, is) {
                    (Some(was), None) => changes.left.push((topic, was)),
                    (None, Some(is)) => changes.joined.push((topic, is)),
                    // Nobody changes the group, but a node could say so.
                    (Some(was), Some(is)) if was.queue != is.queue => {
                        changes.left.push((topic, was));
                        changes.joined.push((topic, is));
                    }
                    (Some(was), Some(is)) if was != is => changes.updated.push((topic, is)),
                    _ => {}
                }
            }
        }
    }
}

/// The members of a bucket that are watched and not the same in another version of it.
fn differing<'a>(
    one: &'a Bucket,
    other: &'a Bucket,
    watched: &Watched,
) -> impl Iterator<Item = Change<'a>> {
    let topics = one.topics().iter();
    let topics = topics.filter(|topic| watched.has(&topic.scope, &topic.pattern));
    topics.flat_map(move |topic| {
        let others = other.members(&topic.scope, topic.pattern.as_str());
        let is_same = std::ptr::eq(topic.members.as_slice(), others);
        let members = topic.members.iter().filter(move |_| !is_same);
        let differing = members.filter(move |m| find(others, m.member) != Some(*m));
        differing.map(move |entry| (topic, entry))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tidings_identity::{Incarnation, NodeRun};

    use super::*;
    use crate::MemberId;
    use crate::joins::Joins;
    use crate::{Metadata, Pattern, QueueGroup, Scope, Topic};

    const TOPICS: [&str; 4] = ["a", "b", "a.*", ">"];
    const ALL: usize = usize::MAX;

    fn name(n: u8) -> NodeId {
        NodeId::parse(&format!("n{n}")).unwrap()
    }

    fn node(n: u8, incarnation: Incarnation) -> NodeView {
        NodeView::new(
            NodeRun::new(name(n), incarnation, ([10, 0, 0, 1], 1).into()),
            4,
        )
    }

    /// Every other member is in a queue group.
    fn queue(member: MemberId) -> Option<QueueGroup> {
        let is_in_one = member.to_bytes()[0].is_multiple_of(2);
        is_in_one.then(|| QueueGroup::parse("q").unwrap())
    }

    /// Changes one view into a next: each change is of a node, and joins, updates, leaves, or removes
    /// or restarts it.
    fn change(view: &View, (n, what, topic, member): (u8, u8, usize, u8)) -> View {
        let mut view = view.clone();
        let (scope, pattern) = (Scope::default(), Pattern::parse(TOPICS[topic]).unwrap());
        let member = MemberId::from_bytes([member; 16]);
        let join_or_leave = |node: &mut Arc<NodeView>| {
            let node = Arc::make_mut(node);
            let metadata = metadata(what);
            if what < 3 {
                let entry = MemberEntry {
                    member,
                    agent: None,
                    metadata,
                    queue: queue(member),
                };
                let _ = node.join(&scope, &pattern, entry, ALL, 0);
            } else if what < 6 {
                let _ = node.update(&scope, &pattern, &[member], &metadata, ALL, 0);
            } else {
                node.leave(&scope, &pattern, member);
            }
        };
        if n == 0 {
            join_or_leave(&mut view.local);
            return view;
        }
        let remote = Arc::make_mut(&mut view.remote);
        match what {
            0 => {
                let incarnation = remote
                    .get(&name(n))
                    .map_or(1.into(), |node| node.run.incarnation.next());
                remote.insert(name(n), Arc::new(node(n, incarnation)));
            }
            9 => {
                remote.remove(&name(n));
            }
            _ => {
                if let Some(node) = remote.get_mut(&name(n)) {
                    tell(Arc::make_mut(node), what, &scope, &pattern, member);
                }
            }
        }
        view
    }

    /// A node tells that a member is in a topic, or not any more, in one of the buckets that the topic may
    /// be in. It may have told so in several, though an honest one does not.
    fn tell(node: &mut NodeView, what: u8, scope: &Scope, pattern: &Pattern, member: MemberId) {
        let hash = Bucket::hash(scope, pattern.as_str());
        let mut places = Bucket::places(hash, node.buckets().len());
        let place = places.nth(usize::from(what) % 3).unwrap();
        let mut bucket = Bucket::clone(node.buckets().get(place));
        let is_there = bucket.member(scope, pattern.as_str(), member).is_some();
        let metadata = metadata(what);
        if what < 5 && !is_there {
            let entry = MemberEntry {
                member,
                agent: None,
                metadata,
                queue: queue(member),
            };
            bucket.join(scope, pattern, entry);
        } else if what < 7 {
            bucket.update(scope, pattern, member, &metadata);
        } else {
            bucket.leave(scope, pattern, member);
        }
        node.replace(place, bucket);
    }

    fn views() -> impl Strategy<Value = (View, View)> {
        let change = (0..3_u8, 0..10_u8, 0..TOPICS.len(), 0..6_u8);
        let changes = || proptest::collection::vec(change.clone(), 0..60);
        (changes(), changes()).prop_map(|(first, second)| {
            let alone = View::new(node(0, 1.into()));
            let old = first
                .into_iter()
                .fold(alone, |view, c| self::change(&view, c));
            let new = second
                .into_iter()
                .fold(old.clone(), |view, c| self::change(&view, c));
            (old, new)
        })
    }

    /// One of three, none among them.
    fn metadata(what: u8) -> Metadata {
        match what % 3 {
            0 => Metadata::default(),
            n => Metadata::parse(&format!(r#"{{"n":{n}}}"#)).unwrap(),
        }
    }

    type Members = BTreeMap<(String, MemberId), Metadata>;
    type Contents = BTreeMap<NodeId, (Incarnation, Members)>;

    fn watched() -> impl Strategy<Value = Watched> {
        let scope = prop_oneof![Just(Scope::default()), Just(Scope::parse("other").unwrap())];
        let topic = proptest::sample::select(&["a", "b", "a.b", "c", "a.*", "*", ">"][..]);
        prop_oneof![
            Just(Watched::Nodes),
            scope.clone().prop_map(Watched::Scope),
            (scope, topic).prop_map(|(scope, topic)| {
                Watched::Topic(scope, Pattern::parse(topic).unwrap())
            }),
        ]
    }

    fn contents(view: &View) -> Contents {
        let all = std::iter::once(&view.local).chain(view.remote.values());
        all.map(|node| {
            let members = node.distinct_topics().flat_map(|topic| {
                let pattern = topic.pattern.to_string();
                let members = node.members(&topic.scope, &pattern).into_iter();
                members.map(move |m| ((pattern.clone(), m.member), m.metadata.clone()))
            });
            (
                node.run.node.clone(),
                (node.run.incarnation, members.collect()),
            )
        })
        .collect()
    }

    /// Applies events strictly: what is not possible fails.
    fn apply(contents: &mut Contents, events: Vec<Event>) -> Result<(), String> {
        for event in events {
            let done = match event.clone() {
                Event::NodeUp { run } => contents
                    .insert(run.node, (run.incarnation, Members::new()))
                    .is_none(),
                Event::NodeDown { run, .. } => contents
                    .remove(&run.node)
                    .is_some_and(|(known, left)| known == run.incarnation && left.is_empty()),
                Event::Joined {
                    node,
                    pattern,
                    member,
                    metadata,
                    ..
                } => contents.get_mut(&node).is_some_and(|(_, m)| {
                    m.insert((pattern.to_string(), member), metadata).is_none()
                }),
                Event::Updated {
                    node,
                    pattern,
                    member,
                    metadata,
                    ..
                } => contents.get_mut(&node).is_some_and(|(_, m)| {
                    let before = m.get_mut(&(pattern.to_string(), member));
                    before.is_some_and(|own| std::mem::replace(own, metadata.clone()) != metadata)
                }),
                Event::Left {
                    node,
                    pattern,
                    member,
                    ..
                } => contents
                    .get_mut(&node)
                    .is_some_and(|(_, m)| m.remove(&(pattern.to_string(), member)).is_some()),
                Event::Gap { .. } => false,
            };
            if !done {
                return Err(format!("{event:?}"));
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn the_events_lead_exactly_from_one_view_to_the_other((old, new) in views()) {
            let mut reached = contents(&old);
            let events = difference(&old, &new, &Watched::Everything);
            prop_assert_eq!(apply(&mut reached, events), Ok(()));
            prop_assert_eq!(reached, contents(&new));
            prop_assert_eq!(difference(&new, &new, &Watched::Everything), []);
        }

        #[test]
        fn a_watch_of_a_part_tells_of_it_what_one_of_everything_tells(
            (old, new) in views(),
            watched in watched(),
        ) {
            let mut expected = difference(&old, &new, &Watched::Everything);
            expected.retain(|event| match event {
                Event::Joined { scope, pattern, .. }
                | Event::Updated { scope, pattern, .. }
                | Event::Left { scope, pattern, .. } => watched.has(scope, pattern),
                _ => true,
            });
            prop_assert_eq!(difference(&old, &new, &watched), expected);
        }

        #[test]
        fn the_joins_of_a_view_are_its_members_as_far_as_they_are_watched((_, view) in views()) {
            for text in ["a", "b", "a.b", "c"] {
                let (scope, topic) = (Scope::default(), Pattern::parse(text).unwrap());
                let mut members: Vec<_> = view.members(&scope, &topic).into_iter().map(|m| m.member).collect();
                let joins = Joins::new(&view, Watched::Topic(scope, topic)).flatten();
                let mut joined: Vec<_> = joins.map(|event| match event {
                    Event::Joined { member, .. } => member,
                    other => panic!("{other:?}"),
                }).collect();
                members.sort();
                joined.sort();
                prop_assert_eq!(joined, members);
            }
            let all = Joins::new(&view, Watched::Everything).flatten().count();
            let members = contents(&view).into_values().map(|(_, members)| members.len());
            prop_assert_eq!(all, members.sum::<usize>());
            prop_assert_eq!(Joins::new(&view, Watched::Nodes).flatten().count(), 0);
        }

        #[test]
        fn an_update_is_never_told_as_a_leave_and_a_join((old, new) in views()) {
            let mut left = BTreeSet::new();
            let mut runs = BTreeSet::new();
            for event in difference(&old, &new, &Watched::Everything) {
                match event {
                    // Members of another run are others, whatever they are called.
                    Event::NodeDown { run, .. } => { runs.insert(run.node); }
                    Event::Left { node, pattern, member, .. } => {
                        left.insert((node, pattern, member));
                    }
                    Event::Joined { node, pattern, member, .. } => {
                        let is_same = left.contains(&(node.clone(), pattern, member));
                        prop_assert!(!is_same || runs.contains(&node));
                    }
                    _ => {}
                }
            }
        }

        #[test]
        fn joins_are_told_in_the_order_they_were_made((old, new) in views()) {
            let mut last: BTreeMap<NodeId, MemberId> = BTreeMap::new();
            for event in difference(&old, &new, &Watched::Everything) {
                if let Event::Joined { node, member, .. } = event
                    && let Some(before) = last.insert(node, member)
                {
                    prop_assert!(before <= member);
                }
            }
        }

        #[test]
        fn as_many_topics_are_counted_as_are_listed((_, view) in views()) {
            prop_assert_eq!(view.topics_count(), view.topics().len());
        }

        #[test]
        fn a_topic_has_everyone_whose_pattern_matches((_, view) in views()) {
            let scope = Scope::default();
            for text in ["a", "b", "a.b", "c"] {
                let topic = Topic::parse(text).unwrap();
                let found = view.members(&scope, &Pattern::from(&topic));
                let mut found: Vec<_> = found.into_iter().map(|m| (m.node, m.member)).collect();
                let mut expected: Vec<_> = contents(&view)
                    .into_iter()
                    .flat_map(|(node, (_, members))| {
                        let matching = members.into_keys().filter(|(pattern, _)| {
                            Pattern::parse(pattern).unwrap().matches(&topic)
                        });
                        matching.map(move |(_, member)| (node.clone(), member))
                    })
                    .collect();
                found.sort();
                expected.sort();
                prop_assert_eq!(found, expected, "each once, whatever is told");
            }
        }
    }

    #[test]
    fn who_says_that_its_member_is_in_another_queue_group_is_told_to_have_another_member() {
        let (scope, pattern) = (Scope::default(), Pattern::parse("a").unwrap());
        let view = |queue: &str| {
            let mut node = node(1, 1.into());
            let entry = MemberEntry {
                member: MemberId::from_bytes([1; 16]),
                agent: None,
                metadata: Metadata::default(),
                queue: QueueGroup::parse(queue).ok(),
            };
            node.join(&scope, &pattern, entry, ALL, 0).unwrap();
            let mut view = View::new(self::node(0, 1.into()));
            Arc::make_mut(&mut view.remote).insert(name(1), Arc::new(node));
            view
        };
        let told = difference(&view("one"), &view("two"), &Watched::Everything);
        let [
            Event::Left { queue: was, .. },
            Event::Joined { queue: is, .. },
        ] = &told[..]
        else {
            panic!("{told:?}");
        };
        assert_eq!(
            (was, is),
            (
                &QueueGroup::parse("one").ok(),
                &QueueGroup::parse("two").ok()
            )
        );
    }
}
