use std::sync::atomic::Ordering::Relaxed;

use tidings_membership::{Scope, Topic};
use tracing::info;

use super::denied::Denied;
use super::handle::Access;
use super::permissions::Sight;
use crate::counters::Counters;

/// What may be seen and told of the cluster by an access.
impl Access {
    /// Whether who is in the scope `own` may see what is in `scope`; without one, what is in all.
    pub(crate) fn sees(
        &self,
        own: &Scope,
        scope: Option<&Scope>,
        counters: &Counters,
    ) -> Result<(), Denied> {
        let sight = self
            .rules()
            .map_or(Sight::Everything, |rules| rules.permissions.sight);
        match (sight, scope) {
            (Sight::Everything, _) => Ok(()),
            (Sight::Scope, Some(scope)) if scope == own => Ok(()),
            _ => Err(self.denied(counters, Denied::See)),
        }
    }

    /// Whether who has it may describe this topic.
    pub(crate) fn describes(&self, topic: &Topic, counters: &Counters) -> Result<(), Denied> {
        let describes = self
            .rules()
            .is_none_or(|rules| !rules.permissions.describes_nothing && rules.publishes(topic));
        if describes {
            return Ok(());
        }
        Err(self.denied(counters, Denied::Describe))
    }

    fn denied(&self, counters: &Counters, what: Denied) -> Denied {
        counters.denied_view.fetch_add(1, Relaxed);
        info!(identity = self.name(), "refused: {what}");
        what
    }
}
