use std::collections::BTreeSet;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::select_all;
use rmcp::service::SubscriptionSink;
use tidings::{Denied, Session, Watch};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::last_message::{LastMessage, Seen};
use super::listened_stream::ListenedStream;
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
    streams: Vec<ListenedStream>,
    /// In which the streams are followed, if there are any.
    session: Option<Session>,
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
            streams: Vec::new(),
            session: None,
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
        let (shared, caller, uri) = (&self.shared, &self.caller, uri.to_owned());
        let named: Named = uri.parse().ok()?;
        match &named {
            Named::LastMessage(topic) => {
                let scope = caller.scope(None).ok()?;
                let last = shared.inboxes.last_message(caller, &scope, topic).ok()?;
                let seen = last.seen();
                self.followed.push(Followed { uri, last, seen });
            }
            Named::Stream(id, from) => {
                if self.session.is_none() {
                    let (session, _) = shared.session(caller, caller.scope(None).ok()?).ok()?;
                    self.session = Some(session);
                }
                let following = self.session.as_ref()?.follow(id, *from).ok()?;
                self.streams.push(ListenedStream::new(uri, following));
            }
            viewed => {
                let scope = caller.seen(None).ok()?;
                let (_, watch) = shared.node.watch_only(viewed.watched(&scope)?);
                self.viewed.push((uri, named, watch));
            }
        }
        Some(())
    }

    /// To what it listens.
    pub(super) fn uris(&self) -> Vec<String> {
        let viewed = self.viewed.iter().map(|(uri, ..)| uri);
        let followed = self.followed.iter().map(|own| &own.uri);
        let streams = self.streams.iter().map(|own| &own.uri);
        viewed.chain(followed).chain(streams).cloned().collect()
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
        let last = first(followed.map(|own| {
            let uri = &own.uri;
            own.seen
                .changed()
                .map(move |seen| seen.ok().map(|()| uri.clone()))
        }));
        let stream = first(self.streams.iter_mut().map(ListenedStream::changed));
        let uri = tokio::select! {
            view = view => view?,
            last = last => Some(last?),
            stream = stream => Some(stream?),
        };
        let mut changed = BTreeSet::from_iter(uri);
        for own in &mut self.followed {
            if own.seen.has_changed().ok()? {
                own.seen.mark_unchanged();
                changed.insert(own.uri.clone());
            }
        }
        for own in &mut self.streams {
            if let Some(told) = own.changed().now_or_never() {
                changed.insert(told?);
            }
        }
        if self.viewed.is_empty() {
            return Some(changed);
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

/// What the first of these says that is ready; nothing ever if there are none.
async fn first<F: Future>(futures: impl Iterator<Item = F>) -> F::Output {
    let futures: Vec<_> = futures.map(Box::pin).collect();
    if futures.is_empty() {
        return pending().await;
    }
    select_all(futures).await.0
}

impl Drop for Followed {
    /// It stays for as long as if it had been read now.
    fn drop(&mut self) {
        self.last.touch();
    }
}

/// How long after a change the next one is looked for.
const PACE: Duration = Duration::from_millis(20);
