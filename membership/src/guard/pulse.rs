//! Heartbeats that only their node can make.
//!
//! A node counts its *beats*, so many a second. In a digest stands not only how many there were but a
//! *token* of the last one. The tokens of an epoch are a chain: each is the digest of the next. So
//! whoever knows one of them can check all later ones, and can make none. The first token of an epoch
//! is its *anchor*, which the node tells in a record of its own, sealed as all are, for the present
//! epoch and the next.

use std::time::Duration;

use chitchat::{ChitchatId, Serializable};
use ring::digest::{Context, SHA256};
use tidings_identity::{SignError, Signer};
use tokio::time::Instant;

use super::seal::first;

/// The heart of this node.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    chain: Chain,
    secret: [u8; 32],
    start: Instant,
    tick: Duration,
}

/// The tokens of one epoch of this node, at hand.
#[derive(Debug)]
pub(crate) struct Tokens {
    pulse: Pulse,
    epoch: u64,
    tokens: Vec<Token>,
}

/// A beat, and the token that shows it. Before the first there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Beat {
    pub(crate) count: u64,
    pub(crate) token: Token,
}

/// What shows a beat. To find one for the next beat takes some 2^64 attempts.
pub(crate) type Token = u64;

/// What is known of the heart of another node.
#[derive(Debug)]
pub(crate) struct Beats {
    chain: Chain,
    /// Of one epoch or two, in order.
    anchors: Vec<Beat>,
    last: Beat,
}

/// What a beat that is told is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It is the newest.
    New,
    /// A newer one is known, or this one.
    Old,
    /// There is no anchor that it could be checked by.
    Unknown,
    /// It is made up.
    Wrong,
}

/// What makes the chains of one run of a node different from all others.
#[derive(Debug, Clone, Copy)]
struct Chain([u8; 16]);

impl Pulse {
    /// The heart of this run, which begins to beat now, at every tick.
    pub(crate) fn new(
        run: &ChitchatId,
        signer: &Signer,
        tick: Duration,
    ) -> Result<Self, SignError> {
        let chain = Chain::of(run);
        // Nobody else can make this signature, and it is told to nobody.
        let secret = signer.sign(&[SECRET, &chain.0].concat())?;
        let mut context = Context::new(&SHA256);
        context.update(&secret.bytes);
        Ok(Self {
            chain,
            secret: first(context.finish().as_ref()),
            start: Instant::now(),
            tick: tick.max(Duration::from_millis(1)),
        })
    }

    /// The epoch that it is in.
    pub(crate) fn epoch(&self, now: Instant) -> u64 {
        self.count(now) / EPOCH
    }

    /// The text of the record that tells the anchors of this epoch and the next.
    pub(crate) fn text(&self, epoch: u64) -> String {
        let anchor = |epoch| format!("{:x}", self.tokens(epoch)[0]);
        format!(
            "{:x} {} {}",
            epoch * EPOCH,
            anchor(epoch),
            anchor(epoch + 1)
        )
    }

    /// The epoch whose anchors this text tells first.
    pub(crate) fn epoch_of(text: &str) -> Option<u64> {
        let (count, _) = text.split_once(' ')?;
        Some(u64::from_str_radix(count, 16).ok()? / EPOCH)
    }

    fn count(&self, now: Instant) -> u64 {
        let beats = now.duration_since(self.start).as_nanos() / self.tick.as_nanos();
        // The first is at once.
        1 + u64::try_from(beats).unwrap_or(u64::MAX - 1)
    }

    fn tokens(&self, epoch: u64) -> Vec<Token> {
        let mut context = Context::new(&SHA256);
        context.update(&self.secret);
        context.update(&epoch.to_le_bytes());
        let mut token = Token::from_le_bytes(first(context.finish().as_ref()));
        let mut tokens = vec![token];
        for count in (epoch * EPOCH..(epoch + 1) * EPOCH - 1).rev() {
            token = self.chain.before(count, token);
            tokens.push(token);
        }
        tokens.reverse();
        tokens
    }
}

impl Tokens {
    pub(crate) fn new(pulse: Pulse) -> Self {
        let tokens = pulse.tokens(0);
        Self {
            pulse,
            epoch: 0,
            tokens,
        }
    }

    /// The newest beat.
    pub(crate) fn beat(&mut self) -> Beat {
        self.at(Instant::now())
    }

    fn at(&mut self, now: Instant) -> Beat {
        let count = self.pulse.count(now);
        let epoch = count / EPOCH;
        if epoch != self.epoch {
            (self.epoch, self.tokens) = (epoch, self.pulse.tokens(epoch));
        }
        let token = self.tokens[(count % EPOCH) as usize];
        Beat { count, token }
    }
}

impl Beats {
    /// Nothing is known yet of the heart of this run.
    pub(crate) fn new(run: &ChitchatId) -> Self {
        Self {
            chain: Chain::of(run),
            anchors: Vec::new(),
            last: Beat::default(),
        }
    }

    /// The newest beat that is known.
    pub(crate) fn last(&self) -> Beat {
        self.last
    }

