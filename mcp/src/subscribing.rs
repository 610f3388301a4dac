//! What a server written with rmcp hands over for clients of the revisions of 2025, with one line each.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::ResourceUpdatedNotificationParam;
use rmcp::service::{Peer, RequestContext};
use rmcp::{ErrorData, RoleServer};
use tokio::time::sleep;

use crate::listening::lock;
use crate::notifier::Listener;
use crate::sessions::Session;
use crate::{Change, ListenError, Notifier, Uri};

impl Notifier {
    /// Tells a client of the revisions of 2025 when this resource changes, wherever it does, as long as its session is
    /// open at this replica: for the server's `subscribe`. Once it returns nothing is missed.
    ///
    /// # Errors
    /// When the URI cannot be told, the client subscribes to too many, or there is no room for it.
    pub fn subscribe(
        &self,
        uri: &str,
        context: &RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let invalid = |why: String| ErrorData::invalid_params(why, None);
        let uri = Uri::parse(uri).map_err(|error| invalid(error.to_string()))?;
        let info = context.peer.peer_info();
        let info = info.ok_or_else(|| invalid("there is no session to subscribe for".into()))?;
        let full = |full: ListenError| ErrorData::internal_error(full.to_string(), None);
        let uris_max = self.replica.uris_per_listener_max;
        let mut sessions = lock(&self.replica.sessions);
        sessions.open.retain(|own| !own.peer.is_transport_closed());
        while sessions.tasks.try_join_next().is_some() {}
        let known = sessions
            .open
            .iter_mut()
            .find(|own| Arc::ptr_eq(&own.info, &info));
        if let Some(own) = known {
            let change = Change::Resource(uri);
            let added = self.listen_also(own.listener, change.clone());
            own.uris += usize::from(added.map_err(full)?);
            if own.uris > uris_max {
                own.uris -= usize::from(self.listen_no_more(own.listener, &change));
                let why = format!("a client subscribes to {uris_max} resources at most");
                return Err(invalid(why));
            }
            return Ok(());
        }
        let listener = self.listener([Change::Resource(uri)], Some(self.promise()));
        let listener = listener.map_err(full)?;
        sessions.open.push(Session {
            info,
            peer: context.peer.clone(),
            listener: listener.id(),
            uris: 1,
        });
        sessions.tasks.spawn(tell(listener, context.peer.clone()));
        Ok(())
    }

    /// Does so no more: for the server's `unsubscribe`. Of a resource to which the client has not subscribed nothing
    /// becomes.
    pub fn unsubscribe(&self, uri: &str, context: &RequestContext<RoleServer>) {
        let (Ok(uri), Some(info)) = (Uri::parse(uri), context.peer.peer_info()) else {
            return;
        };
        let mut sessions = lock(&self.replica.sessions);
        let known = sessions
            .open
            .iter_mut()
            .find(|own| Arc::ptr_eq(&own.info, &info));
        if let Some(own) = known {
            own.uris -= usize::from(self.listen_no_more(own.listener, &Change::Resource(uri)));
        }
    }
}

/// Tells a client of changes until its session has ended, or the notifier is closed.
async fn tell(mut listener: Listener, peer: Peer<RoleServer>) {
    while !peer.is_transport_closed() {
        let told = tokio::select! {
            told = listener.next() => told,
            () = sleep(LOOK) => continue,
        };
        let Some(Change::Resource(uri)) = told else {
            return;
        };
        let params = ResourceUpdatedNotificationParam::new(uri.as_str());
        if peer.notify_resource_updated(params).await.is_err() {
            return;
        }
    }
}

/// How often it is looked whether a session has ended of which nothing changes.
const LOOK: Duration = Duration::from_secs(10);
