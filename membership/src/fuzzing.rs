//! What must hold of whatever bytes a peer sends. Only there when the crate is built to be fuzzed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use crate::config::BUCKET_BYTES_MAX;
use crate::packed;

/// Reads the text of a bucket, and once more the text whose base64 decodes to the input. What is a
/// bucket is the same after another way through gossip, and knows how long its text is.
pub fn packed(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        unpack(text);
    }
    unpack(&BASE64.encode(input));
}

fn unpack(text: &str) {
    let Ok(bucket) = packed::unpack(text, BUCKET_BYTES_MAX, 0, 1) else {
        return;
    };
    let topics = bucket.topics();
    assert!(topics.is_sorted_by(|a, b| a.key() < b.key()));
    for topic in topics {
        let members = &topic.members;
        assert!(!members.is_empty());
        assert!(members.is_sorted_by(|a, b| a.member < b.member));
    }
    // Numbers may be written longer than need be, so the text may differ, but only get shorter.
    let again = packed::pack(&bucket);
    assert!(again.len() <= text.len());
    if !again.is_empty() {
        assert_eq!(
            again.len(),
            packed::bucket_text_bytes(bucket.packed_bytes())
        );
    }
    let same = packed::unpack(&again, BUCKET_BYTES_MAX, 0, 1);
    assert_eq!(same.ok(), Some(bucket));
}
