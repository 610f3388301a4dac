//! Who gets no link, and what people are told about it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;

use std::time::Duration;

use bytes::Bytes;
use cluster::log::Log;
use cluster::raw::Raw;
use cluster::{Cluster, INCARNATION, Node, eventually, hour, local, name};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, PKCS_ED25519, SanType};
use tidings_bounds::Time;
use tidings_identity::{Authority, Identity, NodeCertificate, NodeRun, Validity};
use tidings_transport::{CloseCode, Config, Gossiped, Local, Net, SystemNet};

/// Lets `stranger` dial `a`, and expects both to refuse it, each with one line for `reason`,
/// however often it is tried.
async fn refused_on_both_sides(a: &Node, stranger: &Node, log: &Log, reason: &str) {
    stranger.keep(a);
    eventually("the stranger is refused twice", || {
        stranger.transport.stats().handshakes_refused >= 2
            && a.transport.stats().handshakes_refused >= 2
    })
    .await;
    assert_eq!(log.lines_with(reason), 2, "{:#?}", log.lines());
    assert_eq!(log.lines_with("a peer refused our handshake"), 1);
    assert_eq!(log.lines_with("refused a peer's handshake"), 1);
    assert_eq!(log.lines_with("remote=127.0.0.1:"), 2);
    assert!(a.links_up().is_empty() && stranger.links_up().is_empty());
}

#[tokio::test]
async fn a_node_of_another_authority_is_refused() {
    let (log, _guard) = Log::start();
    let (ours, theirs) = (Cluster::new("c"), Cluster::new("c"));
    let (a, stranger) = (ours.start("a"), theirs.start("b"));
    let reason = "certificate is not from the cluster's authority";
    refused_on_both_sides(&a, &stranger, &log, reason).await;
}

#[tokio::test]
async fn a_node_of_another_authority_is_refused_also_when_it_trusts_ours() {
    let (log, _guard) = Log::start();
    let (ours, theirs) = (Cluster::new("c"), Cluster::new("c"));
    let certificate = theirs.certificate("b");
    let stranger = Node::start(ours.identity_of(&certificate), Config::default(), local());
    let a = ours.start("a");
    let reason = "certificate is not from the cluster's authority";
    refused_on_both_sides(&a, &stranger, &log, reason).await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let (log, _guard) = Log::start();
    let cluster = Cluster::new("c");
    let (now, day) = (SystemNet.unix_time(), Duration::from_secs(86_400));
    let past = Validity::between(now - 2 * day, now - day).unwrap();
    let expired = cluster.authority.issue(&name("b"), past).unwrap();
    let stranger = Node::start(cluster.identity_of(&expired), Config::default(), local());
    let a = cluster.start("a");
    let reason = "certificate is expired or not yet valid";
    refused_on_both_sides(&a, &stranger, &log, reason).await;
    // Nor does anybody accept it as the other end of a dial.
    a.keep(&stranger);
    eventually("the dial is refused", || {
        log.lines_with("refused a peer's handshake") == 1 && a.transport.stats().dials_failed > 0
    })
    .await;
    assert!(a.links_up().is_empty());
}

#[tokio::test]
async fn a_node_of_another_cluster_under_the_same_authority_is_refused() {
    let (log, _guard) = Log::start();
    let cluster = Cluster::new("c");
    let other = foreign_certificate(&cluster.authority, "b", "other");
    let stranger = Node::start(cluster.identity_of(&other), Config::default(), local());
    let a = cluster.start("a");
    // Its own check comes first: the dialled node is of another cluster than it is.
    stranger.keep(&a);
    a.keep(&stranger);
    eventually("both refuse", || {
        let refused = |node: &Node| node.transport.stats().handshakes_refused > 0;
        refused(&a) && refused(&stranger)
    })
    .await;
    assert!(log.lines_with("certificate belongs to another cluster") >= 2);
    assert!(a.links_up().is_empty() && stranger.links_up().is_empty());
}

#[tokio::test]
async fn another_node_at_the_address_of_a_peer_is_refused() {
    let (log, _guard) = Log::start();
    let cluster = Cluster::new("c");
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    let addr = b.transport.advertise();
    let elsewhere = NodeRun::new(name("elsewhere"), INCARNATION, addr);
    a.transport.keep(&elsewhere);
    eventually("both tell", || {
        log.lines_with("not for the node that was dialled") == 2
    })
    .await;
    assert!(a.transport.stats().handshakes_refused > 0);
    assert!(a.links_up().is_empty());
}

#[tokio::test]
async fn a_second_node_with_our_name_is_refused() {
    let (log, _guard) = Log::start();
    let cluster = Cluster::new("c");
    let other_run = Local {
        incarnation: INCARNATION.next(),
        ..local()
    };
    let (a, double) = (cluster.start("a"), cluster.start_at("a", other_run));
    let hi = Bytes::from_static(b"hi");
    let waiting = double.transport.gossip(a.transport.advertise(), hi);
    assert_eq!(waiting, Gossiped::Waiting);
    eventually("both tell", || {
        log.lines_with("another node runs under the same name") == 2
    })
    .await;
    assert!(a.links_up().is_empty() && double.links_up().is_empty());
}

