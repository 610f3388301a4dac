use std::collections::HashMap;
use std::sync::Arc;

use tidings_membership::{Pattern, Topic};

use crate::route::{Route, RouteChange};

/// The routes of all wildcard patterns of a scope, found by topic: a tree of tokens for each
/// separator.
///
/// Immutable for readers: a change copies the path it touches and shares the rest
/// ([`Arc::make_mut`]).
#[derive(Debug, Clone, Default)]
pub(crate) struct Wildcards {
    dots: Tree,
    colons: Tree,
    /// Patterns of one token have no separator: these are `*` and `>`.
    single: Tree,
}

#[derive(Debug, Clone, Default)]
struct Tree {
    tokens: HashMap<Box<str>, Arc<Tree>>,
    any: Option<Arc<Tree>>,
    /// The route of the pattern that ends here.
    here: Option<Arc<Route>>,
    /// The route of the pattern that goes on with `>`.
    rest: Option<Arc<Route>>,
}

impl Wildcards {
    pub(crate) fn is_empty(&self) -> bool {
        [&self.dots, &self.colons, &self.single]
            .into_iter()
            .all(Tree::is_empty)
    }

    /// Changes the route of one wildcard pattern.
    pub(crate) fn change(&mut self, pattern: &Pattern, change: &RouteChange) {
        let text = pattern.as_str();
        let (tree, separator) = match separator(text) {
            Some('.') => (&mut self.dots, '.'),
            Some(_) => (&mut self.colons, ':'),
            None => (&mut self.single, '.'),
        };
        let tokens: Vec<&str> = text.split(separator).collect();
        tree.change(&tokens, change);
    }

    /// The routes of all patterns that match the topic.
    pub(crate) fn for_each_match(&self, topic: &Topic, found: &mut impl FnMut(&Arc<Route>)) {
        let text = topic.as_str();
        match separator(text) {
            Some(separator) => {
                let tree = if separator == '.' {
                    &self.dots
                } else {
                    &self.colons
                };
                tree.find(text.split(separator), found);
                // Of the patterns without separator only `>` matches more than one token.
                self.single.rest.iter().for_each(found);
            }
            None => self.single.find(std::iter::once(text), found),
        }
    }
}

fn separator(text: &str) -> Option<char> {
    ['.', ':']
        .into_iter()
        .find(|&separator| text.contains(separator))
}

impl Tree {
    fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.any.is_none() && self.here.is_none() && self.rest.is_none()
    }

    fn change(&mut self, tokens: &[&str], change: &RouteChange) {
        let apply = |route: &mut Option<Arc<Route>>| {
            *route = Route::changed(route.as_deref(), change).map(Arc::new);
        };
        match tokens {
            [] => apply(&mut self.here),
            [">"] => apply(&mut self.rest),
            ["*", rest @ ..] => {
                let any = self.any.get_or_insert_default();
                Arc::make_mut(any).change(rest, change);
                if any.is_empty() {
                    self.any = None;
                }
            }
            [token, rest @ ..] => {
                let tree = self.tokens.entry((*token).into()).or_default();
                Arc::make_mut(tree).change(rest, change);
                if tree.is_empty() {
                    self.tokens.remove(*token);
                }
            }
        }
    }

    fn find<'a>(
        &self,
        mut tokens: impl Iterator<Item = &'a str> + Clone,
        found: &mut impl FnMut(&Arc<Route>),
    ) {
        let Some(token) = tokens.next() else {
            self.here.iter().for_each(found);
            return;
        };
        self.rest.iter().for_each(&mut *found);
        let next = [self.any.as_ref(), self.tokens.get(token)];
        for tree in next.into_iter().flatten() {
            tree.find(tokens.clone(), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{Mailbox, MailboxConfig, Subscriber};
    use crate::registry::SessionId;
    use proptest::prelude::*;
    use tidings_membership::MemberId;

    fn subscriber(number: u8) -> Arc<Subscriber> {
        let mailbox = Arc::new(Mailbox::new(MailboxConfig::default()));
        let member = MemberId::from_bytes([number; 16]);
        Arc::new(Subscriber {
            member,
            tag: 0,
            session: SessionId::new(0),
            mailbox,
        })
    }

    fn matches(wildcards: &Wildcards, topic: &Topic) -> Vec<MemberId> {
        let mut members = Vec::new();
        wildcards.for_each_match(topic, &mut |route| {
            members.extend(route.local.iter().map(|s| s.member));
        });
        members.sort();
        members
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_the_patterns_match(
            patterns in proptest::collection::vec("[ab*](\\.[ab*]){0,3}(\\.>)?|[ab*](:[ab*]){0,3}(:>)?|>", 0..8),
            topic in "[ab](\\.[ab]){0,3}|[ab](:[ab]){0,3}",
        ) {
            let topic = Topic::parse(&topic).unwrap();
            let parsed = patterns.iter().map(|p| Pattern::parse(p).unwrap());
            let patterns: Vec<_> = parsed.filter(|p| !p.is_literal()).collect();
            let mut wildcards = Wildcards::default();
            let mut expected = Vec::new();
            for (number, pattern) in patterns.iter().enumerate() {
                let subscriber = subscriber(number as u8);
                if pattern.matches(&topic) {
                    expected.push(subscriber.member);
                }
                wildcards.change(pattern, &RouteChange::AddLocal(subscriber));
            }
            prop_assert_eq!(matches(&wildcards, &topic), expected);
            let before = wildcards.clone();
            for (number, pattern) in patterns.iter().enumerate() {
                let member = MemberId::from_bytes([number as u8; 16]);
                wildcards.change(pattern, &RouteChange::RemoveLocal(member));
            }
            prop_assert!(wildcards.is_empty(), "{:?}", wildcards);
            prop_assert_eq!(before.is_empty(), patterns.is_empty(), "a version is not immutable");
        }
    }
}
