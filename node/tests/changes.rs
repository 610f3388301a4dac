//! What has changed is known to whoever may have missed it, and nothing else is told.

use std::time::Duration;

use tidings::{
    ChangeNumber, Delivery, LocalCluster, Message, Node, Position, Recalled, Session,
    SessionOptions,
};

const SOON: Duration = Duration::from_secs(10);

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
    let mut recall = session.recall(&"mcp.weather".parse()?, position, SOON);
    while let Some(said) = recall.next().await {
        let Recalled::Changes {
            node,
            incarnation,
            number,
            messages,
            is_complete,
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

    // More than goes into one answer.
    for n in 0..5_000 {
        there.0.broadcast(change(n).unwrap()).unwrap();
    }
    assert_eq!(
        recalled(&here.0, &mut position)
            .await
            .unwrap()
            .unwrap()
            .len(),
        5_000
    );
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
