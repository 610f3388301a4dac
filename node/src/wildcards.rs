use std::sync::Arc;

use rpds::HashTrieMapSync;
use tidings_membership::{Pattern, Topic};

/// Something of each of many patterns, such as the routes of all wildcard patterns of a scope, found by
/// topic: a tree of tokens for each separator.
///
/// A copy shares everything with the original, and a change copies the way to what it changes: at
/// most as many nodes as the pattern has tokens, and of each the few entries on the way through a
/// persistent map. So a change costs the same however many other patterns there are, up to a
/// logarithm, and readers keep the version they have.
///
/// There is a node only where patterns end or part, so there are at most two for each pattern: what a
/// pattern takes goes by its bytes, and not by its tokens.
#[derive(Debug, Clone)]
pub(crate) struct Wildcards<T> {
    dots: Tree<T>,
    colons: Tree<T>,
    /// Patterns of one token have no separator, such as `*` and `>`.
    single: Tree<T>,
}

#[derive(Debug, Clone)]
struct Tree<T> {
    /// The tokens that all patterns here go on with before one ends or they part, with spaces between
    /// them, which no token has. None instead of no token, because a token may be empty.
    stem: Option<Arc<str>>,
    /// None instead of an empty map, which would be allocated for every leaf.
    tokens: Option<HashTrieMapSync<Arc<str>, Arc<Tree<T>>>>,
    any: Option<Arc<Tree<T>>>,
    /// What the pattern has that ends here.
    here: Option<T>,
    /// What the pattern has that goes on with `>`.
    rest: Option<T>,
}

/// What is still to come of a pattern.
#[derive(Clone, Copy)]
struct End<'a> {
    /// Without the `>`.
    tokens: &'a [&'a str],
    has_rest: bool,
}

impl<T: Clone> Wildcards<T> {
    pub(crate) fn is_empty(&self) -> bool {
        [&self.dots, &self.colons, &self.single]
            .into_iter()
            .all(Tree::is_empty)
    }

