use super::seal::SEAL_BYTES_MAX;
use crate::client_door::CLIENT_DOOR_BYTES_MAX;
use crate::config::{BUCKET_BYTES_MAX, BUCKETS_MAX};
use crate::names::{PAGE_BYTES_MAX, PAGES_MAX};
use crate::peer::{
    BUCKET_PREFIX, BUCKETS_KEY, CERTIFICATE_KEY, CLIENTS_KEY, LEFT_KEY, NAMES_PREFIX, PULSE_KEY,
    RECORD_PREFIX,
};
use crate::records::{RECORD_BYTES_MAX, RECORDS_MAX};

/// What a key of a node's state is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// The text of a bucket.
    Bucket,
    /// A page of the names of agents.
    Names,
    /// What is told of a topic.
    Record,
    /// The certificate by which the others are checked.
    Certificate,
    /// Where the clients of the node connect.
    Clients,
    /// One of the others that nodes write.
    Plain,
    /// What a newer version of this software may write.
    Other,
}

impl Key {
    /// The kind of this key. None if no node writes such a one.
    pub(crate) fn parse(key: &str) -> Option<Self> {
        if key == CERTIFICATE_KEY {
            return Some(Self::Certificate);
        }
        if key == CLIENTS_KEY {
            return Some(Self::Clients);
        }
        if [BUCKETS_KEY, LEFT_KEY, PULSE_KEY].contains(&key) {
            return Some(Self::Plain);
        }
        if let Some(index) = key.strip_prefix(BUCKET_PREFIX) {
            return is_index(index, BUCKETS_MAX).then_some(Self::Bucket);
        }
        if let Some(index) = key.strip_prefix(NAMES_PREFIX) {
            return is_index(index, PAGES_MAX).then_some(Self::Names);
        }
        if let Some(number) = key.strip_prefix(RECORD_PREFIX) {
            return is_index(number, RECORDS_MAX).then_some(Self::Record);
        }
        let plain = |c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/');
        let is_one = (1..=OTHER_KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(plain);
        is_one.then_some(Self::Other)
    }

    /// The longest value it may have, in bytes: a text and its seal.
    pub(crate) fn value_bytes_max(self) -> usize {
        let text = match self {
            Self::Bucket => BUCKET_BYTES_MAX,
            Self::Names => PAGE_BYTES_MAX,
            Self::Record => RECORD_BYTES_MAX,
            Self::Certificate => CERTIFICATE_BYTES_MAX,
            Self::Clients => CLIENT_DOOR_BYTES_MAX,
            Self::Plain => PLAIN_VALUE_BYTES_MAX,
            Self::Other => OTHER_VALUE_BYTES_MAX,
        };
        text + SEAL_BYTES_MAX
    }
}

/// Whether this is how a number below that one is written in a key.
fn is_index(text: &str, end: usize) -> bool {
    let digit = |c| matches!(c, b'0'..=b'9' | b'a'..=b'f');
    let short = text.len() <= 1 || !text.starts_with('0');
    let number = usize::from_str_radix(text, 16).ok();
    short && text.bytes().all(digit) && number.is_some_and(|number| number < end)
}

/// How many keys a node may have that are unknown here.
pub(crate) const OTHER_KEYS_MAX: usize = 16;

/// A chain of three with keys of RSA.
const CERTIFICATE_BYTES_MAX: usize = 8_192;
const PLAIN_VALUE_BYTES_MAX: usize = 64;
const OTHER_KEY_BYTES_MAX: usize = 32;
const OTHER_VALUE_BYTES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{bucket_key, names_key, record_key};

    #[test]
    fn every_key_that_nodes_write_is_known() {
        for index in 0..BUCKETS_MAX {
            assert_eq!(Key::parse(&bucket_key(index)), Some(Key::Bucket));
        }
        for page in 0..PAGES_MAX {
            assert_eq!(Key::parse(&names_key(page)), Some(Key::Names));
        }
        for number in 0..RECORDS_MAX {
            assert_eq!(Key::parse(&record_key(number)), Some(Key::Record));
        }
        assert_eq!(Key::parse("buckets"), Some(Key::Plain));
        assert_eq!(Key::parse("left"), Some(Key::Plain));
        assert_eq!(Key::parse("pulse"), Some(Key::Plain));
        assert_eq!(Key::parse("cert"), Some(Key::Certificate));
        assert_eq!(Key::parse("clients"), Some(Key::Clients));
        assert_eq!(Key::parse("schema"), Some(Key::Other));
    }

    #[test]
    fn what_no_node_writes_is_not_a_key() {
        let long = "x".repeat(OTHER_KEY_BYTES_MAX + 1);
        for key in [
            "", "b/", "b/400", "b/00", "b/A", "b/+1", "b/é", "a/", "a/200", "a/07", "t/", "t/100",
            "t/00", "t/A", "B", "a b", &long,
        ] {
            assert_eq!(Key::parse(key), None, "{key}");
        }
    }
}