    /// Takes in the text of a record with anchors. False if it is none.
    pub(crate) fn anchor(&mut self, text: &str) -> bool {
        let mut numbers = text
            .split(' ')
            .map(|number| u64::from_str_radix(number, 16));
        let (Some(Ok(count)), Some(Ok(one)), Some(Ok(two)), None) = (
            numbers.next(),
            numbers.next(),
            numbers.next(),
            numbers.next(),
        ) else {
            return false;
        };
        if count % EPOCH > 0 || count > COUNT_MAX {
            return false;
        }
        let beat = |count, token| Beat { count, token };
        self.anchors = vec![beat(count, one), beat(count + EPOCH, two)];
        true
    }

    /// Takes a beat in, if it is a new one.
    pub(crate) fn take(&mut self, beat: Beat) -> Worth {
        if beat.count <= self.last.count {
            return Worth::Old;
        }
        let epoch = |count| count / EPOCH;
        let mut known = self.anchors.iter().copied().chain([self.last]).rev();
        let Some(known) = known
            .find(|known| epoch(known.count) == epoch(beat.count) && *known != Beat::default())
        else {
            return Worth::Unknown;
        };
        let mut token = beat.token;
        for count in (known.count..beat.count).rev() {
            token = self.chain.before(count, token);
        }
        if token != known.token {
            return Worth::Wrong;
        }
        self.last = beat;
        Worth::New
    }
}

impl Chain {
    fn of(run: &ChitchatId) -> Self {
        let mut bytes = Vec::new();
        run.serialize(&mut bytes);
        let mut context = Context::new(&SHA256);
        context.update(&bytes);
        Self(first(context.finish().as_ref()))
    }

    /// The token of this beat, of which this is the next one's.
    fn before(&self, count: u64, next: Token) -> Token {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        context.update(&count.to_le_bytes());
        context.update(&next.to_le_bytes());
        Token::from_le_bytes(first(context.finish().as_ref()))
    }
}

/// How many beats there are in an epoch. So many digests are the most that a beat can cost.
const EPOCH: u64 = 4_096;

/// Beyond any that is reached.
const COUNT_MAX: u64 = 1 << 53;

const SECRET: &[u8] = b"tidings pulse 1\0";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::bench::{identity, node};

    fn pulse() -> (Pulse, Tokens, Beats) {
        let run = node(1, 1);
        let pulse = Pulse::new(&run, &identity(1).signer(), Duration::from_millis(25)).unwrap();
        (pulse.clone(), Tokens::new(pulse), Beats::new(&run))
    }

    #[tokio::test(start_paused = true)]
    async fn beats_are_known_by_their_anchor_over_epochs() {
        let (pulse, mut tokens, mut beats) = pulse();
        let start = Instant::now();
        let first = tokens.at(start);
        assert_eq!(beats.take(first), Worth::Unknown);
        assert!(beats.anchor(&pulse.text(0)));
        assert_eq!(
            (beats.take(first), beats.take(first)),
            (Worth::New, Worth::Old)
        );
        assert_eq!(beats.last(), first);
        let mut seconds = 0;
        for step in [1, 30, 100, 80, 70] {
            seconds += step;
            let now = start + Duration::from_secs(seconds);
            let beat = tokens.at(now);
            assert_eq!(beat.count, 1 + seconds * 40);
            assert_eq!(beats.take(beat), Worth::New, "after {seconds} s");
            assert!(beats.anchor(&pulse.text(pulse.epoch(now))));
        }
        let late = tokens.at(start + Duration::from_secs(1_000));
        assert_eq!(beats.take(late), Worth::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_else_makes_a_beat() {
        let (pulse, mut tokens, mut beats) = pulse();
        let start = Instant::now();
        beats.anchor(&pulse.text(0));
        beats.take(tokens.at(start));
        let true_one = tokens.at(start + Duration::from_secs(1));
        for forged in [
            Beat {
                token: 0,
                ..true_one
            },
            Beat {
                count: true_one.count + 1,
                ..true_one
            },
            Beat {
                count: true_one.count - 1,
                ..true_one
            },
            Beat {
                token: true_one.token ^ 1,
                ..true_one
            },
        ] {
            assert_eq!(beats.take(forged), Worth::Wrong);
        }
        assert_eq!(beats.take(true_one), Worth::New);
        let mut of_another_run = Beats::new(&node(1, 2));
        of_another_run.anchor(&pulse.text(0));
        assert_eq!(of_another_run.take(true_one), Worth::Wrong);
    }

    #[test]
    fn what_is_no_anchor_is_not_taken_for_one() {
        let mut beats = Beats::new(&node(1, 1));
        for text in [
            "",
            "0",
            "0 1",
            "0 1 2 3",
            "1 1 2",
            "x 1 2",
            "fffffffffffff000 1 2",
            "0 1 2 ",
        ] {
            assert!(!beats.anchor(text), "{text}");
        }
        assert!(beats.anchor("1000 1 2"));
    }
}
