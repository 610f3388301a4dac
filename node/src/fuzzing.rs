//! What must hold of whatever bytes a peer sends. Only there when the crate is built to be fuzzed.

use bytes::Bytes;

use crate::envelope;

/// Reads the message in a frame. One that is understood is the same after another way to a peer.
pub fn envelope(body: &[u8]) {
    let Ok((origin, scope, message)) = envelope::decode(Bytes::copy_from_slice(body)) else {
        return;
    };
    let mut again = envelope::encode_header(origin, &scope, &message);
    again.extend_from_slice(&message.payload);
    let same = envelope::decode(again.into());
    assert_eq!(same.ok(), Some((origin, scope, message)));
}
