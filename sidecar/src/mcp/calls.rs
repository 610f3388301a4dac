//! What the tools do.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmcp::RoleServer;
use rmcp::model::{
    CallToolResult, ContentBlock, JsonObject, ProgressNotificationParam, ProgressToken,
};
use rmcp::service::RequestContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tidings::{
    AgentName, Headers, MemberId, Message, Metadata, NodeId, Pattern, QueueGroup, Scope,
    SubscribeOptions, Topic,
};
use tokio::time::{Instant, interval_at, timeout};

use super::arguments::{
    Encoding, Header, MembersArguments, NodesArguments, PublishArguments, ReceiveArguments,
    RequestArguments, SubscribeArguments, TopicsArguments, UnsubscribeArguments,
};
use super::inbox_error::InboxError;
use super::inboxes::{AgentInbox, Batch, Handle};
use super::results::{
    MembersResult, MessageResult, PublishResult, ReceiveResult, RequestResult, SubscribeResult,
    TopicsResult, UnsubscribeResult,
};
use super::shared::Shared;
use super::shown;
use super::tool_error::ToolError;
use super::values::is_too_long;
use crate::caller::Caller;
use crate::gateway::SERVICE_PREFIX;

/// A tool that is called.
pub(super) struct Call<'a> {
    pub(super) shared: &'a Shared,
    pub(super) caller: &'a Caller,
    pub(super) context: &'a RequestContext<RoleServer>,
}

