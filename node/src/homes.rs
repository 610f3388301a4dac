//! Where the inboxes are that requests name for their answers.
//!
//! An inbox is a topic that begins with `_INBOX.`. Who subscribes to one is no member: it is told to nobody
//! else, so a request can be answered before any view could have spread, and however many there are costs
//! gossip nothing. An answer finds its way because each request that goes to another node says where its inbox is,
//! its *home*: at the sender, or where the sender knows it to be, when it passes on what it got from elsewhere.
//! What a node learns so it remembers, for as many inboxes as it has room for. The answer to one of which it does
//! not know the home goes to all nodes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use tidings_identity::NodeId;
use tidings_membership::{Pattern, QueueGroup, Scope, Topic};

/// Where the inbox is that a message names for answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Home {
    /// It names none, or one that nobody told of, or a topic that is no inbox.
    #[default]
    Unknown,
    /// On the node that the message comes from.
    Sender,
    /// On that node.
    Node(NodeId),
}

/// The homes of inboxes on other nodes, as far as they were heard of lately.
#[derive(Debug, Default)]
pub(crate) struct Homes {
    hasher: RandomState,
    known: Mutex<Known>,
}

/// In two generations: what was asked for while the younger one filled up outlives it.
#[derive(Debug, Default)]
struct Known {
    young: HashMap<u64, NodeId>,
    old: HashMap<u64, NodeId>,
}

/// Whether a topic is an inbox.
pub(crate) fn is_inbox(topic: &Topic) -> bool {
    topic.as_str().starts_with(PREFIX)
}

/// Whether who subscribes to this has inboxes of its own, of which nobody else is told. Who wants those of
/// several clients (`_INBOX.>`), or shares them in a queue group, is a member like others.
pub(crate) fn is_private(pattern: &Pattern, queue: Option<&QueueGroup>) -> bool {
    let own = pattern.as_str().strip_prefix(PREFIX);
    let is_of_one = |own: &str| !own.starts_with(['*', '>']);
    queue.is_none() && own.is_some_and(is_of_one)
}

impl Homes {
    /// An inbox of this scope is on that node.
    pub(crate) fn learn(&self, scope: &Scope, inbox: &Topic, node: &NodeId) {
        let key = self.key(scope, inbox);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.young.get(&key).is_none_or(|own| own != node) {
            known.insert(key, node.clone());
        }
    }

    /// Where an inbox of this scope is, if that was heard of.
    pub(crate) fn find(&self, scope: &Scope, inbox: &Topic) -> Option<NodeId> {
        let key = self.key(scope, inbox);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = known.young.get(&key) {
            return Some(node.clone());
        }
        let node = known.old.remove(&key)?;
        known.insert(key, node.clone());
        Some(node)
    }

    /// All inboxes of one client have their first two tokens in common. Under a key that nobody can
    /// foresee, so that nobody can make two inboxes have the same.
    fn key(&self, scope: &Scope, inbox: &Topic) -> u64 {
        let text = inbox.as_str();
        let own = &text[PREFIX.len()..];
        let end = own.find('.').map_or(text.len(), |at| PREFIX.len() + at);
        self.hasher.hash_one((scope, &text[..end]))
    }
}

impl Known {
    fn insert(&mut self, key: u64, node: NodeId) {
        if self.young.len() >= HOMES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, node);
    }
}

/// What inboxes begin with, as all NATS clients have them.
pub(crate) const PREFIX: &str = "_INBOX.";
/// How many homes are remembered in a generation: some megabytes in both.
const HOMES_MAX: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(text: &str) -> Topic {
        Topic::parse(text).unwrap()
    }

    fn node(number: usize) -> NodeId {
        NodeId::parse(&format!("n{number}")).unwrap()
    }

    #[test]
    fn what_was_heard_last_of_a_client_holds_for_all_its_inboxes_in_its_scope() {
        let (homes, scope) = (Homes::default(), Scope::default());
        let other = Scope::parse("other").unwrap();
        homes.learn(&scope, &inbox("_INBOX.x.1"), &node(1));
        for text in ["_INBOX.x.1", "_INBOX.x.2.3", "_INBOX.x"] {
            assert_eq!(homes.find(&scope, &inbox(text)), Some(node(1)));
            assert_eq!(homes.find(&other, &inbox(text)), None);
        }
        assert_eq!(homes.find(&scope, &inbox("_INBOX.y.1")), None);
        homes.learn(&scope, &inbox("_INBOX.x.7"), &node(2));
        assert_eq!(homes.find(&scope, &inbox("_INBOX.x.1")), Some(node(2)));
    }

    #[test]
    fn inboxes_of_one_client_are_its_own_and_those_of_several_are_not() {
        let queue = QueueGroup::parse("q").unwrap();
        let private = |text: &str, queue| is_private(&Pattern::parse(text).unwrap(), queue);
        for own in ["_INBOX.x", "_INBOX.x.*", "_INBOX.x.>"] {
            assert!(private(own, None), "{own}");
            assert!(!private(own, Some(&queue)), "{own}");
        }
        for other in ["_INBOX.>", "_INBOX.*", "_INBOX.*.x", "_INBOX", ">", "a"] {
            assert!(!private(other, None), "{other}");
        }
    }

    #[test]
    fn as_many_as_there_may_be_are_remembered_and_those_longest_that_are_asked_for() {
        let (homes, scope) = (Homes::default(), Scope::default());
        let name = |n: usize| inbox(&format!("_INBOX.{n}"));
        let known = |homes: &Homes| {
            let known = homes.known.lock().unwrap();
            known.young.len() + known.old.len()
        };
        for n in 0..5 * HOMES_MAX {
            homes.learn(&scope, &name(n), &node(n % 7));
            if n % 1_000 == 0 {
                assert_eq!(homes.find(&scope, &name(0)), Some(node(0)), "at {n}");
            }
        }
        assert!(known(&homes) <= 2 * HOMES_MAX);
        let last = 5 * HOMES_MAX - 1;
        assert_eq!(homes.find(&scope, &name(last)), Some(node(last % 7)));
        assert_eq!(homes.find(&scope, &name(1)), None);
    }
}
