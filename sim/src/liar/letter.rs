//! Gossip messages taken apart and put together by hand, as docs/protocol.md has them, by nothing that
//! nodes read or write them with. Read is only what honest nodes say; written is anything.

use std::net::{IpAddr, SocketAddr};

/// A gossip message.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    pub(super) kind: Kind,
    pub(super) digest: Vec<Known>,
    pub(super) delta: Vec<Told>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Syn,
    SynAck,
    Ack,
}

/// A run of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    pub(super) name: String,
    pub(super) incarnation: u64,
    pub(super) addr: SocketAddr,
}

/// An entry of a digest.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) run: Run,
    pub(super) beat: u64,
    pub(super) token: u64,
    pub(super) version: u64,
}

/// What a delta tells of a run.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) run: Run,
    pub(super) from: u64,
    pub(super) records: Vec<Record>,
    /// Told by itself, without a value.
    pub(super) version: Option<u64>,
}

/// A key, its value with the seal, and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) version: u64,
}

impl Letter {
    /// Takes a message apart. None if no honest node has made it.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let from = &mut Reader(bytes);
        let (kind, digest) = read_front(from)?;
        let delta = match kind {
            Kind::Syn => Vec::new(),
            _ => read_delta(&unpack(from)?)?,
        };
        Some(Self {
            kind,
            digest,
            delta,
        })
    }

    /// The message as it travels.
    pub(super) fn write(&self, cluster: &str) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Syn => 0,
            Kind::SynAck => 1,
            Kind::Ack => 2,
        };
        let mut bytes = [&HEAD[..], &[kind]].concat();
        if self.kind != Kind::Ack {
            bytes.extend((self.digest.len() as u16).to_le_bytes());
            for known in &self.digest {
                known.run.write(&mut bytes);
                for number in [known.beat, known.token, known.version] {
                    bytes.extend(number.to_le_bytes());
                }
            }
        }
        if self.kind == Kind::Syn {
            write_text(cluster, &mut bytes);
        } else {
            let mut delta = Vec::new();
            self.delta.iter().for_each(|told| told.write(&mut delta));
            pack(&delta, &mut bytes);
        }
        bytes
    }
}

impl Run {
    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (name, incarnation) = (from.text()?, from.u64()?);
        let ip = match from.byte()? {
            4 => IpAddr::from(<[u8; 4]>::try_from(from.bytes(4)?).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(from.bytes(16)?).ok()?),
        };
        let addr = SocketAddr::new(ip, from.u16()?);
        Some(Self {
            name,
            incarnation,
            addr,
        })
    }

    fn write(&self, to: &mut Vec<u8>) {
        write_text(&self.name, to);
        to.extend(self.incarnation.to_le_bytes());
        match self.addr.ip() {
            IpAddr::V4(ip) => to.extend([&[4][..], &ip.octets()].concat()),
            IpAddr::V6(ip) => to.extend([&[6][..], &ip.octets()].concat()),
        }
        to.extend(self.addr.port().to_le_bytes());
    }
}

impl Told {
    fn write(&self, to: &mut Vec<u8>) {
        to.push(0);
        self.run.write(to);
        to.extend(0_u64.to_le_bytes());
        to.extend(self.from.to_le_bytes());
        for record in &self.records {
            to.push(1);
            write_text(&record.key, to);
            write_text(&record.value, to);
            to.extend(record.version.to_le_bytes());
            to.push(0);
        }
        if let Some(version) = self.version {
            to.push(2);
            to.extend(version.to_le_bytes());
        }
    }
}

/// The part of a message before the blocks of its delta, and what is in them.
pub(super) fn open(bytes: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let from = &mut Reader(bytes);
    let (kind, _) = read_front(from)?;
    let front = &bytes[..bytes.len() - from.0.len()];
    (kind != Kind::Syn).then_some((front, unpack(from)?))
}

/// Appends blocks with these bytes.
pub(super) fn pack(bytes: &[u8], to: &mut Vec<u8>) {
    for part in bytes.chunks(BLOCK_BYTES_MAX) {
        let frame = zstd::bulk::compress(part, 0).ok();
        let (kind, block) = match frame.filter(|frame| frame.len() < part.len()) {
            Some(frame) => (1, frame),
            None => (2, part.to_vec()),
        };
        to.push(kind);
        to.extend((block.len() as u16).to_le_bytes());
        to.extend(block);
    }
    to.push(0);
}

fn read_front(from: &mut Reader<'_>) -> Option<(Kind, Vec<Known>)> {
    if from.bytes(HEAD.len())? != HEAD {
        return None;
    }
    let kind = match from.byte()? {
        0 => Kind::Syn,
        1 => Kind::SynAck,
        2 => Kind::Ack,
        _ => return None,
    };
    let mut digest = Vec::new();
    if kind != Kind::Ack {
        for _ in 0..from.u16()? {
            digest.push(Known {
                run: Run::read(from)?,
                beat: from.u64()?,
                token: from.u64()?,
                version: from.u64()?,
            });
        }
    }
    Some((kind, digest))
}

fn read_delta(bytes: &[u8]) -> Option<Vec<Told>> {
    let (from, mut delta) = (&mut Reader(bytes), Vec::<Told>::new());
    while !from.0.is_empty() {
        match from.byte()? {
            0 => {
                let run = Run::read(from)?;
                from.u64()?;
                delta.push(Told {
                    run,
                    from: from.u64()?,
                    records: Vec::new(),
                    version: None,
                });
            }
            1 => {
                let record = Record {
                    key: from.text()?,
                    value: from.text()?,
                    version: from.u64()?,
                };
                from.byte()?;
                delta.last_mut()?.records.push(record);
            }
            _ => delta.last_mut()?.version = Some(from.u64()?),
        }
    }
    Some(delta)
}

fn unpack(from: &mut Reader<'_>) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    loop {
        let kind = from.byte()?;
        if kind == 0 {
            return Some(unpacked);
        }
        let len = from.u16()?;
        let block = from.bytes(len.into())?;
        match kind {
            1 => unpacked.extend(zstd::bulk::decompress(block, BLOCK_BYTES_MAX).ok()?),
            _ => unpacked.extend(block),
        }
    }
}

fn write_text(text: &str, to: &mut Vec<u8>) {
    to.extend((text.len() as u16).to_le_bytes());
    to.extend(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.bytes(1)?[0])
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(2)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let len = self.u16()?;
        Some(
            std::str::from_utf8(self.bytes(len.into())?)
                .ok()?
                .to_owned(),
        )
    }
}

/// The magic number and the version.
const HEAD: [u8; 3] = [0x53, 0xb0, 0];
const BLOCK_BYTES_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let run = Run {
            name: "n1".into(),
            incarnation: 7,
            addr: "10.0.0.1:7946".parse().unwrap(),
        };
        let record = |version: u64| Record {
            key: format!("b/{version}"),
            value: "text".repeat(9_000),
            version,
        };
        let letter = Letter {
            kind: Kind::SynAck,
            digest: vec![Known {
                run: run.clone(),
                beat: 1,
                token: 2,
                version: 3,
            }],
            delta: vec![Told {
                run,
                from: 1,
                records: vec![record(2), record(3)],
                version: Some(4),
            }],
        };
        let bytes = letter.write("sim");
        let read = Letter::read(&bytes).unwrap();
        assert_eq!(format!("{read:?}"), format!("{letter:?}"));
        let (front, delta) = open(&bytes).unwrap();
        let mut again = front.to_vec();
        pack(&delta, &mut again);
        assert_eq!(again, bytes);
    }
}
