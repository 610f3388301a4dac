use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};
use tidings::{Headers, Message, Metadata, Pattern, QueueGroup, Topic};

use crate::cli::client::{ClientArgs, Everywhere, Lacking};
use crate::cli::{stderr, stdout};

/// Subscribe to topics, and print what is published on them, a line for each message
///
/// Messages of one publisher are printed in the order in which they were published, over all topics.
/// Nothing else goes to standard output. Standard error says when the subscription holds. Ends when
/// the connection does.
#[derive(Debug, Args)]
pub(crate) struct SubscribeArgs {
    /// Topics, or patterns: `*` stands for one part of a topic, `>` for all that follow
    #[arg(required = true, value_parser = Pattern::parse)]
    topics: Vec<Pattern>,
    /// The queue group to be in: of all its members one gets each message
    #[arg(long, value_name = "NAME", value_parser = QueueGroup::parse)]
    queue: Option<QueueGroup>,
    /// End after so many messages
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Print a JSON object for each message: topic, payload (payload_base64 if it is not text),
    /// headers, reply_to
    #[arg(long)]
    json: bool,
    /// What to say of oneself, shown with each of the memberships; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = said)]
    meta: Vec<(String, Value)>,
    /// Say `subscribed` only when all nodes have the subscription, so that whatever is published from then
    /// on is printed, or after a time-out which ones have not
    #[arg(long)]
    barrier: bool,
    /// How long to wait for that, up to a minute
    #[arg(
        long,
        value_name = "TIME",
        default_value = "5s",
        value_parser = humantime::parse_duration,
        requires = "barrier"
    )]
    timeout: Duration,
    #[command(flatten)]
    client: ClientArgs,
}

/// Prints messages until there were enough, or the reader of standard output has gone.
pub(crate) async fn subscribe(args: SubscribeArgs) -> anyhow::Result<()> {
    let metadata = Metadata::try_from(args.meta.into_iter().collect::<BTreeMap<_, _>>())?;
    let mut client = args.client.connect().await?;
    for pattern in &args.topics {
        client.join(pattern, args.queue.as_ref()).await?;
    }
    if !metadata.is_empty() {
        for pattern in &args.topics {
            client.update(pattern, &metadata).await?;
        }
    }
    let mut early = client.flush().await?;
    if args.barrier {
        let (outcome, meanwhile) = client.everywhere(args.timeout).await?;
        early.extend(meanwhile);
        stderr::tell(format_args!("{}", told(&outcome)));
    } else {
        stderr::tell(format_args!("subscribed"));
    }
    let mut early = early.into_iter();
    for _ in 0..args.count.unwrap_or(usize::MAX) {
        let message = match early.next() {
            Some(message) => message,
            None => client.next().await?,
        };
        stdout::write(&line(&message, args.json))?;
    }
    Ok(())
}

/// What stands before the first `=`, and what behind it.
fn said(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("it is not of the form KEY=VALUE".into()),
    }
}

/// What people are told of where the subscription is.
fn told(outcome: &Everywhere) -> String {
    let Everywhere { nodes, lacking } = outcome;
    let nodes = match nodes.len() {
        0 => String::new(),
        _ => format!(" ({})", nodes.join(", ")),
    };
    let lacking: Vec<String> = lacking
        .iter()
        .map(|Lacking { node, why }| format!("{node} ({why})"))
        .collect();
    match lacking.len() {
        0 => format!("subscribed everywhere{nodes}"),
        _ => format!("subscribed, but perhaps not on {}", lacking.join(", ")),
    }
}

pub(crate) fn line(message: &Message, as_json: bool) -> Vec<u8> {
    let mut line = if as_json {
        object(message).to_string().into_bytes()
    } else {
        message.payload.to_vec()
    };
    line.push(b'\n');
    line
}

fn object(message: &Message) -> Value {
    let mut object = Map::new();
    object.insert("topic".into(), message.topic.as_str().into());
    match std::str::from_utf8(&message.payload) {
        Ok(text) => object.insert("payload".into(), text.into()),
        Err(_) => {
            let text = BASE64_STANDARD.encode(&message.payload);
            object.insert("payload_base64".into(), text.into())
        }
    };
    object.insert("headers".into(), headers(&message.headers));
    if let Some(status) = message.headers.status() {
        object.insert("status".into(), status.into());
        object.insert("description".into(), message.headers.description().into());
    }
    object.insert(
        "reply_to".into(),
        message.reply_to.as_ref().map(Topic::as_str).into(),
    );
    Value::Object(object)
}

/// Names with all their values: a name may come more than once.
fn headers(headers: &Headers) -> Value {
    let mut object = Map::new();
    for (name, value) in headers.iter() {
        let values = object.entry(name).or_insert_with(|| json!([]));
        values
            .as_array_mut()
            .expect("every entry is made as an array")
            .push(value.into());
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &'static [u8]) -> Message {
        Message::new(Topic::parse("weather.sf").unwrap(), payload)
    }

    #[test]
    fn it_is_told_which_nodes_lack_the_subscription() {
        let told = |answer: &str| told(&serde_json::from_str(answer).unwrap());
        assert_eq!(
            told(r#"{"everywhere": true, "nodes": ["n2", "n3"]}"#),
            "subscribed everywhere (n2, n3)"
        );
        assert_eq!(
            told(r#"{"everywhere": true, "nodes": []}"#),
            "subscribed everywhere"
        );
        let lacking = r#"{"everywhere": false, "nodes": ["n2"],
            "lacking": [{"node": "n3", "why": "no link"}]}"#;
        assert_eq!(told(lacking), "subscribed, but perhaps not on n3 (no link)");
    }

    #[test]
    fn a_line_is_the_payload_as_it_is() {
        assert_eq!(line(&message(b"sunny"), false), b"sunny\n");
    }

    #[test]
    fn json_has_text_as_text_and_anything_else_in_base64() {
        let headers = Headers::default()
            .with("Trace", "1")
            .and_then(|own| own.with("Trace", "2"));
        let mut full = message(b"sunny").with_headers(headers.unwrap());
        full.reply_to = Some(Topic::parse("back").unwrap());
        let expected = json!({
            "topic": "weather.sf", "payload": "sunny", "headers": {"Trace": ["1", "2"]},
            "reply_to": "back",
        });
        assert_eq!(object(&full), expected);
        let expected = json!({
            "topic": "weather.sf", "payload_base64": "//4=", "headers": {}, "reply_to": null,
        });
        assert_eq!(object(&message(b"\xff\xfe")), expected);
        let status = message(b"").with_headers(Headers::with_status(503, "").unwrap());
        let expected = json!({
            "topic": "weather.sf", "payload": "", "headers": {}, "reply_to": null,
            "status": "503", "description": null,
        });
        assert_eq!(object(&status), expected);
    }
}
