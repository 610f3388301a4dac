//! How a node vouches for what it says, so that others can pass it on.
//!
//! A *record* is a value in gossip: a text, a dot and base64 (standard alphabet, no padding) of its
//! *seal*: one byte, the format (1), the 16 bytes of a [`Sum`], two of a signature scheme of TLS
//! 1.3, high one first, and the signature. What is signed, [`Statement`] says.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chitchat::{ChitchatId, NodeState, Serializable};
use ring::digest::{SHA256, digest};
use tidings_identity::{Certified, SignError, Signature, Signer};

/// Which version of each key there is in a node's state, in a few bytes. It tells a state from one
/// in which something is missing, or older than it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum([u8; SUM_BYTES]);

/// What a node says when it writes a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statement<'a> {
    pub(crate) cluster: &'a str,
    pub(crate) node: &'a ChitchatId,
    pub(crate) key: &'a str,
    pub(crate) version: u64,
    /// Of the state with this record.
    pub(crate) sum: Sum,
    pub(crate) text: &'a str,
}

/// A record that was read. What its seal is worth is not known yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) text: &'a str,
    pub(crate) sum: Sum,
    signature: Signature,
}

impl Sum {
    /// The sum of a state with these keys, each once and in order, and the versions of their values.
    pub(crate) fn of<'a>(versions: impl IntoIterator<Item = (&'a str, u64)>) -> Self {
        // A state has many keys and is summed at each of its changes: in one piece, which is quick.
        let mut bytes = Vec::with_capacity(SUMMED_BYTES);
        for (key, version) in versions {
            // No key has a byte below that of a space.
            bytes.extend(key.as_bytes());
            bytes.push(0);
            bytes.extend(version.to_le_bytes());
        }
        Self(first(digest(&SHA256, &bytes).as_ref()))
    }

    /// The sum of this state, if there is one, once the values of these keys have these versions.
    pub(crate) fn with(state: Option<&NodeState>, news: &BTreeMap<&str, u64>) -> Self {
        let has = state
            .into_iter()
            .flat_map(NodeState::key_values_including_deleted);
        // Both are in order.
        let mut has = has.map(|(key, value)| (key, value.version)).peekable();
        let mut news = news
            .iter()
            .map(|(key, version)| (*key, *version))
            .peekable();
        Self::of(std::iter::from_fn(|| match (has.peek(), news.peek()) {
            (Some(old), Some(new)) if old.0 < new.0 => has.next(),
            (Some(old), Some(new)) if old.0 == new.0 => {
                has.next();
                news.next()
            }
            (Some(_), None) => has.next(),
            (_, _) => news.next(),
        }))
    }
}

impl Statement<'_> {
    /// The record that says so.
    pub(crate) fn record(&self, signer: &Signer) -> Result<String, SignError> {
        let signature = signer.sign(&self.bytes())?;
        let mut seal = vec![FORMAT];
        seal.extend(self.sum.0);
        seal.extend(signature.scheme.to_be_bytes());
        seal.extend(signature.bytes);
        let mut record = self.text.to_owned();
        record.push(DOT);
        BASE64.encode_string(seal, &mut record);
        Ok(record)
    }

    /// Whether this record of it was sealed with the key of that certificate.
    pub(crate) fn is_of(&self, certified: &Certified, record: &Record<'_>) -> bool {
        certified.has_signed(&self.bytes(), &record.signature)
    }

    /// What is signed.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = DOMAIN.to_vec();
        self.cluster.serialize(&mut bytes);
        self.node.serialize(&mut bytes);
        self.key.serialize(&mut bytes);
        self.version.serialize(&mut bytes);
        bytes.extend(self.sum.0);
        bytes.extend(digest(&SHA256, self.text.as_bytes()).as_ref());
        bytes
    }
}

impl<'a> Record<'a> {
    /// Reads a value as a record. None if it is not written like one.
    pub(crate) fn read(value: &'a str) -> Option<Self> {
        let (text, seal) = value.rsplit_once(DOT)?;
        let seal = BASE64.decode(seal).ok()?;
        let (&format, seal) = seal.split_first()?;
        let (sum, seal) = seal.split_first_chunk()?;
        let (scheme, signature) = seal.split_first_chunk()?;
        let signature = Signature {
            scheme: u16::from_be_bytes(*scheme),
            bytes: signature.to_vec(),
        };
        let sum = Sum(*sum);
        (format == FORMAT).then_some(Self {
            text,
            sum,
            signature,
        })
    }
}

/// The text of a record.
pub(crate) fn text(value: &str) -> &str {
    value.rsplit_once(DOT).map_or(value, |(text, _)| text)
}

/// The beginning of a digest.
pub(crate) fn first<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut first = [0; N];
    first.copy_from_slice(&digest[..N]);
    first
}

/// The longest seal with its dot: room for a signature of RSA with 4,096 bits.
pub(crate) const SEAL_BYTES_MAX: usize = 720;

/// So that no signature for anything else is one of a record.
const DOMAIN: &[u8] = b"tidings record 1\0";
const FORMAT: u8 = 1;
const SUM_BYTES: usize = 16;
/// What the keys and versions of a state take that has all its buckets.
const SUMMED_BYTES: usize = 16 << 10;
/// The last one in a value counts, though no text has one.
const DOT: char = '.';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_in_another_format_is_refused_and_not_misread() {
        let record = |format: u8| {
            let seal = [&[format][..], &[0; SUM_BYTES + 2 + 64]].concat();
            format!("text.{}", BASE64.encode(seal))
        };
        assert!(Record::read(&record(FORMAT)).is_some());
        for format in [0, FORMAT + 1, u8::MAX] {
            assert!(Record::read(&record(format)).is_none(), "{format}");
        }
    }
}
