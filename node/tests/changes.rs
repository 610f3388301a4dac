//! What has changed is known to whoever may have missed it, and nothing else is told.

use std::collections::BTreeMap;
use std::time::Duration;

use tidings::{
    ChangeNumber, Delivery, LocalCluster, Message, Node, Position, Recalled, Session,
    SessionOptions,
};

const SOON: Duration = Duration::from_secs(10);
/// How many changes are more than goes into one answer.
const MUCH: usize = 4_000;

fn session(node: &Node) -> anyhow::Result<(Session, tidings::Inbox)> {
    Ok(node.session(SessionOptions::default())?)
}

fn change(n: usize) -> anyhow::Result<Message> {
    let payload = format!("{n}");
    Ok(Message::new(
        "mcp.weather.resources.updated".parse()?,
        payload,
    ))
}

/// Asks all nodes, takes over what they say, and returns what may have been missed; None if anything may.
async fn recalled(
    session: &Session,
    position: &mut Position,
) -> anyhow::Result<Option<Vec<String>>> {
    let (mut all, mut is_all) = (Vec::new(), true);
    let mut recall = session.recall(&"mcp.weather".parse()?, Some(position), SOON);
    while let Some(said) = recall.next().await {
        let Recalled::Changes {
            node,
            incarnation,
            number,
            messages,
            is_complete,
            ..
        } = said
        else {
            anyhow::bail!("{said:?}");
        };
        is_all &= is_complete;
        for message in messages {
            all.push(String::from_utf8(message.payload.to_vec())?);
        }
        position.advance(&node, incarnation, number);
    }
    Ok(is_all.then_some(all))
}

#[tokio::test]
async fn exactly_what_was_published_since_is_recalled_from_all_nodes() {
    let cluster = LocalCluster::start(3).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    let [here, there, third] = [0, 1, 2].map(|n| session(&cluster.nodes()[n]).unwrap());
    let mut position = Position::default();
    // Nobody has subscribed, so nothing of it comes.
    for (n, (from, _)) in [(0, &here), (1, &there), (1, &there), (2, &third)] {
        from.broadcast(change(n).unwrap()).unwrap();
    }
    let mut all = recalled(&here.0, &mut position).await.unwrap().unwrap();
    all.sort();
    assert_eq!(all, ["0", "1", "2"]);
    there.0.broadcast(change(1).unwrap()).unwrap();
    there
        .0
        .broadcast(Message::new("mcp.other.updated".parse().unwrap(), "x"))
        .unwrap();
    assert_eq!(
        recalled(&here.0, &mut position).await.unwrap().unwrap(),
        ["1"]
    );
    assert!(
        recalled(&here.0, &mut position)
            .await
            .unwrap()
            .unwrap()
            .is_empty()
    );
    cluster.leave().await;
}

/// Publishes more on each node than goes into one answer.
async fn much() -> anyhow::Result<(LocalCluster, Session)> {
    let cluster = LocalCluster::start(2).await?;
    cluster.joined(SOON).await?;
    let [here, there] = cluster.nodes() else {
        anyhow::bail!("there are two nodes");
    };
    let ((here, _), (there, _)) = (session(here)?, session(there)?);
    for from in [&here, &there] {
        for n in 0..MUCH {
            from.broadcast(change(n)?)?;
        }
    }
    Ok((cluster, here))
}

