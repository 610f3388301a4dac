use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use super::link::varint;

/// The key of the bucket that a topic is in, of so many.
pub fn bucket_key(scope: &str, pattern: &str, buckets: u32) -> String {
    let bytes = [scope.as_bytes(), &[0], pattern.as_bytes()].concat();
    let hash = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("b/{:x}", hash % u64::from(buckets))
}

/// The text of a bucket whose topics, in this scope and in order, have so many members each.
pub fn bucket_text(scope: &str, topics: &[(&str, u32)]) -> String {
    // The format, and that the ids have nothing in common.
    let mut bytes = vec![2, 0];
    let mut id = 0_u128;
    for (pattern, members) in topics {
        for text in [scope, pattern] {
            bytes.extend(varint(text.len() as u64));
            bytes.extend(text.as_bytes());
        }
        bytes.extend(varint((*members).into()));
        for _ in 0..*members {
            id += 1;
            // An id of version 7 and of the variant that all are of.
            let id = id | 0x7 << 76 | 0b10 << 62;
            bytes.push(1);
            bytes.extend(id.to_be_bytes());
            bytes.extend([0; 2]);
        }
    }
    BASE64.encode(bytes)
}
