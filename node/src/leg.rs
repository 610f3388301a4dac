use std::sync::Arc;
use std::time::Duration;

use tidings_identity::Incarnation;
use tidings_transport::LinkNumber;
use tokio::time::Instant;

use crate::received::FromNode;
use crate::remote::Remote;

/// An assured message on its way to one node.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) to: To,
    /// What the message is called there.
    pub(crate) number: u64,
    /// Whether the node has it, as it said.
    pub(crate) seen: bool,
    sending: Sending,
    /// Over which link the node was asked last.
    asked_over: Option<LinkNumber>,
    ask_at: Instant,
    ask_after: Duration,
    repeat_after: Duration,
}

/// Where a message goes.
#[derive(Debug, Clone)]
pub(crate) enum To {
    /// To the members on this node.
    Here(Arc<FromNode>),
    /// To those on a peer.
    Peer(Arc<Remote>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    /// It is to be sent, not before then.
    Due(Instant),
    /// It is in the lane, or was taken by this link or a later one.
    Sent {
        over: Option<LinkNumber>,
        at: Instant,
    },
}

impl To {
    /// The run of the node.
    pub(crate) fn run(&self) -> Incarnation {
        match self {
            Self::Here(_) => Incarnation::default(),
            Self::Peer(remote) => remote.incarnation,
        }
    }

    /// The link that takes what this publisher sends.
    pub(crate) fn carrier(&self, publisher: u64) -> Option<LinkNumber> {
        match self {
            Self::Here(_) => None,
            Self::Peer(remote) => remote.peer.carrier(publisher),
        }
    }
}

impl Leg {
    /// One that begins now, while this link serves the lane.
    pub(crate) fn new(to: To, number: u64, carrier: Option<LinkNumber>, now: Instant) -> Self {
        Self {
            to,
            number,
            seen: false,
            sending: Sending::Due(now),
            asked_over: carrier,
            ask_at: now + ASK_AFTER,
            ask_after: ASK_AFTER,
            repeat_after: REPEAT_AFTER,
        }
    }

    /// When it is to be sent, if it is.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.sending {
            Sending::Due(at) => Some(at),
            Sending::Sent { .. } => None,
        }
    }

    /// It is to be sent, not before then.
    pub(crate) fn put_off(&mut self, until: Instant) {
        self.sending = Sending::Due(until);
    }

    /// It was given to the lane, which this link served before, and which took it or had no room.
    pub(crate) fn sent(&mut self, is_taken: bool, over: Option<LinkNumber>, now: Instant) {
        self.sending = match is_taken {
            true => Sending::Sent { over, at: now },
            false => Sending::Due(now + RETRY_AFTER),
        };
    }

    /// The node says that it has not seen it. If the link is still the one that took it, it is on its way;
    /// unless that has been long, and the node could not take it.
    pub(crate) fn is_unseen(&mut self, carrier: Option<LinkNumber>, now: Instant) {
        if let Sending::Sent { over, at } = self.sending
            && !self.seen
        {
            if carrier != over {
                self.sending = Sending::Due(now);
            } else if now >= at + self.repeat_after {
                self.repeat_after *= 2;
                self.sending = Sending::Due(now);
            }
        }
    }

    /// Whether the node is to be asked now. If so, it is taken to be.
    pub(crate) fn asks(&mut self, carrier: Option<LinkNumber>, now: Instant) -> bool {
        let is_time = now >= self.ask_at;
        // What it said may have been lost with the link before.
        if !is_time && carrier == self.asked_over {
            return false;
        }
        self.asked_over = carrier;
        self.ask_at = now + self.ask_after;
        if is_time {
            self.ask_after = (2 * self.ask_after).min(ASK_AFTER_MAX);
        }
        true
    }
}

/// A node that has not said anything for so long is asked, and then ever more rarely.
const ASK_AFTER: Duration = Duration::from_millis(100);
const ASK_AFTER_MAX: Duration = Duration::from_secs(1);
/// After so long a message is sent again that found no room in the lane.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// And one that a node has not seen, over the same link: then it had no memory for it, or an earlier one of
/// the publisher was missing.
const REPEAT_AFTER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;

    fn leg(now: Instant) -> Leg {
        let from = FromNode::new(Arc::default(), Arc::new(Counters::new()), |_| {});
        Leg::new(To::Here(Arc::new(from)), 3, LINK, now)
    }

    const LINK: Option<LinkNumber> = None;

    fn another() -> Option<LinkNumber> {
        Some(LinkNumber::default())
    }

    #[test]
    fn a_message_is_sent_again_when_its_link_is_gone_and_it_was_not_seen() {
        let now = Instant::now();
        let mut leg = leg(now);
        assert_eq!(leg.due(), Some(now));
        leg.sent(true, LINK, now);
        leg.is_unseen(LINK, now);
        assert_eq!(leg.due(), None, "it is on its way");
        leg.is_unseen(another(), now);
        assert_eq!(leg.due(), Some(now));
        leg.sent(true, another(), now);
        leg.seen = true;
        leg.is_unseen(LINK, now);
        assert_eq!(leg.due(), None);
    }

    #[test]
    fn a_message_that_a_node_does_not_take_is_sent_again_ever_more_rarely() {
        let start = Instant::now();
        let (mut leg, mut now) = (leg(start), start);
        leg.sent(true, LINK, now);
        for times in [1, 2, 4] {
            let after = REPEAT_AFTER * times;
            leg.is_unseen(LINK, now + after - Duration::from_millis(1));
            assert_eq!(leg.due(), None);
            now += after;
            leg.is_unseen(LINK, now);
            assert_eq!(leg.due(), Some(now));
            leg.sent(true, LINK, now);
        }
        leg.sent(false, LINK, now);
        assert_eq!(leg.due(), Some(now + RETRY_AFTER), "the lane was full");
    }

    #[test]
    fn a_node_is_asked_ever_more_rarely_and_at_once_over_a_new_link() {
        let start = Instant::now();
        let (mut leg, mut now, mut asked) = (leg(start), start, 0);
        while now < start + Duration::from_secs(10) {
            asked += u32::from(leg.asks(LINK, now));
            now += Duration::from_millis(10);
        }
        assert!((10..20).contains(&asked), "{asked}");
        assert!(leg.asks(another(), now) && !leg.asks(another(), now));
    }
}
