//! Queue groups, and questions and their answers: a few nodes in this process, real links over loopback.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "agents of a test end with it")]

use std::collections::HashMap;
use std::time::Duration;

use tidings::{
    ClientDoor, Count, Delivery, Headers, Inbox, LocalCluster, MailboxConfig, MemberId, Message,
    Node, Outcome, Overflow, RecvError, RequestError, Session, SessionOptions, SubscribeOptions,
    Time,
};
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(20);

async fn cluster(nodes: usize) -> LocalCluster {
    let cluster = LocalCluster::start(nodes).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    cluster
}

fn session(node: &Node) -> (Session, Inbox) {
    node.session(SessionOptions::default()).unwrap()
}

fn join(session: &Session, pattern: &str, queue: &str) -> MemberId {
    let options = SubscribeOptions {
        queue: (!queue.is_empty()).then(|| queue.parse().unwrap()),
        ..SubscribeOptions::default()
    };
    let pattern = pattern.parse().unwrap();
    session.subscribe_with(&pattern, options).unwrap()
}

fn message(topic: &str, text: impl ToString) -> Message {
    Message::new(topic.parse().unwrap(), text.to_string())
}

/// Waits until all these nodes show so many members of a topic.
async fn shown(cluster: &LocalCluster, topic: &str, members: usize) {
    let shows = |node: &Node| {
        let shown = node.members(&Default::default(), &topic.parse().unwrap());
        shown.len() == members
    };
    let all = async {
        while !cluster.nodes().iter().all(shows) {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, all).await.expect("all nodes show them");
}

/// All that comes until a message says `end`, which it does by another topic, so it is the last one.
async fn texts(inbox: &mut Inbox) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        let delivery = timeout(SOON, inbox.recv()).await.expect("the end comes");
        let Delivery::Message { message, .. } = delivery.unwrap() else {
            panic!("nothing is missed");
        };
        let text = String::from_utf8(message.payload.to_vec()).unwrap();
        if message.topic.as_str() == "end" {
            return texts;
        }
        texts.push(text);
    }
}

const MANY: usize = 300;

#[tokio::test]
async fn of_a_queue_group_one_member_gets_each_message_and_everybody_else_gets_all() {
    let cluster = cluster(3).await;
    let nodes = cluster.nodes();
    let mut workers = Vec::new();
    for node in [1, 1, 2] {
        let (session, inbox) = session(&nodes[node]);
        join(&session, "job.*", "workers");
        join(&session, "end", "");
        workers.push((session, inbox));
    }
    let (plain, mut all) = session(&nodes[2]);
    join(&plain, "job.1", "");
    join(&plain, "end", "");
    let (other, mut alone) = session(&nodes[0]);
    join(&other, "job.>", "others");
    join(&other, "end", "");
    shown(&cluster, "job.1", 5).await;
    shown(&cluster, "end", 5).await;
    let queues: Vec<_> = nodes[0]
        .members(&Default::default(), &"job.1".parse().unwrap())
        .into_iter()
        .filter_map(|member| Some(member.queue?.to_string()))
        .collect();
    assert_eq!(queues.iter().filter(|queue| *queue == "workers").count(), 3);

    let (publisher, _inbox) = session(&nodes[0]);
    for number in 0..MANY {
        publisher.broadcast(message("job.1", number)).unwrap();
    }
    publisher.broadcast(message("end", "")).unwrap();
    let expected: Vec<_> = (0..MANY).map(|number| number.to_string()).collect();
    assert_eq!(texts(&mut all).await, expected);
    assert_eq!(texts(&mut alone).await, expected);
    let mut together = Vec::new();
    for (_, inbox) in &mut workers {
        let texts = texts(inbox).await;
        let even = MANY / 6..MANY / 2;
        assert!(even.contains(&texts.len()), "{}", texts.len());
        assert!(texts.is_sorted_by_key(|text| text.parse::<usize>().unwrap()));
        together.extend(texts);
    }
    together.sort_by_key(|text| text.parse::<usize>().unwrap());
    assert_eq!(together, expected);
    cluster.leave().await;
}

