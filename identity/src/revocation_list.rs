//! What an authority has revoked, and how that lies in a file and on the wire.
//!
//! A list is, with integers in big endian:
//!
//! - the 16 bytes of `tidings-revoked` and the format, 1
//! - the authority's public key, 32 bytes
//! - the cluster's name, behind its length in one byte
//! - the sequence number, 8 bytes
//! - how many entries there are, 2 bytes, and each: the node's name behind its length in one byte,
//!   and the moment of the revocation in seconds since the Unix epoch, 8 bytes; sorted by name, no
//!   name twice
//! - the authority's Ed25519 signature of all that, 64 bytes

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::authority_key::AuthorityKey;
use crate::{CLUSTER_NAME_BYTES_MAX, ClusterName, LABEL_BYTES_MAX, NameError, NodeId};

/// Which nodes of a cluster an authority has revoked, signed by that authority.
///
/// Revoked is what was certified up to a moment: a certificate of the node that begins at or
/// before it is void, one that begins later is good. Of two lists of an authority the [newer one]
/// holds, alone. Always well-formed and of the authority that it names; whether that authority is
/// to be believed is for others to decide. Cheap to clone.
///
/// [newer one]: Self::is_newer_than
#[derive(Clone, PartialEq, Eq)]
pub struct RevocationList {
    authority: AuthorityKey,
    cluster: ClusterName,
    sequence: u64,
    /// The moments, in seconds since the Unix epoch.
    revoked: Arc<BTreeMap<NodeId, u64>>,
    bytes: Arc<[u8]>,
}

/// Why bytes are not a revocation list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationListError {
    /// They are something else, or a list of a later format.
    #[error("not a revocation list of a known format")]
    Format,
    /// They end before the list does.
    #[error("the revocation list is cut off")]
    CutOff,
    /// There is more behind the list.
    #[error("there are {0} bytes behind the revocation list")]
    Trailing(usize),
    /// There are more lists than anybody has authorities.
    #[error("there are more than {max} revocation lists", max = RevocationList::LISTS_MAX)]
    Lists,
    /// More entries than a list may have.
    #[error("a revocation list has at most {max} entries, this one has {0}", max = RevocationList::ENTRIES_MAX)]
    Entries(u16),
    /// The name of the cluster or of a node is none.
    #[error("the revocation list holds an invalid name")]
    Name(#[source] NameError),
    /// A name that is not UTF-8.
    #[error("the revocation list holds a name that is no text")]
    Text,
    /// An entry is not where it belongs.
    #[error("the revocation list is out of order")]
    Order,
    /// The authority has not signed this.
    #[error("the signature of the revocation list does not hold")]
    Signature,
}

/// A list is for another cluster than it is to serve. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the revocation list is for cluster {listed}, not for {cluster}")]
pub struct ForeignListError {
    /// The list's cluster.
    pub listed: ClusterName,
    /// The cluster that it is to serve.
    pub cluster: ClusterName,
}

impl RevocationList {
    /// The most nodes that a list can name.
    pub const ENTRIES_MAX: usize = 500;

    /// The longest list, in bytes: some 36 kB.
    pub const BYTES_MAX: usize = MAGIC.len()
        + AuthorityKey::BYTES
        + (1 + CLUSTER_NAME_BYTES_MAX)
        + 8
        + 2
        + Self::ENTRIES_MAX * (1 + LABEL_BYTES_MAX + 8)
        + SIGNATURE_BYTES;

    /// The most lists that are read one behind the other, each of another authority.
    pub const LISTS_MAX: usize = 8;

    /// Reads a list and checks its signature, by the key that it names itself.
    ///
    /// # Errors
    /// When the bytes are anything but one list.
    pub fn parse(bytes: &[u8]) -> Result<Self, RevocationListError> {
        let mut rest = bytes;
        let list = Self::read(&mut rest)?;
        match rest.len() {
            0 => Ok(list),
            more => Err(RevocationListError::Trailing(more)),
        }
    }

