//! WebSocket as a stream of bytes.
//!
//! What the client sends in data frames is one stream, whatever frames it is in: binary or text, in
//! parts or whole, an operation in many or many in one. So nothing has to be kept until a frame is
//! there, and how long one is does not matter. What is sent goes out in binary frames. A ping is
//! answered between two of them; of several that wait only the last is. There are no extensions.

use std::io::{Cursor, ErrorKind, IoSlice};

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// The frames of one connection, in both directions. No I/O.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// What has come of the head of a frame that is not whole.
    head: Vec<u8>,
    /// The frame whose payload is coming.
    frame: Frame,
    /// Whether the message that the last data frame belongs to goes on.
    is_within_message: bool,
    /// The payload of a control frame, as far as it has come.
    control: Vec<u8>,
    /// Whether the client has closed.
    is_closed: bool,
    /// What is to be said when the frame that is being sent is at its end.
    answer: Option<(Control, Vec<u8>)>,
    /// What goes out before anything else: the head of a frame, or a whole one without payload.
    out_head: Vec<u8>,
    /// How much of the payload of the frame that is being sent is still to come.
    out_bytes: usize,
}

/// A frame of which the payload is coming.
#[derive(Debug, Default)]
struct Frame {
    bytes_left: u64,
    mask: [u8; 4],
    /// Which byte of the mask is next.
    mask_at: usize,
    control: Option<Control>,
}

/// What no client may send. The connection ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("not a frame of websocket")]
    Malformed,
    #[error("an extension that was not agreed on")]
    Extension,
    #[error("a frame without a mask")]
    Unmasked,
    #[error("a control frame that is too long or in parts")]
    Control,
    #[error("a frame that does not follow on the one before")]
    Sequence,
}

/// The longest head of a frame, in bytes.
const HEAD_BYTES_MAX: usize = 14;
/// The longest payload of a control frame.
const CONTROL_BYTES_MAX: u64 = 125;
/// The longest payload of a frame that is sent.
const OUT_BYTES_MAX: usize = 64 << 10;

impl Frames {
    /// Turns what has come into what it carries, in place, and returns how many bytes that is.
    pub(super) fn unframe(&mut self, bytes: &mut [u8]) -> Result<usize, FrameError> {
        let (mut at, mut kept) = (0, 0);
        while !self.is_closed {
            if self.frame.bytes_left == 0 {
                // It may be that there is a head without payload, so also when nothing is left.
                let Some(head_bytes) = self.begin(&bytes[at..])? else {
                    break;
                };
                at += head_bytes;
            }
            let rest = (bytes.len() - at) as u64;
            // At most what is there, so it fits.
            let part = self.frame.bytes_left.min(rest) as usize;
            let payload = &mut bytes[at..at + part];
            self.frame.unmask(payload);
            if self.frame.control.is_some() {
                self.control.extend_from_slice(payload);
            } else {
                bytes.copy_within(at..at + part, kept);
                kept += part;
            }
            at += part;
            if self.frame.bytes_left > 0 {
                break;
            }
            if let Some(control) = self.frame.control.take() {
                self.control(control);
            }
        }
        Ok(kept)
    }

