//! What a member that means harm may say in the name of others, and what becomes of it.

use tidings_identity::NodeRun;

use super::bench::{Bench, issue, node, prove_sound, run};
use super::key::OTHER_KEYS_MAX;
use super::script::{
    ack, certificate, certificate_of, id, id_at, known, sealed, sealed_by, sealed_with, syn,
    syn_ack, told, value, version,
};
use crate::config::BUCKETS_MAX;
use crate::fault::Fault;
use crate::peer::bucket_key;

fn from(n: u8) -> NodeRun {
    run(n, 1)
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
async fn half_a_renewal_makes_nobody_a_liar() {
    let mut bench = Bench::start(1, 1).await;
    let (shown, renewed) = (certificate(2), issue(2));
    let renewed_text = certificate_of(&renewed);
    bench
        .receive(&from(2), ack(&[of_n2(&shown, &[("b/0", "x", 2)])]))
        .await;
    let anew = |has: &[_], values: &[_]| sealed_with(&renewed, 2, has, values);
    // With another value, that is not told yet, all is written anew.
    let first = anew(
        &[("b/1", 3)],
        &[("cert", &renewed_text, 4), ("b/0", "x", 5)],
    );
    bench
        .receive(&from(3), ack(&[[told(&id(2), 2), first].concat()]))
        .await;
    // Who has not heard of it passes on what was said before.
    let before = sealed(2, &[("cert", 1), ("b/0", 2)], &[("b/1", "y", 3)]);
    bench
        .receive(&from(4), ack(&[[told(&id(2), 2), before].concat()]))
        .await;
    assert_eq!(bench.state_of(&node(2, 1)).await.map(|(at, _)| at), Some(3));
    let rest = anew(&[("cert", 4), ("b/0", 5)], &[("b/1", "y", 6)]);
    bench
        .receive(&from(3), ack(&[[told(&id(2), 5), rest].concat()]))
        .await;
    assert_eq!(bench.state_of(&node(2, 1)).await.map(|(at, _)| at), Some(6));
    let next = anew(&[("cert", 4), ("b/0", 5), ("b/1", 6)], &[("b/0", "", 7)]);
    bench
        .receive(&from(4), ack(&[[told(&id(2), 6), next].concat()]))
        .await;
    assert_eq!(bench.state_of(&node(2, 1)).await.map(|(at, _)| at), Some(7));
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
    assert!(longer < 65 * 45, "{longer}");
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
