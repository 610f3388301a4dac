//! What must hold of whatever bytes a peer sends. Only there when the crate is built to be fuzzed.

use bytes::Bytes;

use crate::envelope::{self, Envelope};

/// Reads the message in a frame. One that is understood is the same after another way to a peer.
pub fn envelope(body: &[u8]) {
    let Ok(read) = envelope::decode(Bytes::copy_from_slice(body)) else {
        return;
    };
    let Envelope {
        origin,
        aim,
        scope,
        home,
        message,
    } = &read;
    let mut again = envelope::encode_header(*origin, aim, scope, home, message);
    again.extend_from_slice(&message.payload);
    let same = envelope::decode(again.into());
    assert_eq!(same.ok(), Some(read));
}