    /// Changes what one pattern has.
    pub(crate) fn change(&mut self, pattern: &Pattern, mut change: impl FnMut(&mut Option<T>)) {
        let text = pattern.as_str();
        let (tree, separator) = match separator(text) {
            Some('.') => (&mut self.dots, '.'),
            Some(_) => (&mut self.colons, ':'),
            None => (&mut self.single, '.'),
        };
        let tokens: Vec<&str> = text.split(separator).collect();
        tree.change(End::of(&tokens), &mut change);
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
            stem: None,
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

    fn change(&mut self, end: End<'_>, change: &mut dyn FnMut(&mut Option<T>)) {
        let stem = self.stem.clone();
        let stem: Vec<&str> = tokens_of(&stem).collect();
        let pairs = stem.iter().zip(end.tokens);
        let common = pairs.take_while(|(own, other)| own == other).count();
        if !self.is_empty() && common == stem.len() {
            self.change_behind(end.after(common), change);
            return self.join();
        }
        let mut here = None;
        change(&mut here);
        if here.is_none() {
            return;
        }
        if self.is_empty() {
            self.stem = stem_of(end.tokens.iter().copied());
            *self.own(end.has_rest) = here;
        } else {
            self.part(&stem, common);
            self.change_behind(end.after(common), &mut |own| *own = here.take());
        }
    }

    /// Changes what a pattern has whose tokens go on like this behind the stem.
    fn change_behind(&mut self, end: End<'_>, change: &mut dyn FnMut(&mut Option<T>)) {
        let Some((token, rest)) = end.tokens.split_first() else {
            return change(self.own(end.has_rest));
        };
        let end = End {
            tokens: rest,
            ..end
        };
        if *token == "*" {
            let any = self.any.get_or_insert_default();
            Arc::make_mut(any).change(end, change);
            if any.is_empty() {
                self.any = None;
            }
        } else {
            self.change_below(token, end, change);
        }
    }

    fn change_below(&mut self, token: &str, end: End<'_>, change: &mut dyn FnMut(&mut Option<T>)) {
        let tokens = self.tokens.get_or_insert_with(HashTrieMapSync::new_sync);
        match tokens.get_mut(token) {
            Some(tree) => {
                Arc::make_mut(tree).change(end, change);
                if tree.is_empty() {
                    tokens.remove_mut(token);
                }
            }
            None => {
                let mut tree = Self::default();
                tree.change(end, change);
                if !tree.is_empty() {
                    tokens.insert_mut(token.into(), Arc::new(tree));
                }
            }
        }
        if tokens.is_empty() {
            self.tokens = None;
        }
    }

    fn own(&mut self, has_rest: bool) -> &mut Option<T> {
        if has_rest {
            &mut self.rest
        } else {
            &mut self.here
        }
    }

    /// Keeps so many tokens of the stem, which has more, and puts all else below them.
    fn part(&mut self, stem: &[&str], kept: usize) {
        let mut below = std::mem::take(self);
        below.stem = stem_of(stem[kept + 1..].iter().copied());
        self.stem = stem_of(stem[..kept].iter().copied());
        let below = Arc::new(below);
        match stem[kept] {
            "*" => self.any = Some(below),
            token => self.tokens = Some(HashTrieMapSync::new_sync().insert(token.into(), below)),
        }
    }

    /// Takes up the only tree below, if no pattern ends here.
    fn join(&mut self) {
        if let Some(joined) = self.joined() {
            *self = joined;
        }
    }

    fn joined(&self) -> Option<Self> {
        if self.here.is_some() || self.rest.is_some() {
            return None;
        }
        let mut named = self.tokens.iter().flat_map(|trees| trees.iter());
        let (token, below) = match (&self.any, named.next(), named.next()) {
            (Some(any), None, _) => ("*", any),
            (None, Some((token, below)), None) => (&**token, below),
            _ => return None,
        };
        let stem = tokens_of(&self.stem).chain([token]);
        Some(Self {
            stem: stem_of(stem.chain(tokens_of(&below.stem))),
            ..Self::clone(below)
        })
    }

    fn find<'a>(
        &self,
        mut tokens: impl Iterator<Item = &'a str> + Clone,
        found: &mut impl FnMut(&T),
    ) {
        for own in tokens_of(&self.stem) {
            if !tokens
                .next()
                .is_some_and(|token| own == "*" || own == token)
            {
                return;
            }
        }
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

impl<'a> End<'a> {
    fn of(tokens: &'a [&'a str]) -> Self {
        let before = tokens.strip_suffix(&[">"]);
        Self {
            tokens: before.unwrap_or(tokens),
            has_rest: before.is_some(),
        }
    }

    fn after(self, count: usize) -> Self {
        Self {
            tokens: &self.tokens[count..],
            ..self
        }
    }
}

fn tokens_of(stem: &Option<Arc<str>>) -> impl Iterator<Item = &str> {
    stem.iter().flat_map(|stem| stem.split(' '))
}

fn stem_of<'a>(tokens: impl Iterator<Item = &'a str>) -> Option<Arc<str>> {
    let tokens: Vec<_> = tokens.collect();
    (!tokens.is_empty()).then(|| tokens.join(" ").into())
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
        let (old, new) = (before.dots.clone(), wildcards.dots.clone());
        assert_eq!(old.tokens.as_ref().unwrap().size(), 1_000);
        let copied = new.tokens.as_ref().unwrap().values();
        let copied = copied.filter(|tree| Arc::strong_count(tree) > 1).count();
        assert!(copied < 50, "{copied} of 999 others were copied");
        assert_eq!(new.tokens.as_ref().unwrap().size(), 999);
    }

    /// How many nodes there are, and how many bytes in their stems.
    fn size(tree: &Tree<Vec<usize>>) -> (usize, usize) {
        let named = tree.tokens.iter().flat_map(|trees| trees.values());
        let below = named.chain(&tree.any).map(|tree| size(tree));
        let own = (1, tree.stem.as_ref().map_or(0, |stem| stem.len()));
        below.fold(own, |(nodes, bytes), (more, longer)| {
            (nodes + more, bytes + longer)
        })
    }

    #[test]
    fn what_a_pattern_takes_goes_by_its_bytes_and_not_by_its_tokens() {
        let mut wildcards = Wildcards::default();
        let of = |parted: usize| {
            let mut tokens = vec!["a"; 255];
            tokens[parted] = "b";
            Pattern::parse(&(tokens.join(".") + ".*")).unwrap()
        };
        add(&mut wildcards, &of(0), 0);
        assert_eq!(size(&wildcards.dots), (1, 511));
        let patterns: Vec<_> = (0..255).map(of).collect();
        for (number, pattern) in patterns.iter().enumerate().skip(1) {
            add(&mut wildcards, pattern, number);
        }
        let (nodes, bytes) = size(&wildcards.dots);
        assert!(nodes < 2 * 255, "{nodes} nodes");
        assert!(bytes < 255 * 511, "{bytes} bytes");
        for (number, pattern) in patterns.iter().enumerate().rev().take(254) {
            remove(&mut wildcards, pattern, number);
        }
        assert_eq!(size(&wildcards.dots), (1, 511));
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_the_patterns_match(
            patterns in proptest::collection::vec("[ab*](\\.[ab*]){0,5}(\\.>)?|[ab*]|[ab*]?(:[ab*]?){1,3}(:>)?|>", 0..12),
            topic in "[ab](\\.[ab]){0,5}|[ab]|[ab]?(:[ab]?){1,3}",
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
            prop_assert_eq!(matches(&wildcards, &topic), expected.clone());
            let before = wildcards.clone();
            for (number, pattern) in patterns.iter().enumerate() {
                remove(&mut wildcards, pattern, number);
                expected.retain(|left| *left != number);
                prop_assert_eq!(matches(&wildcards, &topic), expected.clone());
                let distinct: std::collections::HashSet<_> = patterns[number + 1..].iter().collect();
                let trees = [&wildcards.dots, &wildcards.colons, &wildcards.single];
                let nodes: usize = trees.map(|tree| size(tree).0).iter().sum();
                prop_assert!(nodes <= 2 * distinct.len() + 3, "{} in {:?}", nodes, wildcards);
            }
            prop_assert!(wildcards.is_empty(), "{:?}", wildcards);
            prop_assert_eq!(before.is_empty(), patterns.is_empty(), "a version is not immutable");
        }
    }
}
