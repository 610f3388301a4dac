use crate::config::ConfigError;
use crate::incarnation::IncarnationError;
use crate::revoked::RevokedError;

/// Why a node did not start. Nothing of it is left running then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The config does not hold.
    #[error("invalid configuration")]
    Config(#[from] ConfigError),
    /// The certificates of the authorities cannot be used.
    #[error("the authority's certificate cannot be used")]
    Authority(#[from] tidings_identity::AuthoritiesError),
    /// The last incarnation is not known.
    #[error("the incarnation cannot be determined")]
    Incarnation(#[from] IncarnationError),
    /// What is revoked is not known.
    #[error("what is revoked cannot be determined")]
    Revoked(#[from] RevokedError),
    /// The address for peers cannot be opened.
    #[error("the transport did not start")]
    Transport(#[from] tidings_transport::StartError),
    /// Gossip did not start.
    #[error("membership did not start")]
    Membership(#[from] tidings_membership::StartError),
}

/// Why a node does not go on with another identity. It goes on with the one it has.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// The node was started without an identity.
    #[error("this node runs alone; to join a cluster, start it with certificates")]
    Alone,
    /// The identity is of somebody else, or cannot be used.
    #[error(transparent)]
    Identity(#[from] tidings_transport::RenewError),
    /// The certificates of the authorities cannot be used.
    #[error(transparent)]
    Authority(#[from] tidings_identity::AuthoritiesError),
}