/// A certificate of `authority` for a node of a cluster that is not its own.
fn foreign_certificate(authority: &Authority, node: &str, cluster: &str) -> NodeCertificate {
    let key = KeyPair::from_pem(&authority.key_pem()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(authority.certificate_pem(), key).unwrap();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.subject_alt_names = vec![
        SanType::DnsName(format!("node.{cluster}").try_into().unwrap()),
        SanType::DnsName(format!("{node}.node.{cluster}").try_into().unwrap()),
        SanType::URI(
            format!("spiffe://{cluster}/node/{node}")
                .try_into()
                .unwrap(),
        ),
    ];
    let certificate = params.signed_by(&key, &issuer).unwrap();
    NodeCertificate {
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let (log, _guard) = Log::start();
    let cluster = Cluster::new("c");
    let a = cluster.start("a");
    let raw = Raw::new(&cluster, None, "tidings/1");
    // The client's side of the handshake is complete before the node has checked it.
    if let Ok(connection) = raw.connect(&a).await {
        connection.closed().await;
    }
    eventually("it is refused", || {
        a.transport.stats().handshakes_refused == 1
    })
    .await;
    assert_eq!(log.lines_with("no certificate was presented"), 1);
}

#[tokio::test]
async fn a_client_of_another_protocol_is_refused() {
    let (log, _guard) = Log::start();
    let cluster = Cluster::new("c");
    let a = cluster.start("a");
    let raw = Raw::new(&cluster, Some(&cluster.certificate("b")), "h3");
    assert!(raw.connect(&a).await.is_err());
    eventually("it is refused", || {
        a.transport.stats().handshakes_refused == 1
    })
    .await;
    assert_eq!(log.lines_with("it speaks another protocol (ALPN)"), 1);
}

#[tokio::test]
async fn another_protocol_version_is_refused_with_its_own_code() {
    let (log, _guard) = Log::start();
    let cluster = Cluster::new("c");
    let a = cluster.start("a");
    let raw = Raw::new(&cluster, Some(&cluster.certificate("b")), "tidings/1");
    let newer = [0, 0, 0, 4, 1, 0, 6, 99];
    assert_eq!(raw.say(&a, &newer).await, Some(CloseCode::Version));
    assert_eq!(log.lines_with("unknown protocol version"), 1);
    assert_eq!(log.lines_with("peer speaks protocol version 6"), 1);
}

#[tokio::test]
async fn nonsense_on_the_control_stream_closes_that_connection_only() {
    let (_log, _guard) = Log::start();
    let cluster = Cluster::new("c");
    let (a, c) = (cluster.start("a"), cluster.start("c"));
    a.keep(&c);
    let raw = Raw::new(&cluster, Some(&cluster.certificate("b")), "tidings/1");
    let violations: [&[u8]; 6] = [
        &[0, 0, 0, 0],                      // an empty message
        &[0xff, 0xff, 0xff, 0xff],          // four gibibytes of it
        &[0, 0, 0, 1, 9],                   // an unknown kind
        &[0, 0, 0, 1, 2],                   // Ready before Hello
        &[0, 0, 0, 1, 1],                   // a Hello without a version
        &[0, 0, 0, 7, 1, 0, 5, 9, 9, 9, 9], // a Hello that cannot be decoded
    ];
    for (n, violation) in (1..).zip(violations) {
        assert_eq!(raw.say(&a, violation).await, Some(CloseCode::Violation));
        assert_eq!(a.transport.stats().violations, n);
    }
    eventually("others have links", || a.linked(&c)).await;
}

#[tokio::test]
async fn who_stops_in_the_middle_of_a_handshake_has_broken_no_rule() {
    let cluster = Cluster::new("c");
    let a = cluster.start("a");
    let raw = Raw::new(&cluster, Some(&cluster.certificate("b")), "tidings/1");
    for some in [&[0, 0][..], &[0, 0, 0, 7, 1]] {
        assert_eq!(raw.say_at_last(&a, some).await, Some(CloseCode::Gone));
    }
    assert_eq!(a.transport.stats().violations, 0);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_in_time() {
    let cluster = Cluster::new("c");
    let config = Config {
        handshake_timeout: Time::of_ms::<200>(),
        ..Config::default()
    };
    let a = cluster.start_with("a", config);
    let raw = Raw::new(&cluster, Some(&cluster.certificate("b")), "tidings/1");
    let code = raw.say(&a, &[0, 0]).await;
    assert_eq!(code, Some(CloseCode::HandshakeTimeout));
    assert!(a.links_up().is_empty());
}

#[test]
fn an_identity_needs_a_certificate_of_a_node() {
    let cluster = Cluster::new("c");
    let node = cluster.authority.issue(&name("n"), hour()).unwrap();
    let ca = cluster.authority.certificate_pem();
    assert!(Identity::from_pem(ca, &node.certificate_pem, &node.key_pem).is_ok());
    assert!(Identity::from_pem(ca, ca, &node.key_pem).is_err());
}
