//! Gossip messages put together by hand, right or wrong, by nothing that the guard itself is made of.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use ring::digest::{SHA256, digest as hash};
use tidings_identity::Identity;

use super::bench::{cluster, identity};
use super::blocks::BLOCK_BYTES_MAX;

pub(crate) fn short(number: usize) -> Vec<u8> {
    (number as u16).to_le_bytes().to_vec()
}

pub(crate) fn long(number: u64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

pub(crate) fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [short(text.len()), text.to_vec()].concat()
}

pub(crate) fn id_at(name: &str, incarnation: u64, ip: &[u8], port: u16) -> Vec<u8> {
    let kind = if ip.len() == 4 { 4 } else { 6 };
    let name = text(name);
    [
        name,
        long(incarnation),
        vec![kind],
        ip.to_vec(),
        short(port.into()),
    ]
    .concat()
}

/// Run 1 of node `n`.
pub(crate) fn id(n: u8) -> Vec<u8> {
    id_at(&format!("n{n}"), 1, &[10, 0, 0, n], 4_000)
}

pub(crate) fn known(id: &[u8], heartbeat: u64, version: u64) -> Vec<u8> {
    [id.to_vec(), long(heartbeat), long(0), long(version)].concat()
}

pub(crate) fn digest(entries: &[Vec<u8>]) -> Vec<u8> {
    [short(entries.len()), entries.concat()].concat()
}

pub(crate) fn told(id: &[u8], from: u64) -> Vec<u8> {
    [vec![0], id.to_vec(), long(0), long(from)].concat()
}

/// What run 1 of node `n` says of itself beside what it `has`: these keys with texts and versions.
pub(crate) fn sealed(n: u8, has: &[(&str, u64)], values: &[(&str, &str, u64)]) -> Vec<u8> {
    sealed_with(&identity(n), n, has, values)
}

/// What node `by` makes up in the name of node `n`.
pub(crate) fn sealed_by(
    by: u8,
    n: u8,
    has: &[(&str, u64)],
    values: &[(&str, &str, u64)],
) -> Vec<u8> {
    sealed_with(&identity(by), n, has, values)
}

/// What is said in the name of node `n` with the key of somebody.
pub(crate) fn sealed_with(
    identity: &Identity,
    n: u8,
    has: &[(&str, u64)],
    values: &[(&str, &str, u64)],
) -> Vec<u8> {
    let mut state: std::collections::BTreeMap<&str, u64> = has.iter().copied().collect();
    let mut bytes = Vec::new();
    for &(key, says, version) in values {
        state.insert(key, version);
        let versions = state
            .iter()
            .flat_map(|(key, version)| [key.as_bytes(), &[0], &version.to_le_bytes()[..]].concat());
        let sum = hash(&SHA256, &versions.collect::<Vec<u8>>()).as_ref()[..16].to_vec();
        let said = [
            b"tidings record 1\0".to_vec(),
            text(cluster().as_str()),
            id(n),
            text(key),
            long(version),
            sum.clone(),
            hash(&SHA256, says.as_bytes()).as_ref().to_vec(),
        ];
        let signature = identity.signer().sign(&said.concat()).unwrap();
        let scheme = signature.scheme.to_be_bytes().to_vec();
        let seal = BASE64.encode([vec![1], sum, scheme, signature.bytes].concat());
        bytes.extend(value(key, &format!("{says}.{seal}"), version));
    }
    bytes
}

/// The text under `cert` of node `n`.
pub(crate) fn certificate(n: u8) -> String {
    certificate_of(&identity(n))
}

/// The text under `cert` of this node.
pub(crate) fn certificate_of(identity: &Identity) -> String {
    let signer = identity.signer();
    let chain = signer.chain().iter();
    BASE64.encode(chain.flat_map(|der| text(&der[..])).collect::<Vec<u8>>())
}

pub(crate) fn value(key: &str, value: &str, version: u64) -> Vec<u8> {
    [vec![1], text(key), text(value), long(version), vec![0]].concat()
}

pub(crate) fn version(version: u64) -> Vec<u8> {
    [vec![2], long(version)].concat()
}

pub(crate) fn block(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![kind], text(bytes)].concat()
}

/// The blocks of a delta, as chitchat packs them.
pub(crate) fn blocks(delta: &[u8]) -> Vec<u8> {
    let frame = |part: &[u8]| match zstd::bulk::compress(part, 0) {
        Ok(frame) if frame.len() < part.len() => block(1, &frame),
        _ => block(2, part),
    };
    let blocks: Vec<_> = delta.chunks(BLOCK_BYTES_MAX).map(frame).collect();
    [blocks.concat(), vec![0]].concat()
}

pub(crate) fn message(kind: u8, body: &[Vec<u8>]) -> Vec<u8> {
    [short(45_139), vec![0, kind], body.concat()].concat()
}

pub(crate) fn syn(entries: &[Vec<u8>]) -> Vec<u8> {
    message(0, &[digest(entries), text(cluster().as_str())])
}

pub(crate) fn syn_ack(entries: &[Vec<u8>], delta: &[Vec<u8>]) -> Vec<u8> {
    message(1, &[digest(entries), blocks(&delta.concat())])
}

pub(crate) fn ack(delta: &[Vec<u8>]) -> Vec<u8> {
    message(2, &[blocks(&delta.concat())])
}
