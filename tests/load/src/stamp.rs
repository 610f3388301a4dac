/// What the payload of every message begins with: who published it, as its how-manieth, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The number of the publisher within the workload.
    pub(crate) publisher: u32,
    /// Counts the messages of this publisher from 0; [`Stamp::PROBE`] is none of them.
    pub(crate) sequence: u64,
    /// Nanoseconds since the start of the program.
    pub(crate) sent_nanos: u64,
}

impl Stamp {
    /// The bytes that a stamp takes, and so the smallest payload.
    pub(crate) const BYTES: usize = 20;
    /// The sequence number of messages that only ask whether the way to the subscriber is open.
    pub(crate) const PROBE: u64 = u64::MAX;

    /// Writes it over the beginning of a payload.
    pub(crate) fn write(self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&self.publisher.to_le_bytes());
        payload[4..12].copy_from_slice(&self.sequence.to_le_bytes());
        payload[12..20].copy_from_slice(&self.sent_nanos.to_le_bytes());
    }

    /// Reads it from a payload's beginning.
    pub(crate) fn read(payload: &[u8; Self::BYTES]) -> Self {
        let (publisher, rest) = payload.split_at(4);
        let (sequence, sent_nanos) = rest.split_at(8);
        let long = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        Self {
            publisher: u32::from_le_bytes(publisher.try_into().expect("four bytes")),
            sequence: long(sequence),
            sent_nanos: long(sent_nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let stamp = Stamp {
            publisher: 3,
            sequence: 1 << 40,
            sent_nanos: 123_456_789_012,
        };
        let mut payload = [0xff; 64];
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(payload.first_chunk().unwrap()), stamp);
        assert_eq!(payload[Stamp::BYTES], 0xff);
    }
}