    /// Reads lists that stand one behind the other, as those of two authorities do in a file while
    /// one takes the place of the other.
    ///
    /// # Errors
    /// When the bytes are anything but lists, or more than [`LISTS_MAX`](Self::LISTS_MAX).
    pub fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, RevocationListError> {
        let (mut rest, mut lists) = (bytes, Vec::new());
        while !rest.is_empty() {
            if lists.len() == Self::LISTS_MAX {
                return Err(RevocationListError::Lists);
            }
            lists.push(Self::read(&mut rest)?);
        }
        Ok(lists)
    }

    /// The authority whose list it is.
    pub fn authority(&self) -> &AuthorityKey {
        &self.authority
    }

    /// The cluster whose nodes it names.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// How many lists of this authority there were up to this one.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When a node was revoked, if it was, since the Unix epoch. Its certificates that begin then
    /// or before are void.
    pub fn revoked_at(&self, node: &NodeId) -> Option<Duration> {
        self.revoked.get(node).copied().map(Duration::from_secs)
    }

    /// The nodes that are revoked, by name, each with the moment since the Unix epoch.
    pub fn entries(&self) -> impl Iterator<Item = (&NodeId, Duration)> {
        let entries = self.revoked.iter();
        entries.map(|(node, at)| (node, Duration::from_secs(*at)))
    }

