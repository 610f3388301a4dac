use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A message encoded once and sent to any number of peers: a length, a header and a payload.
///
/// Cloning shares the bytes. The transport does not look inside; the receiver gets header and
/// payload as one piece, so the header must say where it ends.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Length prefix and header.
    head: Bytes,
    payload: Bytes,
}

/// Cuts the bytes of a lane into frames, however they were cut on the way.
///
/// A frame that lies within one chunk is handed out without copying; only one that spans chunks
/// is put together in a buffer of its own.
#[derive(Debug)]
pub(crate) struct FrameDecoder {
    frame_bytes_max: usize,
    chunk: Bytes,
    partial: Partial,
}

/// What a lane is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The header and the payload of a frame.
    Frame(Bytes),
    /// The sender has withheld so many frames; 0 stands for an unknown number.
    Withheld(u32),
}

/// A length prefix above the limit. The decoder is of no use afterwards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("frame of {bytes} bytes, the limit is {bytes_max}")]
pub(crate) struct FrameTooLargeError {
    bytes: usize,
    bytes_max: usize,
}

/// What has been read of a frame that began in an earlier chunk.
#[derive(Debug)]
enum Partial {
    Length {
        bytes: [u8; LENGTH_BYTES],
        filled: usize,
    },
    Body {
        bytes: BytesMut,
        missing: usize,
    },
}

impl Frame {
    /// Encodes a frame. `header` is copied, `payload` is shared.
    ///
    /// Whether the frame is small enough for a peer is only checked when it is sent.
    pub fn new(header: &[u8], payload: Bytes) -> Self {
        let bytes = header.len() + payload.len();
        let mut head = BytesMut::with_capacity(LENGTH_BYTES + header.len());
        // A length that does not fit is above every limit, and is refused before it is written.
        head.put_u32(u32::try_from(bytes).unwrap_or(u32::MAX));
        head.put_slice(header);
        Self {
            head: head.freeze(),
            payload,
        }
    }

    /// Bytes of header and payload together.
    pub fn bytes(&self) -> usize {
        self.bytes_encoded() - LENGTH_BYTES
    }

    /// Bytes that the frame takes in a buffer and on the wire.
    pub(crate) fn bytes_encoded(&self) -> usize {
        self.head.len() + self.payload.len()
    }

    pub(crate) fn head(&self) -> &Bytes {
        &self.head
    }

    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
    }
}

impl FrameDecoder {
    pub(crate) fn new(frame_bytes_max: usize) -> Self {
        Self {
            frame_bytes_max,
            chunk: Bytes::new(),
            partial: Partial::START,
        }
    }

    /// Gives the decoder the next bytes of the lane. Call only after `next` has returned `None`.
    pub(crate) fn feed(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty());
        self.chunk = chunk;
    }

    /// What comes next, or `None` when more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, FrameTooLargeError> {
        loop {
            match &mut self.partial {
                Partial::Length { bytes, filled } => {
                    let taken = self.chunk.len().min(LENGTH_BYTES - *filled);
                    self.chunk
                        .copy_to_slice(&mut bytes[*filled..*filled + taken]);
                    *filled += taken;
                    if *filled < LENGTH_BYTES {
                        return Ok(None);
                    }
                    let length = u32::from_be_bytes(*bytes);
                    if length & WITHHELD != 0 {
                        self.partial = Partial::START;
                        return Ok(Some(Piece::Withheld(length & !WITHHELD)));
                    }
                    let length = checked(length, self.frame_bytes_max)?;
                    if length <= self.chunk.len() {
                        self.partial = Partial::START;
                        return Ok(Some(Piece::Frame(self.chunk.split_to(length))));
                    }
                    self.partial = Partial::Body {
                        bytes: BytesMut::with_capacity(length),
                        missing: length,
                    };
                }
                Partial::Body { bytes, missing } => {
                    let taken = self.chunk.len().min(*missing);
                    bytes.put(self.chunk.split_to(taken));
                    *missing -= taken;
                    if *missing > 0 {
                        return Ok(None);
                    }
                    let frame = std::mem::take(bytes).freeze();
                    self.partial = Partial::START;
                    return Ok(Some(Piece::Frame(frame)));
                }
            }
        }
    }
}

