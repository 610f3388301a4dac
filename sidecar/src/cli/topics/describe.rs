use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tidings::{Scope, Topic};
use tidings_sidecar::answers::{DescribeRequest, InfoAnswer, TopicAnswer};

use crate::cli::http::HttpArgs;
use crate::cli::stdout;

/// Tell the cluster what a topic is for, or show what is known of it
///
/// What is not given stays as it is; an empty text takes a part back. All nodes learn it, and it is
/// known for as long as one of the nodes runs at which something of this topic was told. Topics need no
/// members for it.
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The topic
    #[arg(value_parser = Topic::parse)]
    topic: Topic,
    /// The scope that the topic is in
    #[arg(long, value_name = "SCOPE", default_value_t)]
    scope: Scope,
    /// What is published on it, in words
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What payloads are, as `application/json`
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Whom to ask
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// Where it says what a payload looks like: an address, a name, a digest
    #[arg(long, value_name = "REFERENCE")]
    schema: Option<String>,
    /// A file with a JSON Schema: what does not fit it is not published on the topic
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,
    /// Take back all that is not given
    #[arg(long)]
    clear: bool,
    #[command(flatten)]
    http: HttpArgs,
}

/// Prints what is known then.
pub(super) async fn describe(args: &DescribeArgs) -> anyhow::Result<()> {
    let path = ["v1", "topics", args.topic.as_str()];
    let query = [("scope", args.scope.as_str())];
    let known = args.http.one(&path, &query, None::<&()>).await?;
    let [TopicAnswer { info, .. }] = known.items() else {
        anyhow::bail!("the node answers nothing");
    };
    let info = info.as_ref().map(|known| known.info.clone().into());
    let before: DescribeRequest = info.unwrap_or_default();
    let mut after = match args.clear {
        true => DescribeRequest::default(),
        false => before.clone(),
    };
    let parts = [
        (&mut after.description, &args.description),
        (&mut after.content_type, &args.content_type),
        (&mut after.owner, &args.owner),
        (&mut after.schema, &args.schema),
    ];
    for (part, given) in parts {
        if let Some(text) = given {
            *part = Some(text.clone()).filter(|text| !text.is_empty());
        }
    }
    if let Some(path) = &args.json_schema {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        after.json_schema = Some(text.into());
    }
    let answer = match after == before {
        true => known,
        false => args.http.one(&path, &query, Some(&after)).await?,
    };
    stdout::write(answer.show_one(human).as_bytes())
}

fn human(topics: &[TopicAnswer]) -> String {
    let mut text = String::new();
    for TopicAnswer { info, .. } in topics {
        let Some(InfoAnswer {
            info,
            set_on,
            json_schema_digest,
            ..
        }) = info
        else {
            text.push_str("nothing is known of it\n");
            continue;
        };
        let parts = [
            ("description", &info.description),
            ("content type", &info.content_type),
            ("owner", &info.owner),
            ("schema", &info.schema),
            ("JSON Schema", json_schema_digest),
        ];
        for (name, part) in parts {
            if let Some(part) = part {
                text.push_str(&format!("{name}: {part}\n"));
            }
        }
        text.push_str(&format!("set on: {set_on}\n"));
    }
    text
}
