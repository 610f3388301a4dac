//! What a member that means harm may send, and what becomes of it.

use tidings_identity::NodeRun;

use super::Letter;
use super::bench::{Bench, author, guard, issue, node, prove_sound, run};
use super::blocks::{BLOCK_BYTES_MAX, BLOCKS_MAX};
use super::key::OTHER_KEYS_MAX;
use super::script::{
    ack, block, certificate, certificate_of, digest, id, id_at, known, long, message, sealed,
    sealed_by, short, syn, syn_ack, text, told, value, version,
};
use super::seal::SEAL_BYTES_MAX;
use crate::config::{BUCKET_BYTES_MAX, BUCKETS_MAX};
use crate::fault::Fault;
use crate::peer::bucket_key;
use crate::pipe::GOSSIP_BYTES_MAX;

fn from(n: u8) -> NodeRun {
    run(n, 1)
}

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

/// The certificate of node 2, and then these values of it.
fn of_n2<'a>(shown: &'a str, values: &[(&'a str, &'a str, u64)]) -> Vec<u8> {
    let says = [&[("cert", shown, 1)], values].concat();
    [told(&id(2), 0), sealed(2, &[], &says)].concat()
}

const HAS: [(&str, u64); 1] = [("cert", 1)];

#[tokio::test(start_paused = true)]
async fn nobody_else_tells_a_node_about_itself() {
    let mut bench = Bench::start(1, 1).await;
    let own = bench.state_of(&node(1, 1)).await;
    let (peer, shown) = (known(&id(2), 1, 1), certificate(2));
    for claim in [
        vec![told(&id(1), 1), value("left", "1", 9)],
        vec![
            told(&id(1), 0),
            value("b/0", "", 1),
            value("b/1", "", 1 << 53),
        ],
        vec![told(&id(1), 0), version(1 << 53)],
    ] {
        let rest = vec![of_n2(&shown, &[("b/0", "x", 2)])];
        let delta = [claim, rest].concat();
        bench
            .receive(&from(2), syn_ack(std::slice::from_ref(&peer), &delta))
            .await;
    }
    assert_eq!(bench.state_of(&node(1, 1)).await, own);
    let (version, _) = bench.state_of(&node(2, 1)).await.unwrap();
    assert_eq!(version, 2);
    assert_eq!(
        (bench.faults().of(Fault::Itself), bench.faults().total()),
        (3, 3)
    );
    // What it knows itself, only later, is no claim.
    bench
        .receive(&from(2), ack(&[told(&id(1), 0), value("buckets", "64", 2)]))
        .await;
    // A word in a digest changes nothing, but tells that somebody believes it.
    bench
        .receive(&from(2), syn(&[known(&id(1), 1 << 53, 1)]))
        .await;
    bench
        .receive(&from(2), syn(&[known(&id(1), 1, 1 << 53)]))
        .await;
    assert_eq!(
        (bench.faults().of(Fault::Itself), bench.faults().total()),
        (5, 5)
    );
    bench.set("b/0", "a").await;
    let (version, _) = bench.state_of(&node(1, 1)).await.unwrap();
    assert_eq!(version, 4);
    prove_sound(&mut bench).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_node_did_not_say_is_not_taken_for_its_word() {
    let mut bench = Bench::start(1, 1).await;
    let shown = certificate(2);
    let truth = of_n2(&shown, &[("b/0", "x", 2)]);
    bench
        .receive(&from(3), ack(std::slice::from_ref(&truth)))
        .await;
    let before = bench.state_of(&node(2, 1)).await;
    assert_eq!(
        before.as_ref().map(|(at, _)| *at),
        Some(2),
        "others pass it on"
    );
    let has = [("cert", 1), ("b/0", 2)];
    let more = |values| [told(&id(2), 2), values].concat();
    let altered = |at: usize| {
        let mut bytes = sealed(2, &has, &[("b/0", "", 3)]);
        bytes[at] ^= 1;
        more(bytes)
    };
    // Of the value: its key, version and text.
    let lies = [
        more(value("left", "1", 3)),
        more(value("left", "1.AAAA", 3)),
        more(sealed_by(3, 2, &has, &[("left", "1", 3)])),
        more(sealed(3, &has, &[("left", "1", 3)])),
        altered(5),
        altered(8),
        more(sealed_by(3, 2, &[], &[("cert", &certificate(3), 3)])),
        more(sealed(2, &has, &[("cert", "AAA", 3)])),
        // Another that is good, which anybody may know.
        more(sealed_by(
            3,
            2,
            &has,
            &[("cert", &certificate_of(&issue(2)), 3)],
        )),
        more(sealed(2, &has, &[("pulse", "x", 3)])),
        [
            told(&id_at("n2", 2, &[10, 0, 0, 2], 4_000), 0),
            sealed(2, &[], &[("cert", &shown, 1)]),
        ]
        .concat(),
        [
            told(&id_at("n2", 1, &[10, 0, 0, 9], 4_000), 0),
            sealed(2, &[], &[("cert", &shown, 1)]),
        ]
        .concat(),
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        let faults = bench.faults().total();
        bench.receive(&from(3), ack(&[lie])).await;
        assert_eq!(bench.state_of(&node(2, 1)).await, before, "lie {n}");
        if n != 11 {
            assert_eq!(bench.faults().total(), faults + 1, "lie {n}");
        }
    }
    assert!(bench.faults().of(Fault::Seal) >= 8, "{:?}", bench.faults());
    // And the next true word is.
    let word = more(sealed(2, &has, &[("b/0", "", 3)]));
    bench.receive(&from(3), ack(&[word])).await;
    assert_eq!(bench.state_of(&node(2, 1)).await.map(|(at, _)| at), Some(3));
    prove_sound(&mut bench).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_kept_from_hearing_all_by_who_tells_a_part() {
    let mut bench = Bench::start(1, 1).await;
    let shown = certificate(2);
    let says = [
        ("cert", shown.as_str(), 1),
        ("b/0", "x", 2),
        ("b/1", "y", 3),
    ];
    let one = |at: usize| {
        let has: Vec<_> = says[..at].iter().map(|(key, _, at)| (*key, *at)).collect();
        sealed(2, &has, &says[at..=at])
    };
    let tell = |values: &[Vec<u8>]| ack(&[told(&id(2), 0), values.concat()]);
    // Node 3 holds something back, and node 4 does not.
    bench.receive(&from(3), tell(&[one(0), one(2)])).await;
    assert_eq!(bench.state_of(&node(2, 1)).await, None);
    bench.receive(&from(4), tell(&[one(0)])).await;
    assert_eq!(bench.state_of(&node(2, 1)).await.map(|(at, _)| at), Some(1));
    bench.receive(&from(3), tell(&[one(0), one(2)])).await;
    assert_eq!(bench.state_of(&node(2, 1)).await.map(|(at, _)| at), Some(1));
    bench
        .receive(&from(4), tell(&[one(0), one(1), one(2)]))
        .await;
    let (version, values) = bench.state_of(&node(2, 1)).await.unwrap();
    assert_eq!((version, values.len()), (3, 3));
    assert_eq!(bench.faults().total(), 0, "{:?}", bench.faults());
    prove_sound(&mut bench).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_makes_the_heart_of_another_beat() {
    let (mut bench, mut n2) = (Bench::start(1, 1).await, Bench::start(2, 1).await);
    let heart = node(2, 1);
    let syn_of_n2 = n2.gossip(bench.run.addr).await.remove(0).1;
    let syn_ack_to_n2 = bench.receive(&n2.run, syn_of_n2).await.remove(0).1;
    let ack_of_n2 = n2.receive(&bench.run, syn_ack_to_n2).await.remove(0).1;
    bench.receive(&n2.run, ack_of_n2).await;
    let before = bench.heartbeat_of(&heart).await.unwrap();
    for count in [2, 3, 4_095, 4_096, 10_000, 1 << 53] {
        bench
            .receive(&from(3), syn(&[known(&id(2), count, 4)]))
            .await;
        assert_eq!(bench.heartbeat_of(&heart).await, Some(before), "{count}");
    }
    assert!(bench.faults().of(Fault::Beat) >= 3, "{:?}", bench.faults());
    tokio::time::advance(std::time::Duration::from_secs(5)).await;
    let syn_of_n2 = n2.gossip(bench.run.addr).await.remove(0).1;
    bench.receive(&from(3), syn_of_n2).await;
    assert_eq!(
        bench.heartbeat_of(&heart).await,
        Some(before + 200),
        "others pass it on"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_invents_nodes_and_a_name_has_few_runs() {
    let mut bench = Bench::start(1, 1).await;
    bench.receive(&from(2), syn(&[known(&id(2), 1, 1)])).await;
    let said = bench.gossip(from(2).addr).await.remove(0).1.len();
    let phantom = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        known(&id_at(&format!("p{n:05}"), 1, &[11, a, b, c], 1), 1, 1)
    };
    let entries: Vec<_> = (10_000..10_800).map(phantom).collect();
    bench.receive(&from(9), syn(&entries)).await;
    assert_eq!(bench.gossip(from(2).addr).await.remove(0).1.len(), said);
    for incarnation in 2..1_000 {
        let run = run(2, incarnation);
        let id = id_at("n2", incarnation, &[10, 0, 0, 2], 4_000);
        bench.receive(&run, syn(&[known(&id, 1, 1)])).await;
    }
    let longer = bench.gossip(from(2).addr).await.remove(0).1.len() - said;
    assert!(longer < 17 * 45, "{longer}");
    assert_eq!(bench.faults().total(), 0, "{:?}", bench.faults());
    prove_sound(&mut bench).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_has_few_keys_that_nobody_knows() {
    let mut bench = Bench::start(1, 1).await;
    let shown = certificate(2);
    bench.receive(&from(2), ack(&[of_n2(&shown, &[])])).await;
    let keys: Vec<_> = (0..OTHER_KEYS_MAX + 1).map(|n| format!("x{n}")).collect();
    let values = |count: usize| {
        let value = |n: usize| (keys[n].as_str(), "", n as u64 + 2);
        let values: Vec<_> = (0..count).map(value).collect();
        ack(&[told(&id(2), 1), sealed(2, &HAS, &values)])
    };
    bench.receive(&from(2), values(OTHER_KEYS_MAX + 1)).await;
    assert_eq!(bench.state_of(&node(2, 1)).await.map(|(at, _)| at), Some(1));
    assert_eq!(bench.faults().of(Fault::Room), 1);
    bench.receive(&from(2), values(OTHER_KEYS_MAX)).await;
    let (version, values) = bench.state_of(&node(2, 1)).await.unwrap();
    assert_eq!((version, values.len()), (17, OTHER_KEYS_MAX + 1));
    prove_sound(&mut bench).await;
}

#[tokio::test(start_paused = true)]
async fn what_packs_very_well_silences_nobody() {
    let (mut rogue, mut victim) = (Bench::start(2, 1).await, Bench::start(1, 1).await);
    let texts = "x".repeat(5_000);
    for bucket in 0..BUCKETS_MAX {
        rogue.set(&bucket_key(bucket), &texts).await;
    }
    let mut other = Bench::start(3, 1).await;
    tell_all(&mut rogue, &mut victim).await;
    tell_all(&mut victim, &mut other).await;
}

/// Tells a node in a few messages all that there is of node 2.
async fn tell_all(from: &mut Bench, to: &mut Bench) {
    for _ in 0..6 {
        let syn = to.gossip(from.run.addr).await.remove(0).1;
        let syn_ack = from.receive(&to.run, syn).await.remove(0).1;
        to.receive(&from.run, syn_ack).await;
    }
    assert_eq!(to.faults().total(), 0, "{:?}", to.faults());
    let (version, values) = to.state_of(&node(2, 1)).await.unwrap();
    assert_eq!((version, values.len()), (1_027, 1_027));
}
