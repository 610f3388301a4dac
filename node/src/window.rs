//! How much of what a publisher sends to a peer is under way.
//!
//! From time to time a frame asks for credit: the receiving node gives it once there is room in the
//! mailboxes that the publisher's messages have filled there. What has been sent and not been given
//! credit for is under way, in the lane, in the network or in front of those mailboxes. When that is
//! much, the publisher is to wait, and nobody else: other publishers have windows of their own.
//!
//! How much that is begins small and grows with the credit. It is small again when a node holds credit
//! back: what is under way still comes to a mailbox that is half full already, and that of many
//! publishers together must fit into the other half.
//!
//! Credit that is lost, with a link or for want of room, does no harm: the next credit says the same
//! and more, and nobody waits for longer than for a reader that takes nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_transport::{Room, SendError};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::pressure::{Level, Pressure};
use crate::waits::Filling;

/// The window of one publisher to one peer.
#[derive(Debug)]
pub(crate) struct Window {
    bytes_max: usize,
    flow: Mutex<Flow>,
    /// Wakes the publisher that waits for room.
    room: Notify,
}

/// What became of a frame that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It is under way.
    Kept,
    /// The same, and the publisher is to wait for room.
    KeptPressing,
    /// It was lost, and is counted.
    Lost,
}

/// Positions count the bytes sent so far, with some for each frame.
#[derive(Debug)]
struct Flow {
    /// How much may be under way; at half of it the publisher is to wait.
    bytes: usize,
    sent: u64,
    /// Where credit was asked for last.
    asked: u64,
    /// Up to where there is credit.
    credited: u64,
    /// The lane had little room for the publisher when it sent last.
    is_scarce: bool,
    pressure: Pressure,
}

