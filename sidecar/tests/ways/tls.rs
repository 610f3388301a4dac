use std::time::Duration;

use async_nats::ConnectOptions;
use futures::StreamExt;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tidings::Time;
use tidings_sidecar::{GatewayConfig, TlsConfig, gateway};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use crate::authority::{Authority, handshake};
use crate::client::{Client, QUIET, SOON, closed};
use crate::gate::Gate;

async fn gate(tls: TlsConfig) -> Gate {
    Gate::open(GatewayConfig {
        tls,
        ..GatewayConfig::default()
    })
    .await
}

/// A client that was greeted in plain and then upgraded.
async fn upgraded(
    gate: &Gate,
    config: ClientConfig,
) -> std::io::Result<Client<TlsStream<TcpStream>>> {
    let mut client = gate.plain().await;
    client.info().await;
    handshake(config, client.into_inner())
        .await
        .map(Client::new)
}

#[tokio::test]
async fn a_client_is_greeted_in_plain_and_goes_on_with_tls() {
    let authority = Authority::new();
    let gate = gate(authority.tls()).await;
    let mut client = gate.plain().await;
    let info = client.info().await;
    assert_eq!(info["tls_required"], true);
    assert_eq!(info["client_ip"], "127.0.0.1");
    assert_eq!(info.get("tls_verify"), None);
    assert_eq!(info.get("tls_available"), None);
    let stream = handshake(authority.client(None), client.into_inner())
        .await
        .unwrap();
    let mut client = Client::new(stream);
    client
        .send("CONNECT {\"tls_required\":true,\"verbose\":false}\r\nPING\r\n")
        .await;
    client.expect(&["PONG"]).await;
    client.expect_served().await;
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken() {
    let authority = Authority::new();
    let gate = gate(authority.tls()).await;
    for version in [&TLS12, &TLS13] {
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let config = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        upgraded(&gate, config).await.unwrap().expect_served().await;
    }
}

#[tokio::test]
async fn what_is_larger_than_any_record_or_buffer_comes_through_whole() {
    let authority = Authority::new();
    let gate = gate(authority.tls()).await;
    let mut client = upgraded(&gate, authority.client(None)).await.unwrap();
    client.send(QUIET).await;
    client.send("SUB big 1\r\n").await;
    let payload: String = ('a'..='z').cycle().take(1_000_000).collect();
    for _ in 0..8 {
        client
            .send(format!("PUB big {}\r\n{payload}\r\n", payload.len()))
            .await;
        client.expect(&["MSG big 1 1000000", &payload]).await;
    }
}

#[tokio::test]
async fn a_client_that_stays_in_plain_is_told_that_tls_is_required() {
    let authority = Authority::new();
    let gate = gate(authority.tls()).await;
    let mut client = gate.plain().await;
    client.info().await;
    client.send(QUIET).await;
    client
        .expect(&["-ERR 'Secure Connection - TLS Required'"])
        .await;
    client.expect_closed().await;
}

#[tokio::test]
async fn a_client_may_stay_in_plain_where_that_is_allowed() {
    let authority = Authority::new();
    let gate = gate(TlsConfig {
        allow_non_tls: true,
        timeout: Time::of_ms::<50>(),
        ..authority.tls()
    })
    .await;
    let mut plain = gate.plain().await;
    let info = plain.info().await;
    assert_eq!(info["tls_available"], true);
    assert_eq!(info.get("tls_required"), None);
    sleep(Duration::from_millis(100)).await;
    plain.expect_served().await;
    plain.send("CONNECT {\"tls_required\":true}\r\n").await;
    plain
        .expect(&["-ERR 'Secure Connection - TLS Not Available'"])
        .await;
    let mut client = upgraded(&gate, authority.client(None)).await.unwrap();
    client.expect_served().await;
}

#[tokio::test]
async fn tls_comes_before_the_greeting_where_that_was_agreed_on() {
    let authority = Authority::new();
    let gate = gate(TlsConfig {
        handshake_first: true,
        ..authority.tls()
    })
    .await;
    let stream = TcpStream::connect(gate.addr).await.unwrap();
    let mut client = Client::new(handshake(authority.client(None), stream).await.unwrap());
    assert_eq!(client.info().await["tls_required"], true);
    client.expect_served().await;
    // Who waits for the greeting waits in vain, and is told why in the end.
    let mut waiting = gate.plain().await;
    waiting
        .expect(&["-ERR 'Secure Connection - TLS Required'"])
        .await;
    waiting.expect_closed().await;
}

#[tokio::test]
async fn who_shows_no_certificate_of_the_authority_is_not_let_in() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let gate = gate(TlsConfig {
        ca: Some(ours.ca()),
        ..ours.tls()
    })
    .await;
    let mut client = gate.plain().await;
    assert_eq!(client.info().await["tls_verify"], true);

    let mut client = upgraded(&gate, ours.client(Some("planner"))).await.unwrap();
    client.expect_served().await;
    for config in [ours.client(None), theirs.client_of(&ours, Some("stranger"))] {
        // With TLS 1.3 the client is done before the server has looked at its certificate.
        if let Ok(refused) = upgraded(&gate, config).await {
            refused
                .into_inner()
                .read_to_end(&mut Vec::new())
                .await
                .unwrap_err();
        }
    }
    client.send("PING\r\n").await;
    client.expect(&["PONG"]).await;
}

