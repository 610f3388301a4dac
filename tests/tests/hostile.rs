//! Clients and callers of HTTP that mean harm: the nodes live, and others notice nothing.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::{join_all, select_all};
use serde_json::json;
use tidings_tests::{Cluster, Inbox, Node, RawClient, RawMcp, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(10);
/// What an innocent may have to wait for anything, on a busy machine.
const LONGEST: Duration = Duration::from_secs(2);
const HELLO: &str = "CONNECT {\"verbose\":false}\r\n";

/// How long an attack goes on that has no end of its own: 4 s, or as many as `TIDINGS_ATTACK_SECONDS`
/// says.
fn attack_time() -> Duration {
    let seconds = std::env::var("TIDINGS_ATTACK_SECONDS").ok();
    let seconds = seconds.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
}

/// While the attack on n1 goes on, messages go from n1 to n2 and back, both are healthy, and neither
/// calls the other dead.
async fn others_notice_nothing(
    cluster: &Cluster,
    attack: impl Future<Output = Result<()>>,
) -> Result<()> {
    let nodes = [cluster.node(1)?, cluster.node(2)?];
    let mut inboxes = Vec::new();
    let mut publishers = Vec::new();
    for node in &nodes {
        inboxes.push(Inbox::open(node, "innocent").await?);
        publishers.push(node.connect().await?);
    }
    cluster.wait_members(&[1, 2], "innocent", 2, SOON).await?;
    // In a task of its own, which does not wait while the attack makes up what it sends.
    let worst = Arc::new(AtomicU64::default());
    let longest = Arc::clone(&worst);
    let mut innocents = JoinSet::new();
    innocents.spawn(async move {
        for round in 0_u64.. {
            let begun = Instant::now();
            let text = round.to_string();
            let publisher = &publishers[round as usize % 2];
            publisher.publish("innocent", text.clone().into()).await?;
            for inbox in &mut inboxes {
                let told = timeout(LONGEST, inbox.text()).await;
                ensure!(
                    told.context("a message does not arrive")?? == text,
                    "out of order"
                );
            }
            for node in &nodes {
                let status = timeout(LONGEST, health(node))
                    .await
                    .context("no health")??;
                ensure!(status == 200, "{status}");
            }
            let took = begun.elapsed();
            ensure!(took < LONGEST, "a round took {took:?}");
            longest.fetch_max(took.as_millis() as u64, Relaxed);
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    });
    tokio::select! {
        done = attack => done?,
        failed = innocents.join_next() => return failed.context("no innocents")??,
    }
    drop(innocents);
    println!(
        "figure: the longest round of an innocent took {} ms",
        worst.load(Relaxed)
    );
    for node in ["n1", "n2"] {
        ensure!(
            !cluster.log(node)?.contains("node is down"),
            "{node} called the other dead"
        );
    }
    Ok(())
}

/// Asks whether a node is healthy, and again as long as its connection is closed without an answer, as
/// anybody may who only asks: that is what becomes of the oldest on which nothing was asked yet when a
/// crowd takes all places.
async fn health(node: &Node) -> Result<u16> {
    loop {
        let answer = node.http()?.status("/livez").await;
        let failed = answer.as_ref().err();
        let failed = failed.and_then(|error| error.downcast_ref::<reqwest::Error>());
        if !failed.is_some_and(|error| error.is_request() && !error.is_connect()) {
            return answer;
        }
        println!("figure: a connection was closed without an answer");
    }
}

/// Sends the same for a while as fast as it is taken, and reads the answers, with threads of its own.
async fn flood(node: &Node, what: &str) -> Result<()> {
    let mut questions = std::net::TcpStream::connect(&node.client)?;
    let mut answers = questions.try_clone()?;
    let stream = questions.try_clone()?;
    questions.write_all(HELLO.as_bytes())?;
    let bytes = what.repeat((64 << 10) / what.len() + 1);
    let ask = thread::spawn(move || while questions.write_all(bytes.as_bytes()).is_ok() {});
    let mut unread = vec![0; 64 << 10];
    let read = thread::spawn(move || while answers.read(&mut unread).is_ok_and(|n| n > 0) {});
    sleep(attack_time()).await;
    ensure!(!ask.is_finished() && !read.is_finished(), "it was closed");
    stream.shutdown(std::net::Shutdown::Both)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pings_delays_nobody() -> Result<()> {
    let cluster = Cluster::up(2)?;
    let node = cluster.node(1)?;
    // More of them than there are threads that serve clients here.
    let floods = async {
        let floods = join_all((0..8).map(|_| flood(&node, "PING\r\n"))).await;
        floods.into_iter().collect()
    };
    others_notice_nothing(&cluster, floods).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_subscriptions_and_publications_delay_nobody() -> Result<()> {
    let cluster = Cluster::up(2)?;
    let node = cluster.node(1)?;
    let floods = async {
        let subscriptions = flood(&node, "SUB flood.a 1\r\nUNSUB 1\r\n");
        let publications = flood(&node, "PUB flood.b 1\r\nx\r\n");
        tokio::try_join!(subscriptions, publications).map(drop)
    };
    others_notice_nothing(&cluster, floods).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_never_read_delay_nobody_and_are_cut_off() -> Result<()> {
    let cluster = Cluster::with_config(2, "gateway.mailbox.bytes_max = 4194304")?;
    let node = cluster.node(1)?;
    let message = format!("PUB deaf 1048576\r\n{}\r\n", "x".repeat(1 << 20));
    let attack = async {
        let mut deaf = Vec::new();
        for _ in 0..10 {
            let mut client = RawClient::connect(&node).await?;
            client.send(format!("{HELLO}SUB deaf 1\r\n")).await?;
            deaf.push(client);
        }
        cluster.wait_members(&[1, 2], "deaf", 10, SOON).await?;
        let mut publisher = RawClient::connect(&node).await?;
        publisher.send(HELLO).await?;
        for _ in 0..40 {
            publisher.send(&message).await?;
        }
        publisher.send("PING\r\n").await?;
        publisher.line_with("PONG").await?;
        cluster
            .wait_members(&[1, 2], "deaf", 0, SOON)
            .await
            .map(drop)
    };
    others_notice_nothing(&cluster, attack).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_connect_to_the_end_is_closed() -> Result<()> {
    let cluster = Cluster::with_config(2, "gateway.connect_timeout = '1s'")?;
    let node = cluster.node(1)?;
    let attack = async {
        let loris = async |_| {
            let mut client = RawClient::connect(&node).await?;
            for byte in b"CONNECT {\"verbose\":false," {
                if client.send([*byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(100)).await;
            }
            let told = client.rest().await?;
            ensure!(
                told.is_empty() || told.contains("Authentication Timeout"),
                "{told}"
            );
            Ok(())
        };
        join_all((0..200).map(loris)).await.into_iter().collect()
    };
    others_notice_nothing(&cluster, attack).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_payload_is_not_kept_for_ever() -> Result<()> {
    let cluster = Cluster::with_config(2, "gateway.operation_timeout = '2s'")?;
    let node = cluster.node(1)?;
    let half = format!("{HELLO}PUB half 1048576\r\n{}", "x".repeat((1 << 20) - 1));
    let attack = async {
        let stuck = async |_| {
            let mut client = RawClient::connect(&node).await?;
            client.send(&half).await?;
            let told = client.rest().await?;
            ensure!(told.contains("Stale Connection"), "{told}");
            Ok(())
        };
        join_all((0..50).map(stuck)).await.into_iter().collect()
    };
    others_notice_nothing(&cluster, attack).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_garbage_delay_nobody_and_do_not_fill_the_log() -> Result<()> {
    let cluster = Cluster::up(2)?;
    let node = cluster.node(1)?;
    let before = cluster.log("n1")?.len();
    let attack = async {
        let garbage = async |_| {
            for _ in 0..500 {
                let mut stream = TcpStream::connect(&node.client).await?;
                // It may be closed before it is all there.
                let _ = stream.write_all(b"\x16\x03\x01garbage\r\n").await;
                let mut rest = Vec::new();
                let _ = timeout(SOON, stream.read_to_end(&mut rest)).await?;
            }
            Ok(())
        };
        join_all((0..16).map(garbage)).await.into_iter().collect()
    };
    others_notice_nothing(&cluster, attack).await?;
    let bytes = cluster.log("n1")?.len() - before;
    ensure!(
        bytes < 10_000,
        "8,000 connections made {bytes} bytes of log"
    );
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_http_that_say_nothing_or_half_keep_nobody_out() -> Result<()> {
    let cluster = Cluster::up(2)?;
    let node = cluster.node(1)?;
    let attack = async {
        let begun = Instant::now();
        let mut open = Vec::new();
        while begun.elapsed() < attack_time() {
            for said in [
                "",
                "GET /livez HTTP/1.1\r\n",
                "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
            ] {
                let mut stream = TcpStream::connect(&node.http).await?;
                let _ = stream.write_all(said.as_bytes()).await;
                open.push(stream);
            }
            if open.len() > 300 {
                open.drain(..100);
            }
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    };
    others_notice_nothing(&cluster, attack).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_all_topics_again_and_again_delays_nobody() -> Result<()> {
    const TOPICS: usize = 40_000;
    let cluster = Cluster::with_config(2, "limits.membership_bytes_per_session_max = 4000000")?;
    let node = cluster.node(1)?;
    let mut client = RawClient::connect(&node).await?;
    client.send(HELLO).await?;
    let subscribe = |n| format!("SUB many.{n:05} {n}\r\n");
    client
        .send((0..TOPICS).map(subscribe).collect::<String>())
        .await?;
    client.send("PING\r\n").await?;
    client.line_with("PONG").await?;
    wait_until("n2 knows all topics", Duration::from_secs(60), async || {
        let count = cluster.metric(&[2], "tidings_topics").await;
        count.is_ok_and(|count| count >= TOPICS as f64)
    })
    .await;
    let attack = async {
        let ask = async |number: usize| -> Result<()> {
            let paths = ["/v1/topics?limit=10000", "/metrics"];
            loop {
                match node.http()?.status(paths[number % 2]).await? {
                    200 | 503 => {}
                    other => bail!("answered {other}"),
                }
            }
        };
        let askers = select_all((0..16).map(|number| Box::pin(ask(number))));
        match timeout(attack_time(), askers).await {
            Ok((ended, ..)) => ended,
            Err(_) => Ok(()),
        }
    };
    others_notice_nothing(&cluster, attack).await?;
    let topics = node.http()?.topics().await?;
    // The others may have gone already, with the topics of theirs.
    ensure!(
        topics.len() >= TOPICS,
        "all pages together have {}",
        topics.len()
    );
    drop(client);
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_wildcards_that_come_and_go_delay_nobody() -> Result<()> {
    const WILDCARDS: usize = 9_900;
    let cluster = Cluster::up(2)?;
    let node = cluster.node(1)?;
    let attack = async {
        for _ in 0..2 {
            let mut client = RawClient::connect(&node).await?;
            client.send(HELLO).await?;
            let subscribe = |n| format!("SUB wild.x{n}.* {n}\r\n");
            client
                .send((0..WILDCARDS).map(subscribe).collect::<String>())
                .await?;
            client.send("PING\r\n").await?;
            client.line_with("PONG").await?;
            drop(client);
            cluster.wait_members(&[1, 2], "wild.x0.*", 0, SOON).await?;
        }
        Ok(())
    };
    others_notice_nothing(&cluster, attack).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_clients_took_goes_back_to_the_system() -> Result<()> {
    let cluster = Cluster::up(1)?;
    let node = cluster.node(1)?;
    let message = "x".repeat(1 << 20);
    let mut deaf = Vec::new();
    for number in 0..10 {
        let mut client = RawClient::connect(&node).await?;
        client
            .send(format!("{HELLO}SUB own.{number} 1\r\n"))
            .await?;
        for _ in 0..40 {
            client
                .send(format!("PUB own.{number} 1048576\r\n{message}\r\n"))
                .await?;
        }
        deaf.push(client);
    }
    let peak = resident_kib(node.pid)?;
    ensure!(
        peak > 100 << 10,
        "there is nothing to give back: {peak} KiB"
    );
    drop(deaf);
    let took = wait_until("memory goes back", Duration::from_secs(60), async || {
        resident_kib(node.pid).is_ok_and(|now| now < peak / 8)
    })
    .await;
    println!(
        "figure: of {peak} KiB all but an eighth is back after {} s",
        took.as_secs()
    );
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_clients_take_all_they_can_the_memory_of_a_node_is_bounded() -> Result<()> {
    const BUDGET: u64 = 64 << 20;
    let cluster = Cluster::with_config(2, &format!("limits.waiting_bytes_max = {BUDGET}"))?;
    let node = cluster.node(1)?;
    let before = resident_kib(node.pid)?;
    let message = "x".repeat(1 << 20);
    let attack = async {
        // Each of them alone may have more waiting than all of them together.
        let mut deaf = Vec::new();
        for number in 0..40 {
            let mut client = RawClient::connect(&node).await?;
            client
                .send(format!("{HELLO}SUB own.{number} 1\r\n"))
                .await?;
            for _ in 0..10 {
                let publication = format!("PUB own.{number} 1048576\r\n{message}\r\n");
                // Who is slowed, or closed, takes no more.
                let sent = timeout(Duration::from_millis(100), client.send(publication)).await;
                if !matches!(sent, Ok(Ok(()))) {
                    break;
                }
            }
            deaf.push(client);
        }
        // And halves of payloads.
        for _ in 0..100 {
            let mut client = RawClient::connect(&node).await?;
            let half = format!("{HELLO}PUB half 1048576\r\n{}", &message[..1 << 19]);
            // What is not taken is not sent.
            let _ = timeout(Duration::from_millis(20), client.send(half)).await;
            deaf.push(client);
        }
        let end = Instant::now() + attack_time();
        let (mut waiting, mut resident) = (0, 0);
        while Instant::now() < end {
            let metrics = node.http()?.metrics().await?;
            waiting = waiting.max(metrics.sum("tidings_waiting_bytes") as u64);
            resident = resident.max(resident_kib(node.pid)?);
            sleep(Duration::from_millis(50)).await;
        }
        println!("figure: {waiting} bytes wait at most, {before} KiB became {resident}");
        ensure!(waiting > BUDGET / 4, "there was no attack: {waiting} bytes");
        ensure!(waiting <= BUDGET + (8 << 20), "{waiting} bytes wait");
        let more = (resident - before) << 10;
        ensure!(more < 2 * BUDGET, "{more} bytes more than before");
        Ok(())
    };
    others_notice_nothing(&cluster, attack).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_of_mcp_that_never_read_delay_nobody_and_cost_little() -> Result<()> {
    const CONNECTIONS: usize = 2_000;
    const CHANGES: usize = 200_000;
    let cluster = Cluster::with_config(2, &format!("http_connections_max = {CONNECTIONS}"))?;
    let node = cluster.node(1)?;
    let before = resident_kib(node.pid)?;
    let attack = async {
        let uris = ["tidings://topics/deaf", "tidings://topics"];
        let mut deaf = Vec::new();
        let refused = loop {
            ensure!(deaf.len() < CONNECTIONS, "all are let in");
            let mut listener = RawMcp::listen(&node, json!(1), &uris).await?;
            let told = listener.told("\n\n").await?;
            if !told.contains("tidings://topics/deaf") {
                break listener.told("http_connections_max").await?;
            }
            deaf.push(listener);
        };
        ensure!(refused.contains("too many watch or wait"), "{refused}");
        // Fewer where there are not so many open files.
        ensure!(deaf.len() > 50, "only {} listen", deaf.len());
        let listening = resident_kib(node.pid)?;

        let begun = Instant::now();
        let mut publisher = RawClient::connect(&node).await?;
        publisher.send(HELLO).await?;
        let mut most = listening;
        let publications = "PUB deaf 1\r\nx\r\n".repeat(CHANGES / 100);
        for number in 0..100 {
            let comes_and_goes = format!("SUB changing.{number} {number}\r\nUNSUB {number}\r\n");
            publisher.send(comes_and_goes + &publications).await?;
            publisher.send("PING\r\n").await?;
            publisher.line_with("PONG").await?;
            most = most.max(resident_kib(node.pid)?);
            sleep(attack_time() / 100).await;
        }
        println!(
            "figure: {} listeners make {before} KiB {listening}, and {CHANGES} changes in {} ms {most}",
            deaf.len(),
            begun.elapsed().as_millis()
        );
        // What is written before the socket is full, and not what has changed since.
        let each = (most - before) / deaf.len() as u64;
        ensure!(each < 200, "a listener takes {each} KiB");
        Ok(())
    };
    others_notice_nothing(&cluster, attack).await?;
    cluster.down()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_mcp_that_are_endless_slow_or_guesses_delay_nobody_and_cost_little()
-> Result<()> {
    let cluster = Cluster::up(2)?;
    let node = cluster.node(1)?;
    let before = resident_kib(node.pid)?;
    let attack = async {
        // All of them at a time, as many as may listen.
        let many = json!({ "notifications": { "resourceSubscriptions": vec!["x"; 100_000] } });
        let mut open = Vec::new();
        for _ in 0..30 {
            let method = "subscriptions/listen";
            let mut own = RawMcp::ask(&node, json!(1), method, many.clone()).await?;
            own.told("more than 20000 values").await?;
            open.push(own);
        }
        for _ in 0..4 {
            let payload = "x".repeat(3 << 20);
            let publication = json!({ "topic": "long", "payload": payload });
            let mut own = RawMcp::call(&node, "publish", publication).await?;
            own.told("413 Payload Too Large").await?;
            let id = json!("x".repeat(2 << 20));
            let mut own = RawMcp::listen(&node, id, &["tidings://topics"]).await?;
            own.told("the id is too long").await?;
        }
        drop(open);
        let most = resident_kib(node.pid)?;
        println!("figure: {before} KiB became {most}");
        ensure!(most < before + (64 << 10), "{before} KiB became {most}");

        let subscription = json!({ "topics": ["own"] });
        let mut own = RawMcp::call(&node, "subscribe", subscription).await?;
        let told = own.told("\"isError\"").await?;
        let handle = told.split("\"inbox\":\"").nth(1).context("an inbox")?;
        let handle = handle.get(..32).context("a handle")?.to_owned();
        for at in 0..handle.len() {
            let mut guess = handle.clone();
            let other = if &handle[at..=at] == "0" { "1" } else { "0" };
            guess.replace_range(at..=at, other);
            for (tool, handle) in [("receive", &guess), ("unsubscribe", &guess)] {
                let guess = json!({ "inbox": handle });
                let mut own = RawMcp::call(&node, tool, guess).await?;
                own.told("\"isError\":true").await?;
            }
        }
        let publication = json!({ "topic": "own", "payload": "kept" });
        let mut own = RawMcp::call(&node, "publish", publication).await?;
        own.told("\"isError\":false").await?;
        let mut own = RawMcp::call(&node, "receive", json!({ "inbox": handle })).await?;
        own.told("kept").await?;

        // More of them than there are connections, each a byte at a time.
        let slow = async |_| {
            let mut own = RawMcp::connect(&node).await?;
            for byte in b"POST /mcp HTTP/1.1\r\n" {
                if own.send([*byte]).await.is_err() {
                    break;
                }
                sleep(attack_time() / 20).await;
            }
            Ok(())
        };
        join_all((0..200).map(slow)).await.into_iter().collect()
    };
    others_notice_nothing(&cluster, attack).await?;
    cluster.down()
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line
        .context("VmRSS")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?)
}
