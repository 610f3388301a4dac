//! What a member that means harm may send, and what becomes of it.

use std::net::SocketAddr;

use super::bench::{Bench, cluster, node, prove_sound};
use super::blocks::{BLOCK_BYTES_MAX, BLOCKS_MAX};
use super::key::OTHER_KEYS_MAX;
use super::room::DIGEST_BYTES_MAX;
use super::script::{
    ack, block, digest, id, id_at, known, long, message, short, syn, syn_ack, text, told, value,
    version,
};
use super::{Guard, Letter};
use crate::config::{BUCKET_BYTES_MAX, BUCKETS_MAX};
use crate::fault::Fault;
use crate::peer::bucket_key;
use crate::pipe::GOSSIP_BYTES_MAX;

fn from(n: u8) -> SocketAddr {
    ([10, 0, 0, n], 4_000).into()
}

fn read(bytes: &[u8]) -> Result<Letter, Fault> {
    let refused = |refusal: super::Refusal| refusal.fault();
    Guard::new(cluster()).read(bytes).map_err(refused)
}

#[test]
fn what_breaks_a_rule_is_refused_for_what_is_wrong_with_it() {
    let n1 = &id(1)[..];
    let one = |version| value("b/0", "", version);
    for right in [
        syn(&[known(n1, 1, 1), known(&id(2), 0, 0)]),
        syn_ack(
            &[known(n1, 1, 1)],
            &[told(n1, 1), one(2), value("left", "1", 5)],
        ),
        ack(&[
            told(n1, 0),
            version(3),
            told(&id(2), 0),
            told(&id(3), 0),
            one(1),
        ]),
    ] {
        assert!(read(&right).is_ok(), "{:?}", read(&right));
    }

    let delta = |parts: &[Vec<u8>]| ack(&[vec![told(n1, 7)], parts.to_vec()].concat());
    let at = |ip: &[u8], port| syn(&[known(&id_at("n1", 1, ip, port), 1, 1)]);
    let named = |name: &str| syn(&[known(&id_at(name, 1, &[10, 0, 0, 1], 1), 1, 1)]);
    let keyed = |key: &str| delta(&[value(key, "", 8)]);
    let gone = |kind: u8| [vec![1], text("b/0"), text(""), long(8), vec![kind]].concat();
    let late = [n1.to_vec(), long(1), long(1), long(1)].concat();
    let wide = "x".repeat(BUCKET_BYTES_MAX + 1);
    let beyond = 1 << 54;
    let wrong: Vec<(&str, Vec<u8>, Fault)> = vec![
        ("nothing", vec![], Fault::Format),
        (
            "another magic",
            [vec![1, 2, 0], syn(&[])[3..].to_vec()].concat(),
            Fault::Format,
        ),
        (
            "another version",
            [short(45_139), vec![1, 0]].concat(),
            Fault::Format,
        ),
        ("the panic of tests", message(255, &[]), Fault::Format),
        ("no such message", message(4, &[]), Fault::Format),
        ("more behind", [syn(&[]), vec![0]].concat(), Fault::Format),
        (
            "too few nodes",
            message(0, &[short(65_535), known(n1, 1, 1)]),
            Fault::Format,
        ),
        (
            "no UTF-8",
            ack(&[[vec![0], text([0xff])].concat()]),
            Fault::Format,
        ),
        (
            "no such address",
            syn(&[[text("n1"), long(1), vec![5; 40]].concat()]),
            Fault::Format,
        ),
        ("no such entry", delta(&[vec![3]]), Fault::Format),
        ("no such state", delta(&[gone(3)]), Fault::Format),
        ("value of nobody", ack(&[one(1)]), Fault::Format),
        ("version of nobody", ack(&[version(1)]), Fault::Format),
        (
            "version after values",
            delta(&[one(8), version(9)]),
            Fault::Format,
        ),
        (
            "lower version after values",
            delta(&[one(100), version(50)]),
            Fault::Format,
        ),
        (
            "value after version",
            delta(&[version(8), one(9)]),
            Fault::Format,
        ),
        (
            "two versions",
            delta(&[version(8), version(9)]),
            Fault::Format,
        ),
        ("cut value", delta(&[one(8)[..10].to_vec()]), Fault::Format),
        ("too long", vec![0; GOSSIP_BYTES_MAX + 1], Fault::Size),
        ("wide value", delta(&[value("b/0", &wide, 8)]), Fault::Size),
        (
            "wide other value",
            delta(&[value("x", &wide[..4_097], 8)]),
            Fault::Size,
        ),
        (
            "wide mark",
            delta(&[value("left", &wide[..17], 8)]),
            Fault::Size,
        ),
        (
            "another cluster",
            message(0, &[digest(&[]), text("other")]),
            Fault::Cluster,
        ),
        ("refused by another", message(3, &[]), Fault::Cluster),
        ("no name", named(""), Fault::Node),
        ("no label", named("N1"), Fault::Node),
        ("long name", named(&"x".repeat(64)), Fault::Node),
        ("nowhere", at(&[0; 4], 1), Fault::Node),
        ("nowhere in IPv6", at(&[0; 16], 1), Fault::Node),
        (
            "nowhere in both",
            at(&[&[0; 10][..], &[255, 255, 0, 0, 0, 0]].concat(), 1),
            Fault::Node,
        ),
        ("everywhere", at(&[255; 4], 1), Fault::Node),
        ("many", at(&[224, 0, 0, 1], 1), Fault::Node),
        ("no port", at(&[10, 0, 0, 1], 0), Fault::Node),
        (
            "known twice",
            syn(&[known(n1, 1, 1), known(n1, 2, 2)]),
            Fault::Node,
        ),
        (
            "out of order",
            syn(&[known(&id(2), 1, 1), known(n1, 1, 1)]),
            Fault::Node,
        ),
        (
            "told twice",
            ack(&[told(n1, 0), told(&id(2), 0), told(n1, 0)]),
            Fault::Node,
        ),
        ("no key", keyed(""), Fault::Key),
        ("not ASCII", keyed("é"), Fault::Key),
        ("no such bucket", keyed("b/400"), Fault::Key),
        ("another name of a bucket", keyed("b/01"), Fault::Key),
        ("long key", keyed(&"x".repeat(33)), Fault::Key),
        ("key twice", delta(&[one(8), one(9)]), Fault::Key),
        ("version zero", ack(&[told(n1, 0), one(0)]), Fault::Version),
        (
            "one version twice",
            delta(&[one(8), value("b/1", "", 8)]),
            Fault::Version,
        ),
        (
            "versions go down",
            delta(&[one(9), value("b/1", "", 8)]),
            Fault::Version,
        ),
        ("not newer", delta(&[one(7)]), Fault::Version),
        ("no newer version", delta(&[version(7)]), Fault::Version),
        ("the last version", delta(&[one(u64::MAX)]), Fault::Version),
        (
            "the last version of all",
            delta(&[version(u64::MAX)]),
            Fault::Version,
        ),
        ("from the end", ack(&[told(n1, beyond)]), Fault::Version),
        (
            "the last heartbeat",
            syn(&[known(n1, u64::MAX, 1)]),
            Fault::Version,
        ),
        (
            "knows the last version",
            syn(&[known(n1, 1, u64::MAX)]),
            Fault::Version,
        ),
        (
            "the last run",
            syn(&[known(&id_at("n1", beyond, &[10, 0, 0, 1], 1), 1, 1)]),
            Fault::Version,
        ),
        ("deleted", delta(&[gone(1)]), Fault::Deletion),
        ("deleted later", delta(&[gone(2)]), Fault::Deletion),
        ("forgotten", syn(&[late]), Fault::Deletion),
        (
            "begins again",
            ack(&[[vec![0], n1.to_vec(), long(9), long(0)].concat()]),
            Fault::Deletion,
        ),
    ];
    for (what, bytes, fault) in wrong {
        assert_eq!(read(&bytes).err(), Some(fault), "{what}");
    }
}

