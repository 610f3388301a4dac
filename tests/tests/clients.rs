//! The client gateway: stock clients, and clients that send what no client should.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use async_nats::HeaderMap;
use tidings_tests::differential::Site;
use tidings_tests::{Cluster, Inbox, Program, RawClient, repository};

const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn async_nats_publishes_and_subscribes_across_nodes() -> Result<()> {
    let cluster = Cluster::up(2)?;
    let mut here = Inbox::open(&cluster.node(1)?, "weather.*").await?;
    let mut there = Inbox::open(&cluster.node(2)?, "weather.sf").await?;
    cluster.wait_members(&[1, 2], "weather.sf", 2, SOON).await?;

    let publisher = cluster.node(1)?.connect().await?;
    let mut headers = HeaderMap::new();
    headers.insert("Unit", "celsius");
    headers.append("Source", "buoy");
    headers.append("Source", "roof");
    publisher
        .publish_with_headers("weather.sf", headers.clone(), "18".into())
        .await?;
    for inbox in [&mut here, &mut there] {
        let message = inbox.next().await?;
        assert_eq!(message.subject.as_str(), "weather.sf");
        assert_eq!(message.payload, "18");
        assert_eq!(message.headers.as_ref(), Some(&headers));
    }
    publisher.publish("weather.sf", "".into()).await?;
    for inbox in [&mut here, &mut there] {
        let message = inbox.next().await?;
        assert!(
            message.payload.is_empty() && message.headers.is_none(),
            "{message:?}"
        );
    }

    let client = there.unsubscribe().await?;
    cluster.wait_members(&[1, 2], "weather.sf", 1, SOON).await?;
    let mut mark = Inbox::on(client, "mark").await?;
    cluster.wait_members(&[1, 2], "mark", 1, SOON).await?;
    publisher.publish("weather.sf", "19".into()).await?;
    publisher.publish("mark", "end".into()).await?;
    assert_eq!(mark.text().await?, "end");
    assert_eq!(here.text().await?, "19");
    cluster.down()
}

/// The hashes of `s3cret` and `t0ken`.
const IDENTITIES: &str = r#"
    [[identities]]
    name = "worker"
    role = "workers"
    password = "$2b$04$Zl3nVYJ1XWbYkJYqv7rKJewOHIFSbjY6uwf0s17HKKkfeVVPX6UpS"
    [[identities]]
    name = "tok"
    role = "all"
    token = "sha256:b46c09677343261f0b439a472422225e3a230c9c094d6ab16762e2036b597053"
    [roles.workers]
    publish = { allow = ["work.>"] }
    subscribe = { allow = ["work.>"] }
    [roles.all]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn nats_py_shows_who_it_is_and_hears_what_is_denied() -> Result<()> {
    let python = Program::start(Command::new(repository().join("tests/python/venv")))?.finish()?;
    let site = Site::with_config(IDENTITIES).await?;
    let mut client = Command::new(python.trim());
    client.arg(repository().join("tests/python/identities.py"));
    client.args(site.addrs());
    let told = Program::start(client)?.finish()?;
    assert!(told.contains("hears what is denied"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_input_ends_that_connection_and_nothing_else() -> Result<()> {
    let cluster = Cluster::up(1)?;
    let node = cluster.node(1)?;
    let mut inbox = Inbox::open(&node, "fine").await?;
    let publisher = node.connect().await?;

    const HELLO: &str = "CONNECT {\"verbose\":false}\r\n";
    let unfit: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(100),
        b"\0\0\0\0\r\n".to_vec(),
        b"CONNECT {\"verbose\":\r\n".to_vec(),
        vec![b'A'; 1 << 20],
        format!("{HELLO}FROB x\r\n").into(),
        format!("{HELLO}PUB\r\n").into(),
        format!("{HELLO}PUB fine nonsense\r\n").into(),
        format!("{HELLO}PUB fine -1\r\n").into(),
        format!("{HELLO}PUB fine 99999999999999999999999999\r\n").into(),
        format!("{HELLO}PUB fine 3\r\nabcdef\r\n").into(),
        format!("{HELLO}HPUB fine 20 10\r\n0123456789\r\n").into(),
        format!("{HELLO}SUB\r\n").into(),
        format!("{HELLO}UNSUB\r\n").into(),
    ];
    for bytes in unfit {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        let mut client = RawClient::connect(&node).await?;
        // The node may have hung up on us before we have sent it all.
        let _ = client.send(&bytes).await;
        let rest = client.rest().await?;
        assert!(
            rest.is_empty() || rest.contains("-ERR '"),
            "{shown:?} was answered {rest:?}"
        );

        publisher.publish("fine", shown.clone().into()).await?;
        assert_eq!(inbox.text().await?, shown, "after {shown:?}");
    }
    assert_eq!(cluster.node(1)?.http()?.status("/livez").await?, 200);
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_is_spoken_as_clients_know_it() -> Result<()> {
    let cluster = Cluster::up(1)?;
    let mut client = RawClient::connect(&cluster.node(1)?).await?;
    client
        .send("CONNECT {\"verbose\":true,\"echo\":true}\r\nPING\r\n")
        .await?;
    assert_eq!(client.line().await?, "+OK");
    assert_eq!(client.line().await?, "PONG");
    // Byte by byte, as a slow network would bring it.
    for byte in b"SUB a.* 7\r\nPUB a.b 5\r\nhello\r\n" {
        client.send([*byte]).await?;
        tokio::task::yield_now().await;
    }
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.push(client.line().await?);
    }
    lines.sort(); // the second +OK may come before or after the message
    assert_eq!(lines, ["+OK", "+OK", "MSG a.b 7 5", "hello"]);

    client
        .send("UNSUB 7\r\nPUB a.b 1\r\nx\r\nSUB bad..subject 8\r\nPING\r\n")
        .await?;
    assert_eq!(client.line().await?, "+OK");
    assert_eq!(client.line().await?, "+OK");
    assert_eq!(client.line().await?, "-ERR 'Invalid Subject'");
    assert_eq!(
        client.line().await?,
        "PONG",
        "a bad subject does not end the connection"
    );

    let mut silent = RawClient::connect(&cluster.node(1)?).await?;
    silent
        .send(
            "CONNECT {\"verbose\":false,\"echo\":false}\r\nSUB own 1\r\nPUB own 1\r\nx\r\nPING\r\n",
        )
        .await?;
    assert_eq!(
        silent.line().await?,
        "PONG",
        "with echo off it does not hear itself"
    );
    cluster.down()
}
