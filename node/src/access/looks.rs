use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
        match (self.sight(), scope) {
            _ if self.is_withdrawn() => Err(self.denied(&counters.denied_view, Denied::See)),
            (Sight::Everything, _) => Ok(()),
            (Sight::Scope, Some(scope)) if scope == own => Ok(()),
            _ => Err(self.denied(&counters.denied_view, Denied::See)),
        }
    }

    /// What may be seen of the cluster by who has it.
    pub fn sight(&self) -> Sight {
        let rules = self.rules();
        rules.map_or(Sight::Everything, |rules| rules.permissions.sight)
    }

    /// Whether who is in the scope `own` may publish in `scope`, which is that scope alone unless it may do
    /// everything.
    pub(crate) fn enters(
        &self,
        own: &Scope,
        scope: &Scope,
        counters: &Counters,
    ) -> Result<(), Denied> {
        if own == scope || !self.is_restricted() {
            return Ok(());
        }
        Err(self.denied(&counters.denied_publish, Denied::Scope))
    }

    /// Whether who has it may describe this topic.
    pub(crate) fn describes(&self, topic: &Topic, counters: &Counters) -> Result<(), Denied> {
        let describes = self
            .rules()
            .is_none_or(|rules| !rules.permissions.describes_nothing && rules.publishes(topic));
        if describes {
            return Ok(());
        }
        Err(self.denied(&counters.denied_view, Denied::Describe))
    }

    fn denied(&self, counter: &AtomicU64, what: Denied) -> Denied {
        counter.fetch_add(1, Relaxed);
        info!(identity = self.name(), "refused: {what}");
        what
    }
}