    /// The list as it is written and sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether it takes the place of `other`, a list of the same authority: it has a higher
    /// sequence number. If two lists have the same number, as when two copies of an authority are
    /// in use, its bytes decide, so that all nodes come to hold the same one.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let order = self.sequence.cmp(&other.sequence);
        order.then_with(|| self.bytes.cmp(&other.bytes)) == Ordering::Greater
    }

    pub(crate) fn check_cluster(&self, cluster: &ClusterName) -> Result<(), ForeignListError> {
        if self.cluster == *cluster {
            return Ok(());
        }
        Err(ForeignListError {
            listed: self.cluster.clone(),
            cluster: cluster.clone(),
        })
    }

    /// A list with these entries, of which `sign` makes the signature.
    pub(crate) fn signed<E>(
        authority: AuthorityKey,
        cluster: &ClusterName,
        sequence: u64,
        revoked: BTreeMap<NodeId, u64>,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(authority.as_bytes());
        put_text(&mut bytes, cluster.as_str());
        bytes.extend_from_slice(&sequence.to_be_bytes());
        let count = u16::try_from(revoked.len()).expect("whoever signs keeps to ENTRIES_MAX");
        bytes.extend_from_slice(&count.to_be_bytes());
        for (node, at) in &revoked {
            put_text(&mut bytes, node.as_str());
            bytes.extend_from_slice(&at.to_be_bytes());
        }
        let signature = sign(&bytes)?;
        bytes.extend_from_slice(&signature);
        Ok(Self {
            authority,
            cluster: cluster.clone(),
            sequence,
            revoked: Arc::new(revoked),
            bytes: bytes.into(),
        })
    }

    /// Reads one list off the front.
    fn read(rest: &mut &[u8]) -> Result<Self, RevocationListError> {
        let whole = *rest;
        // Whatever is no list is told so, also when it is short.
        if !whole.starts_with(MAGIC) {
            return Err(RevocationListError::Format);
        }
        take(rest, MAGIC.len())?;
        let authority = AuthorityKey::from_bytes(array(rest)?);
        let cluster = ClusterName::parse(text(rest)?).map_err(RevocationListError::Name)?;
        let sequence = u64::from_be_bytes(array(rest)?);
        let count = u16::from_be_bytes(array(rest)?);
        if usize::from(count) > Self::ENTRIES_MAX {
            return Err(RevocationListError::Entries(count));
        }
        let mut revoked = BTreeMap::new();
        for _ in 0..count {
            let node = NodeId::parse(text(rest)?).map_err(RevocationListError::Name)?;
            let at = u64::from_be_bytes(array(rest)?);
            if revoked
                .last_key_value()
                .is_some_and(|(last, _)| *last >= node)
            {
                return Err(RevocationListError::Order);
            }
            revoked.insert(node, at);
        }
        let signed = &whole[..whole.len() - rest.len()];
        let signature = take(rest, SIGNATURE_BYTES)?;
        if !authority.has_signed(signed, signature) {
            return Err(RevocationListError::Signature);
        }
        Ok(Self {
            authority,
            cluster,
            sequence,
            revoked: Arc::new(revoked),
            bytes: whole[..whole.len() - rest.len()].into(),
        })
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationList")
            .field("authority", &self.authority)
            .field("cluster", &self.cluster)
            .field("sequence", &self.sequence)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

/// A name, which is far shorter than a length in one byte can say.
fn put_text(bytes: &mut Vec<u8>, name: &str) {
    bytes.push(u8::try_from(name.len()).expect("names have at most 100 bytes"));
    bytes.extend_from_slice(name.as_bytes());
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], RevocationListError> {
    let (taken, behind) = rest
        .split_at_checked(bytes)
        .ok_or(RevocationListError::CutOff)?;
    *rest = behind;
    Ok(taken)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], RevocationListError> {
    let taken = take(rest, N)?;
    taken.try_into().map_err(|_| RevocationListError::CutOff)
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, RevocationListError> {
    let [length] = array(rest)?;
    let bytes = take(rest, length.into())?;
    str::from_utf8(bytes).map_err(|_| RevocationListError::Text)
}

/// What nothing else begins with that an authority signs, and the format.
const MAGIC: &[u8] = b"tidings-revoked\x01";
const SIGNATURE_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Authority, Validity};

    fn authority() -> Authority {
        let day = Duration::from_secs(86_400);
        let validity = Validity::starting(20_000 * day, 365 * day).unwrap();
        Authority::create(&"prod.example".parse().unwrap(), validity).unwrap()
    }

    fn revoked(authority: &Authority, nodes: &[(&str, u64)]) -> RevocationList {
        let none = None;
        let revoke = |before: Option<RevocationList>, (node, at): &(&str, u64)| {
            let (node, at) = (node.parse().unwrap(), Duration::from_secs(*at));
            Some(authority.revoke(before.as_ref(), &node, at).unwrap())
        };
        nodes.iter().fold(none, revoke).unwrap()
    }

    #[test]
    fn a_list_says_again_what_was_written() {
        let authority = authority();
        let list = revoked(&authority, &[("n2", 20), ("n1", 10), ("n2", 30)]);
        let again = RevocationList::parse(list.as_bytes()).unwrap();
        assert_eq!(again, list);
        assert_eq!(again.sequence(), 3);
        assert_eq!(again.cluster(), authority.cluster());
        let at = |node: &str| again.revoked_at(&node.parse().unwrap());
        assert_eq!(at("n1"), Some(Duration::from_secs(10)));
        assert_eq!(at("n2"), Some(Duration::from_secs(30)));
        assert_eq!(at("n3"), None);
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let list = revoked(&authority(), &[("n1", 0x0102)]);
        let bytes = list.as_bytes();
        assert_eq!(&bytes[..16], b"tidings-revoked\x01");
        assert_eq!(&bytes[16..48], list.authority().as_bytes());
        let rest = b"\x0cprod.example\0\0\0\0\0\0\0\x01\0\x01\x02n1\0\0\0\0\0\0\x01\x02";
        assert_eq!(&bytes[48..bytes.len() - 64], rest);
    }

    #[test]
    fn one_changed_byte_is_noticed_wherever_it_is() {
        let list = revoked(&authority(), &[("n1", 10), ("n2", 20)]);
        for at in 0..list.as_bytes().len() {
            let mut bytes = list.as_bytes().to_vec();
            bytes[at] ^= 1;
            assert!(RevocationList::parse(&bytes).is_err(), "byte {at}");
        }
        let longer = [list.as_bytes(), b"x"].concat();
        let trailing = Err(RevocationListError::Trailing(1));
        assert_eq!(RevocationList::parse(&longer), trailing);
        for end in MAGIC.len()..list.as_bytes().len() {
            let cut = RevocationList::parse(&list.as_bytes()[..end]);
            assert_eq!(cut, Err(RevocationListError::CutOff), "cut at {end}");
        }
    }

    #[test]
    fn what_is_signed_and_breaks_a_rule_is_refused() {
        let authority = authority();
        let list = revoked(&authority, &[("n1", 10), ("n2", 20)]);
        let signed = |body: &[u8]| {
            let signature = authority.sign(body).unwrap();
            RevocationList::parse(&[body, &signature].concat()).unwrap_err()
        };
        let body = &list.as_bytes()[..list.as_bytes().len() - SIGNATURE_BYTES];
        let entries = body.len() - 22;
        let swapped = [
            &body[..entries],
            &body[entries + 11..],
            &body[entries..entries + 11],
        ];
        assert_eq!(signed(&swapped.concat()), RevocationListError::Order);
        let twice = [&body[..entries], &body[entries..entries + 11].repeat(2)];
        assert_eq!(signed(&twice.concat()), RevocationListError::Order);
        let mut upper = body.to_vec();
        upper[entries + 1] = b'N';
        assert!(matches!(signed(&upper), RevocationListError::Name(_)));
        upper[entries + 1] = 0xff;
        assert_eq!(signed(&upper), RevocationListError::Text);
        let many = [
            &body[..entries - 2],
            &501u16.to_be_bytes(),
            &body[entries..],
        ]
        .concat();
        assert_eq!(signed(&many), RevocationListError::Entries(501));
    }

    #[test]
    fn lists_of_several_authorities_are_read_one_behind_the_other() {
        let lists = [authority(), authority()].map(|one| revoked(&one, &[("n1", 10)]));
        let bytes: Vec<u8> = lists
            .iter()
            .flat_map(|list| list.as_bytes().to_vec())
            .collect();
        assert_eq!(RevocationList::parse_all(&bytes).unwrap(), lists);
        assert_eq!(RevocationList::parse_all(b"").unwrap(), []);
        let too_many = lists[0].as_bytes().repeat(RevocationList::LISTS_MAX + 1);
        let refused = RevocationList::parse_all(&too_many);
        assert_eq!(refused, Err(RevocationListError::Lists));
    }

    #[test]
    fn the_higher_number_is_newer_and_of_two_equal_ones_all_choose_the_same() {
        let authority = authority();
        let first = revoked(&authority, &[("n1", 10)]);
        let second = revoked(&authority, &[("n1", 10), ("n2", 10)]);
        let other = revoked(&authority, &[("n1", 10), ("n3", 10)]);
        assert!(second.is_newer_than(&first) && !first.is_newer_than(&second));
        assert!(!first.is_newer_than(&first));
        assert_ne!(second.is_newer_than(&other), other.is_newer_than(&second));
    }

    #[test]
    fn the_longest_list_fits() {
        let cluster: ClusterName = ["x".repeat(50), "y".repeat(49)].join(".").parse().unwrap();
        let name = |n: usize| format!("{n:063}").parse::<NodeId>().unwrap();
        let entries = (0..RevocationList::ENTRIES_MAX).map(|n| (name(n), u64::MAX));
        let key = AuthorityKey::from_bytes([0; 32]);
        let sign = |_: &[u8]| Ok::<_, ()>(vec![0; SIGNATURE_BYTES]);
        let list = RevocationList::signed(key, &cluster, 1, entries.collect(), sign).unwrap();
        assert_eq!(list.as_bytes().len(), RevocationList::BYTES_MAX);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(RevocationList::parse(&bytes).is_err());
            prop_assert!(RevocationList::parse(&[MAGIC, &bytes].concat()).is_err());
        }

        #[test]
        fn any_entries_survive(
            entries in proptest::collection::btree_map("[a-z0-9]{1,63}", any::<u64>(), 0..20),
            sequence in any::<u64>(),
        ) {
            let authority = authority();
            let entries = entries.iter().map(|(node, at)| (node.parse().unwrap(), *at));
            let list = RevocationList::signed(
                authority.public_key().unwrap(),
                authority.cluster(),
                sequence,
                entries.collect(),
                |body| authority.sign(body),
            ).unwrap();
            prop_assert_eq!(RevocationList::parse(list.as_bytes()), Ok(list));
        }
    }
}
