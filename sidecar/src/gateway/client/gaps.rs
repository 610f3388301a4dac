//! What a client is told of messages that were lost.

use tidings::Pattern;

use super::{Client, GAPS};
use crate::gateway::client_error::ClientError;
use crate::gateway::door::Door;
use crate::gateway::reply;
use crate::gateway::requests::To;

impl Client {
    pub(super) fn subscribe_to_gaps(
        &mut self,
        queue: Option<&str>,
        sid: &str,
    ) -> Result<(), ClientError> {
        if !self.may_listen_to_gaps() {
            return Err(ClientError::subscribe_denied(GAPS, queue));
        }
        self.end_gaps();
        self.gaps = Some(sid.into());
        self.follow_gaps();
        Ok(())
    }

    /// Its permissions have changed.
    pub(super) fn review_gaps(&mut self) {
        let Some(sid) = &self.gaps else {
            return;
        };
        if self.may_listen_to_gaps() {
            return self.follow_gaps();
        }
        let error = ClientError::SubscriptionEnded {
            subject: GAPS.to_owned(),
            sid: sid.to_string(),
        };
        reply::error(&mut self.out, &error);
        self.end_gaps();
    }

    pub(super) fn end_gaps(&mut self) {
        self.gaps = None;
        self.requests.end(&To::Gaps);
    }

    /// Tells of lost messages. False if it does not want to know any more.
    pub(super) fn tell_of_gap(&mut self, gap: &str) -> bool {
        let Some(sid) = &self.gaps else {
            return false;
        };
        reply::gap(&mut self.out, GAPS, sid, gap, self.options.headers);
        true
    }

    fn may_listen_to_gaps(&self) -> bool {
        let gaps = Pattern::parse(GAPS).expect("it is a topic");
        self.session.may_listen(&gaps).is_ok()
    }

    /// What it misses itself it may always know, what is missing between nodes only who sees the nodes.
    fn follow_gaps(&mut self) {
        if self.session.sees(Some(self.session.scope())).is_err() {
            self.requests.end(&To::Gaps);
        } else if !self.requests.has(&To::Gaps) {
            let Door { node, builder, .. } = &*self.door;
            self.requests.watch_gaps(node, builder);
        }
    }
}
