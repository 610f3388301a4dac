use std::sync::{Arc, Mutex, PoisonError};

use tidings::{Access, Node, OpenError, Scope, Session, SessionOptions};

/// The sessions of those who publish by HTTP, as a request or as a tool of MCP: one for each identity and scope.
///
/// All who publish as the same in a scope are one publisher, because a caller makes a connection for each message
/// and still wants its messages to arrive in order. The sessions of the scopes published in last are
/// kept; that of another is closed when there are too many, and its scope begins anew.
#[derive(Debug)]
pub(crate) struct Publishers {
    node: Node,
    /// That used last is at the end.
    open: Mutex<Vec<Arc<Session>>>,
}

/// Why somebody cannot publish now. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublisherError {
    /// All sessions are in use.
    #[error("too many scopes are published in at a time")]
    Busy,
    /// The node takes no session.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Publishers {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node,
            open: Mutex::default(),
        }
    }

    /// The session of those with this access in this scope.
    pub(crate) fn session(
        &self,
        access: &Access,
        scope: &Scope,
    ) -> Result<Arc<Session>, PublisherError> {
        // Nothing panics while the lock is held, so what is behind a poisoned one is whole.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|own| !own.access().is_withdrawn());
        let is_it = |own: &Arc<Session>| own.scope() == scope && own.access().is_same(access);
        let session = match open.iter().position(is_it) {
            Some(place) => open.remove(place),
            None => {
                if open.len() >= SESSIONS_MAX {
                    let is_idle = |own: &Arc<Session>| Arc::strong_count(own) == 1;
                    let idle = open.iter().position(is_idle);
                    open.remove(idle.ok_or(PublisherError::Busy)?);
                }
                Arc::new(self.open(access, scope)?)
            }
        };
        open.push(Arc::clone(&session));
        Ok(session)
    }

    fn open(&self, access: &Access, scope: &Scope) -> Result<Session, OpenError> {
        let options = SessionOptions {
            scope: scope.clone(),
            access: access.clone(),
            ..SessionOptions::default()
        };
        // It subscribes to nothing, so it needs no inbox.
        let (session, _) = self.node.session(options)?;
        Ok(session)
    }
}

/// In how many scopes messages may be published at a time.
const SESSIONS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use tidings::Config;

    use super::*;

    fn scope(number: usize) -> Scope {
        format!("s{number}").parse().unwrap()
    }

    #[tokio::test]
    async fn a_scope_has_one_publisher_and_only_so_many_are_kept() {
        let node = Node::start(Config::default(), None).await.unwrap();
        let publishers = Publishers::new(node.clone());
        let first = publishers.session(&Access::default(), &scope(0)).unwrap();
        assert!(Arc::ptr_eq(
            &first,
            &publishers.session(&Access::default(), &scope(0)).unwrap()
        ));
        for number in 1..=3 * SESSIONS_MAX {
            publishers
                .session(&Access::default(), &scope(number))
                .unwrap();
        }
        assert_eq!(node.stats().sessions, SESSIONS_MAX);
        let again = publishers.session(&Access::default(), &scope(0)).unwrap();
        assert!(
            Arc::ptr_eq(&first, &again),
            "who is at it keeps its session"
        );

        let all: Vec<_> = (1..SESSIONS_MAX)
            .map(|number| {
                publishers
                    .session(&Access::default(), &scope(number))
                    .unwrap()
            })
            .collect();
        assert!(
            publishers
                .session(&Access::default(), &scope(SESSIONS_MAX))
                .is_err()
        );
        drop(all);
        assert!(
            publishers
                .session(&Access::default(), &scope(SESSIONS_MAX))
                .is_ok()
        );
    }
}
