//! What a member that means harm may send, and what becomes of it.

use super::Letter;
use super::bench::{author, guard};
use super::blocks::{BLOCK_BYTES_MAX, BLOCKS_MAX};
use super::script::{
    ack, block, digest, id, id_at, known, long, message, short, syn, syn_ack, text, told, value,
    version,
};
use super::seal::SEAL_BYTES_MAX;
use crate::config::BUCKET_BYTES_MAX;
use crate::fault::Fault;
use crate::pipe::GOSSIP_BYTES_MAX;

fn read(bytes: &[u8]) -> Result<Letter, Fault> {
    let refused = |refusal: super::Refusal| refusal.fault();
    guard(1, 1, &author(1, 1)).read(bytes).map_err(refused)
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
    let wide = "x".repeat(BUCKET_BYTES_MAX + SEAL_BYTES_MAX + 1);
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
            delta(&[value("x", &wide[..4_097 + SEAL_BYTES_MAX], 8)]),
            Fault::Size,
        ),
        (
            "wide mark",
            delta(&[value("left", &wide[..65 + SEAL_BYTES_MAX], 8)]),
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
