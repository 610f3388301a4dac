use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tidings::{Authority, ClusterName};

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
    let files = [
        ("ca.pem", authority.certificate_pem(), Access::Public),
        ("ca-key.pem", &authority.key_pem(), Access::Private),
    ];
    files::write(&args.dir, &files, args.force)?;
    let (dir, cluster) = (args.dir.display(), &args.cluster);
    let text = format!(
        "The authority of cluster `{cluster}` is in {dir}. Keep ca-key.pem away from the nodes.\n\
         Next, for each node:  tidings tls cert create --ca-dir {dir} --node NAME\n"
    );
    stdout::write(text.as_bytes())
}
