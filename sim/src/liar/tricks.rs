//! What is done to true words to make lies of them.

use rand::Rng;
use rand::seq::{IndexedMutRandom, IteratorRandom};
use rand_chacha::ChaCha8Rng;

use super::letter::{Record, Run};

/// Makes a run one that there is not.
pub(super) fn vary(run: &mut Run, random: &mut ChaCha8Rng) {
    match random.random_range(0..4) {
        0 => run.incarnation += random.random_range(1..1_000_000),
        1 => run.incarnation -= run.incarnation.min(random.random_range(1..1_000)),
        2 => run.addr.set_port(random.random_range(1..=u16::MAX)),
        _ => run.name = format!("nobody{}", random.random_range(0..100)),
    }
}

/// Leaves out some, or all; the newest only with all.
pub(super) fn omit(records: &mut Vec<Record>, random: &mut ChaCha8Rng) {
    if random.random_bool(0.1) {
        return records.clear();
    }
    let Some(last) = records.pop() else { return };
    let kept = random.random_range(0.0..1.0);
    records.retain(|_| random.random_bool(kept));
    records.push(last);
}

pub(super) fn shuffle(records: &mut [Record], random: &mut ChaCha8Rng) {
    let both: Vec<usize> = (0..records.len()).choose_multiple(random, 2);
    let [a, b] = both[..] else { return };
    records.swap(a, b);
    let (low, high) = records.split_at_mut(a.max(b));
    let (one, other) = (&mut low[a.min(b)], &mut high[0]);
    match random.random_range(0..4) {
        0 => std::mem::swap(&mut one.version, &mut other.version),
        1 => std::mem::swap(&mut one.key, &mut other.key),
        2 => {
            std::mem::swap(&mut one.key, &mut other.key);
            std::mem::swap(&mut one.version, &mut other.version);
        }
        _ => {}
    }
}

pub(super) fn alter(records: &mut [Record], random: &mut ChaCha8Rng) {
    let Some(record) = records.choose_mut(random) else {
        return;
    };
    match random.random_range(0..3) {
        0 => record.version += 1,
        1 => record.key = "left".to_owned(),
        _ => {
            let at = random.random_range(0..=record.value.len());
            if record.value.is_char_boundary(at) {
                record
                    .value
                    .insert(at, ['A', '0', '='][random.random_range(0..3)]);
            }
        }
    }
}