#[tokio::test]
async fn members_on_the_publishers_node_come_first_as_long_as_they_have_room() {
    let cluster = cluster(2).await;
    let nodes = cluster.nodes();
    let options = SessionOptions {
        mailbox: MailboxConfig {
            messages_max: Count::of::<10>(),
            overflow: Overflow::Disconnect,
            ..MailboxConfig::default()
        },
        ..SessionOptions::default()
    };
    let (near, mut near_inbox) = nodes[0].session(options).unwrap();
    let (far, mut far_inbox) = session(&nodes[1]);
    for session in [&near, &far] {
        join(session, "job", "q");
    }
    join(&far, "end", "");
    shown(&cluster, "job", 2).await;
    shown(&cluster, "end", 1).await;
    let (publisher, _inbox) = session(&nodes[0]);
    for number in 0..15 {
        let receipt = publisher.broadcast(message("job", number)).unwrap();
        let expected = if number < 10 { (1, 0, 0) } else { (0, 1, 0) };
        let went = (receipt.local, receipt.nodes, receipt.dropped);
        assert_eq!(went, expected, "{number}");
    }
    publisher.broadcast(message("end", "")).unwrap();
    assert_eq!(texts(&mut far_inbox).await, ["10", "11", "12", "13", "14"]);
    for number in 0..10 {
        let Ok(Delivery::Message { message, .. }) = near_inbox.recv().await else {
            panic!("nobody was cut off");
        };
        assert_eq!(message.payload, number.to_string());
    }
    cluster.leave().await;
}

#[tokio::test]
async fn who_hears_nothing_of_itself_leaves_its_messages_to_others_of_the_group() {
    let node = Node::start(Default::default(), None).await.unwrap();
    let (own, mut own_inbox) = session(&node);
    let (other, mut other_inbox) = session(&node);
    for session in [&own, &other] {
        join(session, "job", "q");
        join(session, "end", "");
    }
    for number in 0..20 {
        let receipt = own.broadcast_from(message("job", number)).unwrap();
        assert_eq!(receipt.local, 1);
    }
    own.broadcast(message("end", "")).unwrap();
    assert_eq!(texts(&mut other_inbox).await.len(), 20);
    assert!(texts(&mut own_inbox).await.is_empty());
}

/// A message that is on its way to a node whose members have just left goes to one that has some.
#[tokio::test]
async fn what_comes_where_nobody_is_left_goes_on_to_where_somebody_is() {
    let cluster = cluster(3).await;
    let nodes = cluster.nodes();
    let (stays, mut inbox) = session(&nodes[2]);
    join(&stays, "job", "q");
    join(&stays, "end", "");
    let (publisher, _inbox) = session(&nodes[0]);
    let mut published = 0;
    for round in 0..20 {
        let (leaves, _inbox) = session(&nodes[1]);
        let member = join(&leaves, "job", "q");
        shown(&cluster, "job", 2).await;
        // Its node knows it at once, the publisher's later.
        leaves.unsubscribe(member).unwrap();
        for _ in 0..10 {
            publisher.broadcast(message("job", published)).unwrap();
            published += 1;
        }
        shown(&cluster, "job", 1).await;
        if nodes[1].stats().passed_on > 0 && round > 2 {
            break;
        }
    }
    assert!(nodes[1].stats().passed_on > 0, "{:?}", nodes[1].stats());
    // What went the longer way is there, too.
    let mut got = 0;
    while got < published {
        let delivery = timeout(SOON, inbox.recv()).await;
        let delivery = delivery.unwrap_or_else(|_| panic!("{got} of {published}"));
        assert!(matches!(delivery, Ok(Delivery::Message { .. })));
        got += 1;
    }
    cluster.leave().await;
}