impl Call<'_> {
    /// Does what this tool does. None if there is no such tool.
    pub(super) async fn call(&self, name: &str, given: JsonObject) -> Option<CallToolResult> {
        let done = match name {
            "publish" => done(self.publish(given).await),
            "subscribe" => done(self.subscribe(given).await),
            "receive" => done(self.receive(given).await),
            "unsubscribe" => done(self.unsubscribe(given)),
            "request" => done(self.request(given).await),
            "members" => done(self.members(given).await),
            "topics" => done(self.topics(given).await),
            "nodes" => done(self.nodes(given)),
            _ => return None,
        };
        Some(done.unwrap_or_else(|error| CallToolResult::error(vec![ContentBlock::text(error.0)])))
    }

    async fn publish(&self, given: JsonObject) -> Result<PublishResult, ToolError> {
        let given: PublishArguments = parsed(given)?;
        let reply_to = given.reply_to.as_deref();
        let reply_to = reply_to.map(|topic| named("reply_to", topic)).transpose()?;
        let (topic, payload) = (&given.topic, given.payload);
        let mut message = message(topic, payload, given.encoding, &given.headers)?;
        message.reply_to = reply_to;
        let (inbox, session);
        let (session, receipt) = match given.inbox {
            Some(handle) => {
                if given.scope.is_some() {
                    let problem = "an inbox is in one scope, which need not be named";
                    return Err(ToolError::argument("scope", problem));
                }
                inbox = self.inbox(&handle)?;
                (&inbox.session, inbox.session.broadcast_from(message)?)
            }
            None => {
                let scope = self.scope(given.scope)?;
                let publishers = &self.shared.publishers;
                session = publishers.session(&self.caller.access, &scope)?;
                (&*session, session.broadcast(message)?)
            }
        };
        if receipt.pressing {
            // So it is bounded however many there are to wait for.
            let wait_max = self.shared.node.config().limits.publish_wait_max;
            let _ = timeout(wait_max.get(), session.room()).await;
        }
        Ok(receipt.into())
    }

    async fn subscribe(&self, given: JsonObject) -> Result<SubscribeResult, ToolError> {
        let given: SubscribeArguments = parsed(given)?;
        if !(1..=TOPICS_MAX).contains(&given.topics.len()) {
            let problem = format!("name 1 to {TOPICS_MAX} topics");
            return Err(ToolError::argument("topics", problem));
        }
        let topics = given.topics.iter().map(|topic| named("topics", topic));
        let patterns: Vec<Pattern> = topics.collect::<Result<_, _>>()?;
        let agent = match &given.agent {
            Some(name) => {
                let name = AgentName::parse(name);
                Some(name.map_err(|error| ToolError::argument("agent", error))?)
            }
            None => self.client_name(),
        };
        let queue: Option<QueueGroup> = match &given.queue {
            Some(queue) => Some(named("queue", queue)?),
            None => None,
        };
        let metadata = match given.metadata {
            Some(metadata) => Metadata::parse(&Value::Object(metadata).to_string()),
            None => Ok(Metadata::default()),
        };
        let metadata = metadata.map_err(|error| ToolError::argument("metadata", error))?;
        let options = SubscribeOptions {
            tag: 0,
            queue,
            metadata,
        };
        let scope = self.scope(given.scope)?;
        let (access, inboxes) = (&self.caller.access, &self.shared.inboxes);
        let (handle, inbox) = inboxes.open(self.caller, scope, agent)?;
        for pattern in &patterns {
            let subscribed = inbox.session.subscribe_with(pattern, options.clone());
            if let Err(error) = subscribed {
                inboxes.end(handle, access);
                return Err(InboxError::from(error).into());
            }
        }
        let known = inbox.session.everywhere(EVERYWHERE_MAX).await;
        Ok(SubscribeResult {
            inbox: handle.to_string(),
            everywhere: known.is_ok(),
            expires_after_seconds: self.shared.config.inbox_expiry.get().as_secs(),
        })
    }

    async fn receive(&self, given: JsonObject) -> Result<ReceiveResult, ToolError> {
        let given: ReceiveArguments = parsed(given)?;
        within("wait_seconds", given.wait_seconds, 0, WAIT_SECONDS_MAX)?;
        within("messages_max", given.messages_max, 1, ITEMS_MAX)?;
        let inbox = self.inbox(&given.inbox)?;
        let now = Instant::now();
        let mut batch = inbox.receive(now, given.messages_max).await?;
        if batch.messages.is_empty() && batch.missed == 0 && given.wait_seconds > 0 {
            let _place = self.shared.watchers.place()?;
            let until = now + Duration::from_secs(given.wait_seconds);
            let waits = &self.shared.waits;
            let wait = waits.begin(&self.context.id, &self.caller.access);
            let waiting = async {
                tokio::select! {
                    biased;
                    // First, so that it takes nothing along.
                    () = wait.given_up() => Ok(Batch::default()),
                    batch = inbox.receive(until, given.messages_max) => batch,
                }
            };
            batch = self.waited(waiting).await??;
        }
        Ok(ReceiveResult {
            messages: batch.messages.iter().map(MessageResult::new).collect(),
            missed: batch.missed,
            more: batch.more,
        })
    }

    fn unsubscribe(&self, given: JsonObject) -> Result<UnsubscribeResult, ToolError> {
        let given: UnsubscribeArguments = parsed(given)?;
        let handle: Option<Handle> = given.inbox.parse().ok();
        let (access, inboxes) = (&self.caller.access, &self.shared.inboxes);
        match handle.is_some_and(|handle| inboxes.end(handle, access)) {
            true => Ok(UnsubscribeResult { ended: true }),
            false => Err(self.unknown_inbox()),
        }
    }

    async fn request(&self, given: JsonObject) -> Result<RequestResult, ToolError> {
        let given: RequestArguments = parsed(given)?;
        within(
            "timeout_seconds",
            given.timeout_seconds,
            1,
            WAIT_SECONDS_MAX,
        )?;
        let message = message(&given.topic, given.payload, given.encoding, &given.headers)?;
        let opened = self.shared.session(self.caller, self.scope(given.scope)?);
        let (session, _inbox) = opened
            .map_err(|error| ToolError(format!("Nobody was asked: {error}. Try again later.")))?;
        let _place = self.shared.watchers.place()?;
        let limit = Duration::from_secs(given.timeout_seconds);
        let answer = self.waited(session.request(message, limit)).await??;
        Ok(RequestResult {
            answer: MessageResult::new(&answer),
        })
    }

    async fn members(&self, given: JsonObject) -> Result<MembersResult, ToolError> {
        let given: MembersArguments = parsed(given)?;
        within("items_max", given.items_max, 1, ITEMS_MAX)?;
        let pattern: Pattern = named("topic", &given.topic)?;
        let after = given.after.as_deref().map(member_after).transpose()?;
        let scope = self.caller.seen(scope_named(given.scope)?)?;
        let view = self.shared.node.view();
        let build = move || shown::members(&view, &scope, &pattern, after, given.items_max);
        Ok(self.shared.builder.build(build).await?)
    }

    async fn topics(&self, given: JsonObject) -> Result<TopicsResult, ToolError> {
        let given: TopicsArguments = parsed(given)?;
        within("items_max", given.items_max, 1, ITEMS_MAX)?;
        let after = given.after.as_deref().map(|topic| named("after", topic));
        let after: Option<Pattern> = after.transpose()?;
        let scope = self.caller.seen(scope_named(given.scope)?)?;
        let view = self.shared.node.view();
        let build = move || shown::topics(&view, &scope, after.as_ref(), given.items_max);
        Ok(self.shared.builder.build(build).await?)
    }

    fn nodes(&self, given: JsonObject) -> Result<super::results::NodesResult, ToolError> {
        let NodesArguments {} = parsed(given)?;
        // They are of no scope: who sees its own sees them.
        self.caller.seen(None)?;
        Ok(shown::nodes(&self.shared.node.view()))
    }

    fn scope(&self, named: Option<String>) -> Result<Scope, ToolError> {
        Ok(self.caller.scope(scope_named(named)?)?)
    }

    fn inbox(&self, handle: &str) -> Result<std::sync::Arc<AgentInbox>, ToolError> {
        let handle: Option<Handle> = handle.parse().ok();
        let inboxes = &self.shared.inboxes;
        let inbox = handle.and_then(|handle| inboxes.find(handle, &self.caller.access));
        inbox.ok_or_else(|| self.unknown_inbox())
    }

    fn unknown_inbox(&self) -> ToolError {
        ToolError::unknown_inbox(self.shared.config.inbox_expiry.get())
    }

    /// What the program calls itself that calls, if it says.
    fn client_name(&self) -> Option<AgentName> {
        AgentName::nearest(&self.context.client_info()?.name)
    }

    /// Waits for this as long as the client does and the node stays, and shows the client that it is waited for, if
    /// it wants to know.
    async fn waited<T>(&self, work: impl Future<Output = T>) -> Result<T, ToolError> {
        let token = self.context.meta.get_progress_token();
        let is_endless = |token: &ProgressToken| is_too_long(&token.0);
        if token.as_ref().is_some_and(is_endless) {
            return Err(ToolError(
                "Nothing was done: the progressToken is too long.".into(),
            ));
        }
        let begun = Instant::now();
        let mut beats = interval_at(begun + BEAT, BEAT);
        let mut work = std::pin::pin!(work);
        loop {
            let beat = tokio::select! {
                biased;
                done = work.as_mut() => return Ok(done),
                () = self.context.ct.cancelled() => return Err(ToolError("Cancelled.".into())),
                () = self.shared.node.leaving().cancelled() => return Err(ToolError::leaving()),
                beat = beats.tick() => beat,
            };
            if let Some(token) = &token {
                let seconds = (beat - begun).as_secs_f64();
                let progress = ProgressNotificationParam::new(token.clone(), seconds);
                // Who has gone is found out by the token.
                let _ = self.context.peer.notify_progress(progress).await;
            }
        }
    }
}

