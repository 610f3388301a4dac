//! Where the inboxes are that requests name for their answers.
//!
//! An inbox is a topic that begins with `_INBOX.`. Who subscribes to one is no member: it is told to nobody
//! else, so a request can be answered before any view could have spread, and however many there are costs
//! gossip nothing. An answer finds its way because each request that goes to another node says where its inbox is,
//! its *home*: at the sender, or where the sender knows it to be, when it passes on what it got from elsewhere.
//! What a node learns so it remembers, for as many inboxes as it has room for. The answer to one of which it does
//! not know the home goes to all nodes.
//!
//! An inbox moves with its client, and nobody can tell that from somebody else who subscribes to the same and asks
//! something, too. So an answer goes to each of the nodes that were said to be the home lately, a few at most:
//! who has heard of an inbox may hear answers, as of any other topic, but does not draw them away from whose
//! they are. Where an inbox is no more, its answers find nobody.

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
    young: HashMap<u64, Vec<NodeId>>,
    old: HashMap<u64, Vec<NodeId>>,
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
        let nodes = known.get(key);
        if nodes.first() == Some(node) {
            return;
        }
        let others = nodes.iter().filter(|own| *own != node).cloned();
        let nodes = std::iter::once(node.clone()).chain(others);
        let nodes = nodes.take(NODES_MAX).collect();
        known.insert(key, nodes);
    }

    /// Where an inbox of this scope may be, as far as that was heard of: the node that was said last comes first.
    pub(crate) fn find(&self, scope: &Scope, inbox: &Topic) -> Vec<NodeId> {
        let key = self.key(scope, inbox);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).to_vec()
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
    /// Those of a key, which outlive what is not asked for.
    fn get(&mut self, key: u64) -> &[NodeId] {
        if let Some(nodes) = self.old.remove(&key)
            && !self.young.contains_key(&key)
        {
            self.insert(key, nodes);
        }
        self.young.get(&key).map_or(&[], Vec::as_slice)
    }

    fn insert(&mut self, key: u64, nodes: Vec<NodeId>) {
        if self.young.len() >= HOMES_MAX && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, nodes);
    }
}

/// What inboxes begin with, as all NATS clients have them.
pub(crate) const PREFIX: &str = "_INBOX.";
/// How many homes are remembered in a generation: some megabytes in both.
const HOMES_MAX: usize = 32 << 10;
/// On how many nodes an inbox may be.
const NODES_MAX: usize = 4;

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
    fn what_was_heard_of_a_client_holds_for_all_its_inboxes_in_its_scope() {
        let (homes, scope) = (Homes::default(), Scope::default());
        let other = Scope::parse("other").unwrap();
        homes.learn(&scope, &inbox("_INBOX.x.1"), &node(1));
        for text in ["_INBOX.x.1", "_INBOX.x.2.3", "_INBOX.x"] {
            assert_eq!(homes.find(&scope, &inbox(text)), [node(1)]);
            assert_eq!(homes.find(&other, &inbox(text)), []);
        }
        assert_eq!(homes.find(&scope, &inbox("_INBOX.y.1")), []);
        homes.learn(&scope, &inbox("_INBOX.x.7"), &node(2));
        assert_eq!(homes.find(&scope, &inbox("_INBOX.x.1")), [node(2), node(1)]);
    }

    #[test]
    fn one_node_draws_an_inbox_away_from_no_other_however_often_it_says_so() {
        let (homes, scope, own) = (Homes::default(), Scope::default(), inbox("_INBOX.x.1"));
        homes.learn(&scope, &own, &node(2));
        homes.learn(&scope, &own, &node(1));
        for _ in 0..100 {
            homes.learn(&scope, &own, &node(2));
        }
        assert_eq!(homes.find(&scope, &own), [node(2), node(1)]);
        // They are bounded, and the one that was not said for longest is forgotten.
        (3..9).for_each(|n| homes.learn(&scope, &own, &node(n)));
        let last = [8, 7, 6, 5].map(node);
        assert_eq!(homes.find(&scope, &own), last);
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
                assert_eq!(homes.find(&scope, &name(0)), [node(0)], "at {n}");
            }
        }
        assert!(known(&homes) <= 2 * HOMES_MAX);
        let last = 5 * HOMES_MAX - 1;
        assert_eq!(homes.find(&scope, &name(last)), [node(last % 7)]);
        assert_eq!(homes.find(&scope, &name(1)), []);
    }
}
