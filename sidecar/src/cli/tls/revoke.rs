use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tidings::{Net, NodeId, SystemNet};

use super::authority_dir::{AuthorityDir, REVOKED};
use super::files::{self, Access};
use crate::cli::stdout;

/// Shut a node out: all certificates that were made for it until now are void
///
/// It adds to revoked.list beside the authority. Copy that file into the TLS directory of any one node
/// that runs; the others learn it from there.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The node's name
    #[arg(long, value_name = "NAME")]
    node: NodeId,
    /// Where the cluster's authority is
    #[arg(long, value_name = "DIR", default_value = "ca")]
    ca_dir: PathBuf,
}

/// Revokes it.
pub(crate) fn revoke(args: &RevokeArgs) -> anyhow::Result<()> {
    let AuthorityDir { authority, revoked } = AuthorityDir::read(&args.ca_dir)?;
    let list = authority
        .revoke(revoked.as_ref(), &args.node, SystemNet.unix_time())
        .with_context(|| format!("cannot revoke {}", args.node))?;
    let file = (REVOKED, list.as_bytes(), Access::Public);
    files::write(&args.ca_dir, &[file], true)?;
    let (node, cluster, dir) = (&args.node, authority.cluster(), args.ca_dir.display());
    let (number, nodes) = (list.sequence(), list.entries().count());
    let text = format!(
        "Node `{node}` of cluster `{cluster}` is revoked, with all certificates made for it until now.\n\
         {dir}/{REVOKED} is number {number} and names all that are revoked: {nodes}.\n\
         Next, on any one node that runs:  copy {dir}/{REVOKED} into its --tls-dir; the others learn it \
         from there\n\
         To let the name in again:  tidings tls cert create --ca-dir {dir} --node {node}\n"
    );
    stdout::write(text.as_bytes())
}
