use clap::Args;
use tidings::{Scope, Time};
use tidings_sidecar::answers::{
    DifferenceAnswer, ExplainAnswer, ExplainedAnswer, OtherAnswer, Says, SeenAnswer,
};

use crate::cli::http::HttpArgs;
use crate::cli::members;
use crate::cli::nodes::{self, LINK_HEADINGS};
use crate::cli::stdout;
use crate::cli::table::table;

/// Explain a topic: who is a member, how the node knows, which links lead there, and what others see
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The topic, or a pattern to look at those who subscribed to just that
    topic: String,
    /// The scope that the topic is in
    #[arg(long, value_name = "SCOPE", default_value_t)]
    scope: Scope,
    /// How long the other nodes have to answer
    #[arg(long, value_name = "TIME", default_value = "2s")]
    timeout: Time<1, 8_000>,
    #[command(flatten)]
    http: HttpArgs,
}

/// Prints the explanation.
pub(crate) async fn explain(args: &ExplainArgs) -> anyhow::Result<()> {
    let path = ["v1", "topics", &args.topic, "explain"];
    let timeout = args.timeout.to_string();
    let query = [("scope", args.scope.as_str()), ("timeout", &timeout)];
    let answer = args.http.one(&path, &query, None::<&()>).await?;
    let human = |explained: &[ExplainAnswer]| explained.iter().map(human).collect();
    stdout::write(answer.show_one(human).as_bytes())
}

fn human(explained: &ExplainAnswer) -> String {
    let ExplainAnswer {
        scope,
        topic,
        nodes,
        others,
    } = explained;
    let count: usize = nodes.iter().map(|node| node.members_count).sum();
    let named: Vec<_> = nodes.iter().flat_map(|node| node.members.clone()).collect();
    let mut text = match count {
        1 => format!("{topic} in the scope {scope} has 1 member.\n"),
        _ => format!("{topic} in the scope {scope} has {count} members.\n"),
    };
    if count > 0 {
        text += &format!("\n{}", members::human(&named));
    }
    if count > named.len() {
        text += &format!("and {} more\n", count - named.len());
    }
    let rows: Vec<_> = nodes.iter().map(node_row).collect();
    let [link, round_trip, waiting, dropped, lost, gaps] = LINK_HEADINGS;
    let headings = [
        "NODE", "STATE", "MEMBERS", "VERSION", "AGE", "HEARD", link, round_trip, waiting, dropped,
        lost, gaps,
    ];
    text += &format!("\n{}", table(headings, &rows));
    if !others.is_empty() {
        let rows: Vec<_> = others.iter().flat_map(other_rows).collect();
        text += &format!("\n{}", table(["ASKED", "SEES"], &rows));
    }
    text
}

fn node_row(node: &ExplainedAnswer) -> [String; 12] {
    let state = match (node.is_self, node.live, node.left) {
        (true, ..) => "this node",
        (_, true, _) => "live",
        (.., true) => "left",
        _ => "not live",
    };
    let or_none = |text: Option<String>| text.unwrap_or("-".into());
    let [link, round_trip, waiting, dropped, lost, gaps] = nodes::link(node.link.as_ref());
    [
        node.node.to_string(),
        state.into(),
        node.members_count.to_string(),
        or_none(node.version.map(|version| version.to_string())),
        or_none(node.age_ms.map(seconds)),
        or_none(node.heard_ms.map(seconds)),
        link,
        round_trip,
        waiting,
        dropped,
        lost,
        gaps,
    ]
}

/// A line for what another node says, or one for each node of which it sees something else.
fn other_rows(other: &OtherAnswer) -> Vec<[String; 2]> {
    let row = |says: String| [other.node.to_string(), says];
    match other.says {
        Says::Same => vec![row("the same".into())],
        Says::NoLink => vec![row("not asked: there is no link".into())],
        Says::NoAnswer => vec![row("no answer in time".into())],
        Says::Differs => other.differences.iter().map(|d| row(differs(d))).collect(),
    }
}

fn differs(difference: &DifferenceAnswer) -> String {
    let DifferenceAnswer { node, here, there } = difference;
    let is_other_run = match (here, there) {
        (Some(here), Some(there)) => here.incarnation != there.incarnation,
        _ => false,
    };
    let (here, there) = (
        seen(here.as_ref(), is_other_run),
        seen(there.as_ref(), is_other_run),
    );
    format!("on {node} {there}; this node sees {here}")
}

fn seen(seen: Option<&SeenAnswer>, with_run: bool) -> String {
    let Some(seen) = seen else {
        return "nothing, and takes it for gone".into();
    };
    let members = match seen.members {
        1 => "1 member".into(),
        count => format!("{count} members"),
    };
    let run = match with_run {
        true => format!(" of the run {}", seen.incarnation),
        false => String::new(),
    };
    match seen.version {
        Some(version) => format!("{members}{run} at version {version}"),
        None => format!("{members}{run}"),
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_another_node_differs_is_told_in_words() {
        let seen = |incarnation: u64, version, members| {
            Some(SeenAnswer {
                incarnation: incarnation.into(),
                version,
                members,
            })
        };
        let told = |here, there| {
            let node = "n1".parse().unwrap();
            differs(&DifferenceAnswer { node, here, there })
        };
        assert_eq!(
            told(seen(7, Some(5), 2), seen(7, None, 1)),
            "on n1 1 member; this node sees 2 members at version 5"
        );
        assert_eq!(
            told(None, seen(7, Some(3), 0)),
            "on n1 0 members at version 3; this node sees nothing, and takes it for gone"
        );
        let told = told(seen(7, Some(5), 1), seen(8, Some(1), 1));
        assert!(told.contains("of the run 7") && told.contains("of the run 8"));
    }
}