impl Window {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            flow: Mutex::new(Flow {
                bytes: bytes_max / SMALL,
                sent: 0,
                asked: 0,
                credited: 0,
                is_scarce: false,
                pressure: Pressure::default(),
            }),
            room: Notify::new(),
        }
    }

    /// Sends a frame of a message with so many bytes. `send` is given the position for which the
    /// frame is to ask for credit, if it is.
    pub(crate) fn send(
        &self,
        bytes: usize,
        send: impl FnOnce(Option<u64>) -> Result<Room, SendError>,
    ) -> Sent {
        let mut flow = self.lock();
        let position = flow.sent + (bytes + FRAME_BYTES) as u64;
        let asks = flow.is_scarce || position - flow.asked >= (flow.bytes / ASKS) as u64;
        let Ok(room) = send(asks.then_some(position)) else {
            return Sent::Lost;
        };
        // For the frame that found little room there is nothing to wait for, as it has not asked.
        let level = if flow.is_scarce {
            Level::High
        } else {
            Level::of(flow.under_way(position), flow.bytes)
        };
        flow.sent = position;
        if asks {
            flow.asked = position;
        }
        flow.is_scarce = room == Room::Scarce;
        if flow.pressure.pushed(level, Instant::now) {
            Sent::KeptPressing
        } else {
            Sent::Kept
        }
    }

    /// The peer has given credit up to here. What is not beyond the last credit says that it holds
    /// credit back, and has not forgotten the publisher.
    pub(crate) fn credit(&self, position: u64) {
        let mut flow = self.lock();
        if position > flow.sent {
            // Meant for another run of this node.
            return;
        }
        let credited = position.saturating_sub(flow.credited);
        flow.bytes = match usize::try_from(credited) {
            Ok(0) => self.bytes_max / SMALL,
            Ok(credited) => flow.bytes.saturating_add(credited).min(self.bytes_max),
            Err(_) => self.bytes_max,
        };
        flow.credited += credited;
        let level = Level::of(flow.under_way(flow.sent), flow.bytes);
        if flow.pressure.took(level, Instant::now) {
            self.room.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Flow> {
        // Nothing panics while the lock is held, so the state behind a poisoned one is whole.
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filling for Window {
    fn wait(&self, now: Instant, wait_max: Duration) -> Option<Instant> {
        self.lock().pressure.wait(now, wait_max)
    }

    fn room(&self) -> &Notify {
        &self.room
    }
}

impl Flow {
    fn under_way(&self, sent: u64) -> usize {
        usize::try_from(sent - self.credited).unwrap_or(usize::MAX)
    }
}

/// What a frame counts besides its payload and headers, so that what waits for small messages is
/// bounded, too.
const FRAME_BYTES: usize = 128;
/// Credit is asked for so many times in a window.
const ASKS: usize = 8;
/// A small window is such a part of a full one.
const SMALL: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 64 << 10;

    fn send(window: &Window, bytes: usize, asked: &mut VecDeque<u64>) -> Sent {
        window.send(bytes, |credit_at| {
            asked.extend(credit_at);
            Ok(Room::Plenty)
        })
    }

    /// Sends, and gets credit for all of it, until the window is as large as it gets.
    fn grow(window: &Window) {
        let mut asked = VecDeque::new();
        for _ in 0..SMALL * ASKS * ASKS {
            while asked.is_empty() {
                send(window, 1024 - FRAME_BYTES, &mut asked);
            }
            asked.drain(..).for_each(|position| window.credit(position));
        }
    }

    #[test]
    fn a_publisher_waits_when_half_a_window_is_under_way_and_goes_on_at_a_quarter() {
        let window = Window::new(BYTES_MAX);
        let mut asked = VecDeque::new();
        let frame = 1024 - FRAME_BYTES;
        grow(&window);
        for _ in 0..31 {
            assert_eq!(send(&window, frame, &mut asked), Sent::Kept);
        }
        assert_eq!(send(&window, frame, &mut asked), Sent::KeptPressing);
        let now = Instant::now();
        let waits = || window.wait(now, Duration::from_secs(5)).is_some();
        let begun = asked[0] - (8 << 10);
        assert_eq!(asked, [8, 16, 24, 32].map(|kib| begun + (kib << 10)));
        window.credit(asked[0]);
        assert!(waits());
        window.credit(asked[1]);
        assert!(!waits());
    }

    #[test]
    fn little_is_under_way_at_first_and_after_credit_was_held_back() {
        let window = Window::new(BYTES_MAX);
        let under_way = || {
            let mut asked = VecDeque::new();
            let mut sent = FRAME_BYTES + 100;
            while send(&window, 100, &mut asked) == Sent::Kept {
                sent += FRAME_BYTES + 100;
            }
            (sent, asked.pop_back().unwrap())
        };
        let (sent, last) = under_way();
        assert!(sent <= BYTES_MAX / SMALL / 2 + 1_000, "{sent}");
        window.credit(last);
        grow(&window);
        let (sent, last) = under_way();
        assert!(sent >= BYTES_MAX / 2, "{sent}");
        window.credit(0);
        window.credit(last);
        let (sent, _) = under_way();
        // Held back was once; then there was credit for half a window.
        assert!(sent <= BYTES_MAX / 2 * 3 / 4, "{sent}");
    }

    #[test]
    fn what_was_lost_here_is_not_under_way() {
        let window = Window::new(BYTES_MAX);
        for _ in 0..1_000 {
            let lost = window.send(1_000, |_| Err(SendError::Full));
            assert_eq!(lost, Sent::Lost);
        }
        assert_eq!(send(&window, 1_000, &mut VecDeque::new()), Sent::Kept);
    }

    #[test]
    fn who_finds_little_room_in_a_lane_waits_for_the_credit_of_the_next_frame() {
        let window = Window::new(BYTES_MAX);
        assert_eq!(window.send(1, |_| Ok(Room::Scarce)), Sent::Kept);
        let mut asked = None;
        let next = window.send(1, |credit_at| {
            asked = credit_at;
            Ok(Room::Plenty)
        });
        assert_eq!(next, Sent::KeptPressing);
        window.credit(asked.expect("it asks"));
        assert_eq!(window.send(1, |_| Ok(Room::Plenty)), Sent::Kept);
    }

    #[test]
    fn credit_for_what_was_never_sent_is_none() {
        let window = Window::new(BYTES_MAX);
        let mut asked = VecDeque::new();
        while send(&window, 1_000, &mut asked) == Sent::Kept {}
        window.credit(u64::MAX);
        let wait = window.wait(Instant::now(), Duration::from_secs(5));
        assert!(wait.is_some(), "it waits on");
    }

    proptest! {
        /// However frames and credit are lost, a publisher that waits goes on: at once when credit
        /// for all comes, and within the bound when none does.
        #[test]
        fn what_is_lost_stops_nobody(
            steps in prop::collection::vec((1..4_000_usize, 0..4_u8), 1..400),
        ) {
            let window = Window::new(BYTES_MAX);
            let mut asked = VecDeque::new();
            for (bytes, fate) in steps {
                send(&window, bytes, &mut asked);
                match fate {
                    0 => drop(asked.pop_front()),
                    1 => if let Some(position) = asked.pop_front() {
                        window.credit(position);
                    },
                    _ => {}
                }
            }
            let bound = Duration::from_secs(5);
            let mut now = Instant::now();
            let begun = now;
            let mut other = now;
            while let Some(until) = window.wait(now, bound) {
                prop_assert!(until > now && until <= begun + bound);
                other = now;
                now = until;
            }
            prop_assert!(other <= begun + bound);
            // Once more is sent and there is credit for it, it counts as if nothing had been lost.
            let mut asked = VecDeque::new();
            while asked.is_empty() {
                send(&window, 1_000, &mut asked);
            }
            window.credit(asked[0]);
            prop_assert_eq!(send(&window, 1_000, &mut asked), Sent::Kept);
        }
    }
}
