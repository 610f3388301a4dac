use clap::Args;
use tidings_sidecar::answers::{LinkAnswer, NodeAnswer};

use crate::cli::http::HttpArgs;
use crate::cli::stdout;
use crate::cli::table::table;

/// List the nodes that a node knows
#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    /// Show where their clients connect, and the links to them: round trip, what waits, and what was lost
    #[arg(long)]
    long: bool,
    #[command(flatten)]
    http: HttpArgs,
}

/// Prints them.
pub(crate) async fn nodes(args: &NodesArgs) -> anyhow::Result<()> {
    let answer = args.http.list(&["v1", "nodes"], &[]).await?;
    let human = |nodes: &[NodeAnswer]| {
        if args.long {
            with_links(nodes)
        } else {
            human(nodes)
        }
    };
    stdout::write(answer.show(human).as_bytes())
}

fn human(nodes: &[NodeAnswer]) -> String {
    let rows: Vec<_> = nodes.iter().map(row).collect();
    table(HEADINGS, &rows)
}

fn with_links(nodes: &[NodeAnswer]) -> String {
    let [node, address, incarnation, state] = HEADINGS;
    let [up, round_trip, waiting, dropped, lost, gaps] = LINK_HEADINGS;
    let headings = [
        node,
        address,
        incarnation,
        state,
        CLIENTS_HEADING,
        up,
        round_trip,
        waiting,
        dropped,
        lost,
        gaps,
    ];
    let rows: Vec<_> = nodes
        .iter()
        .map(|node| {
            let [name, addr, incarnation, state] = row(node);
            let [link, round_trip, waiting, dropped, lost, gaps] = link(node.link.as_ref());
            [
                name,
                addr,
                incarnation,
                state,
                clients(node),
                link,
                round_trip,
                waiting,
                dropped,
                lost,
                gaps,
            ]
        })
        .collect();
    table(headings, &rows)
}

fn row(node: &NodeAnswer) -> [String; 4] {
    let state = match (node.live, node.is_self) {
        (_, true) if node.draining => "draining, this node",
        (_, true) => "live, this node",
        (true, false) if node.draining => "draining",
        (true, false) => "live",
        (false, false) => "not live",
    };
    let addr = node.addr.map_or("-".into(), |addr| addr.to_string());
    let (name, incarnation) = (node.node.to_string(), node.incarnation.to_string());
    [name, addr, incarnation, state.into()]
}

fn clients(node: &NodeAnswer) -> String {
    let addrs: Vec<_> = node.clients.iter().map(ToString::to_string).collect();
    if addrs.is_empty() {
        "-".into()
    } else {
        addrs.join(" ")
    }
}

/// How it stands with a link, under [`LINK_HEADINGS`].
pub(crate) fn link(link: Option<&LinkAnswer>) -> [String; 6] {
    let Some(link) = link else {
        return ["-"; 6].map(String::from);
    };
    let round_trip = |us: u64| format!("{}.{:03} ms", us / 1000, us % 1000);
    [
        if link.up { "up" } else { "dialling" }.into(),
        link.round_trip_us.map_or("-".into(), round_trip),
        format!("{} ({} B)", link.queued_frames, link.queued_bytes),
        link.dropped_frames.to_string(),
        link.lost_frames.to_string(),
        link.unknown_gaps.to_string(),
    ]
}

/// What [`link`] tells.
pub(crate) const LINK_HEADINGS: [&str; 6] =
    ["LINK", "ROUND TRIP", "WAITING", "DROPPED", "LOST", "GAPS"];
/// Above where the clients of a node connect.
const CLIENTS_HEADING: &str = "CLIENTS";
const HEADINGS: [&str; 4] = ["NODE", "ADDRESS", "INCARNATION", "STATE"];
