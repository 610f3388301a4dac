//! Who a node is: its [name](NodeId), its [run](NodeRun), and the [certificate](Identity) that
//! proves it to others.
//!
//! Membership and transport know nothing of each other. What both speak of is here, once.
//!
//! [`Identity`] is what a running node needs; [`Authority`] makes certificates and is needed only
//! where they are made. With a [`Signer`] a node signs what it says, and by its [`Trust`] another
//! knows that it did. What an authority takes back is in a [`RevocationList`]; [`Revocations`] is what a
//! node knows of it.

mod authority;
mod authority_key;
mod cluster_name;
mod identity;
mod incarnation;
mod label;
mod node_id;
mod node_run;
mod revocation_list;
mod revocations;
mod signer;
mod subject;
mod text_like;
mod trust;
mod validity;

pub use authority::{Authority, AuthorityError, NodeCertificate, RevokeError};
pub use authority_key::AuthorityKey;
pub use cluster_name::{CLUSTER_NAME_BYTES_MAX, ClusterName};
pub use identity::{Identity, IdentityError};
pub use incarnation::Incarnation;
pub use label::{LABEL_BYTES_MAX, NameError};
pub use node_id::NodeId;
pub use node_run::NodeRun;
pub use revocation_list::{ForeignListError, RevocationList, RevocationListError};
pub use revocations::{Learnt, RevocationWatch, Revocations};
pub use signer::{SignError, Signature, Signer};
pub use subject::{Subject, SubjectError};
pub use trust::{AuthoritiesError, Certified, Trust, TrustError};
pub use validity::{Validity, ValidityError};

/// Runs the program in the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
