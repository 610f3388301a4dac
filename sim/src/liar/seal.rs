use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ring::digest::{SHA256, digest};

use super::letter::Record;

/// The text of a value.
pub(super) fn text(value: &str) -> &str {
    value.rsplit_once('.').map_or(value, |(text, _)| text)
}

/// A value with this text whose seal has the right sum, for a state to which it is added, and the
/// signature of another value.
pub(super) fn forge(
    text: &str,
    sealed: &str,
    state: &BTreeMap<String, Record>,
    key: &str,
    version: u64,
) -> String {
    let mut versions: BTreeMap<&str, u64> = state
        .values()
        .map(|record| (record.key.as_str(), record.version))
        .collect();
    versions.insert(key, version);
    let summed: Vec<u8> = versions
        .iter()
        .flat_map(|(key, version)| [key.as_bytes(), &[0], &version.to_le_bytes()].concat())
        .collect();
    let seal = sealed.rsplit_once('.').map_or("", |(_, seal)| seal);
    let mut seal = BASE64.decode(seal).unwrap_or_default();
    if let Some(sum) = seal.get_mut(1..17) {
        sum.copy_from_slice(&digest(&SHA256, &summed).as_ref()[..16]);
    }
    format!("{text}.{}", BASE64.encode(seal))
}
