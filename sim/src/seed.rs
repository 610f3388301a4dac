use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The random stream that belongs to one purpose within a run.
///
/// Each purpose has its own, so that drawing more for one does not change what another gets. The
/// parts are hashed, not added or combined by xor, which would give related purposes related
/// streams.
pub fn stream(seed: u64, label: &str, parts: &[u64]) -> ChaCha8Rng {
    let mut hash = mix(seed);
    for byte in label.bytes() {
        hash = mix(hash ^ u64::from(byte));
    }
    for part in parts {
        hash = mix(hash.rotate_left(17) ^ mix(*part));
    }
    ChaCha8Rng::seed_from_u64(hash)
}

/// Spreads every bit of a number over all of it (the finalizer of splitmix64).
pub fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngCore;
    use std::collections::BTreeSet;

    #[test]
    fn streams_of_related_purposes_are_unrelated() {
        let labels = ["link", "host"];
        let mut first = BTreeSet::new();
        for seed in 0..10 {
            for label in labels {
                for a in 0..10 {
                    for b in 0..10 {
                        first.insert(stream(seed, label, &[a, b]).next_u64());
                    }
                }
            }
        }
        assert_eq!(first.len(), 10 * labels.len() * 100);
    }
}
