use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tidings::{Authority, ClusterName};

use super::authority_dir::REVOKED;
use super::files::{self, Access};
use super::validity::ValidityArgs;
use crate::cli::stdout;

/// Make the authority of a cluster: ca.pem, and ca-key.pem, which decides who is a node
#[derive(Debug, Args)]
pub(crate) struct CaCreateArgs {
    /// Where to put it
    #[arg(long, value_name = "DIR", default_value = "ca")]
    dir: PathBuf,
    /// The cluster's name
    #[arg(long, value_name = "NAME", default_value = "tidings")]
    cluster: ClusterName,
    #[command(flatten)]
    validity: ValidityArgs,
    /// Overwrite what is there: nodes certified by the old authority are then strangers
    #[arg(long)]
    force: bool,
}

/// Makes it.
pub(crate) fn ca_create(args: &CaCreateArgs) -> anyhow::Result<()> {
    let validity = args
        .validity
        .validity()
        .context("cannot tell how long it is valid")?;
    let authority = Authority::create(&args.cluster, validity)?;
    let (certificate, key) = (authority.certificate_pem(), authority.key_pem());
    let files = [
        ("ca.pem", certificate.as_bytes(), Access::Public),
        ("ca-key.pem", key.as_bytes(), Access::Private),
    ];
    files::write(&args.dir, &files, args.force)?;
    // What the authority before has revoked means nothing to the nodes of this one.
    let list = args.dir.join(REVOKED);
    match std::fs::remove_file(&list) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", list.display()));
        }
        _ => {}
    }
    let (dir, cluster) = (args.dir.display(), &args.cluster);
    let text = format!(
        "The authority of cluster `{cluster}` is in {dir}. Keep ca-key.pem away from the nodes.\n\
         Next, for each node:  tidings tls cert create --ca-dir {dir} --node NAME\n"
    );
    stdout::write(text.as_bytes())
}
