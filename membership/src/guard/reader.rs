use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use chitchat::ChitchatId;
use tidings_identity::NodeId;

use super::refusal::Refusal;

/// Reads bytes of a peer, front to back. Takes no memory but for names that are valid.
#[derive(Clone)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Refusal> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Refusal::CutShort)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Refusal::CutShort)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Refusal> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Refusal> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Refusal> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number that something is counted with, and so never gets very high.
    pub(crate) fn count(&mut self) -> Result<u64, Refusal> {
        let count = self.u64()?;
        if count > COUNT_MAX {
            return Err(Refusal::Count(count));
        }
        Ok(count)
    }

    /// A text behind its length.
    pub(crate) fn text(&mut self) -> Result<&'a str, Refusal> {
        let len = self.u16()?;
        str::from_utf8(self.bytes(len.into())?).map_err(Refusal::Text)
    }

    /// One run of a node, which is named like one and may be where it says.
    pub(crate) fn node(&mut self) -> Result<ChitchatId, Refusal> {
        let node = NodeId::parse(self.text()?).map_err(Refusal::Name)?;
        let incarnation = self.count()?;
        let addr = self.addr()?;
        let ip = addr.ip().to_canonical();
        let nowhere = ip.is_unspecified()
            || ip.is_multicast()
            || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
            || addr.port() == 0;
        if nowhere {
            return Err(Refusal::Address(addr));
        }
        Ok(ChitchatId::new(node.as_str(), incarnation, addr))
    }

    fn addr(&mut self) -> Result<SocketAddr, Refusal> {
        let ip: IpAddr = match self.byte()? {
            4 => Ipv4Addr::from(self.array()?).into(),
            6 => Ipv6Addr::from(self.array()?).into(),
            kind => {
                let what = "address";
                return Err(Refusal::Kind { what, kind });
            }
        };
        Ok(SocketAddr::new(ip, self.u16()?))
    }
}

/// The highest version, heartbeat and incarnation. Milliseconds since the Unix epoch get there in
/// 285,000 years, and what is counted from zero later than that; so one more never overflows.
pub(crate) const COUNT_MAX: u64 = 1 << 53;
