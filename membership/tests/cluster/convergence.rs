//! Memberships that are made here are seen there, and nothing else is.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::switchboard::{
    Node, Switchboard, addr, cluster, contents, members, next, pattern, setup, until,
};
use tidings_bounds::Count;
use tidings_identity::NodeRun;
use tidings_membership::{
    ClientDoor, Event, Fault, JoinError, LeaveError, MemberId, Profile, Scope,
};
use tokio::time::{sleep, timeout};

#[tokio::test(start_paused = true)]
async fn ten_nodes_agree_within_three_seconds() {
    let board = Switchboard::default();
    let mut nodes = Vec::new();
    for n in 0..10 {
        nodes.push(Node::start(&board, n, &[0, 1, 2]).await);
        for topic in 0..10 {
            nodes[n].join(&format!("topic.{topic}"));
        }
    }
    let agree = || {
        let first = contents(&nodes[0].view());
        first.iter().map(|topic| topic.2.len()).sum::<usize>() == 100
            && nodes.iter().all(|node| contents(&node.view()) == first)
    };
    until("all views agree", SOON, agree).await;
}

#[tokio::test(start_paused = true)]
async fn a_join_is_seen_at_once_here_and_in_milliseconds_everywhere() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 10).await;
    let member = nodes[4].join("a.b");
    assert_eq!(members(&nodes[4].view(), "a.b"), [member]);
    let everywhere = || nodes.iter().all(|n| members(&n.view(), "a.b") == [member]);
    let took = until("the join is everywhere", SOON, everywhere).await;
    assert!(took < Duration::from_millis(15), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_one_message_to_each_peer() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 10).await;
    sleep(Duration::from_secs(1)).await;
    let sent = || nodes[4].membership.stats().messages_out;
    let before = sent();
    for n in 0..20 {
        nodes[4].join(&format!("topic.{n}"));
        sleep(Duration::from_millis(20)).await;
    }
    let all = || nodes.iter().all(|n| contents(&n.view()).len() == 20);
    until("the joins are everywhere", SOON, all).await;
    // With what is said in every interval besides.
    let messages = sent() - before;
    assert!((180..260).contains(&messages), "{messages}");
}

#[tokio::test(start_paused = true)]
async fn while_nothing_changes_a_round_of_gossip_is_two_messages() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 2).await;
    sleep(Duration::from_secs(1)).await;
    let sent = || {
        let sent = nodes.iter().map(|n| n.membership.stats().messages_out);
        sent.sum::<u64>()
    };
    let before = sent();
    sleep(Duration::from_secs(10)).await;
    // Each node begins a round every 250 ms.
    let messages = sent() - before;
    assert!((150..170).contains(&messages), "{messages}");
}

#[tokio::test(start_paused = true)]
async fn who_lacks_what_came_before_some_news_asks_for_it_at_once() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 3).await;
    board.cut(|from, _| from != 0);
    nodes[0].join("lost");
    sleep(Duration::from_millis(5)).await;
    board.heal();
    nodes[0].join("next");
    let both = || nodes.iter().all(|n| contents(&n.view()).len() == 2);
    let took = until("both joins are everywhere", SOON, both).await;
    assert!(took < Duration::from_millis(20), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_sink_has_heard_of_every_member_that_a_view_shows() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 3).await;
    let mut views = nodes[2].membership.views();
    // More than are told at once, and looked at whenever there is a next view, so that what is shown
    // before all of it is told is noticed.
    let joined: Vec<_> = (0..4_000).map(|n| nodes[n % 2].join("a")).collect();
    let all_heard = async {
        let mut shown = Vec::new();
        while shown.len() < joined.len() {
            views.changed().await.unwrap();
            shown = members(&views.borrow_and_update(), "a");
            let events = nodes[2].events.lock().unwrap();
            let told = |event: &Event| match event {
                Event::Joined { member, .. } => Some(*member),
                _ => None,
            };
            let heard: BTreeSet<_> = events.iter().filter_map(told).collect();
            assert!(shown.iter().all(|member| heard.contains(member)));
        }
    };
    let in_time = timeout(SOON, all_heard).await;
    assert!(in_time.is_ok(), "all are shown");
    let is_up = |e: &Event| matches!(e, Event::NodeUp { .. });
    assert_eq!(
        nodes[2]
            .events
            .lock()
            .unwrap()
            .iter()
            .filter(|e| is_up(e))
            .count(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn a_join_right_after_the_start_is_told_like_any_other() {
    let board = Switchboard::default();
    let node = Node::start(&board, 0, &[]).await;
    node.join("a");
    let is_told = || node.membership.stats().eager_rounds == 1;
    until("it is told", Duration::from_millis(10), is_told).await;
}

#[tokio::test(start_paused = true)]
async fn joining_n_times_makes_n_memberships() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 2).await;
    let joined: Vec<MemberId> = (0..16).map(|_| nodes[0].join("a")).collect();
    until("16 members", SOON, || {
        members(&nodes[1].view(), "a") == joined
    })
    .await;
    for member in &joined[..4] {
        nodes[0].leave("a", *member);
    }
    until("12 members", SOON, || {
        members(&nodes[1].view(), "a") == joined[4..]
    })
    .await;
    assert!(
        nodes[1]
            .view()
            .local_members(&Scope::default(), &pattern("a"))
            .is_empty()
    );
    let topic = &nodes[1].view().topics()[0];
    assert_eq!((topic.members, topic.local), (12, 0));
}

