//! A node explains what it knows of a topic, and asks the others whether they see the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use tidings::{LocalCluster, Message, Metadata, Node, Scope, SessionOptions, Testimony};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(10);

async fn cluster(nodes: usize) -> LocalCluster {
    let cluster = LocalCluster::start(nodes).await.unwrap();
    cluster.joined(LIMIT).await.unwrap();
    cluster
}

fn explain(node: &Node, topic: &str) -> impl Future<Output = tidings::Explanation> + use<> {
    node.explain(Scope::default(), topic.parse().unwrap(), LIMIT)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_explains_who_is_a_member_and_how_it_knows() {
    let cluster = cluster(3).await;
    let [n0, n1, n2] = cluster.nodes() else {
        panic!("three nodes")
    };
    let (one, _first) = n1.session(SessionOptions::default()).unwrap();
    one.subscribe(&"work.a".parse().unwrap()).unwrap();
    let (two, _second) = n2.session(SessionOptions::default()).unwrap();
    two.subscribe(&"work.*".parse().unwrap()).unwrap();
    one.everywhere(LIMIT).await.unwrap();
    two.everywhere(LIMIT).await.unwrap();
    n0.session(SessionOptions::default())
        .unwrap()
        .0
        .broadcast(Message::new("work.a".parse().unwrap(), "hello"))
        .unwrap();

    let explained = explain(n0, "work.a").await;
    let names: Vec<_> = explained.nodes.iter().map(|n| &n.node.run.node).collect();
    assert_eq!(names, [n0.name(), n1.name(), n2.name()]);
    let members: Vec<_> = explained.nodes.iter().map(|n| n.members.len()).collect();
    assert_eq!(members, [0, 1, 1]);
    let [own, peers @ ..] = &explained.nodes[..] else {
        panic!("{explained:?}")
    };
    assert!(own.node.is_self && own.version.is_some());
    assert!(own.age.is_none() && own.heard.is_none() && own.link.is_none());
    for (peer, node) in peers.iter().zip([n1, n2]) {
        assert!(peer.node.live);
        assert_eq!(peer.node.run.incarnation, node.incarnation());
        assert!(peer.version.is_some_and(|version| version > 0), "{peer:?}");
        assert!(peer.age.is_some_and(|age| age < LIMIT), "{peer:?}");
        assert!(peer.heard.is_some_and(|heard| heard < LIMIT), "{peer:?}");
        let link = peer.link.as_ref().and_then(|link| link.up.as_ref());
        assert_eq!(link.map(|link| link.incarnation), Some(node.incarnation()));
    }
    let others: Vec<_> = explained
        .others
        .iter()
        .map(|o| (&o.run.node, &o.says))
        .collect();
    let same = &Testimony::Same;
    assert_eq!(others, [(n1.name(), same), (n2.name(), same)]);
    let of_pattern = explain(n0, "work.*").await;
    let members: Vec<_> = of_pattern.nodes.iter().map(|n| n.members.len()).collect();
    assert_eq!(members, [0, 0, 1], "who subscribed to just that");
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_has_not_told_yet_is_told_before_the_others_are_asked() {
    let cluster = cluster(2).await;
    let [n0, n1] = cluster.nodes() else {
        panic!("two nodes")
    };
    let (session, _inbox) = n0.session(SessionOptions::default()).unwrap();
    for round in 0..50 {
        let topic = format!("fresh.{round}");
        let member = session.subscribe(&topic.parse().unwrap()).unwrap();
        let metadata = Metadata::parse(&format!(r#"{{"round":{round}}}"#)).unwrap();
        session.update(member, metadata).unwrap();
        // It is on its way; once it has arrived, both see the same.
        let agreed = async {
            loop {
                let explained = explain(n0, &topic).await;
                assert_eq!(explained.nodes[0].members.len(), 1);
                match &explained.others[0].says {
                    Testimony::Same => return,
                    Testimony::Differs(differences) => {
                        assert_eq!(differences.len(), 1, "{differences:?}");
                        assert_eq!(differences[0].node, *n0.name());
                        let here = differences[0].here.as_ref();
                        assert_eq!(here.map(|seen| seen.members), Some(1));
                    }
                    other => panic!("{other:?}"),
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, agreed).await.unwrap();
        let there = explain(n1, &topic).await;
        assert_eq!(there.nodes[0].members.len(), 1);
        assert_eq!(there.others[0].says, Testimony::Same);
    }
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_explains_itself_and_one_that_has_left_is_told_as_gone() {
    let cluster = cluster(2).await;
    let [n0, n1] = cluster.nodes() else {
        panic!("two nodes")
    };
    n1.leave().await;
    let gone = async {
        while n0.nodes().iter().any(|node| node.live && !node.is_self) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, gone).await.unwrap();
    let (session, _inbox) = n0.session(SessionOptions::default()).unwrap();
    session.subscribe(&"a".parse().unwrap()).unwrap();
    let explained = explain(n0, "a").await;
    assert_eq!(explained.others, []);
    assert_eq!(explained.nodes[0].members.len(), 1);
    let last = &explained.nodes[1];
    assert!(!last.node.live && last.node.left, "{last:?}");
    assert_eq!((last.version, last.members.len()), (None, 0));
    cluster.leave().await;
}
