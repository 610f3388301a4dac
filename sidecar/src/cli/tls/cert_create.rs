use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tidings::NodeId;

use super::authority_dir::{AuthorityDir, REVOKED};
use super::files::{self, Access};
use super::validity::ValidityArgs;
use crate::cli::stdout;

/// Certify a node: ca.pem, node.pem and node-key.pem, in a directory to run it with
#[derive(Debug, Args)]
pub(crate) struct CertCreateArgs {
    /// The node's name, unique in its cluster
    #[arg(long, value_name = "NAME")]
    node: NodeId,
    /// Where the cluster's authority is
    #[arg(long, value_name = "DIR", default_value = "ca")]
    ca_dir: PathBuf,
    /// Where to put the node's files [default: the node's name]
    #[arg(long, value_name = "DIR", visible_alias = "out")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    validity: ValidityArgs,
    /// Overwrite what is there
    #[arg(long)]
    force: bool,
}

/// Certifies it.
pub(crate) fn cert_create(args: &CertCreateArgs) -> anyhow::Result<()> {
    let AuthorityDir { authority, revoked } = AuthorityDir::read(&args.ca_dir)?;
    // One that begins before the node was revoked would be void.
    let revoked_at = revoked
        .as_ref()
        .and_then(|list| list.revoked_at(&args.node));
    let validity = args
        .validity
        .validity()
        .and_then(|validity| match revoked_at {
            Some(at) => validity.beginning_after(at),
            None => Ok(validity),
        })
        .context("cannot tell how long it is valid")?;
    let certificate = authority.issue(&args.node, validity)?;
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| args.node.as_str().into());
    let (ca, node, key) = (
        authority.certificate_pem().as_bytes(),
        certificate.certificate_pem.as_bytes(),
        certificate.key_pem.as_bytes(),
    );
    let mut files = vec![
        ("ca.pem", ca, Access::Public),
        ("node.pem", node, Access::Public),
        ("node-key.pem", key, Access::Private),
    ];
    // A new node so knows from the start whom not to let in.
    let list = revoked
        .as_ref()
        .map(|list| (REVOKED, list.as_bytes(), Access::Public));
    files.extend(list);
    files::write(&dir, &files, args.force)?;
    let (dir, node, cluster) = (dir.display(), &args.node, authority.cluster());
    let text = format!(
        "The certificate of node `{node}` of cluster `{cluster}` is in {dir}.\n\
         Next, on its machine:  tidings run --tls-dir {dir} --advertise ADDR:7946 --seed HOST:7946\n"
    );
    stdout::write(text.as_bytes())
}
