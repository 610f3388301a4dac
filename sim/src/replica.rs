//! A replica of an MCP server on a host, and a client that listens at it.

use std::time::Duration;

use tidings::{Event, Node, Scope, Time};
use tidings_mcp::{Change, Notifier, NotifierOptions, ServerName, Uri};
use tokio::time::sleep;

use crate::journal::Journal;
use crate::note::Note;

/// How many resources there are. A client listens for all of them.
pub const RESOURCES: u32 = 8;
/// How many of them change.
pub const CHANGING: u32 = 4;

/// Makes the host a replica, with a client that listens for all resources for as long as that lives.
pub(crate) async fn listen(node: Node, host: usize, journal: Journal) {
    let mut options = NotifierOptions::default();
    options.scope = scope();
    options.everywhere_within = Time::of_ms::<5_000>();
    // Not every node knows it in time, so it would not serve.
    let Ok(notifier) = Notifier::start_with(&node, server(), options).await else {
        return;
    };
    let promise = notifier.promise();
    let listener = journal.truth(|truth| truth.listeners);
    journal.note(Note::Listening { listener, host });
    sleep(ACKNOWLEDGING).await;
    let Ok(mut listening) = notifier.listener((0..RESOURCES).map(change), Some(promise)) else {
        return journal.violate(format!("changes: host {host} refuses a listener"));
    };
    while let Some(told) = listening.next().await {
        let resource = (0..RESOURCES).find(|resource| change(*resource) == told);
        match resource {
            Some(resource) => journal.note(Note::Told { listener, resource }),
            None => journal.violate(format!("changes: listener {listener} was told of {told:?}")),
        }
    }
    // The node leaves.
    journal.note(Note::ListeningEnded { listener });
}

/// Where the changes are told. In it nobody else is.
pub(crate) fn scope() -> Scope {
    Scope::parse("replicas").expect("it is the name of a scope")
}

/// Whether this is about the memberships of replicas, which come and go as these do.
pub(crate) fn is_of_replicas(event: &Event) -> bool {
    matches!(event, Event::Joined { scope: own, .. } | Event::Left { scope: own, .. } if *own == scope())
}

pub(crate) fn server() -> ServerName {
    "weather".parse().expect("it is the name of a server")
}

pub(crate) fn change(resource: u32) -> Change {
    let uri = Uri::parse(&format!("r:{resource}"));
    Change::Resource(uri.expect("it is short"))
}

/// How long after a client was acknowledged it begins to listen.
const ACKNOWLEDGING: Duration = Duration::from_millis(50);
