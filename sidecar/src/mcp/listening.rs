use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use rmcp::service::SubscriptionSink;
use tidings::{Denied, Watch};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::last_message::{LastMessage, Seen};
use super::resources::Named;
use super::shared::Shared;
use crate::caller::Caller;
use crate::watchers::TooManyWatch;

/// A client that listens to resources.
///
/// Nothing is queued for it: what has changed is found out when it has been told of the last change, and each resource is
/// told once, however often it has changed.
pub(super) struct Listening {
    shared: Arc<Shared>,
    caller: Caller,
    /// Parts of the view. Not there while they are looked at elsewhere.
    viewed: Vec<(String, Named, Watch)>,
    followed: Vec<Followed>,
    look_at: Instant,
    _place: OwnedSemaphorePermit,
}

/// A topic of which the last message is listened to.
struct Followed {
    uri: String,
    last: Arc<LastMessage>,
    seen: watch::Receiver<Seen>,
}

impl Listening {
    /// Begins to listen to what of this the caller may see, and there is room for. From here on nothing is missed.
    pub(super) fn new(
        shared: &Arc<Shared>,
        caller: &Caller,
        uris: &[String],
    ) -> Result<Self, TooManyWatch> {
        let mut listening = Self {
            shared: Arc::clone(shared),
            caller: caller.clone(),
            viewed: Vec::new(),
            followed: Vec::new(),
            look_at: Instant::now(),
            _place: shared.watchers.place()?,
        };
        let uris: BTreeSet<_> = uris.iter().collect();
        let max = shared.config.resources_per_listener_max.get();
        for uri in uris.into_iter().take(max) {
            listening.add(uri);
        }
        Ok(listening)
    }

    fn add(&mut self, uri: &str) -> Option<()> {
        let (shared, uri) = (&self.shared, uri.to_owned());
        let named: Named = uri.parse().ok()?;
        if let Named::LastMessage(topic) = &named {
            let (scope, caller) = (self.caller.scope(None).ok()?, &self.caller);
            let last = shared.inboxes.last_message(caller, &scope, topic).ok()?;
            let seen = last.seen();
            self.followed.push(Followed { uri, last, seen });
        } else {
            let scope = self.caller.seen(None).ok()?;
            let (_, watch) = shared.node.watch_only(named.watched(&scope)?);
            self.viewed.push((uri, named, watch));
        }
        Some(())
    }

    /// To what it listens.
    pub(super) fn uris(&self) -> Vec<String> {
        let viewed = self.viewed.iter().map(|(uri, ..)| uri);
        let followed = self.followed.iter().map(|own| &own.uri);
        viewed.chain(followed).cloned().collect()
    }

    /// Tells what changes, as fast as the client takes it. Returns when nothing more will come, or when the client has
    /// gone.
    pub(super) async fn tell(mut self, sink: &SubscriptionSink) -> Result<(), Denied> {
        loop {
            sleep_until(self.look_at).await;
            let Some(changed) = self.changed().await else {
                return Ok(());
            };
            self.look_at = Instant::now() + PACE;
            // What it may see can have changed.
            if !self.viewed.is_empty() {
                self.caller.seen(None)?;
            }
            for uri in changed {
                if sink.notify_resource_updated(uri).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// What has changed since it was asked before, as soon as there may be something; none if there will be nothing
    /// more.
    async fn changed(&mut self) -> Option<BTreeSet<String>> {
        let viewed = self.viewed.first_mut();
        let view = async {
            match viewed {
                Some((.., watch)) => watch.changed().await.then_some(None),
                None => pending().await,
            }
        };
        let followed = self.followed.iter_mut();
        let followed: Vec<_> = followed.map(|own| Box::pin(own.seen.changed())).collect();
        let last = async {
            if followed.is_empty() {
                return pending().await;
            }
            let (seen, number, _) = select_all(followed).await;
            seen.ok().map(|()| Some(number))
        };
        let number = tokio::select! {
            view = view => view?,
            last = last => last?,
        };
        let mut changed = BTreeSet::new();
        changed.extend(number.map(|number| self.followed[number].uri.clone()));
        for own in &mut self.followed {
            if own.seen.has_changed().ok()? {
                own.seen.mark_unchanged();
                changed.insert(own.uri.clone());
            }
        }
        let mut viewed = std::mem::take(&mut self.viewed);
        let look = move || {
            let mut changed = Vec::new();
            for (uri, named, watch) in &mut viewed {
                let events = watch.try_next();
                if events.iter().any(|event| named.is_changed_by(event)) {
                    changed.push(uri.clone());
                }
            }
            (viewed, changed)
        };
        let (viewed, seen) = self.shared.builder.build_when_free(look).await.ok()?;
        self.viewed = viewed;
        changed.extend(seen);
        Some(changed)
    }
}

impl Drop for Followed {
    /// It stays for as long as if it had been read now.
    fn drop(&mut self) {
        self.last.touch();
    }
}

/// How long after a change the next one is looked for.
const PACE: Duration = Duration::from_millis(20);