    /// Reads the head of a frame, and says how many of these bytes belong to it; none if it is not whole.
    fn begin(&mut self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        let before = self.head.len();
        let more = bytes.len().min(HEAD_BYTES_MAX - before);
        self.head.extend_from_slice(&bytes[..more]);
        let mut head = Cursor::new(&self.head);
        let parsed = FrameHeader::parse(&mut head);
        // The cursor says it, and not the length, which may be written with more bytes than it needs.
        let head_bytes = head.position() as usize;
        let Some((header, length)) = parsed.map_err(|_| FrameError::Malformed)? else {
            return Ok(None);
        };
        self.head.clear();
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(FrameError::Extension);
        }
        if length > i64::MAX as u64 {
            return Err(FrameError::Malformed);
        }
        let control = match header.opcode {
            OpCode::Control(control) => Some(control),
            OpCode::Data(data) => {
                if (data == Data::Continue) != self.is_within_message {
                    return Err(FrameError::Sequence);
                }
                self.is_within_message = !header.is_final;
                None
            }
        };
        if control.is_some() && (length > CONTROL_BYTES_MAX || !header.is_final) {
            return Err(FrameError::Control);
        }
        self.frame = Frame {
            bytes_left: length,
            mask: header.mask.ok_or(FrameError::Unmasked)?,
            mask_at: 0,
            control,
        };
        Ok(Some(head_bytes - before))
    }

    /// Does what a control frame asks for.
    fn control(&mut self, control: Control) {
        let payload = std::mem::take(&mut self.control);
        match control {
            Control::Ping => self.answer = Some((Control::Pong, payload)),
            Control::Close => {
                // Whoever closes is told the code that it gave.
                let code = payload.into_iter().take(2).collect();
                self.answer = Some((Control::Close, code));
                self.is_closed = true;
            }
            _ => {}
        }
    }

    /// Whether the client has closed. What it sends after that is not looked at.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Closes, if that is not done yet, for this reason. What is being sent is to come to its end first.
    pub(super) fn close(&mut self, code: CloseCode) {
        if !self.is_closed {
            let code = u16::from(code).to_be_bytes().to_vec();
            self.answer = Some((Control::Close, code));
        }
    }

    /// What goes out next, of this and before it. What was begun once is to be there until it is [sent](Self::sent).
    pub(super) fn next<'a>(&'a mut self, out: &'a [u8]) -> [IoSlice<'a>; 2] {
        if self.out_head.is_empty() && self.out_bytes == 0 {
            if let Some((control, payload)) = self.answer.take() {
                self.head_of(OpCode::Control(control), payload.len());
                self.out_head.extend_from_slice(&payload);
            } else if !out.is_empty() {
                self.out_bytes = out.len().min(OUT_BYTES_MAX);
                self.head_of(OpCode::Data(Data::Binary), self.out_bytes);
            }
        }
        let payload = &out[..self.out_bytes.min(out.len())];
        [IoSlice::new(&self.out_head), IoSlice::new(payload)]
    }

    fn head_of(&mut self, opcode: OpCode, length: usize) {
        let header = FrameHeader {
            opcode,
            ..FrameHeader::default()
        };
        header
            .format(length as u64, &mut self.out_head)
            .expect("a buffer in memory takes all that is written");
    }

    /// Notes that so many bytes went out, and returns how many of them are payload.
    pub(super) fn sent(&mut self, bytes: usize) -> usize {
        let head_bytes = bytes.min(self.out_head.len());
        self.out_head.drain(..head_bytes);
        self.out_bytes -= bytes - head_bytes;
        bytes - head_bytes
    }

    /// Whether something is to go out now that is not the caller's.
    pub(super) fn is_behind(&self) -> bool {
        !self.out_head.is_empty() || (self.out_bytes == 0 && self.answer.is_some())
    }
}

impl Frame {
    fn unmask(&mut self, payload: &mut [u8]) {
        let mut mask = self.mask;
        mask.rotate_left(self.mask_at);
        for part in payload.chunks_mut(mask.len()) {
            for (byte, mask) in part.iter_mut().zip(mask) {
                *byte ^= mask;
            }
        }
        self.mask_at = (self.mask_at + payload.len()) % mask.len();
        self.bytes_left -= payload.len() as u64;
    }
}

