use clap::Args;
use tidings::Scope;
use tidings_sidecar::answers::MemberAnswer;

use crate::cli::http::HttpArgs;
use crate::cli::stdout;
use crate::cli::table::table;

/// List the members of a topic: who gets what is published on it
#[derive(Debug, Args)]
pub(crate) struct MembersArgs {
    /// The topic, or a pattern to see who subscribed to just that
    topic: String,
    /// The scope that the topic is in
    #[arg(long, value_name = "SCOPE", default_value_t)]
    scope: Scope,
    #[command(flatten)]
    http: HttpArgs,
}

/// Prints them.
pub(crate) async fn members(args: &MembersArgs) -> anyhow::Result<()> {
    let path = ["v1", "topics", &args.topic, "members"];
    let answer = args
        .http
        .list(&path, &[("scope", args.scope.as_str())])
        .await?;
    stdout::write(answer.show(human).as_bytes())
}

/// The table of these.
pub(crate) fn human(members: &[MemberAnswer]) -> String {
    let row = |member: &MemberAnswer| {
        let agent = member.agent.as_ref();
        let agent = agent.map_or("-".into(), ToString::to_string);
        let metadata = match member.metadata.is_empty() {
            true => "-".into(),
            false => member.metadata.to_string(),
        };
        let member_id = member.member.to_string();
        let queue = member.queue.as_ref();
        let queue = queue.map_or("-".into(), ToString::to_string);
        [member.node.to_string(), agent, member_id, queue, metadata]
    };
    let rows: Vec<_> = members.iter().map(row).collect();
    table(["NODE", "AGENT", "MEMBER", "QUEUE", "METADATA"], &rows)
}
