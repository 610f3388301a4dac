//! What a schema costs who publishes: the time of a message with none anywhere, with one on another
//! topic, and with one on its own.
//!
//! `cargo run --release -p tidings --example schema_cost`

use std::time::Duration;

use tidings::{Config, Message, Node, Schema, Scope, SessionOptions, Topic, TopicInfo};
use tokio::time::Instant;

const TIMES: u32 = 200_000;
const SCHEMA: &str = r##"{
    "type": "object",
    "required": ["id", "title", "tags"],
    "properties": {
        "id": { "type": "integer", "minimum": 1 },
        "title": { "type": "string", "maxLength": 100 },
        "tags": { "type": "array", "items": { "$ref": "#/$defs/tag" } }
    },
    "$defs": { "tag": { "type": "string", "pattern": "^[a-z]+$" } }
}"##;
const PAYLOAD: &str =
    r#"{"id": 7, "title": "A page of the knowledge base", "tags": ["kb", "page", "new"]}"#;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let node = Node::start(Config::default(), None).await?;
    let (session, _inbox) = node.session(SessionOptions::default())?;
    let (own, other): (Topic, Topic) = ("kb.updates".parse()?, "kb.others".parse()?);
    let time = |what: &str| -> anyhow::Result<()> {
        let began = Instant::now();
        for _ in 0..TIMES {
            session.broadcast(Message::new(own.clone(), PAYLOAD))?;
        }
        let each: Duration = began.elapsed() / TIMES;
        println!(
            "{what:>24}: {} ns a message of {} bytes",
            each.as_nanos(),
            PAYLOAD.len()
        );
        Ok(())
    };
    let info = TopicInfo {
        json_schema: Some(Schema::parse(SCHEMA)?),
        ..TopicInfo::default()
    };
    time("no topic has a schema")?;
    node.describe_topic(&Scope::default(), &other, info.clone())?;
    time("another topic has one")?;
    let began = Instant::now();
    node.describe_topic(&Scope::default(), &own, info)?;
    println!("{:>24}: {} us", "preparing it", began.elapsed().as_micros());
    time("the topic has one")?;
    node.leave().await;
    Ok(())
}
