use clap::Args;
use tidings_sidecar::answers::NodeAnswer;

use crate::cli::http::HttpArgs;
use crate::cli::stdout;
use crate::cli::table::table;

/// List the nodes that a node knows
#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    #[command(flatten)]
    http: HttpArgs,
}

/// Prints them.
pub(crate) async fn nodes(args: &NodesArgs) -> anyhow::Result<()> {
    let answer = args.http.list(&["v1", "nodes"], &[]).await?;
    stdout::write(answer.show(human).as_bytes())
}

fn human(nodes: &[NodeAnswer]) -> String {
    let row = |node: &NodeAnswer| {
        let state = match (node.live, node.is_self) {
            (_, true) => "live, this node",
            (true, false) => "live",
            (false, false) => "not live",
        };
        let addr = node.addr.map_or("-".into(), |addr| addr.to_string());
        [
            node.node.to_string(),
            addr,
            node.incarnation.to_string(),
            state.into(),
        ]
    };
    let rows: Vec<_> = nodes.iter().map(row).collect();
    table(["NODE", "ADDRESS", "INCARNATION", "STATE"], &rows)
}