#[test]
fn no_block_is_unpacked_that_is_too_long_or_of_another_format() {
    let frame = |len: usize| zstd::bulk::compress(&vec![0; len], 0).unwrap();
    let packed = |blocks: &[Vec<u8>]| message(2, &[blocks.concat(), vec![0]]);
    let of = |blocks: &[Vec<u8>]| read(&packed(blocks)).err();
    // What is in these blocks is a node without a name.
    assert_eq!(of(&[block(1, &frame(BLOCK_BYTES_MAX))]), Some(Fault::Node));
    assert_eq!(
        of(&[block(1, &frame(BLOCK_BYTES_MAX + 1))]),
        Some(Fault::Size)
    );
    assert_eq!(
        of(&[block(2, &vec![0; BLOCK_BYTES_MAX + 1])]),
        Some(Fault::Size)
    );
    // Says that it has 2^40 bytes, and never comes to it.
    let boast = [
        &[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..],
        &long(1 << 40),
        &[1, 0, 0],
    ]
    .concat();
    assert_eq!(of(&[block(1, &boast)]), Some(Fault::Size));
    // Says less than it has.
    let mut modest = frame(1_000);
    modest[5] -= 1;
    assert_eq!(of(&[block(1, &modest)]), Some(Fault::Format));
    let silent = zstd::stream::encode_all(&[0; 1_000][..], 0).unwrap();
    let two = [frame(100), frame(100)].concat();
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0][..], &frame(100)].concat();
    let older = [&[0x27, 0xb5, 0x2f, 0xfd][..], &frame(100)[4..]].concat();
    for other in [
        silent,
        two,
        skipped,
        older,
        frame(0),
        vec![],
        b"junk".to_vec(),
    ] {
        assert_eq!(of(&[block(1, &other)]), Some(Fault::Format), "{other:?}");
    }
    assert_eq!(of(&[block(2, &[])]), Some(Fault::Format));
    assert_eq!(of(&[block(3, &[0])]), Some(Fault::Format));
    let cut = message(2, &[block(2, &[0])]);
    assert_eq!(read(&cut).err(), Some(Fault::Format));
    // A whole message of them would have more than 50 MiB.
    let bomb = block(1, &frame(BLOCK_BYTES_MAX));
    let most = packed(&vec![bomb.clone(); BLOCKS_MAX + 1]);
    assert!(most.len() < GOSSIP_BYTES_MAX);
    assert_eq!(read(&most).err(), Some(Fault::Size));
    assert_eq!(of(&vec![bomb; BLOCKS_MAX]), Some(Fault::Node));
}

