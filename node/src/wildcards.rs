use std::sync::Arc;

use rpds::HashTrieMapSync;
use tidings_membership::{Pattern, Topic};

/// Something of each of many patterns, such as the routes of all wildcard patterns of a scope, found by
/// topic: a tree of tokens for each separator.
///
/// A copy shares everything with the original, and a change copies the way to what it changes: as
/// many nodes as the pattern has tokens, and of each the few entries on the way through a
/// persistent map. So a change costs the same however many other patterns there are, up to a
/// logarithm, and readers keep the version they have.
#[derive(Debug, Clone)]
pub(crate) struct Wildcards<T> {
    dots: Tree<T>,
    colons: Tree<T>,
    /// Patterns of one token have no separator, such as `*` and `>`.
    single: Tree<T>,
}

#[derive(Debug, Clone)]
struct Tree<T> {
    /// None instead of an empty map, which would be allocated for every leaf.
    tokens: Option<HashTrieMapSync<Arc<str>, Arc<Tree<T>>>>,
    any: Option<Arc<Tree<T>>>,
    /// What the pattern has that ends here.
    here: Option<T>,
    /// What the pattern has that goes on with `>`.
    rest: Option<T>,
}

impl<T: Clone> Wildcards<T> {
    pub(crate) fn is_empty(&self) -> bool {
        [&self.dots, &self.colons, &self.single]
            .into_iter()
            .all(Tree::is_empty)
    }

    /// Changes what one pattern has.
    pub(crate) fn change(&mut self, pattern: &Pattern, change: impl FnOnce(&mut Option<T>)) {
        let text = pattern.as_str();
        let (tree, separator) = match separator(text) {
            Some('.') => (&mut self.dots, '.'),
            Some(_) => (&mut self.colons, ':'),
            None => (&mut self.single, '.'),
        };
        let tokens: Vec<&str> = text.split(separator).collect();
        tree.change(&tokens, change);
    }

    /// What all patterns have that match the topic.
    pub(crate) fn for_each_match(&self, topic: &Topic, found: &mut impl FnMut(&T)) {
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

impl<T> Default for Wildcards<T> {
    fn default() -> Self {
        Self {
            dots: Tree::default(),
            colons: Tree::default(),
            single: Tree::default(),
        }
    }
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self {
            tokens: None,
            any: None,
            here: None,
            rest: None,
        }
    }
}

impl<T: Clone> Tree<T> {
    fn is_empty(&self) -> bool {
        self.tokens.is_none() && self.any.is_none() && self.here.is_none() && self.rest.is_none()
    }

    fn change(&mut self, tokens: &[&str], change: impl FnOnce(&mut Option<T>)) {
        match tokens {
            [] => change(&mut self.here),
            [">"] => change(&mut self.rest),
            ["*", rest @ ..] => {
                let any = self.any.get_or_insert_default();
                Arc::make_mut(any).change(rest, change);
                if any.is_empty() {
                    self.any = None;
                }
            }
            [token, rest @ ..] => self.change_below(token, rest, change),
        }
    }

    fn change_below(&mut self, token: &str, rest: &[&str], change: impl FnOnce(&mut Option<T>)) {
        let tokens = self.tokens.get_or_insert_with(HashTrieMapSync::new_sync);
        match tokens.get_mut(token) {
            Some(tree) => {
                Arc::make_mut(tree).change(rest, change);
                if tree.is_empty() {
                    tokens.remove_mut(token);
                }
            }
            None => {
                let mut tree = Self::default();
                tree.change(rest, change);
                if !tree.is_empty() {
                    tokens.insert_mut(token.into(), Arc::new(tree));
                }
            }
        }
        if tokens.is_empty() {
            self.tokens = None;
        }
    }

    fn find<'a>(
        &self,
        mut tokens: impl Iterator<Item = &'a str> + Clone,
        found: &mut impl FnMut(&T),
    ) {
        let Some(token) = tokens.next() else {
            self.here.iter().for_each(found);
            return;
        };
        self.rest.iter().for_each(&mut *found);
        let named = self.tokens.as_ref().and_then(|trees| trees.get(token));
        let next = [self.any.as_ref(), named];
        for tree in next.into_iter().flatten() {
            tree.find(tokens.clone(), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a pattern has: a list of numbers, or nothing.
    type Numbers = Wildcards<Vec<usize>>;

    fn add(wildcards: &mut Numbers, pattern: &Pattern, number: usize) {
        wildcards.change(pattern, |all| all.get_or_insert_default().push(number));
    }

    fn remove(wildcards: &mut Numbers, pattern: &Pattern, number: usize) {
        wildcards.change(pattern, |all| {
            let mut rest = all.take().unwrap_or_default();
            rest.retain(|own| *own != number);
            *all = Some(rest).filter(|rest| !rest.is_empty());
        });
    }

    fn matches(wildcards: &Numbers, topic: &Topic) -> Vec<usize> {
        let mut numbers = Vec::new();
        wildcards.for_each_match(topic, &mut |all| numbers.extend(all));
        numbers.sort_unstable();
        numbers
    }

    #[test]
    fn a_change_copies_its_own_path_and_nothing_else() {
        let patterns: Vec<_> = (0..1_000)
            .map(|n| Pattern::parse(&format!("one.{n}.*")).unwrap())
            .collect();
        let mut wildcards = Wildcards::default();
        for pattern in &patterns {
            add(&mut wildcards, pattern, 1);
        }
        let before = wildcards.clone();
        remove(&mut wildcards, &patterns[7], 1);
        // What two versions hold each by itself, rather than as a part that they share.
        let one = |wildcards: &Numbers| wildcards.dots.tokens.clone().unwrap()["one"].clone();
        let (old, new) = (one(&before), one(&wildcards));
        assert_eq!(old.tokens.as_ref().unwrap().size(), 1_000);
        let copied = new.tokens.as_ref().unwrap().values();
        let copied = copied.filter(|tree| Arc::strong_count(tree) > 1).count();
        assert!(copied < 50, "{copied} of 999 others were copied");
        assert_eq!(new.tokens.as_ref().unwrap().size(), 999);
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_the_patterns_match(
            patterns in proptest::collection::vec("[ab*](\\.[ab*]){0,3}(\\.>)?|[ab*]|[ab*]?(:[ab*]?){1,3}(:>)?|>", 0..8),
            topic in "[ab](\\.[ab]){0,3}|[ab]|[ab]?(:[ab]?){1,3}",
        ) {
            let topic = Topic::parse(&topic).unwrap();
            let patterns: Vec<_> = patterns.iter().map(|p| Pattern::parse(p).unwrap()).collect();
            let mut wildcards = Wildcards::default();
            let mut expected = Vec::new();
            for (number, pattern) in patterns.iter().enumerate() {
                if pattern.matches(&topic) {
                    expected.push(number);
                }
                add(&mut wildcards, pattern, number);
            }
            prop_assert_eq!(matches(&wildcards, &topic), expected);
            let before = wildcards.clone();
            for (number, pattern) in patterns.iter().enumerate() {
                remove(&mut wildcards, pattern, number);
            }
            prop_assert!(wildcards.is_empty(), "{:?}", wildcards);
            prop_assert_eq!(before.is_empty(), patterns.is_empty(), "a version is not immutable");
        }
    }
}
