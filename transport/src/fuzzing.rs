//! What must hold of whatever bytes a peer sends. Only there when the crate is built to be fuzzed.

use bytes::Bytes;
use tidings_identity::RevocationList;

use crate::control::Control;
use crate::frame::{Frame, FrameDecoder, FrameTooLargeError, Piece};

/// Reads a lane, whole and cut into chunks: the frames are the same, and they are the bytes that
/// were read. The first byte of the input says how long the chunks are.
pub fn frames(input: &[u8]) {
    let Some((chunk_bytes, lane)) = input.split_first() else {
        return;
    };
    let whole = read_lane(lane.chunks(lane.len().max(1)));
    let cut = read_lane(lane.chunks(usize::from(*chunk_bytes).max(1)));
    assert_eq!(whole, cut, "the frames depend on how the lane was cut");

    let mut wire = Vec::new();
    for piece in &whole.0 {
        let body = match piece {
            Piece::Frame(body) => body,
            Piece::Withheld(frames) => {
                wire.extend_from_slice(&Piece::withheld(*frames));
                continue;
            }
        };
        assert!(body.len() <= FRAME_BYTES_MAX);
        let (header, payload) = body.split_at(body.len() / 2);
        let frame = Frame::new(header, Bytes::copy_from_slice(payload));
        wire.extend_from_slice(frame.head());
        wire.extend_from_slice(frame.payload());
    }
    assert!(lane.starts_with(&wire), "the frames are not what was read");
}

/// Decodes a control message. One that is understood is the same after another way over the wire,
/// and is not understood with more behind it, but for a Hello of a later version. A revocation list that holds is just what was read.
pub fn control(input: &[u8]) {
    // A message without a kind is refused by its length, before it is decoded.
    if input.is_empty() {
        return;
    }
    let Ok(message) = Control::decode(Bytes::copy_from_slice(input)) else {
        return;
    };
    let again = message.encode().slice(size_of::<u32>()..);
    let is_newer = matches!(message, Control::Hello(_)) && again[1..3] != input[1..3];
    // What a later version says behind what is known is passed over, and not said again.
    if is_newer {
        assert_eq!(Control::decode(again).ok(), Some(message));
        return;
    }
    // Numbers may be written longer than need be, so the bytes may differ, but only get fewer.
    assert!(again == input || again.len() < input.len());
    let longer = Control::decode([input, b"\0"].concat().into());
    let is_opaque = matches!(
        message,
        Control::Gossip(_)
            | Control::Revoked(_)
            | Control::Assurance(_)
            | Control::Ask { .. }
            | Control::Answer { .. }
    );
    assert!(longer.is_err() || is_opaque);
    if let Control::Revoked(bytes) = &message
        && let Ok(list) = RevocationList::parse(bytes)
    {
        assert_eq!(list.as_bytes(), bytes);
    }
    assert_eq!(Control::decode(again).ok(), Some(message));
}

const FRAME_BYTES_MAX: usize = 300;

fn read_lane<'a>(
    chunks: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Piece>, Result<(), FrameTooLargeError>) {
    let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX);
    let mut frames = Vec::new();
    for chunk in chunks {
        decoder.feed(Bytes::copy_from_slice(chunk));
        loop {
            match decoder.next() {
                Ok(Some(piece)) => frames.push(piece),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(()))
}
