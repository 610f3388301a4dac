mod describe;

use clap::{Args, Subcommand};
use tidings::Scope;
use tidings_sidecar::answers::{InfoAnswer, TopicAnswer};

use crate::cli::http::HttpArgs;
use crate::cli::stdout;
use crate::cli::table::table;
use describe::DescribeArgs;

/// List the topics that have members, and how many
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct TopicsArgs {
    #[command(subcommand)]
    command: Option<TopicsCommand>,
    /// Only those in this scope
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// Tell of each topic also what is known of it
    #[arg(long)]
    long: bool,
    /// List the topics of which something is known, whether they have members or not
    #[arg(long)]
    described: bool,
    #[command(flatten)]
    http: HttpArgs,
}

/// What to do with one topic.
#[derive(Debug, Subcommand)]
enum TopicsCommand {
    Describe(DescribeArgs),
}

/// Prints them.
pub(crate) async fn topics(args: &TopicsArgs) -> anyhow::Result<()> {
    if let Some(TopicsCommand::Describe(args)) = &args.command {
        return describe::describe(args).await;
    }
    let scope = args.scope.as_ref().map(|scope| ("scope", scope.as_str()));
    let described = args.described.then_some(("described", "true"));
    let query: Vec<_> = scope.into_iter().chain(described).collect();
    let answer = args.http.list(&["v1", "topics"], &query).await?;
    let long = args.long || args.described;
    stdout::write(answer.show(|topics| human(topics, long)).as_bytes())
}

fn human(topics: &[TopicAnswer], long: bool) -> String {
    let short = |topic: &TopicAnswer| {
        let TopicAnswer {
            scope,
            topic,
            members,
            local,
            ..
        } = topic;
        [
            topic.to_string(),
            scope.to_string(),
            members.to_string(),
            local.to_string(),
        ]
    };
    if !long {
        let rows: Vec<_> = topics.iter().map(short).collect();
        return table(["TOPIC", "SCOPE", "MEMBERS", "ON THIS NODE"], &rows);
    }
    let row = |topic: &TopicAnswer| {
        let info = topic.info.as_ref().map(|InfoAnswer { info, .. }| info);
        let told = |text: Option<&Option<String>>| text.cloned().flatten().unwrap_or("-".into());
        let [topic, scope, members, local] = short(topic);
        [
            topic,
            scope,
            members,
            local,
            told(info.map(|info| &info.owner)),
            told(info.map(|info| &info.content_type)),
            told(info.map(|info| &info.schema)),
            told(info.map(|info| &info.description)),
        ]
    };
    let rows: Vec<_> = topics.iter().map(row).collect();
    let names = ["TOPIC", "SCOPE", "MEMBERS", "ON THIS NODE"];
    let [topic, scope, members, local] = names;
    let of_info = ["OWNER", "CONTENT TYPE", "SCHEMA", "DESCRIPTION"];
    let [owner, content, schema, description] = of_info;
    table(
        [
            topic,
            scope,
            members,
            local,
            owner,
            content,
            schema,
            description,
        ],
        &rows,
    )
}
