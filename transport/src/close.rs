use std::fmt;

use quinn::{Connection, VarInt};

/// Why a link, or an attempt at one, was closed, as the peer sees it: the application error code
/// of the QUIC connection.
///
/// The numbers are part of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum CloseCode {
    /// The node went away without ceremony.
    Gone = 0,
    /// The node is leaving and has sent everything it had.
    Shutdown = 1,
    /// The pair of nodes already has a link, or has one under way, that is to survive.
    Duplicate = 2,
    /// A newer link between the two nodes has taken the place of this one.
    Replaced = 3,
    /// The dialler no longer needs this attempt.
    Abandoned = 4,
    /// Hello names a protocol version that the node does not speak.
    Version = 5,
    /// The peer broke the protocol; the reason text says how.
    Violation = 6,
    /// Hello or Ready did not arrive in time.
    HandshakeTimeout = 7,
    /// The certificate does not say which node of this cluster the peer is, or its authority is
    /// trusted no more.
    Unauthenticated = 8,
    /// The node has dialled itself.
    SelfDial = 9,
    /// Another node runs under the same name.
    NameTaken = 10,
    /// The incarnation is older than one the node already knows.
    Stale = 11,
    /// Membership calls the peer dead or departed.
    Forgotten = 12,
    /// The peer's certificate is revoked.
    Revoked = 13,
    /// The peer's certificate has run out while the link was up.
    Expired = 14,
}

impl CloseCode {
    /// The code of `number`, if the protocol knows it.
    pub fn from_number(number: u64) -> Option<Self> {
        ALL.into_iter().find(|code| *code as u64 == number)
    }

    /// The code as it travels.
    pub(crate) fn number(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }

    /// Closes a connection, with the meaning of the code as the reason that people read.
    pub(crate) fn close(self, connection: &Connection) {
        self.close_because(connection, &self);
    }

    /// Closes a connection, with a reason for people.
    pub(crate) fn close_because(self, connection: &Connection, reason: &dyn fmt::Display) {
        connection.close(self.number(), reason.to_string().as_bytes());
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "the node went away",
            Self::Shutdown => "the node is leaving",
            Self::Duplicate => "the pair already has a link",
            Self::Replaced => "a newer link took its place",
            Self::Abandoned => "the dialler no longer needs it",
            Self::Version => "unknown protocol version",
            Self::Violation => "protocol violation",
            Self::HandshakeTimeout => "the handshake took too long",
            Self::Unauthenticated => "the certificate proves no node of this cluster",
            Self::SelfDial => "the node dialled itself",
            Self::NameTaken => "another node runs under the same name",
            Self::Stale => "a newer run of the node is known",
            Self::Forgotten => "membership calls the peer gone",
            Self::Revoked => "the certificate is revoked",
            Self::Expired => "the certificate has run out",
        })
    }
}

const ALL: [CloseCode; 15] = [
    CloseCode::Gone,
    CloseCode::Shutdown,
    CloseCode::Duplicate,
    CloseCode::Replaced,
    CloseCode::Abandoned,
    CloseCode::Version,
    CloseCode::Violation,
    CloseCode::HandshakeTimeout,
    CloseCode::Unauthenticated,
    CloseCode::SelfDial,
    CloseCode::NameTaken,
    CloseCode::Stale,
    CloseCode::Forgotten,
    CloseCode::Revoked,
    CloseCode::Expired,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_finds_its_code() {
        for (number, code) in (0u64..).zip(ALL) {
            assert_eq!(CloseCode::from_number(number), Some(code));
        }
        assert_eq!(CloseCode::from_number(ALL.len() as u64), None);
    }
}
