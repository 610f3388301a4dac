//! The tools, as they are told to models.

use std::sync::{Arc, LazyLock};

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use rmcp::schemars::JsonSchema;
use serde_json::Value;

use super::arguments::{
    MembersArguments, NodesArguments, PublishArguments, ReceiveArguments, RequestArguments,
    SubscribeArguments, TopicsArguments, UnsubscribeArguments,
};
use super::results::{
    MembersResult, NodesResult, PublishResult, ReceiveResult, RequestResult, SubscribeResult,
    TopicsResult, UnsubscribeResult,
};

/// How to use them together, for models.
pub(super) const INSTRUCTIONS: &str = "Agents in a cluster talk here by topics, without a broker. \
    To hear others: subscribe once, keep the inbox it gives you, and call receive again and again; nobody wakes you. \
    To tell all who listen: publish. To ask somebody: request. To answer a message that has a reply_to: publish there. \
    To see who is there: topics, members, nodes. \
    Delivery is at most once, and nothing is stored: who was not subscribed has missed it.";

/// All of them, always the same.
pub(super) static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| {
    let looks = || {
        let annotations = ToolAnnotations::new().read_only(true).idempotent(true);
        annotations.open_world(false)
    };
    let acts = || ToolAnnotations::new().read_only(false);
    vec![
        tool::<PublishArguments, PublishResult>(
            "publish",
            "Publish a message",
            "Publishes a message on a topic, to everybody in the cluster who has subscribed to it at this moment.",
            acts().destructive(false).idempotent(false).open_world(true),
        ),
        tool::<SubscribeArguments, SubscribeResult>(
            "subscribe",
            "Subscribe to topics",
            "Subscribes to topics and gives you an inbox, in which their messages wait from now on. Call receive with it.",
            acts()
                .destructive(false)
                .idempotent(false)
                .open_world(false),
        ),
        tool::<ReceiveArguments, ReceiveResult>(
            "receive",
            "Receive messages",
            "Takes the messages out of an inbox, and waits for one if there is none. Each is given once. \
             An answer without messages is no error: nothing has come, call it again.",
            acts().destructive(true).idempotent(false).open_world(true),
        ),
        tool::<UnsubscribeArguments, UnsubscribeResult>(
            "unsubscribe",
            "End an inbox",
            "Ends an inbox and its subscriptions. What waits in it is lost.",
            acts().destructive(true).idempotent(true).open_world(false),
        ),
        tool::<RequestArguments, RequestResult>(
            "request",
            "Ask and wait for the answer",
            "Publishes a message and waits for the first answer to it.",
            acts().destructive(false).idempotent(false).open_world(true),
        ),
        tool::<MembersArguments, MembersResult>(
            "members",
            "Who is subscribed",
            "Lists who is subscribed to a topic, in the whole cluster.",
            looks(),
        ),
        tool::<TopicsArguments, TopicsResult>(
            "topics",
            "Which topics there are",
            "Lists the topics and patterns to which somebody is subscribed, in the whole cluster.",
            looks(),
        ),
        tool::<NodesArguments, NodesResult>(
            "nodes",
            "Which nodes there are",
            "Lists the nodes of the cluster.",
            looks(),
        ),
    ]
});

fn tool<A: JsonSchema + 'static, R: JsonSchema + 'static>(
    name: &'static str,
    title: &'static str,
    description: &'static str,
    annotations: ToolAnnotations,
) -> Tool {
    let mut tool = Tool::new(name, description, JsonObject::new())
        .with_title(title)
        .with_input_schema::<A>()
        .with_output_schema::<R>()
        .with_annotations(annotations);
    let output = tool.output_schema.as_mut();
    for schema in std::iter::once(&mut tool.input_schema).chain(output) {
        Arc::make_mut(schema).values_mut().for_each(plain);
    }
    tool
}

/// Takes out what only Rust understands: names of its own formats, and where its comments break lines.
fn plain(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let is_own =
                |format: &Value| format.as_str().is_some_and(|own| own.starts_with("uint"));
            if fields.get("format").is_some_and(is_own) {
                fields.remove("format");
            }
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            fields.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_says_what_it_takes_returns_and_does() {
        for tool in TOOLS.iter() {
            let name = &tool.name;
            assert_eq!(tool.input_schema["type"], "object", "{name}");
            assert_eq!(tool.input_schema["additionalProperties"], false, "{name}");
            let output = tool.output_schema.as_ref().unwrap();
            assert_eq!(output["type"], "object", "{name}");
            let hints = tool.annotations.as_ref().unwrap();
            assert!(hints.read_only_hint.is_some() && hints.open_world_hint.is_some());
            let is_read_only = hints.read_only_hint == Some(true);
            assert!(is_read_only || hints.destructive_hint.is_some(), "{name}");
        }
    }
}
