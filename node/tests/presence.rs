//! What members say of themselves.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;
use std::time::Duration;

use tidings::{
    Config, Count, Event, Inbox, LocalCluster, Message, Metadata, Node, Pattern, PresenceError,
    Scope, Session, SessionOptions, SubscribeError, SubscribeOptions, UpdateError, Watch,
};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

fn says(json: &str) -> Metadata {
    Metadata::parse(json).unwrap()
}

fn of_bytes(bytes: usize) -> Metadata {
    says(&format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8)))
}

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

/// A membership with this tag that says this.
fn saying(tag: u64, metadata: Metadata) -> SubscribeOptions {
    SubscribeOptions {
        tag,
        metadata,
        ..SubscribeOptions::default()
    }
}

fn session(node: &Node) -> (Session, Inbox) {
    node.session(SessionOptions::default()).unwrap()
}

fn said(node: &Node, topic: &str) -> Vec<Metadata> {
    let members = node.members(&Scope::default(), &pattern(topic)).into_iter();
    members.map(|member| member.metadata).collect()
}

/// The next events, those of nodes left out.
async fn told(watch: &mut Watch) -> Vec<Event> {
    loop {
        let events = timeout(SOON, watch.next()).await.expect("an event");
        let mut events = events.unwrap();
        events.retain(|event| !matches!(event, Event::NodeUp { .. }));
        if !events.is_empty() {
            return events;
        }
    }
}

#[tokio::test]
async fn an_update_is_one_event_on_every_node_and_the_member_goes_on_to_receive() {
    let cluster = LocalCluster::start(2).await.unwrap();
    let [here, there] = cluster.nodes() else {
        panic!("there are two");
    };
    let (_, mut watch) = there.watch();
    let (session, mut inbox) = session(here);
    let (publisher, _inbox) = self::session(there);
    let first = says(r#"{"does": "nothing"}"#);
    let member = session
        .subscribe_with(&pattern("a"), saying(7, first.clone()))
        .unwrap();
    let events = told(&mut watch).await;
    let [Event::Joined { metadata, .. }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(metadata, &first, "it is never seen without");

    // From here on it is in the routes there; no update takes it out.
    let second = says(r#"{"does": "something"}"#);
    session.update(member, second.clone()).unwrap();
    assert_eq!(
        said(here, "a"),
        std::slice::from_ref(&second),
        "at once on its own node"
    );
    let events = told(&mut watch).await;
    let [
        Event::Updated {
            member: updated,
            metadata,
            ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!((updated, metadata), (&member, &second));
    assert_eq!(said(there, "a"), [second]);
    let receipt = publisher.broadcast(Message::new("a".parse().unwrap(), "x"));
    assert_eq!(receipt.unwrap().nodes, 1);
    assert!(timeout(SOON, inbox.recv()).await.unwrap().is_ok());
    cluster.leave().await;
}

#[tokio::test]
async fn all_memberships_of_a_topic_are_updated_in_one_step() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let (session, _inbox) = session(&node);
    let (other, _other_inbox) = self::session(&node);
    for topic in ["a", "a", "b"] {
        session.subscribe(&pattern(topic)).unwrap();
    }
    other.subscribe(&pattern("a")).unwrap();
    let (_, mut watch) = node.watch();
    let busy = says(r#"{"busy": true}"#);
    assert_eq!(session.update_all(&pattern("a"), busy.clone()), Ok(2));
    let events = told(&mut watch).await;
    let updates = events
        .iter()
        .filter(|event| matches!(event, Event::Updated { metadata, .. } if *metadata == busy));
    assert_eq!((updates.count(), events.len()), (2, 2));
    let none = Metadata::default();
    assert_eq!(said(&node, "b"), std::slice::from_ref(&none));
    let mut all = said(&node, "a");
    all.sort();
    assert_eq!(
        all,
        [none, busy.clone(), busy.clone()],
        "of the other's it says nothing"
    );
    let stranger = session.update_all(&pattern("c"), busy);
    assert_eq!(stranger, Err(PresenceError::NotSubscribed));

    // Whoever looks meanwhile sees all of them changed, or none.
    let many = pattern("many");
    for _ in 0..50 {
        session.subscribe(&many).unwrap();
    }
    thread::scope(|threads| {
        let updating = threads.spawn(|| {
            for n in 0..200 {
                let update = says(&format!(r#"{{"n":{n}}}"#));
                assert_eq!(session.update_all(&many, update), Ok(50));
            }
        });
        while !updating.is_finished() {
            let mut seen = said(&node, "many");
            seen.dedup();
            assert_eq!(seen.len(), 1, "{seen:?}");
        }
    });
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_changes_nothing() {
    let mut config = Config::default();
    config.limits.membership_bytes_per_session_max = Count::of::<5_000>();
    let node = Node::start(config, None).await.unwrap();
    let (session, _inbox) = session(&node);
    let refused = session.subscribe_with(&pattern("a"), saying(0, of_bytes(1_025)));
    let refused = refused.unwrap_err();
    assert!(matches!(
        refused,
        SubscribeError::MetadataTooLarge {
            bytes: 1_025,
            max: 1_024
        }
    ));
    let member = session
        .subscribe_with(&pattern("a"), saying(0, of_bytes(1_024)))
        .unwrap();
    let refused = session.update(member, of_bytes(1_025));
    assert_eq!(
        refused,
        Err(PresenceError::TooLarge {
            bytes: 1_025,
            max: 1_024
        })
    );

    // Metadata counts to the share of the session, until it is given back.
    for _ in 0..20 {
        session.subscribe(&pattern("a")).unwrap();
    }
    let refused = session.update_all(&pattern("a"), of_bytes(1_000));
    assert!(matches!(
        refused,
        Err(PresenceError::TooManyBytes { max: 5_000, .. })
    ));
    assert_eq!(
        said(&node, "a")
            .iter()
            .filter(|said| !said.is_empty())
            .count(),
        1
    );
    for _ in 0..100 {
        session.update(member, Metadata::default()).unwrap();
        session.update(member, of_bytes(1_024)).unwrap();
        let short = session
            .subscribe_with(&pattern("b"), saying(0, of_bytes(1_024)))
            .unwrap();
        session.unsubscribe(short).unwrap();
    }
    session.unsubscribe(member).unwrap();
    let gone = session.update(member, Metadata::default());
    assert_eq!(gone, Err(PresenceError::NotSubscribed));
}

#[tokio::test]
async fn metadata_does_not_take_the_room_of_others() {
    let mut config = Config::default();
    config.gossip.memberships_bytes_max = Count::of::<48_000>();
    let node = Node::start(config, None).await.unwrap();
    let (greedy, _inbox) = session(&node);
    for _ in 0..40 {
        greedy.subscribe(&pattern("a")).unwrap();
    }
    let refused = greedy.update_all(&pattern("a"), of_bytes(1_000));
    let Err(PresenceError::Update(refused)) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        matches!(
            refused,
            UpdateError::Crowded { .. } | UpdateError::Full { .. }
        ),
        "{refused}"
    );
    assert_eq!(said(&node, "a"), vec![Metadata::default(); 40]);
    let (innocent, _inbox) = session(&node);
    assert!(
        innocent
            .subscribe_with(&pattern("a"), saying(0, of_bytes(1_000)))
            .is_ok()
    );
}
