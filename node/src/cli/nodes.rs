use clap::Args;
use serde::Deserialize;
use tidings_identity::Incarnation;

use crate::cli::http::HttpArgs;
use crate::cli::stdout;
use crate::cli::table::table;

/// List the nodes that a node knows
#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    #[command(flatten)]
    http: HttpArgs,
}

#[derive(Debug, Deserialize)]
struct Node {
    node: String,
    incarnation: Incarnation,
    addr: Option<String>,
    live: bool,
    #[serde(rename = "self")]
    is_self: bool,
}

/// Prints them.
pub(crate) async fn nodes(args: &NodesArgs) -> anyhow::Result<()> {
    let answer = args.http.list(&["v1", "nodes"], &[]).await?;
    stdout::write(answer.show(human).as_bytes())
}

fn human(nodes: &[Node]) -> String {
    let row = |node: &Node| {
        let state = match (node.live, node.is_self) {
            (_, true) => "live, this node",
            (true, false) => "live",
            (false, false) => "not live",
        };
        let addr = node.addr.clone().unwrap_or_else(|| "-".into());
        [
            node.node.clone(),
            addr,
            node.incarnation.to_string(),
            state.into(),
        ]
    };
    let rows: Vec<_> = nodes.iter().map(row).collect();
    table(["NODE", "ADDRESS", "INCARNATION", "STATE"], &rows)
}