#[tokio::test(start_paused = true)]
async fn nobody_else_tells_a_node_about_itself() {
    let mut bench = Bench::start(1, 1).await;
    let own = bench.state_of(&node(1, 1)).await;
    let peer = known(&id(2), 1, 1);
    for claim in [
        vec![told(&id(1), 1), value("left", "1", 2)],
        vec![
            told(&id(1), 0),
            value("b/0", "", 1),
            value("b/1", "", 1 << 53),
        ],
        vec![told(&id(1), 0), version(1 << 53)],
    ] {
        let rest = vec![told(&id(2), 0), value("b/0", "", 1)];
        let delta = [claim, rest].concat();
        bench
            .receive(from(2), syn_ack(std::slice::from_ref(&peer), &delta))
            .await;
    }
    assert_eq!(bench.state_of(&node(1, 1)).await, own);
    let other = bench.state_of(&node(2, 1)).await;
    assert_eq!(other, Some((1, vec![("b/0".into(), String::new())])));
    assert_eq!(
        (bench.faults().of(Fault::Itself), bench.faults().total()),
        (3, 3)
    );
    // What it knows itself, only later, is no claim.
    bench
        .receive(from(2), ack(&[told(&id(1), 0), value("buckets", "64", 1)]))
        .await;
    // A word in a digest changes nothing, but tells that somebody believes it.
    bench
        .receive(from(2), syn(&[known(&id(1), 1 << 53, 1)]))
        .await;
    bench
        .receive(from(2), syn(&[known(&id(1), 1, 1 << 53)]))
        .await;
    assert_eq!(
        (bench.faults().of(Fault::Itself), bench.faults().total()),
        (5, 5)
    );
    bench.set("b/0", "a").await;
    let (version, _) = bench.state_of(&node(1, 1)).await.unwrap();
    assert_eq!(version, 2);
    prove_sound(&mut bench).await;
}

