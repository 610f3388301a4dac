use tidings_identity::{NameError, TrustError};

use crate::fault::Fault;

/// Why a gossip message was refused as a whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it has {0} bytes")]
    TooLong(usize),
    #[error("it ends too early")]
    CutShort,
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    #[error("it is of another protocol or version")]
    Head,
    #[error("there is no {what} of kind {kind}")]
    Kind { what: &'static str, kind: u8 },
    #[error("a text in it is not UTF-8")]
    Text(#[source] std::str::Utf8Error),
    #[error("it is for another cluster")]
    Cluster,
    #[error("a block in it is not one zstd frame of known size, or empty")]
    Block,
    #[error("a block in it cannot be unpacked")]
    Unpack(#[source] std::io::Error),
    #[error("a block in it has {0} bytes unpacked")]
    BlockTooLong(u64),
    #[error("it has too many blocks")]
    Blocks,
    #[error("something is told of no node, or after the end of what is told of one")]
    Order,
    #[error("a node in it has no name")]
    Name(#[source] NameError),
    #[error("a node in it is at {0}, where none can be")]
    Address(std::net::SocketAddr),
    #[error("a node is named twice, or out of order")]
    NodeTwice,
    #[error("no node has a key of this form, of {0} bytes")]
    Key(usize),
    #[error("a key is told twice")]
    KeyTwice,
    #[error("a value in it has {0} bytes")]
    ValueTooLong(usize),
    #[error("version {version} follows {last}")]
    Version { version: u64, last: u64 },
    #[error("no count reaches {0}")]
    Count(u64),
    #[error("it deletes something")]
    Deletion,
    #[error("a value in it has no seal")]
    Seal,
    #[error("a seal in it is not of the node that is said to have made it")]
    Signature,
    #[error("a certificate in it is for another node than the one that is said to show it")]
    Speaker,
    #[error("a certificate in it is none of a node of this cluster")]
    Certificate(#[source] TrustError),
    #[error("a heartbeat in it is made up")]
    Beat,
}

impl Refusal {
    /// What it is counted as.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::CutShort
            | Self::Trailing(_)
            | Self::Head
            | Self::Kind { .. }
            | Self::Text(_)
            | Self::Block
            | Self::Unpack(_)
            | Self::Order => Fault::Format,
            Self::TooLong(_) | Self::BlockTooLong(_) | Self::Blocks | Self::ValueTooLong(_) => {
                Fault::Size
            }
            Self::Cluster => Fault::Cluster,
            Self::Name(_) | Self::Address(_) | Self::NodeTwice => Fault::Node,
            Self::Key(_) | Self::KeyTwice => Fault::Key,
            Self::Version { .. } | Self::Count(_) => Fault::Version,
            Self::Deletion => Fault::Deletion,
            Self::Seal | Self::Signature | Self::Speaker | Self::Certificate(_) => Fault::Seal,
            Self::Beat => Fault::Beat,
        }
    }
}
