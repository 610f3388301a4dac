//! Messages made up by chance: whatever the guard lets pass, gossip goes on.

use proptest::prelude::*;

use super::bench::{Bench, author, guard, prove_sound, run};
use super::script::{
    ack, certificate, id, id_at, known, long, sealed, syn, syn_ack, told, value,
    version as version_alone,
};

/// A number that is often one that matters.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..8_u64, 1 => Just(1 << 53), 1 => Just(u64::MAX)]
}

/// A run of the victim, of nodes it knows and of one it does not.
fn some_id() -> impl Strategy<Value = Vec<u8>> {
    (1..5_u8, prop_oneof![20 => Just(1), 1 => 2..4_u64])
        .prop_map(|(n, run)| id_at(&format!("n{n}"), run, &[10, 0, 0, n], 4_000))
}

/// What is told of a node, mostly as it should be: versions go up by these steps.
fn some_told() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![
        12 => (0..9_u8).prop_map(|n| format!("b/{n}")),
        4 => "x[0-9]?",
        2 => Just("left".to_owned()),
        1 => Just("clients".to_owned()),
        1 => ".?",
    ];
    let step = prop_oneof![30 => 1..3_u64, 1 => Just(0), 1 => number()];
    let state = prop_oneof![30 => Just(0_u8), 1 => 0..4_u8];
    let one = (key, "[a-z]{0,9}", step, state);
    let zero = prop_oneof![20 => Just(0), 1 => number()];
    let values = proptest::collection::vec(one, 0..6);
    let alone = proptest::option::weighted(0.1, number());
    let from = prop_oneof![6 => Just(0), 1 => number()];
    (some_id(), zero, from, values, alone).prop_map(|(id, gone, from, values, alone)| {
        let mut bytes = [vec![0], id, long(gone), long(from)].concat();
        let mut version = from;
        for (key, text, step, state) in values {
            version = version.wrapping_add(step);
            bytes.extend(value(&key, &text, version));
            *bytes.last_mut().unwrap() = state;
        }
        bytes.extend(alone.into_iter().flat_map(version_alone));
        bytes
    })
}

/// What nodes 2 to 4 may well say of themselves, or some of it.
fn some_words() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![
        12 => (0..9_u8).prop_map(|n| format!("b/{n}")),
        2 => "x[0-9]",
        1 => Just("left".to_owned()),
    ];
    let values = proptest::collection::btree_map(key, ("[a-z]{0,9}", 1..4_u64), 0..6);
    let held_back = proptest::option::weighted(0.2, any::<prop::sample::Index>());
    (2..5_u8, values, held_back).prop_map(|(n, values, held_back)| {
        let shown = certificate(n);
        let mut version = 1;
        let mut says = vec![("cert", shown.as_str(), version)];
        for (key, (text, step)) in &values {
            version += step;
            says.push((key, text, version));
        }
        let sealed: Vec<_> = (0..says.len())
            .map(|at| {
                let has: Vec<_> = says[..at].iter().map(|(key, _, at)| (*key, *at)).collect();
                sealed(n, &has, &says[at..=at])
            })
            .collect();
        let without = held_back.map(|index| index.index(sealed.len()));
        let kept = sealed.into_iter().enumerate();
        let kept = kept.filter(|(at, _)| Some(*at) != without);
        let values: Vec<_> = kept.map(|(_, bytes)| bytes).collect();
        [told(&id(n), 0), values.concat()].concat()
    })
}

fn some_message() -> impl Strategy<Value = Vec<u8>> {
    let entry = (some_id(), number(), number()).prop_map(|(id, beat, at)| known(&id, beat, at));
    let entries = proptest::collection::vec(entry, 0..5).prop_map(|mut entries| {
        // In the order in which they have to be, for the most part.
        entries.sort_by_key(|entry| entry[..4].to_vec());
        entries.dedup_by_key(|entry| entry[..4].to_vec());
        entries
    });
    let one = prop_oneof![1 => some_told(), 2 => some_words()];
    let delta = proptest::collection::vec(one, 0..4);
    (entries, delta, 0..8_u8).prop_map(|(entries, delta, kind)| match kind {
        0 => syn(&entries),
        1..5 => ack(&delta),
        _ => syn_ack(&entries, &delta),
    })
}

/// A change of a message: where, and what comes there in place of how much.
type Change = (prop::sample::Index, Vec<u8>, usize);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..3),
        Just(vec![0xff; 8]),
        Just(long(1 << 53)),
    ];
    proptest::collection::vec((any::<prop::sample::Index>(), bytes, 0..9_usize), 0..4)
}

fn changed(mut bytes: Vec<u8>, changes: Vec<Change>) -> Vec<u8> {
    for (at, with, len) in changes {
        let at = at.index(bytes.len() + 1);
        let end = (at + len).min(bytes.len());
        bytes.splice(at..end, with);
    }
    bytes
}

/// Messages between nodes 2 and 3, to which node 2 has told some; not compressed, so that a change
/// changes what is in them.
async fn honest_messages() -> Vec<Vec<u8>> {
    let (mut a, mut b) = (Bench::start(2, 1).await, Bench::start(3, 1).await);
    let (guard, mut messages) = (guard(2, 1, &author(2, 1)), Vec::new());
    for round in 0..3 {
        a.set(&format!("b/{round}"), "text").await;
        b.set("b/0", &format!("text {round}")).await;
        let (syn, at) = (a.gossip(b.run.addr).await.remove(0).1, a.run.clone());
        let syn_ack = b.receive(&at, syn.clone()).await.remove(0).1;
        let ack = a.receive(&b.run, syn_ack.clone()).await.remove(0).1;
        b.receive(&at, ack.clone()).await;
        messages.extend([syn, syn_ack, ack].map(|bytes| guard.read(&bytes).unwrap().rewrite()));
    }
    messages
}

async fn feed(messages: Vec<Vec<u8>>) {
    let (mut victim, from) = (Bench::start(1, 1).await, run(2, 1));
    for (n, message) in messages.into_iter().enumerate() {
        victim.receive(&from, message).await;
        victim.set("b/0", &n.to_string()).await;
    }
    prove_sound(&mut victim).await;
}

fn within_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(test);
}

proptest! {
    #[test]
    fn nothing_that_is_made_up_ends_gossip(
        messages in proptest::collection::vec(some_message(), 1..8),
    ) {
        let known = syn(&[2, 3, 4].map(|n| known(&id(n), 1, 0)));
        within_time(feed([vec![known], messages].concat()));
    }

    #[test]
    fn nothing_that_was_honest_once_ends_gossip(
        changes in proptest::collection::vec((0..9_usize, changes()), 1..12),
    ) {
        within_time(async {
            let honest = honest_messages().await;
            let change = |(n, changes): (usize, _)| changed(honest[n].clone(), changes);
            feed(changes.into_iter().map(change).collect()).await;
        });
    }
}
