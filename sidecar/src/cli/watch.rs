use clap::Args;
use tidings::{Pattern, Scope};
use tidings_sidecar::answers::{LiveAnswer, MembershipAnswer, WatchAnswer};

use crate::cli::http::HttpArgs;
use crate::cli::stdout;

/// Watch who joins and leaves, and which nodes come and go, a line for each change
///
/// First comes how it is: a line `node` for each live node and a line `member` for each membership.
/// Then what changes, net: a membership that came and went at once may not be told. Of a topic everyone
/// is told whom a message on it is for, of a pattern everyone for whom a message could be on a topic that
/// it matches. Ends when the connection does.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The topic or pattern to watch; all of them if none is given
    #[arg(value_parser = Pattern::parse)]
    topic: Option<Pattern>,
    /// The scope of the topic (else `default`), or the scope to watch all of
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// Watch the nodes only, and what is lost between them
    #[arg(long, conflicts_with_all = ["topic", "scope"])]
    nodes: bool,
    #[command(flatten)]
    http: HttpArgs,
}

/// Prints changes until the node ends the connection, or the reader of standard output has gone.
pub(crate) async fn watch(args: &WatchArgs) -> anyhow::Result<()> {
    let topic = args.topic.as_ref().map(|topic| ("topic", topic.as_str()));
    let scope = args.scope.as_ref().map(|scope| ("scope", scope.as_str()));
    let nodes = args.nodes.then_some(("nodes", "true"));
    let query: Vec<_> = [topic, scope, nodes].into_iter().flatten().collect();
    let mut events = args.http.follow(&["v1", "watch"], &query).await?;
    loop {
        let data = events.next().await?;
        if args.http.is_json() {
            stdout::write(format!("{data}\n").as_bytes())?;
        } else {
            stdout::write(human(&serde_json::from_str(&data)?).as_bytes())?;
        }
    }
}

/// Lines of fields that are separated by tabs.
fn human(answer: &WatchAnswer) -> String {
    match answer {
        WatchAnswer::Snapshot { nodes, members, .. } => {
            let nodes = nodes.iter().map(|live| node("node", live));
            let members = members.iter().map(|one| member("member", one));
            nodes.chain(members).collect()
        }
        WatchAnswer::NodeUp(live) => node("node-up", live),
        WatchAnswer::NodeDown { node, left, .. } => {
            let how = if *left {
                "it has left"
            } else {
                "not heard any more"
            };
            format!("node-down\t{node}\t{how}\n")
        }
        WatchAnswer::Joined(joined) => member("joined", joined),
        WatchAnswer::Updated(updated) => member("updated", updated),
        WatchAnswer::Left {
            scope,
            topic,
            node,
            member,
        } => format!("left\t{topic}\t{scope}\t{node}\t-\t{member}\t-\t-\n"),
        WatchAnswer::Gap { from, to, frames } => {
            let frames = frames.map_or("some".into(), |frames| frames.to_string());
            format!("gap\t{from}\t{to}\t{frames} messages may be missing\n")
        }
    }
}

fn node(what: &str, live: &LiveAnswer) -> String {
    format!("{what}\t{}\n", live.node)
}

fn member(what: &str, one: &MembershipAnswer) -> String {
    let MembershipAnswer {
        scope,
        topic,
        node,
        member,
        agent,
        metadata,
        queue,
    } = one;
    let agent = agent.as_ref().map_or("-".into(), ToString::to_string);
    let metadata = match metadata.is_empty() {
        true => "-".into(),
        false => metadata.to_string(),
    };
    let queue = queue.as_ref().map_or("-".into(), ToString::to_string);
    format!("{what}\t{topic}\t{scope}\t{node}\t{agent}\t{member}\t{queue}\t{metadata}\n")
}