#[tokio::test(start_paused = true)]
async fn leaving_what_was_not_joined_says_so_and_changes_nothing() {
    let board = Switchboard::default();
    let node = Node::start(&board, 0, &[]).await;
    let member = node.join("a");
    let (scope, membership) = (Scope::default(), &node.membership);
    let before = contents(&node.view());
    assert_eq!(
        membership.leave(&scope, &pattern("b"), member),
        Err(LeaveError::NotAMember)
    );
    let other = MemberId::from_bytes([7; 16]);
    assert_eq!(
        membership.leave(&scope, &pattern("a"), other),
        Err(LeaveError::NotAMember)
    );
    let again = membership.join(&scope, &pattern("a"), member, None);
    assert_eq!(again, Err(JoinError::AlreadyMember));
    assert_eq!(contents(&node.view()), before);
}

#[tokio::test(start_paused = true)]
async fn no_topic_outlives_its_members_on_any_node() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 3).await;
    let joined: Vec<_> = (0..30)
        .map(|n| {
            (
                format!("t.{}", n % 7),
                nodes[0].join(&format!("t.{}", n % 7)),
            )
        })
        .collect();
    until("seven topics", SOON, || nodes[2].view().topics().len() == 7).await;
    let all = joined
        .into_iter()
        .map(|(t, member)| (Scope::default(), pattern(&t), member));
    nodes[0].membership.leave_all(all).await;
    assert!(nodes[0].view().topics().is_empty());
    until("no topics", SOON, || {
        nodes.iter().all(|n| n.view().topics().is_empty())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn scopes_are_isolated() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 2).await;
    let [red, blue] = ["red", "blue"].map(|name| Scope::parse(name).unwrap());
    let member = nodes[0].join_in(&red, "a");
    let wild = nodes[0].join_in(&blue, ">");
    until("both scopes", SOON, || nodes[1].view().topics().len() == 2).await;
    for (scope, expected) in [(&red, member), (&blue, wild)] {
        let found = nodes[1].view().members(scope, &pattern("a"));
        let ids: Vec<_> = found.iter().map(|m| m.member).collect();
        assert_eq!(ids, [expected]);
        assert_eq!(found[0].agent.as_ref().unwrap().as_str(), "tester");
    }
    assert!(members(&nodes[1].view(), "a").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_topic_has_the_members_of_matching_patterns() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 2).await;
    let exact = nodes[0].join("kb.updates");
    let star = nodes[1].join("kb.*");
    nodes[1].join("kb.other");
    let rest = nodes[1].join(">");
    let mut all = vec![exact, star, rest];
    all.sort();
    until("three members", SOON, || {
        members(&nodes[0].view(), "kb.updates") == all
    })
    .await;
    assert_eq!(members(&nodes[0].view(), "kb.*"), [star]);
    nodes[1].leave("kb.*", star);
    nodes[1].leave(">", rest);
    until("one member", SOON, || {
        members(&nodes[0].view(), "kb.updates") == [exact]
    })
    .await;
    let star = nodes[1].join("kb.*");
    until("two members", SOON, || {
        members(&nodes[0].view(), "kb.updates").len() == 2
    })
    .await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(members(&nodes[0].view(), "kb.updates").len(), 2);
    nodes[1].leave("kb.*", star);
    until("one member", SOON, || {
        members(&nodes[0].view(), "kb.updates") == [exact]
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_late_node_gets_ten_thousand_earlier_topics() {
    let board = Switchboard::default();
    let first = Node::start(&board, 0, &[]).await;
    for n in 0..10_000 {
        let topic = format!("weather.station.{n}");
        let member = first.join(&topic);
        if n % 1_000 == 0 {
            assert_eq!(members(&first.view(), &topic), [member]);
        }
    }
    let late = Node::start(&board, 1, &[0]).await;
    let took = until("all topics", SOON, || late.view().topics().len() == 10_000).await;
    assert!(took < Duration::from_millis(700), "{took:?}");
    assert_eq!(contents(&late.view()), contents(&first.view()));
    assert_eq!(late.membership.stats().memberships, 10_000);
    assert_eq!(late.membership.stats().values_malformed, 0);
}

#[tokio::test]
async fn many_threads_join_and_leave_while_others_read() {
    let board = Switchboard::default();
    let node = Node::start(&board, 0, &[]).await;
    std::thread::scope(|threads| {
        for n in 0..4 {
            let node = &node;
            threads.spawn(move || {
                for round in 0..200 {
                    let topic = format!("t.{}", round % 5);
                    let member = node.join(&topic);
                    assert!(members(&node.view(), &topic).contains(&member));
                    if n % 2 == 0 {
                        node.leave(&topic, member);
                        assert!(!members(&node.view(), &topic).contains(&member));
                    }
                }
            });
        }
    });
    assert_eq!(node.membership.stats().memberships_local, 400);

    // Nor does who reads wait for the end of a call that makes many: it sees some of them.
    const MANY: usize = 5_000;
    let many: Vec<_> = (1..=MANY as u128)
        .map(|n| {
            (
                pattern(&format!("many.{n}")),
                MemberId::from_bytes(n.to_be_bytes()),
            )
        })
        .collect();
    let (membership, scope) = (&node.membership, Scope::default());
    let sees_some = || {
        let nothing = Profile::default();
        let is_some = std::thread::scope(|threads| {
            let join =
                || membership.join_all_within(&mut membership.share(), &scope, &many, &nothing);
            let joining = threads.spawn(join);
            let mut is_some = false;
            while !joining.is_finished() {
                let (seen, _) = node.view().count_memberships();
                is_some |= (401..400 + MANY).contains(&seen);
            }
            is_some
        });
        let all = many.iter().cloned();
        membership.leave_many(all.map(|(pattern, member)| (scope.clone(), pattern, member)));
        is_some
    };
    assert!((0..20).any(|_| sees_some()), "it waits for the end");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_no_room_refuses_and_says_so() {
    let board = Switchboard::default();
    let mut full = setup(0);
    full.config.memberships_bytes_max = Count::MIN;
    let node = Node::start_with(&board, full, &[]).await;
    let refused = (0..100u8).find_map(|n| {
        let member = MemberId::from_bytes([n; 16]);
        node.membership
            .join(&Scope::default(), &pattern("a"), member, None)
            .err()
    });
    let before = contents(&node.view());
    assert!(
        matches!(refused, Some(JoinError::Full { bytes, bytes_max: 1_000 }) if bytes > 1_000),
        "{refused:?}"
    );
    // The next has a name, which takes as much as ten without.
    for member in &before[0].2[..10] {
        node.leave("a", *member);
    }
    node.join("a");
}

#[tokio::test(start_paused = true)]
async fn watchers_are_told_everything_between_two_snapshots() {
    let board = Switchboard::default();
    let node = Node::start(&board, 0, &[]).await;
    let early = node.join("a");
    let (snapshot, mut watch) = node.membership.watch();
    assert_eq!(members(&snapshot, "a"), [early]);
    let other = Node::start(&board, 1, &[0]).await;
    let (first, second) = (other.join("b"), other.join("a"));
    let mut told = Vec::new();
    while told.len() < 3 {
        told.extend(next(&mut watch).await);
    }
    assert!(matches!(&told[0], Event::NodeUp { run }
        if run.node.as_str() == "n1" && run.incarnation.get() == 1 && run.addr == addr(1)));
    let joined = |event: &Event| match event {
        Event::Joined { member, .. } => *member,
        other => panic!("{other:?}"),
    };
    assert_eq!([joined(&told[1]), joined(&told[2])], [first, second]);
    assert_eq!(contents(&watch.view()), contents(&node.view()));
    drop(other);
    let mut told = Vec::new();
    while told.len() < 3 {
        told.extend(next(&mut watch).await);
    }
    assert!(matches!(
        &told[..],
        [
            Event::Left { .. },
            Event::Left { .. },
            Event::NodeDown { .. }
        ]
    ));
    node.token.cancel();
    assert_eq!(watch.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn gossip_that_cannot_be_read_is_skipped_counted_and_blamed_on_its_sender() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 2).await;
    let later = NodeRun {
        incarnation: 7.into(),
        ..setup(1).run
    };
    for junk in [&b""[..], b"junk", &[0; 70_000]] {
        board.deliver(later.clone(), addr(0), junk.to_vec().into());
    }
    let member = nodes[1].join("a");
    until("gossip goes on", SOON, || {
        members(&nodes[0].view(), "a") == [member]
    })
    .await;
    let faults = nodes[0].membership.stats().faults;
    let found = Fault::ALL.map(|fault| (fault.name(), faults.of(fault)));
    let found: Vec<_> = found.into_iter().filter(|(_, n)| *n > 0).collect();
    assert_eq!(found, [("format", 2), ("size", 1)]);
    let reasons = [
        "it ends too early",
        "it is of another protocol or version",
        "it has 70000 bytes",
    ];
    let blamed = reasons.map(|reason| (later.clone(), format!("bad gossip: {reason}")));
    assert_eq!(board.blamed(), blamed);
}

#[tokio::test(start_paused = true)]
async fn another_cluster_is_never_seen() {
    let board = Switchboard::default();
    let nodes = cluster(&board, 2).await;
    let mut foreign = setup(2);
    foreign.cluster = "other".parse().unwrap();
    let stranger = Node::start_with(&board, foreign, &[0, 1]).await;
    stranger.join("a");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(stranger.live(), ["n2"]);
    assert_eq!(nodes[0].live(), ["n0", "n1"]);
    assert!(nodes[0].view().topics().is_empty());
}

const SOON: Duration = Duration::from_secs(3);

#[tokio::test(start_paused = true)]
async fn where_the_clients_of_a_node_connect_is_known_everywhere_until_it_is_gone() {
    let board = Switchboard::default();
    let mut nodes = cluster(&board, 3).await;
    let mut doors = nodes[2].membership.watch_doors();
    assert!(
        doors
            .next()
            .await
            .iter()
            .all(|(_, door)| **door == ClientDoor::default())
    );
    let at = |text: &str| ClientDoor::new(vec![text.parse().unwrap()], false).unwrap();
    let first = at("10.0.0.1:4222");
    for door in [first.clone(), at("n0.example:4222"), first.draining()] {
        nodes[0].membership.open_door(door.clone());
        let told = timeout(Duration::from_millis(50), doors.next())
            .await
            .unwrap();
        let of_first = told.iter().find(|(node, _)| node.as_str() == "n0");
        assert_eq!(of_first.map(|(_, door)| &**door), Some(&door));
    }
    let shown = nodes[1].view().nodes();
    assert_eq!(*shown[0].door, first.draining());

    // Joins change nothing of it.
    nodes[1].join("a");
    assert!(timeout(Duration::from_secs(1), doors.next()).await.is_err());
    drop(nodes.remove(0));
    let told = timeout(SOON, doors.next()).await.unwrap();
    assert_eq!(told.len(), 2);
}
