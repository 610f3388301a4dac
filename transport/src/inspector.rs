use std::sync::Arc;
use std::time::Duration;

use tokio::task::consume_budget;
use tokio::time::sleep;
use tracing::warn;

use crate::credentials::Credentials;
use crate::links::Links;

/// Ends links that are up and whose peers would not be let in any more: certificates run out, are
/// revoked, or are of an authority that is trusted no longer.
pub(crate) struct Inspector {
    pub(crate) links: Arc<Links>,
    pub(crate) credentials: Arc<Credentials>,
}

impl Inspector {
    /// Looks after the links as long as there are any to come.
    pub(crate) async fn run(self) {
        let mut revocations = self.credentials.revocations().watch();
        loop {
            let is_renewed = tokio::select! {
                // The wall clock may jump, so there is no telling when a certificate runs out.
                () = sleep(PERIOD) => false,
                () = revocations.changed() => false,
                () = self.credentials.renewed.notified() => true,
            };
            self.inspect(is_renewed).await;
        }
    }

    async fn inspect(&self, is_renewed: bool) {
        for link in self.links.up_now() {
            let objection = if is_renewed {
                self.credentials.objection_to_all(&link)
            } else {
                self.credentials.objection(&link)
            };
            // One that is closed already may not have been taken off the list yet.
            if let Some(code) = objection
                && link.connection.close_reason().is_none()
            {
                let (peer, addr) = (link.peer.name(), link.advertised);
                warn!(%peer, %addr, reason = %code, "closing the link: the peer's certificate does not hold any more");
                code.close(&link.connection);
            }
            // Of many links none is to hold up what else runs on this thread.
            consume_budget().await;
        }
    }
}

/// How often to look. A certificate that has run out so ends its link within a second.
const PERIOD: Duration = Duration::from_millis(500);