impl Piece {
    /// What says that so many frames were withheld, at most [`WITHHELD_MAX`]; or, with 0, an unknown
    /// number.
    pub(crate) fn withheld(frames: u32) -> Bytes {
        debug_assert!(frames <= WITHHELD_MAX);
        Bytes::copy_from_slice(&(WITHHELD | frames).to_be_bytes())
    }
}

impl Partial {
    const START: Self = Self::Length {
        bytes: [0; LENGTH_BYTES],
        filled: 0,
    };
}

fn checked(length: u32, bytes_max: usize) -> Result<usize, FrameTooLargeError> {
    // A length that does not even fit into memory is too large like any other.
    let bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if bytes > bytes_max {
        return Err(FrameTooLargeError { bytes, bytes_max });
    }
    Ok(bytes)
}

/// As many frames as one piece can say were withheld.
pub(crate) const WITHHELD_MAX: u32 = WITHHELD - 1;
/// In the place of a length: no frame follows, and the rest says how many were withheld. No frame is
/// so long.
const WITHHELD: u32 = 1 << 31;
/// Bytes of the length in front of a frame.
pub(crate) const LENGTH_BYTES: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn wire(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for body in frames {
            let (header, payload) = body.split_at(body.len() / 3);
            let frame = Frame::new(header, Bytes::copy_from_slice(payload));
            bytes.extend_from_slice(frame.head());
            bytes.extend_from_slice(frame.payload());
        }
        bytes
    }

    proptest! {
        #[test]
        fn frames_survive_being_cut_at_any_byte(
            frames in vec(vec(any::<u8>(), 0..40), 0..20),
            cuts in vec(1usize..30, 1..20),
        ) {
            let bytes = Bytes::from(wire(&frames));
            let mut decoder = FrameDecoder::new(40);
            let mut decoded = Vec::new();
            let mut rest = bytes;
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                decoder.feed(rest.split_to((*cut).min(rest.len())));
                while let Some(piece) = decoder.next().unwrap() {
                    decoded.push(piece);
                }
            }
            let frames: Vec<_> = frames.into_iter().map(|frame| Piece::Frame(frame.into())).collect();
            prop_assert_eq!(decoded, frames);
        }

        #[test]
        fn arbitrary_bytes_never_panic_the_decoder(chunks in vec(vec(any::<u8>(), 0..50), 0..20)) {
            let mut decoder = FrameDecoder::new(64);
            'chunks: for chunk in chunks {
                decoder.feed(chunk.into());
                loop {
                    match decoder.next() {
                        Ok(Some(Piece::Frame(frame))) => prop_assert!(frame.len() <= 64),
                        Ok(Some(Piece::Withheld(frames))) => prop_assert!(frames <= WITHHELD_MAX),
                        Ok(None) => break,
                        Err(_) => break 'chunks,
                    }
                }
            }
        }
    }

    #[test]
    fn a_frame_within_one_chunk_is_not_copied() {
        let bytes = Bytes::from(wire(&[vec![7; 32]]));
        let mut decoder = FrameDecoder::new(32);
        decoder.feed(bytes.clone());
        let Some(Piece::Frame(frame)) = decoder.next().unwrap() else {
            panic!("it is all there");
        };
        assert_eq!(frame.as_ptr(), bytes[LENGTH_BYTES..].as_ptr());
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_its_body_arrives() {
        let mut decoder = FrameDecoder::new(16);
        decoder.feed(Bytes::from_static(&[0, 0, 0, 17]));
        assert_eq!(
            decoder.next(),
            Err(FrameTooLargeError {
                bytes: 17,
                bytes_max: 16
            })
        );
    }
    #[test]
    fn what_was_withheld_stands_between_frames() {
        let mut bytes = wire(&[vec![7; 3]]);
        bytes.extend_from_slice(&Piece::withheld(WITHHELD_MAX));
        bytes.extend_from_slice(&Piece::withheld(0));
        let mut decoder = FrameDecoder::new(32);
        let mut pieces = Vec::new();
        for byte in bytes {
            decoder.feed(vec![byte].into());
            pieces.extend(decoder.next().unwrap());
        }
        let frame = Piece::Frame(vec![7; 3].into());
        assert_eq!(
            pieces,
            [frame, Piece::Withheld(WITHHELD_MAX), Piece::Withheld(0)]
        );
    }
}
