//! Who gets a place for a handshake when strangers take as many as they can.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;

use std::collections::BTreeMap;

use cluster::raw::Raw;
use cluster::{Cluster, Node, eventually, linked, local};
use tidings_bounds::Time;
use tidings_transport::{Config, Local, Stats};
use tokio::net::UdpSocket;

/// A node at which a handshake that does not come to an end keeps its place longer than any test
/// takes.
fn patient(cluster: &Cluster) -> Node {
    let config = Config {
        handshake_timeout: Time::of_ms::<60_000>(),
        ..Config::default()
    };
    cluster.start_with("a", config)
}

/// A node at another address than the strangers'.
fn elsewhere(cluster: &Cluster) -> Node {
    let local = Local {
        listen: ([127, 0, 0, 2], 0).into(),
        ..local()
    };
    cluster.start_at("b", local)
}

fn received(stats: &Stats) -> u64 {
    stats.handshakes_admitted + stats.handshakes_retried + stats.handshakes_ignored
}

#[tokio::test]
async fn first_packets_that_nothing_follows_keep_nobody_out() {
    const COUNT: usize = 300;
    let cluster = Cluster::new("c");
    let (a, b) = (patient(&cluster), cluster.start("b"));
    let to = a.transport.advertise();

    // Makes the packets, and sends them on from an address that answers nothing.
    let stranger = Raw::new(&cluster, None, "tidings/1");
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut attempts = Vec::new();
    let mut packets = BTreeMap::new();
    let mut packet = [0; 2048];
    while packets.len() < COUNT {
        attempts.push(stranger.begin(silent.local_addr().unwrap()));
        let length = silent.recv(&mut packet).await.unwrap();
        // By the id of the connection, since a client repeats itself.
        let id = packet[6..][..packet[5].into()].to_vec();
        packets.entry(id).or_insert(packet[..length].to_vec());
    }
    for (number, packet) in packets.values().enumerate() {
        silent.send_to(packet, to).await.unwrap();
        eventually("it has arrived", || {
            received(&a.transport.stats()) > number as u64
        })
        .await;
    }
    let stats = a.transport.stats();
    assert_eq!(stats.handshakes_admitted, 32);
    assert_eq!(stats.handshakes_retried, COUNT as u64 - 32);

    b.keep(&a);
    linked(&a, &b).await;
    assert_eq!(b.transport.stats().dials_failed, 0);
}

#[tokio::test]
async fn handshakes_that_fail_keep_their_places_and_leave_those_of_others() {
    let cluster = Cluster::new("c");
    let (a, b) = (patient(&cluster), elsewhere(&cluster));
    // It shows its address when it is asked to, and is then refused at once.
    let stranger = Raw::new(&cluster, None, "h3");
    let mut attempts = Vec::new();
    for _ in 0..300 {
        attempts.push(stranger.begin(a.transport.advertise()));
    }
    eventually("it gets no place any more", || {
        a.transport.stats().handshakes_ignored > 100
    })
    .await;
    assert_eq!(a.transport.stats().handshakes_admitted, 128);

    b.keep(&a);
    linked(&a, &b).await;
    assert_eq!(a.transport.stats().handshakes_admitted, 129);
    assert_eq!(b.transport.stats().dials_failed, 0);
}
