//! The end of a session that loses nothing, and a look at one from outside.

use std::sync::Weak;

use tidings_membership::{MemberId, Pattern};
use tokio::task::yield_now;

use super::{Session, SessionState, lock};
use crate::RecvError;

/// A look at a session for whoever watches over it, as a gateway over its clients. Does not keep it open.
#[derive(Debug, Clone)]
pub struct Observer(Weak<SessionState>);

impl Session {
    /// Ends all memberships, each as [`unsubscribe`](Self::unsubscribe) does, and lets nothing new come:
    /// the [`Inbox`](crate::Inbox) gives what waits and then says [`RecvError::Finished`]. The session may
    /// still publish.
    ///
    /// Others run in between. If it is cancelled, some memberships stay, until it is called again or the
    /// session is dropped.
    pub async fn finish(&self) {
        while !self.finish_some() {
            yield_now().await;
        }
    }

    /// Ends some memberships; true once the session is finished.
    fn finish_some(&self) -> bool {
        let members: Vec<MemberId> = {
            let subscriptions = lock(&self.state.subscriptions);
            if subscriptions.made.is_empty() {
                // Under the lock, under which subscriptions are made: so there is none that gets nothing.
                self.state.mailbox.close(RecvError::Finished);
                return true;
            }
            let members = subscriptions.made.keys();
            members.take(FINISHED_AT_ONCE_MAX).copied().collect()
        };
        for member in members {
            // It may have been cut off meanwhile.
            let _ = self.unsubscribe(member);
        }
        false
    }

    /// A look at the session from outside.
    pub fn observer(&self) -> Observer {
        Observer(std::sync::Arc::downgrade(&self.state))
    }
}

impl Observer {
    /// The topics and patterns that the session is subscribed to, in no order, each as often as it is;
    /// none once it has ended.
    pub fn patterns(&self) -> Vec<Pattern> {
        let Some(session) = self.0.upgrade() else {
            return Vec::new();
        };
        let subscriptions = lock(&session.subscriptions);
        let made = subscriptions.made.values();
        made.map(|own| own.pattern.clone()).collect()
    }

    /// How many bytes wait in the mailbox of the session.
    pub fn waiting_bytes(&self) -> usize {
        let session = self.0.upgrade();
        session.map_or(0, |session| session.mailbox.waiting_bytes())
    }
}

/// How many memberships are ended at a time: some hundred microseconds of work.
const FINISHED_AT_ONCE_MAX: usize = 64;
