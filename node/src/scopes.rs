use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidings_membership::{Scope, Topic};

use crate::routes::{Matching, Routes};

/// The routes of each scope that is in use.
///
/// A scope is there from when somebody first holds it, and as long as it is held or has a route; so
/// names that come and go leave nothing behind. Looking up takes no lock. Routes are changed and
/// published to by who holds their scope, so what is held is never a scope that has been given up.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    routes: papaya::HashMap<Scope, Arc<Routes>>,
    /// How many hold each scope, without those that nobody holds. A scope comes and goes under this
    /// lock only.
    held: Mutex<HashMap<Scope, usize>>,
}

/// The routes of a scope, which stays in use for as long as this lives.
#[derive(Debug)]
pub(crate) struct HeldRoutes {
    routes: Arc<Routes>,
    scopes: Arc<Scopes>,
}

impl Scopes {
    /// The routes of this scope, made if nobody uses it yet.
    pub(crate) fn hold(self: &Arc<Self>, scope: &Scope) -> HeldRoutes {
        let mut held = self.lock();
        *held.entry(scope.clone()).or_default() += 1;
        let make = || Arc::new(Routes::new(scope.clone()));
        let routes = Arc::clone(self.routes.pin().get_or_insert_with(scope.clone(), make));
        HeldRoutes {
            routes,
            scopes: Arc::clone(self),
        }
    }

    /// The routes that a message on this topic takes; none if the scope is not in use.
    pub(crate) fn matching(&self, scope: &Scope, topic: &Topic) -> Option<Matching> {
        let routes = self.routes.pin();
        Some(routes.get(scope)?.matching(topic))
    }

    fn release(&self, routes: &Routes) {
        let mut held = self.lock();
        let Some(holders) = held.get_mut(&routes.scope) else {
            return;
        };
        *holders -= 1;
        if *holders > 0 {
            return;
        }
        held.remove(&routes.scope);
        // Nobody can change that meanwhile: who wants to must hold it first.
        if routes.is_empty() {
            self.routes.pin().remove(&routes.scope);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Scope, usize>> {
        // Nothing panics while the lock is held, so the state behind a poisoned one is whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for HeldRoutes {
    type Target = Routes;

    fn deref(&self) -> &Routes {
        &self.routes
    }
}

impl Drop for HeldRoutes {
    fn drop(&mut self) {
        self.scopes.release(&self.routes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{Mailbox, MailboxConfig, Subscriber};
    use crate::registry::SessionId;
    use crate::route::RouteChange;
    use tidings_membership::{MemberId, Pattern};
    use tidings_transport::Budget;

    fn scope(number: usize) -> Scope {
        Scope::parse(&format!("s{number}")).unwrap()
    }

    fn add(routes: &Routes, pattern: &str, number: u8) {
        let subscriber = Subscriber {
            member: MemberId::from_bytes([number; 16]),
            tag: 0,
            session: SessionId::new(0),
            is_private: false,
            queue: None,
            mailbox: Arc::new(Mailbox::new(
                MailboxConfig::default(),
                &Arc::new(Budget::new(usize::MAX)),
            )),
            grant: None,
        };
        let change = RouteChange::AddLocal(Arc::new(subscriber));
        routes.change(&Pattern::parse(pattern).unwrap(), change);
    }

    fn remove(routes: &Routes, pattern: &str, number: u8) {
        let change = RouteChange::RemoveLocal(MemberId::from_bytes([number; 16]), None);
        routes.change(&Pattern::parse(pattern).unwrap(), change);
    }

    fn reached(scopes: &Scopes, scope: &Scope) -> usize {
        let topic = Topic::parse("a.b").unwrap();
        let matching = scopes.matching(scope, &topic);
        matching.map_or(0, |found| found.here().count())
    }

    #[test]
    fn a_scope_is_there_while_it_is_held_or_has_a_route() {
        let scopes = Arc::new(Scopes::default());
        for pattern in ["a.b", "a.*"] {
            let (one, two) = (scopes.hold(&scope(1)), scopes.hold(&scope(1)));
            drop(one);
            assert_eq!(scopes.routes.len(), 1, "it is still held");
            add(&two, pattern, 1);
            drop(two);
            assert_eq!(reached(&scopes, &scope(1)), 1, "{pattern} is still a route");
            remove(&scopes.hold(&scope(1)), pattern, 1);
            assert_eq!((scopes.routes.len(), scopes.lock().len()), (0, 0));
        }
    }

    #[test]
    fn scopes_that_come_and_go_leave_nothing_behind() {
        let scopes = Arc::new(Scopes::default());
        let kept = scopes.hold(&scope(0));
        for number in 1..20_000 {
            add(&scopes.hold(&scope(number)), "a.*", 1);
            if number > 100 {
                remove(&scopes.hold(&scope(number - 100)), "a.*", 1);
            }
            assert!(scopes.routes.len() <= 102);
        }
        assert_eq!(scopes.routes.len(), 101);
        drop(kept);
        assert_eq!(scopes.routes.len(), 100);
    }

    #[test]
    fn whoever_holds_a_scope_is_reached_however_often_others_let_it_go() {
        let scopes = Arc::new(Scopes::default());
        std::thread::scope(|threads| {
            for number in 0..4 {
                let scopes = &scopes;
                threads.spawn(move || {
                    for _ in 0..2_000 {
                        let held = scopes.hold(&scope(1));
                        add(&held, "a.b", number);
                        assert!(reached(scopes, &scope(1)) > 0, "a route in a dead scope");
                        remove(&held, "a.b", number);
                    }
                });
            }
        });
        assert_eq!(scopes.routes.len(), 0);
    }
}
