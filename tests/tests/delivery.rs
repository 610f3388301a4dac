//! Broadcasts reach every member once, in order, and nobody else.

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use futures::future::try_join_all;
use tidings_tests::{Cluster, Figures, Inbox, RawClient, wait_until};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_reaches_every_member_once_and_nobody_else() -> Result<()> {
    const FROM_EACH: usize = 200;
    let cluster = Cluster::up(3)?;
    let (mut members, mut others) = (Vec::new(), Vec::new());
    for node in cluster.nodes()? {
        for topic in [
            "news.sport",
            "news.sport",
            "news.*",
            "*.sport",
            "news.>",
            ">",
        ] {
            members.push(Inbox::open(&node, topic).await?);
        }
        // One connection with the same topic twice has two memberships.
        let client = node.connect().await?;
        members.push(Inbox::on(client.clone(), "news.sport").await?);
        members.push(Inbox::on(client, "news.sport").await?);
        for topic in [
            "news",
            "news.sport.tennis",
            "news.*.*",
            "news.sport.>",
            "sport.news",
        ] {
            others.push(Inbox::open(&node, topic).await?);
        }
    }
    let all = cluster.all();
    cluster
        .wait_members(&all, "news.sport", members.len(), SOON)
        .await?;
    let others_topics = ["news", "news.sport.tennis", "sport.news"];
    let sent_before = cluster
        .metric(&all, "tidings_messages_delivered_total")
        .await?;

    let mut expected = Vec::new();
    let mut publishers = Vec::new();
    for node in cluster.nodes()? {
        let publisher = node.connect().await?;
        for number in 0..FROM_EACH {
            let text = format!("{} {number}", node.node);
            publisher.publish("news.sport", text.clone().into()).await?;
            expected.push(text);
        }
        publisher.flush().await?;
        publishers.push(publisher);
    }
    expected.sort();
    for inbox in &mut members {
        let mut texts = inbox.texts(expected.len()).await?;
        texts.sort();
        assert_eq!(texts, expected);
    }
    // Order is kept per publisher: what comes after the marks cannot have been overtaken by them.
    for publisher in &publishers {
        for topic in others_topics {
            publisher.publish(topic, "mark".into()).await?;
        }
    }
    for inbox in &mut others {
        assert_eq!(inbox.text().await?, "mark");
    }
    let delivered = (members.len() * expected.len()) as f64;
    wait_until("every delivery is counted", SOON, async || {
        let now = cluster
            .metric(&all, "tidings_messages_delivered_total")
            .await;
        now.is_ok_and(|now| now - sent_before >= delivered)
    })
    .await;
    assert_eq!(
        cluster
            .metric(&all, "tidings_messages_dropped_total")
            .await?,
        0.0
    );
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_kept_per_publisher_over_all_its_topics() -> Result<()> {
    const COUNT: usize = 2_000;
    let cluster = Cluster::up(3)?;
    let mut inboxes = Vec::new();
    for node in cluster.nodes()? {
        inboxes.push(Inbox::open(&node, "order.>").await?);
    }
    cluster
        .wait_members(&cluster.all(), "order.0", 3, SOON)
        .await?;

    let publish = async |number: usize| -> Result<async_nats::Client> {
        let client = cluster.node(number % 3 + 1)?.connect().await?;
        for count in 0..COUNT {
            // Messages of very different sizes: a small one must not overtake a large one.
            let padding = if count % 50 == 0 { 100_000 } else { 0 };
            let text = format!("{number} {count} {}", " ".repeat(padding));
            client
                .publish(format!("order.{}", count % 7), text.into())
                .await?;
        }
        // It stays: flushing does not wait for what a node does not read yet, and without its client
        // that would be gone.
        client.flush().await?;
        Ok(client)
    };
    let receive = async |inbox: &mut Inbox| -> Result<()> {
        let mut next = [0; 6];
        for _ in 0..COUNT * next.len() {
            let text = inbox.text().await?;
            let mut words = text.split_whitespace().map(str::parse::<usize>);
            let (Some(Ok(publisher)), Some(Ok(count))) = (words.next(), words.next()) else {
                bail!("unexpected {text:?}");
            };
            assert_eq!(count, next[publisher], "of publisher {publisher}");
            next[publisher] += 1;
        }
        Ok(())
    };
    let published = try_join_all((0..6).map(publish));
    let received = try_join_all(inboxes.iter_mut().map(receive));
    futures::try_join!(published, received)?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_of_one_mebibyte_arrive_whole_and_larger_ones_are_refused() -> Result<()> {
    const MEBIBYTE: usize = 1 << 20;
    let cluster = Cluster::up(3)?;
    let mut inboxes = Vec::new();
    for node in cluster.nodes()? {
        inboxes.push(Inbox::open(&node, "large").await?);
    }
    cluster
        .wait_members(&cluster.all(), "large", 3, SOON)
        .await?;

    let publisher = cluster.node(1)?.connect().await?;
    assert_eq!(publisher.server_info().max_payload, MEBIBYTE);
    let payloads: Vec<Bytes> = (0..10_u8)
        .map(|salt| {
            (0..MEBIBYTE)
                .map(|i| (i % 251) as u8 ^ salt)
                .collect::<Vec<_>>()
                .into()
        })
        .collect();
    for payload in &payloads {
        publisher.publish("large", payload.clone()).await?;
    }
    for inbox in &mut inboxes {
        for payload in &payloads {
            let message = inbox.next().await?;
            assert!(
                message.payload == payload,
                "a payload of {} bytes",
                message.payload.len()
            );
        }
    }

    let mut raw = RawClient::connect(&cluster.node(2)?).await?;
    raw.send(format!(
        "CONNECT {{\"verbose\":false}}\r\nPUB large {}\r\n",
        MEBIBYTE + 1
    ))
    .await?;
    assert_eq!(
        raw.line_with("-ERR").await?,
        "-ERR 'Maximum Payload Violation'"
    );
    publisher.publish("large", "small".into()).await?;
    for inbox in &mut inboxes {
        assert_eq!(inbox.text().await?, "small");
    }
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_subscriber_loses_only_its_own_messages_and_delays_nobody() -> Result<()> {
    const SIZE: usize = 64 << 10;
    let cluster = Cluster::up(2)?;
    let mut fast = vec![
        Inbox::open(&cluster.node(1)?, "stream").await?,
        Inbox::open(&cluster.node(2)?, "stream").await?,
    ];
    let mut slow = Vec::new();
    for node in cluster.nodes()? {
        let mut client = RawClient::connect(&node).await?;
        client
            .send("CONNECT {\"verbose\":false}\r\nSUB stream 1\r\nPING\r\n")
            .await?;
        client.line_with("PONG").await?;
        slow.push(client); // and never reads again
    }
    cluster.wait_members(&[1, 2], "stream", 4, SOON).await?;

    // More than any buffer on the way of the slow ones holds; the fast ones keep up all the time.
    let publisher = cluster.node(1)?.connect().await?;
    let payload = Bytes::from(vec![b'x'; SIZE]);
    let mut figures = Figures::default();
    let mut count = 0;
    let http = cluster.node(1)?.http()?;
    while http.members("stream").await?.len() > fast.len() {
        assert!(
            count < 10_000,
            "{} MiB fit into the buffers",
            (count * SIZE) >> 20
        );
        for _ in 0..50 {
            let start = Instant::now();
            publisher.publish("stream", payload.clone()).await?;
            publisher.flush().await?;
            for inbox in &mut fast {
                assert_eq!(inbox.next().await?.payload.len(), SIZE);
            }
            figures.add(start.elapsed());
            count += 1;
        }
    }
    figures.print("64 KiB to a subscriber here and there, beside two that do not read");
    assert!(
        figures.max() < Duration::from_secs(1),
        "{:?}",
        figures.max()
    );

    // They were cut off, which is what the default policy of the gateway says, and what they lost
    // is counted where they were.
    cluster.wait_members(&[1, 2], "stream", 2, SOON).await?;
    for number in [1, 2] {
        let dropped = cluster
            .metric(&[number], "tidings_messages_dropped_total")
            .await?;
        assert!(dropped >= 1.0, "node {number} counts no loss");
    }
    for client in &mut slow {
        let rest = client.rest().await?;
        assert!(rest.len() < count * SIZE, "it got everything after all");
    }
    for inbox in &mut fast {
        inbox.stays_empty(Duration::from_millis(200)).await?;
    }
    cluster.down()
}
