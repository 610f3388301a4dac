//! Streams over real nodes in one process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use tidings::{
    Access, Config, Count, Delivery, FollowError, Followed, Following, Limits, LocalCluster, Node,
    Permissions, Rules, Scope, Session, SessionOptions, StreamEnd, StreamError, StreamId,
    StreamOptions,
};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

const SOON: Duration = Duration::from_secs(10);

async fn cluster(nodes: usize) -> LocalCluster {
    let cluster = LocalCluster::start(nodes).await.unwrap();
    cluster.joined(Duration::from_secs(20)).await.unwrap();
    cluster
}

fn session(node: &Node) -> Session {
    node.session(SessionOptions::default()).unwrap().0
}

async fn next(following: &mut Following) -> Followed {
    let next = timeout(SOON, following.next()).await;
    next.expect("it says something").unwrap()
}

/// All chunks up to the end, which have to be in order, and the end.
async fn rest(following: &mut Following) -> (Vec<String>, StreamEnd) {
    let mut chunks = Vec::new();
    loop {
        let expected = following.offset();
        match next(following).await {
            Followed::Chunk { offset, bytes } => {
                assert_eq!(offset, expected);
                chunks.push(String::from_utf8(bytes.into()).unwrap());
            }
            Followed::End(end) => return (chunks, end),
            Followed::Missed { from, to } => panic!("{from} to {to} are missing"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_follows_from_whatever_node_and_offset_gets_every_chunk_once_and_in_order() {
    let cluster = cluster(3).await;
    let sessions: Vec<_> = cluster.nodes().iter().map(session).collect();
    let mut writer = sessions[0].stream(StreamOptions::default()).unwrap();
    let written: Vec<String> = (0..2_000).map(|n| format!("token {n} ")).collect();
    let mut following: Vec<Following> = Vec::new();
    for (n, chunk) in written.iter().enumerate() {
        if n % 400 == 0 {
            for session in &sessions {
                following.push(session.follow(writer.id(), 0).unwrap());
                following.push(session.follow(writer.id(), 1_000).unwrap());
            }
        }
        assert_eq!(writer.push(chunk.clone()).unwrap(), n as u64 + 1);
        if n % 100 == 0 {
            for one in &mut following {
                // Some read as it is written, but never what is not.
                if one.offset() < n as u64 {
                    assert!(matches!(next(one).await, Followed::Chunk { .. }));
                }
            }
        }
    }
    let id = writer.id().clone();
    assert_eq!(writer.finish(), 2_000);
    following.push(sessions[2].follow(&id, 2_500).unwrap());
    for one in &mut following {
        let first = usize::try_from(one.offset()).unwrap().min(2_000);
        let (chunks, end) = rest(one).await;
        assert_eq!(end, StreamEnd::Complete);
        assert_eq!(chunks, written[first..]);
        assert_eq!(next(one).await, Followed::End(StreamEnd::Complete));
    }
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_so_far_is_read_without_waiting_for_more() {
    let cluster = cluster(2).await;
    let sessions = [0, 1].map(|n| session(&cluster.nodes()[n]));
    let mut writer = sessions[0].stream(StreamOptions::default()).unwrap();
    let mut readers = [0, 1].map(|n| sessions[n].follow(writer.id(), 0).unwrap());
    let so_far = async |reader: &mut Following| {
        let mut chunks = Vec::new();
        loop {
            match timeout(SOON, reader.so_far()).await.unwrap().unwrap() {
                Some(Followed::Chunk { bytes, .. }) => chunks.push(bytes),
                Some(Followed::End(end)) => return (chunks, Some(end)),
                None => return (chunks, None),
                missed => panic!("{missed:?}"),
            }
        }
    };
    let begun = Instant::now();
    for chunks in [vec![], vec!["it ", "is "], vec!["sunny"]] {
        for chunk in &chunks {
            writer.push(*chunk).unwrap();
        }
        for reader in &mut readers {
            assert_eq!(
                so_far(reader).await,
                (chunks.iter().map(|own| (*own).into()).collect(), None)
            );
        }
    }
    writer.finish();
    for reader in &mut readers {
        assert_eq!(so_far(reader).await, (vec![], Some(StreamEnd::Complete)));
    }
    // On each node there was nothing more three times, for which `next` would have waited for a second each.
    assert!(begun.elapsed() < Duration::from_millis(2_500));
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_is_told_of_each_end_at_once() {
    let cluster = cluster(2).await;
    let [writes, follows] = [0, 1].map(|n| session(&cluster.nodes()[n]));
    let begin = || {
        let mut writer = writes.stream(StreamOptions::default()).unwrap();
        writer.push("so far").unwrap();
        writer
    };
    for (name, end) in [
        ("finish", StreamEnd::Complete),
        ("fail", StreamEnd::Failed("no model".into())),
        ("drop", StreamEnd::Aborted),
    ] {
        let writer = begin();
        let mut following = follows.follow(writer.id(), 0).unwrap();
        assert!(matches!(next(&mut following).await, Followed::Chunk { .. }));
        // It asks and waits by now, or does so later: either way it is told.
        let told = TaskTracker::new().spawn(async move { next(&mut following).await });
        let since = Instant::now();
        match name {
            "finish" => drop(writer.finish()),
            "fail" => drop(writer.fail("no model")),
            _ => drop(writer),
        }
        assert_eq!(told.await.unwrap(), Followed::End(end));
        assert!(since.elapsed() < Duration::from_secs(1), "{name}");
    }

    let mut writer = begin();
    let mut following = follows.follow(writer.id(), 1).unwrap();
    drop(writes);
    assert_eq!(writer.push("more"), Err(StreamError::Ended));
    assert_eq!(
        next(&mut following).await,
        Followed::End(StreamEnd::Aborted)
    );
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_has_aborted_when_its_node_is_gone_and_a_later_run_does_not_have_it() {
    let cluster = cluster(3).await;
    let [writes, follows] = [2, 0].map(|n| session(&cluster.nodes()[n]));
    let mut writer = writes.stream(StreamOptions::default()).unwrap();
    writer.push("so far").unwrap();
    let id = writer.id().clone();
    let mut following = follows.follow(&id, 0).unwrap();
    assert!(matches!(next(&mut following).await, Followed::Chunk { .. }));
    let told = TaskTracker::new().spawn(async move { next(&mut following).await });
    // As in a crash: nothing is said to anybody.
    cluster.nodes()[2].token().cancel();
    let told = timeout(Duration::from_secs(3), told).await;
    let told = told.expect("within 3 s").unwrap();
    assert_eq!(told, Followed::End(StreamEnd::Aborted));
    let mut late = follows.follow(&id, 0).unwrap();
    assert_eq!(next(&mut late).await, Followed::End(StreamEnd::Aborted));

    let own = StreamId::parse(&format!("n1-{}-1", 7)).unwrap();
    let mut earlier = follows.follow(&own, 0).unwrap();
    assert_eq!(next(&mut earlier).await, Followed::End(StreamEnd::Aborted));
    for unknown in [
        format!("n2-{}-99", cluster.nodes()[1].incarnation()),
        "nowhere-1-1".to_owned(),
    ] {
        let id = StreamId::parse(&unknown).unwrap();
        let mut following = follows.follow(&id, 0).unwrap();
        let told = timeout(SOON, following.next()).await.unwrap();
        assert_eq!(told, Err(FollowError::NoSuchStream { id }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_too_long_loses_its_oldest_chunks_and_says_so() {
    let limits = Limits {
        stream_bytes_max: Count::of::<{ 64 << 10 }>(),
        ..Limits::default()
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let cluster = LocalCluster::start_with(vec![config; 2]).await.unwrap();
    cluster.joined(Duration::from_secs(20)).await.unwrap();
    let [writes, follows] = [0, 1].map(|n| session(&cluster.nodes()[n]));
    let mut writer = writes.stream(StreamOptions::default()).unwrap();
    for n in 0..100 {
        writer.push(format!("{n:01000}")).unwrap();
    }
    let mut following = follows.follow(writer.id(), 7).unwrap();
    let kept = (64 << 10) / 1_064;
    let to = 100 - kept;
    assert_eq!(next(&mut following).await, Followed::Missed { from: 7, to });
    for offset in to..100 {
        let bytes = format!("{offset:01000}").into();
        assert_eq!(
            next(&mut following).await,
            Followed::Chunk { offset, bytes }
        );
    }
    // What is longer than a chunk comes as several.
    let long = "€".repeat(20_000);
    assert_eq!(writer.push(long.clone()).unwrap(), 102);
    writer.finish();
    let (chunks, _) = rest(&mut following).await;
    assert_eq!(chunks.concat(), long);
    cluster.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_follow_and_barriers_are_not_held_up() {
    let cluster = cluster(2).await;
    let [writes, follows] = [0, 1].map(|n| session(&cluster.nodes()[n]));
    let mut writer = writes.stream(StreamOptions::default()).unwrap();
    let mut told = Vec::new();
    for _ in 0..1_000 {
        let mut following = follows.follow(writer.id(), 0).unwrap();
        told.push(TaskTracker::new().spawn(async move {
            let (chunks, end) = rest(&mut following).await;
            (chunks.len(), end, Instant::now())
        }));
    }
    for _ in 0..20 {
        writer.push("token").unwrap();
        sleep(Duration::from_millis(50)).await;
        let since = Instant::now();
        follows.everywhere(SOON).await.unwrap();
        assert!(since.elapsed() < Duration::from_secs(1));
    }
    writer.push("last").unwrap();
    let finished = Instant::now();
    writer.finish();
    let mut longest = Duration::ZERO;
    for one in told {
        let (chunks, end, at) = timeout(SOON, one).await.unwrap().unwrap();
        assert_eq!((chunks, end), (21, StreamEnd::Complete));
        longest = longest.max(at.duration_since(finished));
    }
    eprintln!("the last of a thousand was told of the end after {longest:?}");
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    cluster.leave().await;
}

#[tokio::test]
async fn who_may_subscribe_to_its_topic_may_follow_and_who_may_publish_there_may_write() {
    let node = Node::start(Config::default(), None).await.unwrap();
    let as_one = |publish: Rules<_>, subscribe: Rules<_>, scope: Scope| {
        let permissions = Permissions {
            publish,
            subscribe,
            ..Permissions::default()
        };
        let access = Access::new("one", permissions);
        let options = SessionOptions {
            access: access.clone(),
            scope,
            ..SessionOptions::default()
        };
        (node.session(options).unwrap().0, access)
    };
    let streams = || Rules::only(["stream.>".parse().unwrap()]);
    let (writes, own) = as_one(streams(), Rules::only([]), Scope::default());
    let (reads, _) = as_one(
        Rules::only([]),
        Rules::only(["stream.>".parse().unwrap()]),
        Scope::default(),
    );
    let mut writer = writes.stream(StreamOptions::default()).unwrap();
    writer.push("a").unwrap();
    assert!(matches!(
        writes.follow(writer.id(), 0),
        Err(FollowError::Denied(_))
    ));
    assert!(matches!(
        reads.stream(StreamOptions::default()),
        Err(StreamError::Denied(_))
    ));
    let mut following = reads.follow(writer.id(), 0).unwrap();
    assert!(matches!(next(&mut following).await, Followed::Chunk { .. }));
    let other = "other".parse().unwrap();
    let (elsewhere, _) = as_one(streams(), Rules::default(), other);
    let mut of_another = elsewhere.follow(writer.id(), 0).unwrap();
    let told = timeout(SOON, of_another.next()).await.unwrap();
    assert!(matches!(told, Err(FollowError::NoSuchStream { .. })));
    own.change(Permissions {
        publish: Rules::only([]),
        ..Permissions::default()
    });
    assert!(matches!(writer.push("b"), Err(StreamError::Denied(_))));
    assert_eq!(writer.finish(), 1, "what was refused is not written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_subscribes_to_its_topic_gets_chunks_as_they_come() {
    let cluster = cluster(2).await;
    let writes = session(&cluster.nodes()[0]);
    let (listens, mut inbox) = cluster.nodes()[1]
        .session(SessionOptions::default())
        .unwrap();
    listens.subscribe(&"stream.*".parse().unwrap()).unwrap();
    listens.everywhere(SOON).await.unwrap();
    let mut writer = writes.stream(StreamOptions::default()).unwrap();
    let topic = writer.id().topic();
    writer.push("a").unwrap();
    writer.push("b").unwrap();
    writer.fail("enough");
    let mut seen = Vec::new();
    for _ in 0..3 {
        let delivery = timeout(SOON, inbox.recv()).await.unwrap().unwrap();
        let Delivery::Message { message, .. } = delivery else {
            panic!("{delivery:?}");
        };
        assert_eq!(message.topic, topic);
        let header = |name| message.headers.get(name).map(str::to_owned);
        seen.push((
            header(tidings::STREAM_OFFSET_HEADER).unwrap(),
            header(tidings::STREAM_END_HEADER),
            String::from_utf8(message.payload.to_vec()).unwrap(),
        ));
    }
    let expected = [
        ("0", None, "a"),
        ("1", None, "b"),
        ("2", Some("failed"), "enough"),
    ];
    let expected = expected
        .map(|(offset, end, text)| (offset.to_owned(), end.map(str::to_owned), text.to_owned()));
    assert_eq!(seen, expected);
    cluster.leave().await;
}
