use clap::Args;
use serde::Deserialize;

use crate::cli::http::HttpArgs;
use crate::cli::stdout;
use crate::cli::table::table;

/// List the topics that have members, and how many
#[derive(Debug, Args)]
pub(crate) struct TopicsArgs {
    #[command(flatten)]
    http: HttpArgs,
}

#[derive(Debug, Deserialize)]
struct Topic {
    scope: String,
    topic: String,
    members: u64,
    local: u64,
}

/// Prints them.
pub(crate) async fn topics(args: &TopicsArgs) -> anyhow::Result<()> {
    let answer = args.http.list(&["v1", "topics"], &[]).await?;
    stdout::write(answer.show(human).as_bytes())
}

fn human(topics: &[Topic]) -> String {
    let row = |topic: &Topic| {
        let Topic {
            scope,
            topic,
            members,
            local,
        } = topic;
        [
            topic.clone(),
            scope.clone(),
            members.to_string(),
            local.to_string(),
        ]
    };
    let rows: Vec<_> = topics.iter().map(row).collect();
    table(["TOPIC", "SCOPE", "MEMBERS", "ON THIS NODE"], &rows)
}