#[tokio::test(start_paused = true)]
async fn phantoms_do_not_crowd_out_what_a_node_says() {
    let mut bench = Bench::start(1, 1).await;
    bench.receive(from(2), syn(&[known(&id(2), 1, 1)])).await;
    let phantom = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        known(&id_at(&format!("p{n:05}"), 1, &[11, a, b, c], 1), 1, 1)
    };
    for first in [10_000, 11_000, 12_000, 13_000] {
        let entries: Vec<_> = (first..first + 800).map(phantom).collect();
        for (_, answer) in bench.receive(from(9), syn(&entries)).await {
            assert!(answer.len() <= GOSSIP_BYTES_MAX);
        }
    }
    assert!(bench.faults().of(Fault::Room) > 1_000);
    assert_eq!(bench.faults().of(Fault::Room), bench.faults().total());
    let said = bench.gossip(from(2)).await;
    assert!(said[0].1.len() < DIGEST_BYTES_MAX + 200);
    assert!(said[0].1.len() > DIGEST_BYTES_MAX - 200);
    // Who was known is heard.
    let delta = [told(&id(2), 0), value("b/0", "x", 1)];
    bench
        .receive(from(2), syn_ack(&[known(&id(2), 2, 1)], &delta))
        .await;
    assert_eq!(
        bench.state_of(&node(2, 1)).await.map(|state| state.0),
        Some(1)
    );
    prove_sound(&mut bench).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_has_few_keys_that_nobody_knows() {
    let mut bench = Bench::start(1, 1).await;
    bench.receive(from(2), syn(&[known(&id(2), 1, 1)])).await;
    let key = |n: u64| value(&format!("x{n}"), "", n);
    for first in [1, 11, 21] {
        let keys = (first..first + 10).map(key).collect::<Vec<_>>().concat();
        bench
            .receive(from(2), ack(&[told(&id(2), first - 1), keys]))
            .await;
    }
    let (version, values) = bench.state_of(&node(2, 1)).await.unwrap();
    assert_eq!((version, values.len()), (30, OTHER_KEYS_MAX));
    assert_eq!(bench.faults().of(Fault::Room), 30 - OTHER_KEYS_MAX as u64);
    let known_one = [
        told(&id(2), 30),
        value("x1", "new", 31),
        value("b/0", "", 32),
    ];
    bench.receive(from(2), ack(&known_one)).await;
    let (version, values) = bench.state_of(&node(2, 1)).await.unwrap();
    assert_eq!((version, values.len()), (32, OTHER_KEYS_MAX + 1));
    prove_sound(&mut bench).await;
}

#[tokio::test(start_paused = true)]
async fn what_packs_very_well_silences_nobody() {
    let (mut rogue, mut victim) = (Bench::start(2, 1).await, Bench::start(1, 1).await);
    let texts = "x".repeat(12_000);
    for bucket in 0..BUCKETS_MAX {
        rogue.set(&bucket_key(bucket), &texts).await;
    }
    let mut other = Bench::start(3, 1).await;
    tell_all(&mut rogue, &mut victim).await;
    tell_all(&mut victim, &mut other).await;
}

/// Tells a node in a few messages all that there is of node 2.
async fn tell_all(from: &mut Bench, to: &mut Bench) {
    for _ in 0..4 {
        let syn = to.gossip(from.addr).await.remove(0).1;
        let syn_ack = from.receive(to.addr, syn).await.remove(0).1;
        to.receive(from.addr, syn_ack).await;
    }
    assert_eq!(to.faults().total(), 0, "{:?}", to.faults());
    let (version, values) = to.state_of(&node(2, 1)).await.unwrap();
    assert_eq!((version, values.len()), (1_025, 1_025));
}
