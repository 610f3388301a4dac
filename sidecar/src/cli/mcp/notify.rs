use clap::{ArgGroup, Args};
use tidings_mcp::{Change, ServerName, Uri};

use crate::cli::client::ClientArgs;

/// Tell the clients of an MCP server that something has changed, at all its replicas
///
/// They are told to read it again. Returns once the node has taken it.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("changes").multiple(true).required(true))]
pub(crate) struct NotifyArgs {
    /// The name that the server has in topics
    name: ServerName,
    /// The URIs of the resources that have changed
    #[arg(value_name = "URI", group = "changes")]
    uris: Vec<Uri>,
    /// The list of tools has changed
    #[arg(long, group = "changes")]
    tools: bool,
    /// The list of prompts has changed
    #[arg(long, group = "changes")]
    prompts: bool,
    /// The list of resources has changed
    #[arg(long, group = "changes")]
    resources: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Publishes it.
pub(crate) async fn notify(args: NotifyArgs) -> anyhow::Result<()> {
    let lists = [
        (args.tools, Change::Tools),
        (args.prompts, Change::Prompts),
        (args.resources, Change::Resources),
    ];
    let lists = lists.into_iter();
    let lists = lists.filter_map(|(has_changed, list)| has_changed.then_some(list));
    let mut client = args.client.connect().await?;
    for change in lists.chain(args.uris.into_iter().map(Change::Resource)) {
        client.publish(&change.message(&args.name)).await?;
    }
    client.flush().await?;
    Ok(())
}
