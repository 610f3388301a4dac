//! What must hold of whatever bytes a peer sends. Only there when the crate is built to be fuzzed.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chitchat::{ChitchatMessage, Deserializable, NodeState};

use crate::config::BUCKET_BYTES_MAX;
use crate::guard::bench::{Bench, heartless_guard, node, prove_sound, run};
use crate::names::{Names, Numbering};
use crate::packed;
use crate::pipe::GOSSIP_BYTES_MAX;

/// Reads the text of a bucket or of a page of names, and once more the text whose base64 decodes to the input. What is a
/// bucket is the same after another way through gossip, and knows how long its text is.
pub fn packed(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        unpack(text);
    }
    unpack(&BASE64.encode(input));
}

/// Gives gossip messages to a node, each behind its length in two bytes, the low one first. Whatever
/// they are, gossip goes on, and what it says then is taken by another node.
pub fn gossip(input: &[u8]) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().expect("it needs nothing");
    runtime.block_on(async {
        let mut bench = Bench::start(1, 1).await;
        for message in messages(input) {
            bench.receive(&run(2, 1), message.to_vec()).await;
        }
        prove_sound(&mut bench).await;
    });
}

/// Gives gossip messages, written as for [`gossip`], to the guard alone. What it lets pass chitchat
/// reads, and the guard itself once more.
pub fn guard(input: &[u8]) {
    let mut guard = heartless_guard(1);
    let mut states = BTreeMap::new();
    for n in [1, 2] {
        states.insert(node(n, 1), NodeState::for_test());
    }
    for message in messages(input) {
        let Ok(mut letter) = guard.read(message) else {
            continue;
        };
        let written = letter.write();
        if written.len() <= GOSSIP_BYTES_MAX {
            assert_eq!(
                guard.read(&written).map(|again| again.write()).ok(),
                Some(written)
            );
        }
        if guard.fit(&run(2, 1), &mut letter, &states).is_ok() {
            let written = letter.write();
            assert!(ChitchatMessage::deserialize(&mut &written[..]).is_ok());
        }
    }
}

/// The messages in an input.
fn messages(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk()?;
        let len = usize::from(u16::from_le_bytes(*len)).min(after.len());
        let (message, after) = after.split_at(len);
        rest = after;
        Some(message)
    })
}

fn unpack(text: &str) {
    let mut names = Names::default();
    let page = BASE64.encode(PAGE);
    assert!(names.set_page(0, &page).is_ok());
    // Whatever is no page changes nothing; what is one may have names.
    let _ = names.set_page(1, text);
    let Ok(bucket) = packed::unpack(text, BUCKET_BYTES_MAX, 0, 1, &names) else {
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
    let mut numbering = Numbering::default();
    let again = packed::pack(&bucket, |name| numbering.take(name));
    assert!(again.len() <= text.len());
    if !again.is_empty() {
        assert_eq!(
            again.len(),
            packed::bucket_text_bytes(bucket.packed_bytes())
        );
    }
    let mut names = Names::default();
    for (page, text) in numbering.take_changed() {
        assert!(names.set_page(page, &text).is_ok());
    }
    let same = packed::unpack(&again, BUCKET_BYTES_MAX, 0, 1, &names);
    assert_eq!(same.ok(), Some(bucket));
}

/// A page of two names.
const PAGE: &[u8] = b"\x01\x02bo\x03ann";
