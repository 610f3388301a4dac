use tidings_membership::{Pattern, Topic};

use super::permissions::{Permissions, Rules, SubscribeRule};
use crate::wildcards::Wildcards;

/// Permissions in a form in which messages are quickly judged by them, however many rules there are.
#[derive(Debug)]
pub(super) struct Rulebook {
    pub(super) permissions: Permissions,
    /// None: every topic.
    publish_allow: Option<Topics>,
    publish_deny: Topics,
    /// What is not delivered to a subscription that has more than that, by topics.
    receive_deny: Wildcards<Vec<SubscribeRule>>,
}

/// The topics that some patterns match.
#[derive(Debug, Default)]
struct Topics(Wildcards<()>);

impl Rulebook {
    pub(super) fn new(permissions: Permissions) -> Self {
        let Rules { allow, deny } = &permissions.publish;
        let mut receive_deny = Wildcards::<Vec<_>>::default();
        for rule in &permissions.subscribe.deny {
            receive_deny.change(&rule.pattern, |rules| {
                rules.get_or_insert_default().push(rule.clone());
            });
        }
        Self {
            publish_allow: allow.as_ref().map(Topics::of),
            publish_deny: Topics::of(deny),
            receive_deny,
            permissions,
        }
    }

    /// Whether a message may be published on this topic.
    pub(super) fn publishes(&self, topic: &Topic) -> bool {
        let allow = self.publish_allow.as_ref();
        allow.is_none_or(|allow| allow.has(topic)) && !self.publish_deny.has(topic)
    }

    /// Whether messages may be published on all topics that the pattern matches.
    pub(super) fn publishes_all(&self, pattern: &Pattern) -> bool {
        let Rules { allow, deny } = &self.permissions.publish;
        let allowed = allow
            .as_ref()
            .is_none_or(|allow| allow.iter().any(|rule| rule.covers(pattern)));
        allowed && !deny.iter().any(|rule| rule.overlaps(pattern))
    }

    /// Whether this may be subscribed to, in this queue group if in one.
    pub(super) fn subscribes(&self, pattern: &Pattern, queue: Option<&str>) -> bool {
        let Rules { allow, deny } = &self.permissions.subscribe;
        let allowed = allow.as_ref().is_none_or(|allow| {
            let covering = allow.iter().filter(|rule| rule.pattern.covers(pattern));
            let (groups, plain): (Vec<_>, Vec<_>) = covering.partition(|rule| rule.queue.is_some());
            match queue {
                // Where groups are named, those are meant and no others.
                Some(queue) if !groups.is_empty() => groups.iter().any(|rule| rule.has(queue)),
                _ => !plain.is_empty(),
            }
        });
        if !allowed || deny.is_empty() {
            return allowed;
        }
        let pattern = nearest(pattern);
        let mut deny = deny.iter().filter(|rule| rule.denies_to(queue));
        !deny.any(|rule| rule.pattern.covers(&pattern))
    }

    /// Whether a message on this topic may be delivered to a subscription that was allowed, in this queue
    /// group or in none.
    pub(super) fn receives(&self, topic: &Topic, queue: Option<&str>) -> bool {
        let mut receives = true;
        let denies = |rules: &Vec<SubscribeRule>| rules.iter().any(|rule| rule.denies_to(queue));
        let found = &mut |rules: &Vec<_>| receives &= !denies(rules);
        self.receive_deny.for_each_match(topic, found);
        receives
    }
}

impl SubscribeRule {
    /// Whether it, as one that denies, is about subscriptions in this queue group, or in none.
    fn denies_to(&self, queue: Option<&str>) -> bool {
        self.queue.is_none() || queue.is_some_and(|queue| self.has(queue))
    }

    /// Whether the rule is about this queue group.
    fn has(&self, queue: &str) -> bool {
        let Some(own) = self.queue.as_deref() else {
            return false;
        };
        let wildcard = || {
            Some(
                Pattern::parse(own)
                    .ok()?
                    .matches(&Topic::parse(queue).ok()?),
            )
        };
        own == queue || wildcard().unwrap_or(false)
    }
}

/// A pattern that ends with one token where this ends with any number. The NATS server denies `a.>` where
/// `a.*` is denied, rather than to deliver the rest of it.
fn nearest(pattern: &Pattern) -> Pattern {
    let shorter = pattern.as_str().strip_suffix('>');
    let shorter = shorter.filter(|start| start.is_empty() || start.ends_with(['.', ':']));
    let nearest = shorter.and_then(|start| Pattern::parse(&format!("{start}*")).ok());
    nearest.unwrap_or_else(|| pattern.clone())
}

