//! Whoever watches is told of each change once, whatever others do.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::switchboard::{Node, Switchboard, cluster, members, next, pattern, until};
use tidings_membership::{Event, MemberId, Scope, Watch};
use tokio::time::timeout;

#[tokio::test(start_paused = true)]
async fn several_watches_of_one_node_are_each_told_every_event() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 2).await;
    let mut watches: Vec<Watch> = (0..3).map(|_| nodes[0].membership.watch().1).collect();
    let (here, there) = (nodes[0].join("a"), nodes[1].join("a"));
    for watch in &mut watches {
        assert_eq!(joins(watch, 2).await, BTreeSet::from([here, there]));
    }
    nodes[1].leave("a", there);
    for watch in &mut watches {
        assert_eq!(left(&next(watch).await), [there]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_given_up_takes_nothing_from_the_others() {
    let board = Switchboard::default();
    let node = Node::start(&board, 0, &[]).await;
    let [(_, mut stays), (_, mut goes)] = [(); 2].map(|()| node.membership.watch());
    let first = node.join("a");
    assert_eq!(joins(&mut goes, 1).await, BTreeSet::from([first]));
    drop(goes);
    let second = node.join("a");
    assert_eq!(joins(&mut stays, 2).await, BTreeSet::from([first, second]));
}

/// As when an agent watches a topic, joins it and dies.
#[tokio::test(start_paused = true)]
async fn who_joins_what_it_watches_is_told_of_itself() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 2).await;
    let (_, mut own) = nodes[0].membership.watch();
    let (_, mut other) = nodes[1].membership.watch();
    let member = nodes[0].join("a");
    for watch in [&mut own, &mut other] {
        assert_eq!(joins(watch, 1).await, BTreeSet::from([member]));
    }
    drop(own);
    let all = [(Scope::default(), pattern("a"), member)];
    nodes[0].membership.leave_all(all).await;
    assert_eq!(left(&next(&mut other).await), [member]);
}

/// The difference is told, and not all of it again.
#[tokio::test(start_paused = true)]
async fn when_a_partition_heals_a_watch_is_told_what_has_changed_and_no_more() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 2).await;
    let (stays, goes) = (nodes[1].join("a"), nodes[1].join("a"));
    until("both are seen", SOON, || {
        members(&nodes[0].view(), "a").len() == 2
    })
    .await;
    let (_, mut watch) = nodes[0].membership.watch();
    // Not for so long that one takes the other for dead.
    board.cut(|_, _| false);
    nodes[1].leave("a", goes);
    let comes = nodes[1].join("a");
    assert!(
        timeout(SPLIT, watch.next()).await.is_err(),
        "nothing is heard"
    );
    board.heal();
    let told = next(&mut watch).await;
    assert_eq!(left(&told), [goes]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(matches!(&told[1], Event::Joined { member, .. } if *member == comes));
    let mut both = vec![stays, comes];
    both.sort();
    assert_eq!(members(&watch.view(), "a"), both);
}

/// They take more than one bucket then, and more than one message.
#[tokio::test(start_paused = true)]
async fn an_update_of_many_members_of_a_topic_is_one_event_for_each() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 2).await;
    let all: Vec<MemberId> = (0..300).map(|_| nodes[1].join("a")).collect();
    let are_seen = || members(&nodes[0].view(), "a").len() == 300;
    until("all are seen", SOON, are_seen).await;
    let (_, mut watch) = nodes[0].membership.watch();
    let says = format!(r#"{{"does":"{}"}}"#, "x".repeat(1_000))
        .parse()
        .unwrap();
    let (node, mut share) = (&nodes[1].membership, nodes[1].membership.share());
    let updated = node.update_within(&mut share, &Scope::default(), &pattern("a"), &all, &says);
    assert_eq!(updated, Ok(()));
    let mut told = Vec::new();
    while told.len() < 300 {
        for event in next(&mut watch).await {
            match event {
                Event::Updated {
                    member, metadata, ..
                } if metadata == says => told.push(member),
                other => panic!("{other:?}"),
            }
        }
    }
    told.sort();
    assert_eq!(told, all);
    assert!(
        timeout(SPLIT, watch.next()).await.is_err(),
        "and no more is told"
    );
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_joined_reads_as_empty() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 2).await;
    nodes[0].join("a");
    until("it is seen", SOON, || {
        members(&nodes[1].view(), "a").len() == 1
    })
    .await;
    let view = nodes[1].view();
    let elsewhere = Scope::parse("elsewhere").unwrap();
    assert!(members(&view, "b").is_empty());
    assert!(view.members(&elsewhere, &pattern("a")).is_empty());
    assert!(
        view.local_members(&Scope::default(), &pattern("a"))
            .is_empty()
    );
}

/// So many joins that are told, and no other events.
async fn joins(watch: &mut Watch, count: usize) -> BTreeSet<MemberId> {
    let mut told = Vec::new();
    while told.len() < count {
        told.extend(next(watch).await);
    }
    let joined = |event| match event {
        Event::Joined { member, .. } => member,
        other => panic!("{other:?}"),
    };
    let members: Vec<_> = told.into_iter().map(joined).collect();
    assert_eq!(members.len(), count);
    members.into_iter().collect()
}

/// Who has left, of these events.
fn left(events: &[Event]) -> Vec<MemberId> {
    let left = |event: &Event| match event {
        Event::Left { member, .. } => Some(*member),
        _ => None,
    };
    events.iter().filter_map(left).collect()
}

const SOON: Duration = Duration::from_secs(3);
const SPLIT: Duration = Duration::from_millis(700);
