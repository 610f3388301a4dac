use std::collections::VecDeque;

use bytes::Bytes;
use tidings_identity::NodeId;

/// The dialling of one address, for as long as somebody needs it.
#[derive(Debug)]
pub(super) struct Dial {
    /// Gossip for the address. It repeats itself, and the newest message says the most, so the
    /// oldest goes first when there are too many.
    waiting: VecDeque<Bytes>,
    failures: u32,
    /// A pause is due before the next attempt.
    pause: bool,
    /// The next attempt is made because an earlier one failed or a link was lost.
    redial: bool,
    lingered: bool,
    /// It is to be found out who answers there.
    probe: bool,
}

/// What is next in the dialling of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialStep {
    /// Wait, the longer the more attempts have failed in a row, and ask again.
    Pause { failures: u32 },
    /// Make one attempt, and say how it ended.
    Attempt { target: Target, redial: bool },
    /// Nobody needs the address, but it failed lately: ask again when somebody does, so that who
    /// keeps asking for it does not get around the pauses, or when it has lingered.
    Linger,
    /// Nobody needs the address.
    End,
}

/// Whom to expect at an address that is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// This peer and nobody else.
    Peer(NodeId),
    /// Any node of the cluster.
    Anyone,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialOutcome {
    /// With a link.
    Up,
    /// The address leads to this node itself.
    FoundSelf,
    /// The address leads to this peer, with which a link has come up otherwise or is about to.
    Superseded(NodeId),
    /// This peer is not at the address, where somebody else has answered.
    Elsewhere(NodeId),
    /// Without a link.
    Failed,
}

impl Dial {
    pub(super) fn new(pause: bool) -> Self {
        Self {
            waiting: VecDeque::new(),
            failures: 0,
            pause,
            redial: pause,
            lingered: false,
            probe: false,
        }
    }

    /// Whoever answers is wanted, whether a message waits or not.
    pub(super) fn probe(&mut self) {
        self.probe = true;
    }

    /// Whether it is to be found out who answers.
    #[cfg(test)]
    pub(super) fn is_probing(&self) -> bool {
        self.probe
    }

    /// Whether anyone who answers is wanted.
    pub(super) fn is_for_anyone(&self) -> bool {
        self.probe || !self.waiting.is_empty()
    }

    /// How many messages wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// Lets a message wait. Returns how many were lost for it.
    pub(super) fn wait(&mut self, message: Bytes) -> u64 {
        let full = self.waiting.len() == WAITING_MAX;
        if full {
            self.waiting.pop_front();
        }
        self.waiting.push_back(message);
        full.into()
    }

    /// Takes what waits, now that it is known who is there.
    pub(super) fn take_waiting(&mut self) -> impl Iterator<Item = Bytes> {
        self.probe = false;
        std::mem::take(&mut self.waiting).into_iter()
    }

    /// What is next when `target` is needed at the address.
    pub(super) fn next(&mut self, target: Option<Target>) -> DialStep {
        let failures = self.failures;
        if std::mem::take(&mut self.pause) {
            return DialStep::Pause { failures };
        }
        let lingered = std::mem::take(&mut self.lingered);
        match target {
            Some(target) => DialStep::Attempt {
                target,
                redial: self.redial,
            },
            None if failures > 0 && !lingered => DialStep::Linger,
            None => DialStep::End,
        }
    }

    /// Nobody has needed the address for a while.
    pub(super) fn lingered(&mut self) {
        self.lingered = true;
    }

    /// An attempt is over. Returns how many messages were lost with it.
    pub(super) fn ended(&mut self, failed: bool) -> u64 {
        self.pause = failed;
        self.redial = failed;
        self.probe = false;
        if !failed {
            self.failures = 0;
            return 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.take_waiting().count() as u64
    }
}

/// A peer that cannot be reached for long is about to be found dead, so few messages are worth
/// keeping.
const WAITING_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_that_wait_the_newest_stay() {
        let mut dial = Dial::new(false);
        for n in 0..WAITING_MAX {
            assert_eq!(dial.wait(vec![n as u8].into()), 0);
        }
        assert_eq!(dial.wait(Bytes::from_static(b"new")), 1);
        assert_eq!(dial.waiting(), WAITING_MAX as u64);
        assert_eq!(dial.take_waiting().next().unwrap(), vec![1]);
    }

    #[test]
    fn each_failure_is_followed_by_a_pause_and_success_starts_anew() {
        let mut dial = Dial::new(false);
        let attempt = |redial| DialStep::Attempt {
            target: Target::Anyone,
            redial,
        };
        assert_eq!(dial.next(Some(Target::Anyone)), attempt(false));
        for failures in 1..4 {
            dial.wait(Bytes::new());
            assert_eq!(dial.ended(true), 1);
            assert_eq!(dial.next(None), DialStep::Pause { failures });
            assert_eq!(dial.next(Some(Target::Anyone)), attempt(true));
        }
        dial.ended(false);
        assert_eq!(dial.next(None), DialStep::End);
    }

    #[test]
    fn an_address_that_failed_is_remembered_for_a_while() {
        let mut dial = Dial::new(false);
        dial.ended(true);
        assert_eq!(dial.next(None), DialStep::Pause { failures: 1 });
        assert_eq!(dial.next(None), DialStep::Linger);
        assert_eq!(dial.next(None), DialStep::Linger);
        dial.lingered();
        assert_eq!(dial.next(None), DialStep::End);
    }
}
