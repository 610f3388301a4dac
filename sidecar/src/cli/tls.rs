mod authority_dir;
mod ca_create;
mod cert_create;
mod files;
mod revoke;
mod validity;

use clap::Subcommand;

/// What to make.
#[derive(Debug, Subcommand)]
pub(crate) enum TlsCommand {
    /// The authority of a cluster
    #[command(subcommand)]
    Ca(CaCommand),
    /// The certificates of its nodes
    #[command(subcommand)]
    Cert(CertCommand),
    Revoke(revoke::RevokeArgs),
}

/// What to do about an authority.
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    Create(ca_create::CaCreateArgs),
}

/// What to do about a certificate.
#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    Create(cert_create::CertCreateArgs),
}

impl TlsCommand {
    /// Does it.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        match self {
            Self::Ca(CaCommand::Create(args)) => ca_create::ca_create(args),
            Self::Cert(CertCommand::Create(args)) => cert_create::cert_create(args),
            Self::Revoke(args) => revoke::revoke(args),
        }
    }
}