#[tokio::test]
async fn a_certificate_may_be_optional_but_not_wrong() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let gate = gate(TlsConfig {
        ca: Some(ours.ca()),
        verify: false,
        ..ours.tls()
    })
    .await;
    for name in [None, Some("planner")] {
        let mut client = upgraded(&gate, ours.client(name)).await.unwrap();
        client.expect_served().await;
    }
    let config = theirs.client_of(&ours, Some("stranger"));
    if let Ok(refused) = upgraded(&gate, config).await {
        refused
            .into_inner()
            .read_to_end(&mut Vec::new())
            .await
            .unwrap_err();
    }
}

#[tokio::test]
async fn who_does_not_finish_the_handshake_in_time_is_closed_and_costs_no_one_anything() {
    let authority = Authority::new();
    let gate = gate(TlsConfig {
        timeout: Time::of_ms::<300>(),
        ..authority.tls()
    })
    .await;
    let mut neighbour = upgraded(&gate, authority.client(None)).await.unwrap();
    neighbour.expect_served().await;
    // One says nothing at all, one stops within the handshake, one goes on byte by byte.
    let mut silent = gate.plain().await;
    silent.info().await;
    let mut half = gate.plain().await;
    half.info().await;
    half.send([22, 3, 1, 2, 0, 1]).await;
    let mut slow = gate.plain().await;
    slow.info().await;
    let mut slow = slow.into_inner();
    let drip = async {
        let hello = [22, 3, 1, 2, 0].into_iter().chain(std::iter::repeat(1));
        for byte in hello {
            if slow.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, drip).await.expect("the server closes");
    silent
        .expect(&["-ERR 'Secure Connection - TLS Required'"])
        .await;
    silent.expect_closed().await;
    half.expect_closed().await;
    neighbour.send("PING\r\n").await;
    neighbour.expect(&["PONG"]).await;
}

#[tokio::test]
async fn what_is_no_tls_after_all_ends_that_connection_alone() {
    let authority = Authority::new();
    let gate = gate(authority.tls()).await;
    let mut neighbour = upgraded(&gate, authority.client(None)).await.unwrap();
    neighbour.expect_served().await;
    for junk in [
        &[22; 4096][..],
        &[22, 3, 3, 0xff, 0xff, 0, 0],
        &[22, 3, 1, 0, 0],
    ] {
        let mut stranger = gate.plain().await;
        stranger.info().await;
        stranger.send(junk).await;
        let mut stream = stranger.into_inner();
        stream.shutdown().await.unwrap();
        closed(stream).await;
    }
    // In the midst of TLS that was fine so far.
    let mut broken = upgraded(&gate, authority.client(None)).await.unwrap();
    let topic = broken.expect_served().await;
    let (mut stream, _) = broken.into_inner().into_inner();
    stream.write_all(&[23, 3, 3, 0, 40]).await.unwrap();
    stream.write_all(&[0; 40]).await.unwrap();
    closed(stream).await;
    gate.members_become(&topic, 0).await;
    neighbour.send("PING\r\n").await;
    neighbour.expect(&["PONG"]).await;
}

#[tokio::test]
async fn who_reads_nothing_over_tls_is_cut_off_as_anybody_else() {
    let authority = Authority::new();
    let mut config = GatewayConfig {
        tls: authority.tls(),
        ..GatewayConfig::default()
    };
    config.mailbox.messages_max = tidings::Count::of::<8>();
    let gate = Gate::open(config).await;
    let mut lazy = upgraded(&gate, authority.client(None)).await.unwrap();
    lazy.send(QUIET).await;
    lazy.send("SUB flood 1\r\nPING\r\n").await;
    lazy.expect(&["PONG"]).await;
    let mut publisher = upgraded(&gate, authority.client(None)).await.unwrap();
    publisher.send(QUIET).await;
    let message = format!("PUB flood 100000\r\n{}\r\n", "x".repeat(100_000));
    let flood = async {
        while gate.members("flood") > 0 {
            publisher.send(&message).await;
        }
    };
    timeout(SOON, flood).await.expect("it is cut off");
    let mut words = Vec::new();
    let _ = lazy.into_inner().read_to_end(&mut words).await;
    assert!(words.starts_with(b"MSG flood 1 100000\r\nxxx"));
    publisher.send("PING\r\n").await;
    publisher.expect(&["PONG"]).await;
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_shown_after_a_reload_and_nobody_is_cut_off() {
    let authority = Authority::new();
    let tls = authority.tls();
    let gate = gate(tls.clone()).await;
    let mut before = upgraded(&gate, authority.client(None)).await.unwrap();
    before.expect_served().await;
    let shown = |client: Client<TlsStream<TcpStream>>| {
        let stream = client.into_inner();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let first = shown(upgraded(&gate, authority.client(None)).await.unwrap());

    authority.issue("server");
    let unchanged = shown(upgraded(&gate, authority.client(None)).await.unwrap());
    assert_eq!(unchanged, first);
    gate.gateway.reload().await.unwrap();
    let second = shown(upgraded(&gate, authority.client(None)).await.unwrap());
    assert_ne!(second, first);

    // What cannot be read changes nothing.
    std::fs::write(tls.key.unwrap(), "no key").unwrap();
    let error = gate.gateway.reload().await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("gateway.tls.key: cannot read "),
        "{error}"
    );
    let still = shown(upgraded(&gate, authority.client(None)).await.unwrap());
    assert_eq!(still, second);
    before.send("PING\r\n").await;
    before.expect(&["PONG"]).await;
}

#[test]
fn certificates_that_are_not_whole_are_found_before_anything_starts() {
    let authority = Authority::new();
    let other_key = authority.issue("other").1;
    let problem = |change: fn(&mut TlsConfig, std::path::PathBuf)| {
        let mut tls = authority.tls();
        change(&mut tls, other_key.clone());
        let config = GatewayConfig {
            tls,
            ..GatewayConfig::default()
        };
        gateway::check_tls(&config).unwrap_err().to_string()
    };
    let of_no_use = "gateway.tls.key: is not set, but `cert` is";
    assert_eq!(problem(|tls, _| tls.key = None), of_no_use);
    let of_no_use = "gateway.tls.cert: is not set, but `key` or `ca` is";
    assert_eq!(problem(|tls, _| tls.cert = None), of_no_use);
    let not_together = "gateway.tls: the certificate and its key cannot be used";
    assert_eq!(problem(|tls, other| tls.key = Some(other)), not_together);
    let empty = problem(|tls, key| tls.cert = Some(key));
    assert!(empty.starts_with("gateway.tls.cert: ") && empty.ends_with("holds no certificate"));
    let missing = problem(|tls, _| tls.ca = Some("/nowhere/ca.pem".into()));
    assert_eq!(missing, "gateway.tls.ca: cannot read /nowhere/ca.pem");
    let both = problem(|tls, _| (tls.handshake_first, tls.allow_non_tls) = (true, true));
    assert!(
        both.starts_with("gateway.tls.handshake_first: excludes allow_non_tls"),
        "{both}"
    );
}

#[tokio::test]
async fn async_nats_publishes_and_subscribes_over_tls() {
    let authority = Authority::new();
    for handshake_first in [false, true] {
        let gate = gate(TlsConfig {
            ca: Some(authority.ca()),
            handshake_first,
            ..authority.tls()
        })
        .await;
        let (cert, key) = authority.issue("planner");
        let mut options = ConnectOptions::new()
            .require_tls(true)
            .add_root_certificates(authority.ca())
            .add_client_certificate(cert, key);
        if handshake_first {
            options = options.tls_first();
        }
        let url = format!("tls://localhost:{}", gate.addr.port());
        let client = options.connect(url).await.unwrap();
        let mut inbox = client.subscribe("a.*").await.unwrap();
        client.publish("a.b", "hello".into()).await.unwrap();
        let message = timeout(SOON, inbox.next()).await.unwrap().unwrap();
        assert_eq!(message.payload, "hello");
    }
}
