//! What a server written with rmcp hands over to its notifier, with one line each.

use std::collections::HashSet;

use rmcp::ErrorData;
use rmcp::model::SubscriptionFilter;
use rmcp::service::{SubscriptionContext, SubscriptionSendError, SubscriptionSink};
use tokio::time::Instant;

use crate::listening::lock;
use crate::notifier::{Listener, Promise};
use crate::{Change, Notifier, Uri};

impl Notifier {
    /// What of this a client is told of: for the server's `accepted_subscription_filter`, which is to return this or
    /// less of it. From here on nothing is missed that the client will [listen](Self::listen) for.
    ///
    /// It has no URI that is too long, and no more than the options allow.
    pub fn accept(&self, asked: &SubscriptionFilter) -> SubscriptionFilter {
        if let Some(task) = tokio::task::try_id() {
            lock(&self.replica.promised).add(task, Instant::now());
        }
        let mut accepted = asked.clone();
        if let Some(uris) = &mut accepted.resource_subscriptions {
            let mut seen = HashSet::new();
            uris.retain(|uri| Uri::parse(uri).is_ok() && seen.insert(uri.clone()));
            uris.truncate(self.replica.uris_per_listener_max);
        }
        accepted
    }

    /// Tells a client of changes until it goes, or the notifier is closed: for the server's `listen`.
    ///
    /// # Errors
    /// When as many listen as may, or for as much.
    pub async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let task = tokio::task::try_id();
        let since = task.and_then(|task| lock(&self.replica.promised).take(task));
        let listener = self.listener(changes(context.accepted()), since.map(Promise));
        let mut listener =
            listener.map_err(|full| ErrorData::internal_error(full.to_string(), None))?;
        tokio::select! {
            () = context.cancelled() => {}
            _ = tell(&mut listener, context.sink()) => {}
        }
        Ok(())
    }
}

/// Tells what there is to tell, as fast as the client takes it, until the notifier is closed or the stream has ended.
async fn tell(
    listener: &mut Listener,
    sink: &SubscriptionSink,
) -> Result<(), SubscriptionSendError> {
    while let Some(change) = listener.next().await {
        match &change {
            Change::Tools => sink.notify_tool_list_changed().await?,
            Change::Prompts => sink.notify_prompt_list_changed().await?,
            Change::Resources => sink.notify_resource_list_changed().await?,
            Change::Resource(uri) => sink.notify_resource_updated(uri.as_str()).await?,
        }
    }
    Ok(())
}

/// What is asked for that can be told.
fn changes(accepted: &SubscriptionFilter) -> impl Iterator<Item = Change> {
    let lists = [
        (accepted.tools_list_changed, Change::Tools),
        (accepted.prompts_list_changed, Change::Prompts),
        (accepted.resources_list_changed, Change::Resources),
    ];
    let lists = lists.into_iter();
    let lists = lists.filter_map(|(asked, change)| (asked == Some(true)).then_some(change));
    let uris = accepted.resource_subscriptions.iter().flatten();
    let uris = uris.filter_map(|uri| Uri::parse(uri).ok());
    lists.chain(uris.map(Change::Resource))
}
