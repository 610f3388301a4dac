use clap::Args;
use tidings::Scope;
use tidings_sidecar::answers::TopicAnswer;

use crate::cli::http::HttpArgs;
use crate::cli::stdout;
use crate::cli::table::table;

/// List the topics that have members, and how many
#[derive(Debug, Args)]
pub(crate) struct TopicsArgs {
    /// Only those in this scope
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    #[command(flatten)]
    http: HttpArgs,
}

/// Prints them.
pub(crate) async fn topics(args: &TopicsArgs) -> anyhow::Result<()> {
    let scope = args.scope.as_ref().map(|scope| ("scope", scope.as_str()));
    let answer = args.http.list(&["v1", "topics"], scope.as_slice()).await?;
    stdout::write(answer.show(human).as_bytes())
}

fn human(topics: &[TopicAnswer]) -> String {
    let row = |topic: &TopicAnswer| {
        let TopicAnswer {
            scope,
            topic,
            members,
            local,
        } = topic;
        [
            topic.to_string(),
            scope.to_string(),
            members.to_string(),
            local.to_string(),
        ]
    };
    let rows: Vec<_> = topics.iter().map(row).collect();
    table(["TOPIC", "SCOPE", "MEMBERS", "ON THIS NODE"], &rows)
}