impl From<FrameError> for std::io::Error {
    fn from(error: FrameError) -> Self {
        Self::new(ErrorKind::InvalidData, error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A frame as clients send it. The length may be written with more bytes than it needs.
    fn frame(first: u8, mask: [u8; 4], payload: &[u8], is_long: bool) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            bytes @ ..126 if !is_long => frame.push(0x80 | bytes as u8),
            bytes => {
                frame.push(0xff);
                frame.extend((bytes as u64).to_be_bytes());
            }
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        frame
    }

    /// What comes of it, when it comes in these pieces.
    fn unframed(frames: &mut Frames, bytes: &[u8], piece_bytes: usize) -> Vec<u8> {
        let mut content = Vec::new();
        for piece in bytes.chunks(piece_bytes) {
            let mut piece = piece.to_vec();
            let kept = frames.unframe(&mut piece).unwrap();
            content.extend_from_slice(&piece[..kept]);
        }
        content
    }

    /// What is sent when the socket takes so many bytes at a time.
    fn sent(frames: &mut Frames, out: &[u8], taken_max: usize) -> Vec<u8> {
        let (mut wire, mut at) = (Vec::new(), 0);
        while at < out.len() || frames.is_behind() {
            let parts = frames.next(&out[at..]);
            let before = wire.len();
            for part in &parts {
                let taken = part.len().min(before + taken_max - wire.len());
                wire.extend_from_slice(&part[..taken]);
            }
            let taken = wire.len() - before;
            assert!(taken > 0, "it goes on");
            at += frames.sent(taken);
        }
        wire
    }

    proptest! {
        #[test]
        fn the_stream_is_the_same_however_it_is_cut_into_frames_and_pieces(
            parts in vec((vec(any::<u8>(), 0..300), any::<[u8; 4]>(), any::<bool>(), 0..4_u8), 1..8),
            piece_bytes in 1..64_usize,
        ) {
            let (mut wire, mut expected) = (Vec::new(), Vec::new());
            let mut is_within = false;
            for (payload, mask, is_long, kind) in &parts {
                let opcode = if is_within { 0 } else { 1 + kind % 2 };
                is_within = *kind >= 2;
                let last = if is_within { 0 } else { 0x80 };
                wire.extend(frame(last | opcode, *mask, payload, *is_long));
                expected.extend_from_slice(payload);
                wire.extend(frame(0x8a, *mask, b"nobody asked", false));
            }
            let content = unframed(&mut Frames::default(), &wire, piece_bytes);
            prop_assert_eq!(content, expected);
        }

        #[test]
        fn what_is_made_up_is_an_error_or_content_and_never_a_panic(
            bytes in vec(any::<u8>(), 0..200),
            piece_bytes in 1..50_usize,
        ) {
            let mut frames = Frames::default();
            for piece in bytes.chunks(piece_bytes) {
                let mut piece = piece.to_vec();
                match frames.unframe(&mut piece) {
                    Ok(kept) => prop_assert!(kept <= piece.len()),
                    Err(_) => break,
                }
            }
        }
    }

    #[test]
    fn a_ping_is_answered_between_two_frames_and_only_the_last_of_several() {
        for taken_max in [1, 3, 7, 100_000] {
            let mut frames = Frames::default();
            let out = vec![7; 70_000];
            // The first frame is begun.
            let begun = frames
                .next(&out)
                .iter()
                .map(|part| part.len())
                .sum::<usize>();
            assert_eq!(begun, 10 + (64 << 10));
            assert_eq!(frames.sent(5), 0);
            for ping in [&b"one"[..], b"two"] {
                unframed(&mut frames, &frame(0x89, [1, 2, 3, 4], ping, false), 4);
            }
            let wire = sent(&mut frames, &out, taken_max);
            let pong = &wire[5 + (64 << 10)..];
            assert_eq!(pong[..5], *b"\x8a\x03two", "after {taken_max}");
            let rest = (70_000 - (64 << 10)) as u16;
            assert_eq!(pong[5..9], [&[0x82, 126][..], &rest.to_be_bytes()].concat());
            assert_eq!(pong.len(), 9 + usize::from(rest));
        }
    }

    #[test]
    fn whoever_closes_is_told_its_own_reason_and_says_no_more() {
        let mut frames = Frames::default();
        let mut wire = frame(0x82, [0; 4], b"PING\r\n", false);
        wire.extend(frame(0x88, [9; 4], b"\x03\xe8bye", false));
        wire.extend(frame(0x82, [0; 4], b"PONG\r\n", false));
        assert_eq!(unframed(&mut frames, &wire, 1000), b"PING\r\n");
        assert!(frames.is_closed());
        frames.close(CloseCode::Away);
        assert_eq!(sent(&mut frames, b"", 100), b"\x88\x02\x03\xe8");
    }
}
