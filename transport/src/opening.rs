use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What the receiver of a lane does not get because it was not sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Withheld {
    /// Frames that were dropped.
    pub(crate) frames: u64,
    /// How often the receiver was taken for gone, until it was known again what is meant for it. There is
    /// no telling what it was not sent.
    pub(crate) absences: u64,
}

/// How a lane begins on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) lane: u8,
    /// The number of the first frame.
    pub(crate) first: u64,
    /// All that was withheld before.
    pub(crate) withheld: Withheld,
}

impl Opening {
    /// Bytes with which a lane begins.
    pub(crate) const BYTES: usize = 25;

    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(Self::BYTES);
        bytes.put_u8(self.lane);
        bytes.put_u64(self.first);
        bytes.put_u64(self.withheld.frames);
        bytes.put_u64(self.withheld.absences);
        bytes.freeze()
    }

    pub(crate) fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let mut bytes = bytes.as_slice();
        Self {
            lane: bytes.get_u8(),
            first: bytes.get_u64(),
            withheld: Withheld {
                frames: bytes.get_u64(),
                absences: bytes.get_u64(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opening_survives_the_wire() {
        let opening = Opening {
            lane: 3,
            first: 1 << 40,
            withheld: Withheld {
                frames: 7,
                absences: 1,
            },
        };
        let bytes: [u8; Opening::BYTES] = opening.encode().as_ref().try_into().unwrap();
        assert_eq!(Opening::decode(bytes), opening);
    }
}
