use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tidings_membership::{Pattern, QueueGroup, Scope, Topic};

use crate::interested::Interested;
use crate::mailbox::Subscriber;
use crate::queues::Group;
use crate::route::{Route, RouteChange};
use crate::wildcards::Wildcards;

/// The routes of one scope. Looking up takes no lock; changing builds the next version aside.
#[derive(Debug)]
pub(crate) struct Routes {
    pub(crate) scope: Scope,
    literal: papaya::HashMap<Pattern, Arc<Route>, ahash::RandomState>,
    wildcards: ArcSwap<Wildcards<Arc<Route>>>,
    /// Held while a change is made, so that no two work from the same old version.
    changing: Mutex<()>,
}

impl Routes {
    pub(crate) fn new(scope: Scope) -> Self {
        Self {
            scope,
            literal: papaya::HashMap::with_hasher(hasher()),
            wildcards: ArcSwap::default(),
            changing: Mutex::default(),
        }
    }

    /// Whether no message would go anywhere.
    pub(crate) fn is_empty(&self) -> bool {
        self.literal.is_empty() && self.wildcards.load().is_empty()
    }

    /// Changes where messages for this pattern go.
    pub(crate) fn change(&self, pattern: &Pattern, change: RouteChange) {
        self.change_all([(pattern, change)]);
    }

    /// Makes many changes, in this order. Topics without wildcards change one by one, all patterns
    /// with wildcards in one step, after them.
    pub(crate) fn change_all<'a>(
        &self,
        changes: impl IntoIterator<Item = (&'a Pattern, RouteChange)>,
    ) {
        // The lock guards no data of its own, so a poisoned one is as good.
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let literal = self.literal.pin();
        let mut wildcards: Option<Wildcards<Arc<Route>>> = None;
        for (pattern, change) in changes {
            if !pattern.is_literal() {
                wildcards
                    .get_or_insert_with(|| Wildcards::clone(&self.wildcards.load()))
                    .change(pattern, |route| {
                        *route = Route::changed(route.as_deref(), &change).map(Arc::new);
                    });
                continue;
            }
            match Route::changed(literal.get(pattern).map(Arc::as_ref), &change) {
                Some(route) => literal.insert(pattern.clone(), Arc::new(route)),
                None => literal.remove(pattern),
            };
        }
        if let Some(wildcards) = wildcards {
            self.wildcards.store(Arc::new(wildcards));
        }
    }

    /// The routes that a message on this topic takes.
    pub(crate) fn matching(&self, topic: &Topic) -> Matching {
        let literal = self.literal.pin().get(topic.as_str()).map(Arc::clone);
        let mut wildcards = Vec::new();
        let tree = self.wildcards.load();
        if !tree.is_empty() {
            tree.for_each_match(topic, &mut |route| wildcards.push(Arc::clone(route)));
        }
        Matching { literal, wildcards }
    }
}

/// The routes found for one message.
pub(crate) struct Matching {
    literal: Option<Arc<Route>>,
    wildcards: Vec<Arc<Route>>,
}

impl Matching {
    fn routes(&self) -> impl Iterator<Item = &Route> {
        self.literal.iter().chain(&self.wildcards).map(Arc::as_ref)
    }

