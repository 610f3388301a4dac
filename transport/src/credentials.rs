use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quinn::{ClientConfig, ServerConfig};
use rustls::time_provider::TimeProvider;
use tidings_identity::{ClusterName, Identity, NodeId, Revocations, Validity};
use tokio::sync::Notify;

use crate::link::Link;
use crate::net::WallClock;
use crate::quic::Roles;
use crate::tls::{self, ClusterVerifier, TlsError};
use crate::{CloseCode, Config, Net};

/// With which certificate a node presents itself, and whom it lets in. All of it can be renewed
/// while the node runs.
pub(crate) struct Credentials {
    name: NodeId,
    cluster: ClusterName,
    net: Arc<dyn Net>,
    revocations: Revocations,
    present: Mutex<Present>,
    /// Wakes whoever looks after the links when they were renewed.
    pub(crate) renewed: Notify,
}

struct Present {
    roles: Roles,
    validity: Validity,
    verifier: Arc<ClusterVerifier>,
}

/// Why a transport does not go on with another identity. It goes on with the one it has.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenewError {
    /// The identity is of another node.
    #[error(
        "the certificate is for node {renewed}, but this node is {name}; to change its name, start it again"
    )]
    Name {
        /// The node.
        name: NodeId,
        /// Whose identity it is.
        renewed: NodeId,
    },
    /// The identity is of another cluster.
    #[error(
        "the certificate is for cluster {renewed}, but this node is of {cluster}; to change its cluster, start it again"
    )]
    Cluster {
        /// The node's cluster.
        cluster: ClusterName,
        /// That of the identity.
        renewed: ClusterName,
    },
    /// The identity cannot be used.
    #[error("the node's identity cannot be used")]
    Tls(#[from] TlsError),
}

impl Credentials {
    pub(crate) fn new(
        config: &Config,
        identity: &Identity,
        net: Arc<dyn Net>,
    ) -> Result<Self, TlsError> {
        let clock = Arc::new(WallClock(net.clone()));
        let revocations = Revocations::new(identity);
        let tls = tls::configs(identity, &revocations, clock.clone())?;
        let present = Present {
            verifier: tls.verifier.clone(),
            validity: identity.validity(),
            roles: Roles::new(config, tls, clock),
        };
        Ok(Self {
            name: identity.name().clone(),
            cluster: identity.cluster().clone(),
            net,
            revocations,
            present: Mutex::new(present),
            renewed: Notify::new(),
        })
    }

    /// Takes up another identity of the same node. Handshakes under way end as they began.
    pub(crate) fn renew(&self, identity: &Identity) -> Result<(), RenewError> {
        let (name, cluster) = (identity.name(), identity.cluster());
        if *name != self.name {
            return Err(RenewError::Name {
                name: self.name.clone(),
                renewed: name.clone(),
            });
        }
        if *cluster != self.cluster {
            return Err(RenewError::Cluster {
                cluster: self.cluster.clone(),
                renewed: cluster.clone(),
            });
        }
        let clock = Arc::new(WallClock(self.net.clone()));
        let tls = tls::configs(identity, &self.revocations, clock)?;
        let mut present = self.present();
        *present = Present {
            verifier: tls.verifier.clone(),
            validity: identity.validity(),
            roles: present.roles.renewed(tls),
        };
        drop(present);
        self.revocations.trust(identity);
        self.renewed.notify_one();
        Ok(())
    }

    /// How to dial now.
    pub(crate) fn client(&self) -> ClientConfig {
        self.present().roles.client.clone()
    }

    /// How to be dialled now.
    pub(crate) fn server(&self) -> ServerConfig {
        self.present().roles.server.clone()
    }

    /// From when until when the node's own certificate is valid.
    pub(crate) fn validity(&self) -> Validity {
        self.present().validity
    }

    /// What is known to be revoked.
    pub(crate) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Why a link is to end that is up, by what can change while the identity stays; none if it is
    /// to go on.
    pub(crate) fn objection(&self, link: &Link) -> Option<CloseCode> {
        let not_before = link.validity.not_before();
        if self.revocations.is_revoked(link.peer.name(), not_before) {
            return Some(CloseCode::Revoked);
        }
        let is_over = link.validity.is_over(self.net.unix_time());
        is_over.then_some(CloseCode::Expired)
    }

    /// The same by all that a handshake would ask, which takes longer.
    pub(crate) fn objection_to_all(&self, link: &Link) -> Option<CloseCode> {
        let now = WallClock(self.net.clone()).current_time()?;
        let verifier = self.present().verifier.clone();
        verifier.objection(&link.connection, now)
    }

    fn present(&self) -> MutexGuard<'_, Present> {
        // Nothing done under the lock panics half-way.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}