#[tokio::test]
async fn what_is_more_than_goes_into_an_answer_comes_whole_and_in_order_in_several() {
    let (cluster, here) = much().await.unwrap();
    let server = "mcp.weather".parse().unwrap();
    let mut recall = here.recall(&server, Some(&Position::default()), SOON);
    let mut all: BTreeMap<_, (Vec<String>, Vec<u64>, usize)> = BTreeMap::new();
    while let Some(said) = recall.next().await {
        let Recalled::Changes {
            node,
            number,
            messages,
            is_complete,
            has_more,
            ..
        } = said
        else {
            panic!("{said:?}");
        };
        let payloads = messages.into_iter().map(|message| message.payload.to_vec());
        let (own, numbers, last) = all.entry(node).or_default();
        own.extend(payloads.map(|payload| String::from_utf8(payload).unwrap()));
        assert!(is_complete && *last == 0);
        assert_eq!(
            number,
            own.len() as u64,
            "up to which what was told is known"
        );
        numbers.push(number);
        *last += usize::from(!has_more);
    }
    let numbers: Vec<String> = (0..MUCH).map(|n| n.to_string()).collect();
    assert_eq!(all.len(), 2);
    for (node, (own, answers, last)) in all {
        assert!(
            own == numbers && last == 1 && answers.len() > 3,
            "{node}: {answers:?}"
        );
    }
    cluster.leave().await;
}

#[tokio::test]
async fn who_begins_is_told_the_numbers_and_nothing_of_what_was_before() {
    let (cluster, here) = much().await.unwrap();
    let mut position = Position::default();
    let mut recall = here.recall(&"mcp.weather".parse().unwrap(), None, SOON);
    while let Some(said) = recall.next().await {
        let Recalled::Changes {
            node,
            incarnation,
            number,
            messages,
            is_complete: true,
            has_more: false,
        } = said
        else {
            panic!("{said:?}");
        };
        assert_eq!((number, messages.len()), (MUCH as u64, 0), "{node}");
        position.advance(&node, incarnation, number);
    }
    assert_eq!(position.iter().count(), 2);
    here.broadcast(change(7).unwrap()).unwrap();
    let later = recalled(&here, &mut position).await.unwrap();
    assert_eq!(later.unwrap(), ["7"]);
    cluster.leave().await;
}

#[tokio::test]
async fn who_falls_silent_in_between_is_known_up_to_what_it_has_told() {
    let (cluster, here) = much().await.unwrap();
    let there = &cluster.nodes()[1];
    let server = "mcp.weather".parse().unwrap();
    let mut recall = here.recall(&server, Some(&Position::default()), SOON);
    let (mut number_there, mut is_silent) = (0, false);
    while let Some(said) = recall.next().await {
        match said {
            Recalled::Changes { node, number, .. } if node == *there.name() => {
                assert_eq!(number_there, 0, "it was gone");
                number_there = number;
                there.leave().await;
                // Nothing is left to wait for but the end of the time.
                tokio::time::pause();
            }
            Recalled::Changes { .. } => {}
            Recalled::Silent { node, .. } if node == *there.name() => is_silent = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(is_silent && (1..MUCH as u64).contains(&number_there));
    cluster.leave().await;
}

#[tokio::test]
async fn whoever_subscribes_knows_by_the_numbers_that_nothing_is_missing() {
    let cluster = LocalCluster::start(2).await.unwrap();
    cluster.joined(SOON).await.unwrap();
    let [(here, mut inbox), (there, _inbox)] =
        [0, 1].map(|n| session(&cluster.nodes()[n]).unwrap());
    here.subscribe(&"mcp.weather.>".parse().unwrap()).unwrap();
    here.everywhere(SOON).await.unwrap();
    let mut position = Position::default();
    for n in 0..100 {
        [&here, &there][n % 2]
            .broadcast(change(n).unwrap())
            .unwrap();
        // Of another server nothing comes here.
        there
            .broadcast(Message::new("mcp.other.updated".parse().unwrap(), "x"))
            .unwrap();
    }
    for _ in 0..100 {
        let Delivery::Message { message, .. } = inbox.recv().await.unwrap() else {
            panic!("something is missed");
        };
        position.receive(&ChangeNumber::of(&message).unwrap());
    }
    assert!(!position.is_missing_any());
    assert!(
        recalled(&here, &mut position)
            .await
            .unwrap()
            .unwrap()
            .is_empty()
    );
    cluster.leave().await;
}
