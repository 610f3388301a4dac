mod notify;

use clap::Subcommand;

/// What to do for an MCP server.
#[derive(Debug, Subcommand)]
pub(crate) enum McpCommand {
    Notify(notify::NotifyArgs),
}

impl McpCommand {
    /// Does it.
    pub(crate) async fn execute(self) -> anyhow::Result<()> {
        match self {
            Self::Notify(args) => notify::notify(args).await,
        }
    }
}
