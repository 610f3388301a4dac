use std::sync::Arc;

use tidings::{Inbox, Node, OpenError, Scope, Session, SessionOptions};

use super::config::McpConfig;
use super::inboxes::Inboxes;
use super::waits::Waits;
use crate::builder::Builder;
use crate::caller::Caller;
use crate::publishers::Publishers;
use crate::watchers::Watchers;

/// What all requests have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) node: Node,
    pub(super) config: McpConfig,
    pub(super) inboxes: Arc<Inboxes>,
    /// The sessions of those who publish.
    pub(super) publishers: Arc<Publishers>,
    /// Places for those who wait or listen.
    pub(super) watchers: Watchers,
    /// Those who wait for messages.
    pub(super) waits: Arc<Waits>,
    /// Where long answers are made.
    pub(super) builder: Builder,
}

impl Shared {
    /// A session of this caller alone, so that however many have one, none takes the place of those who publish.
    pub(super) fn session(
        &self,
        caller: &Caller,
        scope: Scope,
    ) -> Result<(Session, Inbox), OpenError> {
        self.node.session(SessionOptions {
            scope,
            access: caller.access.clone(),
            ..SessionOptions::default()
        })
    }
}