fn done<T: Serialize>(result: Result<T, ToolError>) -> Result<CallToolResult, ToolError> {
    let value = serde_json::to_value(result?).expect("names, numbers and texts always serialise");
    Ok(CallToolResult::structured(value))
}

fn parsed<T: DeserializeOwned>(given: JsonObject) -> Result<T, ToolError> {
    let parsed = serde_json::from_value(Value::Object(given));
    parsed.map_err(|error| ToolError(format!("The arguments do not fit: {error}.")))
}

fn named<T>(argument: &str, text: &str) -> Result<T, ToolError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let named = text.parse();
    named.map_err(|error| ToolError::argument(argument, format!("{text:?}: {error}")))
}

fn scope_named(name: Option<String>) -> Result<Option<Scope>, ToolError> {
    name.map(|name| named("scope", &name)).transpose()
}

fn within<N: PartialOrd + std::fmt::Display>(
    argument: &str,
    number: N,
    min: N,
    max: N,
) -> Result<(), ToolError> {
    if number < min || number > max {
        let problem = format!("{number} is not from {min} to {max}");
        return Err(ToolError::argument(argument, problem));
    }
    Ok(())
}

fn member_after(text: &str) -> Result<(NodeId, MemberId), ToolError> {
    let parts = text.split_once('/');
    let (node, member) = parts.ok_or_else(|| {
        ToolError::argument("after", "this is not the `next` of an answer before")
    })?;
    Ok((named("after", node)?, named("after", member)?))
}

fn message(
    topic: &str,
    payload: String,
    encoding: Encoding,
    headers: &[Header],
) -> Result<Message, ToolError> {
    let topic: Topic = named("topic", topic)?;
    if topic.as_str().starts_with(SERVICE_PREFIX) {
        let problem = format!("topics that begin with {SERVICE_PREFIX} are the node's own");
        return Err(ToolError::argument("topic", problem));
    }
    let payload = match encoding {
        Encoding::Text => payload.into_bytes(),
        Encoding::Base64 => STANDARD
            .decode(payload)
            .map_err(|error| ToolError::argument("payload", error))?,
    };
    let with = |headers: Headers, own: &Header| headers.with(&own.name, &own.value);
    let headers = headers.iter().try_fold(Headers::default(), with);
    let headers = headers.map_err(|error| ToolError::argument("headers", error))?;
    Ok(Message::new(topic, payload).with_headers(headers))
}

/// How long it may take until all nodes know a new subscription. It is there anyhow.
const EVERYWHERE_MAX: Duration = Duration::from_secs(2);
/// How often a client that waits is shown that it does.
const BEAT: Duration = Duration::from_secs(10);
const WAIT_SECONDS_MAX: u64 = 240;
const TOPICS_MAX: usize = 100;
const ITEMS_MAX: usize = 1_000;
