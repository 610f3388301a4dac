//! Reads the gossip messages of nodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};

use super::letter::{BLOCK_BYTES_MAX, MAGIC};
use super::run::Run;
use super::value::Value;

/// A gossip message.
#[derive(Debug)]
pub struct Heard {
    /// 0 is a Syn, 1 a SynAck, 2 an Ack.
    pub kind: u8,
    /// Up to which version its sender knows each run.
    pub digest: Vec<(Run, u64)>,
    /// What it tells of runs: from which version on, and values.
    pub delta: Vec<(Run, u64, Vec<Value>)>,
}

impl Heard {
    /// Reads a message.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let from = &mut Reader(bytes);
        ensure!(from.short()? == MAGIC && from.byte()? == 0, "no gossip");
        let kind = from.byte()?;
        let digest = if kind < 2 { digest(from)? } else { Vec::new() };
        let delta = match kind {
            0 => {
                from.text()?;
                Vec::new()
            }
            1 | 2 => delta(&unpack(from)?)?,
            _ => bail!("a message of kind {kind}"),
        };
        ensure!(from.0.is_empty(), "more behind a message");
        Ok(Self {
            kind,
            digest,
            delta,
        })
    }
}

fn digest(from: &mut Reader<'_>) -> Result<Vec<(Run, u64)>> {
    let count = from.short()?;
    let entry = |_| {
        let run = from.run()?;
        // Its beat and token.
        from.take(16)?;
        Ok((run, from.long()?))
    };
    (0..count).map(entry).collect()
}

fn unpack(from: &mut Reader<'_>) -> Result<Vec<u8>> {
    let mut delta = Vec::new();
    loop {
        let kind = from.byte()?;
        if kind == 0 {
            return Ok(delta);
        }
        let length = from.short()?;
        let block = from.take(length.into())?;
        match kind {
            1 => delta.extend(zstd::bulk::decompress(block, BLOCK_BYTES_MAX)?),
            _ => delta.extend(block),
        }
    }
}

fn delta(bytes: &[u8]) -> Result<Vec<(Run, u64, Vec<Value>)>> {
    let (from, mut delta) = (&mut Reader(bytes), Vec::new());
    while !from.0.is_empty() {
        match from.byte()? {
            0 => {
                let run = from.run()?;
                from.long()?;
                delta.push((run, from.long()?, Vec::new()));
            }
            1 => {
                let (key, value) = (from.text()?, from.text()?);
                let version = from.long()?;
                from.byte()?;
                let (_, _, values) = delta.last_mut().context("a value of nobody")?;
                values.push(Value {
                    key,
                    value,
                    version,
                });
            }
            _ => drop(from.long()?),
        }
    }
    Ok(delta)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).context("cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn short(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn long(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String> {
        let length = self.short()?;
        Ok(String::from_utf8(self.take(length.into())?.to_vec())?)
    }

    fn run(&mut self) -> Result<Run> {
        let (node, incarnation) = (self.text()?, self.long()?);
        let ip: IpAddr = match self.byte()? {
            4 => Ipv4Addr::from(self.array()?).into(),
            _ => Ipv6Addr::from(self.array()?).into(),
        };
        let addr = SocketAddr::new(ip, self.short()?);
        Ok(Run {
            node,
            incarnation,
            addr,
        })
    }
}
