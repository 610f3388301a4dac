//! What is asked of the servers.

/// Publishers and subscribers, where they are and what they do.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    pub(crate) name: String,
    /// How many nodes there are: one, or two.
    pub(crate) nodes: usize,
    /// The size of each message's payload.
    pub(crate) payload_bytes: usize,
    pub(crate) publishers: Vec<Place>,
    pub(crate) subscribers: Vec<Subscriber>,
    /// Clients of the first node that subscribe once, to nothing that is published, and are idle.
    pub(crate) idle: usize,
}

/// The node where a client is, counted from 0, and the topic that it cares for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) node: usize,
    pub(crate) topic: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Subscriber {
    pub(crate) place: Place,
    pub(crate) pace: Pace,
}

/// How a subscriber reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as it can.
    Full,
    /// So many bytes in a second for as long as there is load, then as fast as it can.
    BytesPerSecond(usize),
    /// Not at all any more once the load has begun; when it is over, it looks what there is.
    Stops,
}

/// The sizes of payloads, with their names.
const SIZES: [(&str, usize); 3] = [("64", 64), ("1k", 1 << 10), ("64k", 64 << 10)];
const SLOW_BYTES_PER_SECOND: usize = 1 << 20;
const IDLE_CLIENTS: usize = 2_000;

impl Workload {
    /// All there are, in the order in which they run.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for remote in [false, true] {
            let prefix = if remote { "remote-" } else { "" };
            // Publishers are at the first node, subscribers at the last.
            let to = usize::from(remote);
            for (size, bytes) in SIZES {
                let mut workload = Self::new(format!("{prefix}one-to-one-{size}"), to + 1, bytes);
                workload.pair(0, to, "load");
                all.push(workload);
            }
            for (size, bytes) in SIZES {
                let mut workload = Self::new(format!("{prefix}four-to-four-{size}"), to + 1, bytes);
                (0..4).for_each(|n| workload.pair(0, to, &format!("load.{n}")));
                all.push(workload);
            }
            for (size, bytes) in SIZES {
                let mut workload = Self::new(format!("{prefix}four-to-all-{size}"), to + 1, bytes);
                (0..4).for_each(|_| workload.pair(0, to, "load"));
                all.push(workload);
            }
        }
        for (size, bytes) in SIZES {
            let mut workload = Self::new(format!("both-ways-{size}"), 2, bytes);
            workload.pair(0, 1, "load.there");
            workload.pair(1, 0, "load.back");
            all.push(workload);
        }
        let mut flood = Self::new("remote-flood-64k".to_owned(), 2, 64 << 10);
        flood.pair(0, 1, "load");
        (0..3).for_each(|_| flood.publishers.push(Place::at(0, "load")));
        all.push(flood);
        for (prefix, to) in [("", 0), ("remote-", 1)] {
            let mut slow = Self::new(format!("{prefix}slow-subscriber-1k"), to + 1, 1 << 10);
            slow.pair(0, to, "load");
            slow.listen(to, "load", Pace::BytesPerSecond(SLOW_BYTES_PER_SECOND));
            all.push(slow);
            let mut stuck = Self::new(format!("{prefix}stuck-subscriber-1k"), to + 1, 1 << 10);
            stuck.pair(0, to, "load");
            stuck.listen(to, "load", Pace::Full);
            stuck.listen(to, "load", Pace::Stops);
            all.push(stuck);
        }
        let mut idle = Self::new("idle-clients".to_owned(), 1, 64);
        idle.idle = IDLE_CLIENTS;
        all.push(idle);
        all
    }

    /// Those with this name or, if there is none, those whose names begin so.
    pub(crate) fn named(name: &str) -> Vec<Self> {
        let mut all = Self::all();
        match all.iter().position(|workload| workload.name == name) {
            Some(exact) => vec![all.swap_remove(exact)],
            None => {
                all.retain(|workload| workload.name.starts_with(name));
                all
            }
        }
    }

    /// The publishers, by their numbers, whose messages a subscriber of the topic is to get.
    pub(crate) fn publishers_of(&self, topic: &str) -> Vec<u32> {
        let here = self.publishers.iter().zip(0..);
        here.filter(|(place, _)| place.topic == topic)
            .map(|(_, number)| number)
            .collect()
    }

    fn new(name: String, nodes: usize, payload_bytes: usize) -> Self {
        Self {
            name,
            nodes,
            payload_bytes,
            publishers: Vec::new(),
            subscribers: Vec::new(),
            idle: 0,
        }
    }

    fn pair(&mut self, from: usize, to: usize, topic: &str) {
        self.publishers.push(Place::at(from, topic));
        self.listen(to, topic, Pace::Full);
    }

    fn listen(&mut self, node: usize, topic: &str, pace: Pace) {
        self.subscribers.push(Subscriber {
            place: Place::at(node, topic),
            pace,
        });
    }
}

impl Place {
    /// At a node, with a topic.
    pub(crate) fn at(node: usize, topic: &str) -> Self {
        Self {
            node,
            topic: topic.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::stamp::Stamp;

    use super::*;

    #[test]
    fn a_name_is_one_workload_and_a_beginning_is_several() {
        let names = |name| Workload::named(name).into_iter().map(|w| w.name);
        assert_eq!(
            names("one-to-one-64").collect::<Vec<_>>(),
            ["one-to-one-64"]
        );
        assert_eq!(names("remote-four-to-all").count(), 3);
        assert_eq!(names("no-such").count(), 0);
        let all = Workload::all();
        let distinct: HashSet<_> = all.iter().map(|w| &w.name).collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn every_publisher_has_a_subscriber_and_all_are_at_nodes_that_there_are() {
        for workload in Workload::all() {
            assert!(workload.payload_bytes >= Stamp::BYTES);
            let places = workload.subscribers.iter().map(|s| &s.place);
            for place in places.clone().chain(&workload.publishers) {
                assert!(place.node < workload.nodes, "{}", workload.name);
            }
            for subscriber in &workload.subscribers {
                assert!(!workload.publishers_of(&subscriber.place.topic).is_empty());
            }
            for publisher in &workload.publishers {
                assert!(places.clone().any(|place| place.topic == publisher.topic));
            }
        }
    }
}