/// Whether the other one is on the same node or on another.
#[tokio::test]
async fn what_waits_for_a_member_that_dies_goes_to_others_of_its_group() {
    let cluster = cluster(2).await;
    let nodes = cluster.nodes();
    for there in [0, 1] {
        let (dies, unread) = session(&nodes[0]);
        join(&dies, "job", "q");
        join(&dies, "all", "");
        let (publisher, _inbox) = session(&nodes[0]);
        for number in 0..MANY {
            publisher.broadcast(message("job", number)).unwrap();
            publisher.broadcast(message("all", number)).unwrap();
        }
        let (other, mut inbox) = session(&nodes[there]);
        join(&other, "job", "q");
        join(&other, "end", "");
        shown(&cluster, "job", 2).await;
        shown(&cluster, "end", 1).await;
        let before = nodes[0].stats();
        drop(dies);
        drop(unread);
        // Many are ended by a task of the node.
        let gone = async {
            while nodes[0].stats().sessions > 2 - there {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(SOON, gone).await.expect("it is gone");
        let after = nodes[0].stats();
        assert_eq!(after.handed_over - before.handed_over, MANY as u64);
        let lost = after.dropped_session_ended - before.dropped_session_ended;
        assert_eq!(lost, MANY as u64, "what was for it alone");
        let mut got = Vec::new();
        while got.len() < MANY {
            let delivery = timeout(SOON, inbox.recv()).await.expect("all come");
            let Ok(Delivery::Message { message, .. }) = delivery else {
                panic!("nothing is missed");
            };
            got.push(String::from_utf8(message.payload.to_vec()).unwrap());
        }
        let expected: Vec<_> = (0..MANY).map(|number| number.to_string()).collect();
        assert_eq!(got, expected);
        drop((other, inbox, publisher));
        shown(&cluster, "job", 0).await;
    }
    cluster.leave().await;
}

/// In whatever way it comes not to take it, and whether the other one is on the same node or on another.
#[tokio::test]
async fn what_a_member_does_not_take_goes_to_others_of_its_group() {
    const MANY: usize = 1_000;
    let cluster = cluster(2).await;
    let nodes = cluster.nodes();
    let ways = ["inbox", "session", "slow", "declines"];
    for (way, there) in ways.into_iter().flat_map(|way| [(way, 0), (way, 1)]) {
        let (member, mut unread) = session_with(&nodes[0], MANY, Overflow::Disconnect);
        join(&member, "job", "q");
        let (publisher, _inbox) = session(&nodes[0]);
        for number in 0..MANY {
            publisher.broadcast(message("job", number)).unwrap();
        }
        let (other, mut inbox) = session(&nodes[there]);
        join(&other, "job", "q");
        shown(&cluster, "job", 2).await;
        let before = nodes[0].stats();
        let mut left = Some(member);
        let mut taken = 0;
        match way {
            // Some of it is out of the mailbox, and one message received.
            "inbox" | "session" => {
                unread.recv().await.unwrap();
                taken = 1;
                left = left.filter(|_| way == "inbox");
                drop(unread);
            }
            "slow" => {
                join(left.as_ref().unwrap(), "all", "");
                publisher.broadcast(message("all", "one too many")).unwrap();
                let missed = MANY as u64 + 1;
                let end = unread.recv().await.unwrap_err();
                assert_eq!(end, RecvError::Overflow { missed });
            }
            _ => {
                let own = left.as_ref().unwrap();
                let mut all = Vec::new();
                while all.len() < MANY {
                    all.push(unread.recv().await.unwrap());
                }
                own.unsubscribe(own_member(&all[0])).unwrap();
                assert!(all.iter().all(|delivery| own.decline(delivery)));
            }
        }
        let mut got = Vec::new();
        while got.len() < MANY - taken {
            let delivery = timeout(SOON, inbox.recv()).await;
            let delivery = delivery.unwrap_or_else(|_| panic!("{way}: only {}", got.len()));
            let Ok(Delivery::Message { message, .. }) = delivery else {
                panic!("nothing is missed");
            };
            let number = String::from_utf8(message.payload.to_vec()).unwrap();
            got.push(number.parse::<usize>().unwrap());
        }
        got.sort_unstable();
        assert_eq!(got, (taken..MANY).collect::<Vec<_>>(), "{way}");
        let after = nodes[0].stats();
        let counted = match way {
            "declines" => after.passed_on - before.passed_on,
            _ => after.handed_over - before.handed_over,
        };
        assert_eq!(counted, got.len() as u64, "{way}");
        let lost = after.dropped_session_ended - before.dropped_session_ended;
        assert_eq!(lost, 0, "{way}");
        drop((left, other, inbox, publisher));
        shown(&cluster, "job", 0).await;
    }
    cluster.leave().await;
}

fn own_member(delivery: &Delivery) -> MemberId {
    match delivery {
        Delivery::Message { member, .. } => *member,
        Delivery::Missed(_) => panic!("nothing is missed"),
    }
}

fn session_with(node: &Node, messages_max: usize, overflow: Overflow) -> (Session, Inbox) {
    let options = SessionOptions {
        mailbox: MailboxConfig {
            messages_max: messages_max.try_into().unwrap(),
            overflow,
            ..MailboxConfig::default()
        },
        ..SessionOptions::default()
    };
    node.session(options).unwrap()
}

#[tokio::test]
async fn directly_to_a_node_one_of_each_group_there_gets_it() {
    let cluster = cluster(2).await;
    let nodes = cluster.nodes();
    let (there, mut inbox) = session(&nodes[1]);
    for queue in ["one", "one", "two", ""] {
        join(&there, "job", queue);
    }
    join(&there, "end", "");
    shown(&cluster, "end", 1).await;
    let (publisher, _inbox) = session(&nodes[0]);
    for topic in ["job", "end"] {
        publisher
            .direct(nodes[1].name(), message(topic, ""))
            .unwrap();
    }
    assert_eq!(texts(&mut inbox).await.len(), 3);
    cluster.leave().await;
}

#[tokio::test]
async fn an_assured_message_is_told_of_with_one_member_of_each_group() {
    let cluster = cluster(2).await;
    let nodes = cluster.nodes();
    let (near, mut near_inbox) = session(&nodes[0]);
    let (far, mut far_inbox) = session(&nodes[1]);
    let mut members = HashMap::new();
    for (session, queue) in [(&near, "one"), (&far, "one"), (&far, "two"), (&far, "two")] {
        members.insert(join(session, "job", queue), queue);
    }
    members.insert(join(&far, "job", ""), "");
    join(&near, "end", "");
    join(&far, "end", "");
    shown(&cluster, "job", 5).await;
    shown(&cluster, "end", 2).await;
    let (publisher, _inbox) = session(&nodes[0]);
    for _ in 0..10 {
        let assured = publisher.broadcast_assured(message("job", ""), Default::default());
        let outcomes = assured.unwrap().await;
        assert!(outcomes.is_complete(), "{outcomes:?}");
        let mut told: Vec<_> = outcomes
            .members
            .iter()
            .map(|own| members[&own.member])
            .collect();
        told.sort_unstable();
        assert_eq!(told, ["", "one", "two"]);
    }
    publisher.broadcast(message("end", "")).unwrap();
    assert_eq!(texts(&mut near_inbox).await.len(), 10, "here comes first");
    assert_eq!(texts(&mut far_inbox).await.len(), 20);
    cluster.leave().await;
}

/// Answers each question with its text and who answers.
fn answer(name: &'static str, session: Session, mut inbox: Inbox) {
    tokio::spawn(async move {
        while let Ok(delivery) = inbox.recv().await {
            if let Delivery::Message { message, .. } = &delivery {
                let text = format!("{name} {}", String::from_utf8_lossy(&message.payload));
                session.answer(&delivery, text).unwrap();
            }
        }
    });
}

#[tokio::test]
async fn a_request_is_answered_from_another_node_at_once_and_its_inbox_is_no_member_anywhere() {
    let cluster = cluster(3).await;
    let nodes = cluster.nodes();
    let (answerer, inbox) = session(&nodes[1]);
    join(&answerer, "sum", "");
    answer("n2", answerer, inbox);
    shown(&cluster, "sum", 1).await;
    let (asker, _inbox) = session(&nodes[0]);
    for number in 0..50 {
        let answered = asker.request(message("sum", number), SOON).await.unwrap();
        assert_eq!(answered.payload, format!("n2 {number}"));
    }
    for node in nodes {
        assert_eq!(node.topics().len(), 1, "{:?}", node.topics());
    }
    // Only one node was sent the answers.
    assert_eq!(nodes[2].stats().received, 0);
    cluster.leave().await;
}

#[tokio::test]
async fn who_was_asked_may_let_somebody_on_a_third_node_answer() {
    let cluster = cluster(3).await;
    let nodes = cluster.nodes();
    let (second, mut asked) = session(&nodes[1]);
    join(&second, "sum", "");
    tokio::spawn(async move {
        while let Ok(Delivery::Message { message: asked, .. }) = asked.recv().await {
            let mut on = message("third", "on behalf");
            on.reply_to = asked.reply_to.clone();
            second.broadcast(on).unwrap();
        }
    });
    let (third, inbox) = session(&nodes[2]);
    join(&third, "third", "");
    answer("n3", third, inbox);
    shown(&cluster, "sum", 1).await;
    shown(&cluster, "third", 1).await;
    let (asker, _inbox) = session(&nodes[0]);
    for _ in 0..20 {
        let answered = asker.request(message("sum", ""), SOON).await.unwrap();
        assert_eq!(answered.payload, "n3 on behalf");
    }
    assert_eq!(nodes[1].stats().received, 20, "the answers went straight");
    // One that nobody has told n2 of: whoever knows its name reaches it all the same.
    let (waiting, mut inbox) = session(&nodes[0]);
    join(&waiting, "_INBOX.waiting.>", "");
    let (other, _inbox) = session(&nodes[1]);
    let receipt = other
        .broadcast(message("_INBOX.waiting.7", "found"))
        .unwrap();
    assert_eq!(receipt.nodes, 2, "it may be anywhere");
    let found = timeout(SOON, inbox.recv()).await.unwrap().unwrap();
    assert!(matches!(found, Delivery::Message { message, .. } if message.payload == "found"));
    cluster.leave().await;
}

#[tokio::test]
async fn who_subscribes_to_the_inbox_of_somebody_else_draws_no_answers_away_from_there() {
    let cluster = cluster(3).await;
    let [on, elsewhere, answers] = cluster.nodes() else {
        panic!("three")
    };
    let (server, mut questions) = session(answers);
    join(&server, "ask", "");
    shown(&cluster, "ask", 1).await;
    let ask = |session: &Session, text: &str| {
        let mut question = message("ask", text);
        question.reply_to = Some("_INBOX.x.1".parse().unwrap());
        session.broadcast(question).unwrap();
    };
    let (asker, mut inbox) = session(on);
    join(&asker, "_INBOX.x.*", "");
    ask(&asker, "who?");
    let question = timeout(SOON, questions.recv()).await.unwrap().unwrap();
    let (other, mut overheard) = session(elsewhere);
    join(&other, "_INBOX.x.1", "");
    ask(&other, "me!");
    timeout(SOON, questions.recv()).await.unwrap().unwrap();
    let to = question.asker().unwrap();
    server.answer_to(&to, Headers::default(), "you").unwrap();
    for inbox in [&mut inbox, &mut overheard] {
        let answer = timeout(SOON, inbox.recv()).await.expect("it comes");
        let Delivery::Message { message, .. } = answer.unwrap() else {
            panic!("nothing is missed");
        };
        assert_eq!(message.payload, "you");
    }
    // As it does when the client has moved, and is on its old node no more.
    drop((asker, inbox));
    server.answer_to(&to, Headers::default(), "again").unwrap();
    timeout(SOON, overheard.recv()).await.unwrap().unwrap();
    cluster.leave().await;
}

#[tokio::test]
async fn an_answer_finds_a_client_that_has_moved_from_a_node_that_drains() {
    let cluster = cluster(3).await;
    let [drains, takes, answers] = cluster.nodes() else {
        panic!("three")
    };
    let (server, mut questions) = session(answers);
    join(&server, "ask", "");
    shown(&cluster, "ask", 1).await;
    let (asker, inbox) = session(drains);
    join(&asker, "_INBOX.x.*", "");
    let mut question = message("ask", "who?");
    question.reply_to = Some("_INBOX.x.1".parse().unwrap());
    asker.broadcast(question).unwrap();
    let question = timeout(SOON, questions.recv()).await.unwrap().unwrap();
    drains.open_door(ClientDoor::default().draining());
    drop((asker, inbox));
    let (moved, mut inbox) = session(takes);
    join(&moved, "_INBOX.x.*", "");
    // Until the node of who answers knows that the other drains.
    let to = question.asker().unwrap();
    let comes = async {
        loop {
            server.answer_to(&to, Headers::default(), "you").unwrap();
            sleep(Duration::from_millis(10)).await;
            if inbox.try_recv().unwrap().is_some() {
                break;
            }
        }
    };
    timeout(SOON, comes).await.expect("it comes");
    cluster.leave().await;
}

#[tokio::test]
async fn a_request_that_nobody_gets_or_answers_is_told_so() {
    let cluster = cluster(2).await;
    let nodes = cluster.nodes();
    let (asker, _inbox) = session(&nodes[0]);
    let nobody = asker.request(message("sum", ""), SOON).await;
    let topic = "sum".parse().unwrap();
    assert_eq!(nobody, Err(RequestError::NoResponders { topic }));
    let (silent, _inbox) = session(&nodes[1]);
    join(&silent, "sum", "");
    shown(&cluster, "sum", 1).await;
    let limit = Duration::from_millis(50);
    let late = asker.request(message("sum", ""), limit).await;
    let topic = "sum".parse().unwrap();
    assert_eq!(late, Err(RequestError::TimedOut { topic, limit }));
    cluster.leave().await;
}

#[tokio::test]
async fn all_members_are_asked_and_those_that_did_not_answer_are_named() {
    let cluster = cluster(3).await;
    let nodes = cluster.nodes();
    for (node, name) in nodes.iter().zip(["n1", "n2", "n3"]) {
        let (session, inbox) = session(node);
        join(&session, "state", "");
        answer(name, session, inbox);
    }
    let (silent, _kept) = session(&nodes[1]);
    let silent_member = join(&silent, "state", "");
    let (dies, _kept_too) = session(&nodes[2]);
    let dying_member = join(&dies, "state", "");
    shown(&cluster, "state", 5).await;
    let (asker, _inbox) = session(&nodes[0]);
    let asked = asker.gather(message("state", "?"), Time::of_ms::<1_500>());
    let dying = async {
        sleep(Duration::from_millis(100)).await;
        drop(dies);
    };
    let (gathered, ()) = tokio::join!(asked, dying);
    let gathered = gathered.unwrap();
    let mut texts: Vec<_> = gathered
        .answers
        .iter()
        .map(|answer| String::from_utf8_lossy(&answer.message.payload).into_owned())
        .collect();
    texts.sort_unstable();
    assert_eq!(texts, ["n1 ?", "n2 ?", "n3 ?"]);
    let silent: HashMap<_, _> = gathered
        .silent
        .iter()
        .map(|own| (own.member, own.outcome))
        .collect();
    assert_eq!(silent.len(), 2, "{gathered:?}");
    assert_eq!(silent[&dying_member], Outcome::Died);
    assert!(
        matches!(silent[&silent_member], Outcome::Taken | Outcome::TimedOut),
        "{silent:?}"
    );
    cluster.leave().await;
}

#[tokio::test]
async fn nobody_is_waited_for_who_has_answered_left_or_died() {
    let cluster = cluster(2).await;
    let nodes = cluster.nodes();
    for node in nodes {
        let (session, inbox) = session(node);
        join(&session, "state", "");
        answer("n", session, inbox);
    }
    shown(&cluster, "state", 2).await;
    let (asker, _inbox) = session(&nodes[0]);
    let hour = Time::of_ms::<600_000>();
    let gathered = timeout(SOON, asker.gather(message("state", "?"), hour)).await;
    let gathered = gathered.expect("it waits no longer than for them").unwrap();
    assert_eq!((gathered.answers.len(), gathered.silent.len()), (2, 0));
    let nobody = asker.gather(message("nothing", "?"), hour).await.unwrap();
    assert_eq!((nobody.answers.len(), nobody.silent.len()), (0, 0));
    cluster.leave().await;
}