impl Topics {
    fn of<'a>(patterns: impl IntoIterator<Item = &'a Pattern>) -> Self {
        let mut topics = Self::default();
        for pattern in patterns {
            topics.0.change(pattern, |is_in| *is_in = Some(()));
        }
        topics
    }

    fn has(&self, topic: &Topic) -> bool {
        let mut found = false;
        self.0.for_each_match(topic, &mut |()| found = true);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn book(allow: Option<&[&str]>, deny: &[&str]) -> Rulebook {
        let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let publish = Rules {
            allow: allow.map(|texts| {
                let plain = texts.iter().filter(|text| !text.contains(' '));
                plain.map(|text| text.parse().unwrap()).collect()
            }),
            deny: patterns(
                deny.iter()
                    .filter(|d| !d.contains(' '))
                    .copied()
                    .collect::<Vec<_>>()
                    .as_slice(),
            ),
        };
        Rulebook::new(Permissions {
            publish,
            subscribe: Rules {
                allow: allow.map(rules),
                deny: rules(deny),
            },
            ..Permissions::default()
        })
    }

    /// Each line was tried with nats-server 2.9.10, except where it says otherwise.
    #[test]
    fn subscriptions_are_judged_as_the_nats_server_judges_them() {
        let book = book(
            Some(&["s.*", "t.> workers", "u.> v1.*", "w.>"]),
            &["w.no", "w.x.*", "w.q bad"],
        );
        for (subject, queue, allowed) in [
            ("s.a", None, true),
            ("s.*", None, true),
            // The NATS server lets this pass, and delivers `s.a.b`.
            ("s.>", None, false),
            (">", None, false),
            ("*", None, false),
            ("*.a", None, false),
            ("t.a", None, false),
            ("t.a", Some("workers"), true),
            ("t.a", Some("others"), false),
            ("t.>", Some("workers"), true),
            ("u.x", Some("v1.a"), true),
            ("u.x", Some("v2.a"), false),
            ("w.no", None, false),
            ("w.no", Some("good"), false),
            ("w.*", None, true),
            ("w.>", None, true),
            ("w.x.>", None, false),
            ("w.x.*", None, false),
            ("w.*.a", None, true),
            ("w.q", Some("bad"), false),
            ("w.q", Some("good"), true),
            ("w.q", None, true),
        ] {
            let pattern = subject.parse().unwrap();
            assert_eq!(
                book.subscribes(&pattern, queue),
                allowed,
                "{subject} {queue:?}"
            );
        }
        for (topic, received) in [
            ("w.no", false),
            ("w.x.a", false),
            ("w.yes", true),
            ("w.x.a.b", true),
        ] {
            let topic = topic.parse().unwrap();
            assert_eq!(book.receives(&topic, None), received, "{topic}");
        }
    }

    /// The NATS server, 2.9.10, delivers it.
    #[test]
    fn what_is_denied_in_a_queue_group_is_not_delivered_there_by_a_wider_subscription_either() {
        let book = book(None, &["jobs.secret workers", "jobs.*.key v1.*", "jobs.no"]);
        assert!(book.subscribes(&"jobs.*".parse().unwrap(), Some("workers")));
        for (topic, queue, received) in [
            ("jobs.secret", Some("workers"), false),
            ("jobs.secret", Some("others"), true),
            ("jobs.secret", None, true),
            ("jobs.open", Some("workers"), true),
            ("jobs.a.key", Some("v1.a"), false),
            ("jobs.a.key", Some("v2.a"), true),
            ("jobs.no", Some("workers"), false),
        ] {
            let topic = topic.parse().unwrap();
            assert_eq!(book.receives(&topic, queue), received, "{topic} {queue:?}");
        }
    }

    #[test]
    fn what_is_denied_is_denied_and_the_rest_is_not_without_a_list_of_what_is_allowed() {
        let book = book(None, &["foo.*", "*.bar"]);
        for (subject, allowed) in [
            ("foo.*", false),
            ("foo.>", false),
            ("foo.a", false),
            ("z.bar", false),
            ("*.bar", false),
            (">", true),
            ("z.*", true),
            ("*.*", true),
            ("foo.a.b", true),
        ] {
            assert_eq!(
                book.subscribes(&subject.parse().unwrap(), None),
                allowed,
                "{subject}"
            );
        }
    }

    #[test]
    fn publishing_takes_a_rule_that_allows_it_and_none_that_denies_it() {
        let book = book(Some(&["p.*", "q.>"]), &["q.no"]);
        for (topic, allowed) in [
            ("p.a", true),
            ("p.a.b", false),
            ("q.no", false),
            ("q.yes", true),
            ("$SYS.X", false),
        ] {
            assert_eq!(book.publishes(&topic.parse().unwrap()), allowed, "{topic}");
            assert_eq!(
                book.publishes_all(&topic.parse().unwrap()),
                allowed,
                "{topic}"
            );
        }
        assert!(
            !book.publishes_all(&"q.*".parse().unwrap()),
            "a part is denied"
        );
        assert!(book.publishes_all(&"p.*".parse().unwrap()));
    }

    proptest! {
        /// However the lists look, nobody gets what a list denies or none allows.
        #[test]
        fn nothing_is_received_that_is_not_allowed(
            allow in proptest::option::of(proptest::collection::vec("([ab*][.]){0,2}[ab*>]", 0..4)),
            deny in proptest::collection::vec("([ab*][.]){0,2}[ab*>]", 0..4),
            subscription in "([ab*][.]){0,2}[ab*>]",
            topic in "([abc][.]){0,3}[abc]",
        ) {
            let texts = |all: &'_ Vec<String>| all.iter().map(|text| text.parse::<Pattern>().unwrap()).collect::<Vec<_>>();
            let (allowed, denied) = (allow.as_ref().map(texts), texts(&deny));
            let (subscription, topic) = (subscription.parse::<Pattern>().unwrap(), topic.parse::<Topic>().unwrap());
            let rules = Rules { allow: allowed.clone(), deny: denied.clone() };
            let book = Rulebook::new(Permissions {
                subscribe: Rules {
                    allow: allowed.clone().map(|all| all.into_iter().map(Into::into).collect()),
                    deny: denied.iter().cloned().map(Into::into).collect(),
                },
                publish: rules,
                ..Permissions::default()
            });
            let is_allowed = allowed.is_none_or(|all| all.iter().any(|rule| rule.matches(&topic)));
            let is_denied = denied.iter().any(|rule| rule.matches(&topic));
            prop_assert_eq!(book.publishes(&topic), is_allowed && !is_denied);
            let gets = subscription.matches(&topic)
                && book.subscribes(&subscription, None)
                && (subscription.is_literal() || book.receives(&topic, None));
            prop_assert!(!gets || (is_allowed && !is_denied));
        }
    }
}
