use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use tidings::{Authority, NodeId};

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
    let authority = authority(&args.ca_dir)?;
    let validity = args
        .validity
        .validity()
        .context("cannot tell how long it is valid")?;
    let certificate = authority.issue(&args.node, validity)?;
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| args.node.as_str().into());
    let files = [
        ("ca.pem", authority.certificate_pem(), Access::Public),
        ("node.pem", &certificate.certificate_pem, Access::Public),
        ("node-key.pem", &certificate.key_pem, Access::Private),
    ];
    files::write(&dir, &files, args.force)?;
    let (dir, node, cluster) = (dir.display(), &args.node, authority.cluster());
    let text = format!(
        "The certificate of node `{node}` of cluster `{cluster}` is in {dir}.\n\
         Next, on its machine:  tidings run --tls-dir {dir} --advertise ADDR:7946 --seed HOST:7946\n"
    );
    stdout::write(text.as_bytes())
}

fn authority(directory: &Path) -> anyhow::Result<Authority> {
    let read = |name: &str| {
        let path = directory.join(name);
        std::fs::read_to_string(&path).with_context(|| {
            format!(
                "cannot read {}; `tidings tls ca create` makes an authority",
                path.display()
            )
        })
    };
    Authority::from_pem(&read("ca.pem")?, &read("ca-key.pem")?)
        .with_context(|| format!("the authority in {} is of no use", directory.display()))
}
