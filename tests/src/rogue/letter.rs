//! Writes gossip messages, right or wrong, from their parts.

use anyhow::Result;

use super::value::Value;

/// A number in two bytes.
pub fn short(number: u16) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

/// A number in eight bytes.
pub fn long(number: u64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

/// A text behind its length.
///
/// # Panics
/// When it is longer than two bytes can say.
pub fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let length = u16::try_from(text.len()).expect("a text of a gossip message is short");
    [short(length), text.to_vec()].concat()
}

/// An entry of a digest: up to where this run is known.
pub fn known(run: &[u8], (beat, token): (u64, u64), version: u64) -> Vec<u8> {
    [run.to_vec(), long(beat), long(token), long(version)].concat()
}

/// An entry of a delta: what follows is of this run, and goes on from this version.
pub fn told(run: &[u8], from: u64) -> Vec<u8> {
    [vec![0], run.to_vec(), long(0), long(from)].concat()
}

/// An entry of a delta: a value.
pub fn value(value: &Value) -> Vec<u8> {
    let (key, text) = (text(&value.key), text(&value.value));
    [vec![1], key, text, long(value.version), vec![0]].concat()
}

/// An entry of a delta: a version without a value.
pub fn version(version: u64) -> Vec<u8> {
    [vec![2], long(version)].concat()
}

/// A Syn.
pub fn syn(cluster: &str, entries: &[Vec<u8>]) -> Vec<u8> {
    message(0, &[digest(entries), text(cluster)])
}

/// A SynAck.
pub fn syn_ack(entries: &[Vec<u8>], delta: &[Vec<u8>]) -> Vec<u8> {
    message(1, &[digest(entries), blocks(&delta.concat())])
}

/// An Ack.
pub fn ack(delta: &[Vec<u8>]) -> Vec<u8> {
    message(2, &[blocks(&delta.concat())])
}

/// An Ack with these blocks, each of a kind, as they are.
pub fn ack_of_blocks(blocks: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let blocks = blocks.iter().map(|(kind, bytes)| block(*kind, bytes));
    message(2, &[blocks.collect::<Vec<_>>().concat(), vec![0]])
}

/// A block of a delta may hold these bytes so.
pub fn packed(bytes: &[u8]) -> Result<Vec<u8>> {
    Ok(zstd::bulk::compress(bytes, 0)?)
}

fn message(kind: u8, body: &[Vec<u8>]) -> Vec<u8> {
    [short(MAGIC), vec![0, kind], body.concat()].concat()
}

fn digest(entries: &[Vec<u8>]) -> Vec<u8> {
    let count = u16::try_from(entries.len()).expect("a digest has few entries");
    [short(count), entries.concat()].concat()
}

fn blocks(delta: &[u8]) -> Vec<u8> {
    let fits = |part: &[u8]| match packed(part) {
        Ok(frame) if frame.len() < part.len() => block(1, &frame),
        _ => block(2, part),
    };
    let blocks: Vec<_> = delta.chunks(BLOCK_BYTES_MAX).map(fits).collect();
    [blocks.concat(), vec![0]].concat()
}

fn block(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [vec![kind], text(bytes)].concat()
}

pub(super) const MAGIC: u16 = 45_139;
pub(super) const BLOCK_BYTES_MAX: usize = 16_384;