    /// Those who get each message.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = &Interested> {
        self.routes().map(|route| &route.everybody)
    }

    /// Whether some of them are on other nodes.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.everybody().any(|those| !those.remote.is_empty())
    }

    /// Whether anybody is to get it, here or elsewhere.
    pub(crate) fn has_any(&self) -> bool {
        self.is_elsewhere() || self.has_groups() || self.here().next().is_some()
    }

    /// Whether there is a queue group.
    pub(crate) fn has_groups(&self) -> bool {
        self.routes().any(|route| route.queues.is_some())
    }

    /// Those of them who are on this node.
    pub(crate) fn here(&self) -> impl Iterator<Item = &Arc<Subscriber>> {
        self.everybody().flat_map(|those| those.local.iter())
    }

    /// All who are on this node, those in queue groups, too.
    pub(crate) fn all_here(&self) -> impl Iterator<Item = &Arc<Subscriber>> {
        let queues = self.routes().flat_map(|route| route.queues.iter());
        let those = queues.flat_map(|queues| queues.values());
        self.here()
            .chain(those.flat_map(|those| those.local.iter()))
    }

    /// The queue groups, each of which is to get the message once.
    pub(crate) fn groups(&self) -> Vec<Group<'_>> {
        let mut with_queues = self.routes().filter_map(|route| route.queues.as_ref());
        let Some(first) = with_queues.next() else {
            return Vec::new();
        };
        let first = first.iter().map(|(name, those)| Group::new(name, those));
        let mut groups: Vec<Group<'_>> = first.collect();
        let mut more = with_queues.peekable();
        if more.peek().is_none() {
            // In one route there is each once.
            return groups;
        }
        let places = groups.iter().enumerate();
        let mut places: HashMap<&QueueGroup, usize> =
            places.map(|(place, group)| (group.name, place)).collect();
        for (name, those) in more.flat_map(|queues| queues.iter()) {
            match places.get(name) {
                Some(&place) => groups[place].add(those),
                None => {
                    places.insert(name, groups.len());
                    groups.push(Group::new(name, those));
                }
            }
        }
        groups
    }

    /// Whether no peer can be in more than one of the routes.
    pub(crate) fn is_single(&self) -> bool {
        self.wildcards.len() + usize::from(self.literal.is_some()) <= 1
    }
}

/// One that is quick for topics. Its seeds are drawn as those of the standard library are, and not by itself: in a
/// simulated run they are the same again.
fn hasher() -> ahash::RandomState {
    let seeds = RandomState::new();
    let [a, b, c, d] = [0, 1, 2, 3].map(|n: u64| seeds.hash_one(n));
    ahash::RandomState::with_seeds(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use tidings_membership::MemberId;
    use tidings_transport::Budget;
    use tokio::time::Instant;

    use super::*;
    use crate::mailbox::{Mailbox, MailboxConfig};
    use crate::registry::SessionId;

    /// As long as making a subscription takes, however many groups there are besides: looking at each of them
    /// would be a thousand times as long.
    #[test]
    fn ending_a_subscription_in_a_queue_group_looks_at_no_other_group() {
        let routes = Routes::new(Scope::default());
        let mailbox = Arc::new(Mailbox::new(
            MailboxConfig::default(),
            &Arc::new(Budget::new(usize::MAX)),
        ));
        let member = |number: u32| MemberId::from_bytes(u128::from(number).to_be_bytes());
        let queue = |number: u32| QueueGroup::parse(&format!("q{number}")).unwrap();
        let pattern = Pattern::parse("jobs.*").unwrap();
        let took = |changes: &[RouteChange]| {
            let started = Instant::now();
            for change in changes {
                routes.change(&pattern, change.clone());
            }
            started.elapsed()
        };
        let add = |number| {
            RouteChange::AddLocal(Arc::new(Subscriber {
                member: member(number),
                tag: 0,
                session: SessionId::new(u64::from(number)),
                is_private: false,
                queue: Some(queue(number)),
                mailbox: Arc::clone(&mailbox),
                grant: None,
            }))
        };
        let others: Vec<_> = (0..20_000).map(add).collect();
        took(&others);
        let those = 20_000..20_500;
        let made = took(&those.clone().map(add).collect::<Vec<_>>());
        let remove = |number: u32| match number % 2 {
            0 => RouteChange::RemoveLocal(member(number), Some(queue(number))),
            _ => RouteChange::RemoveSession(SessionId::new(number.into()), Some(queue(number))),
        };
        let ended = took(&those.map(remove).collect::<Vec<_>>());
        assert!(ended < made * 20, "{ended:?} to end what took {made:?}");
        let topic = Topic::parse("jobs.7").unwrap();
        assert_eq!(routes.matching(&topic).groups().len(), 20_000);
    }
}
