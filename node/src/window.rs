//! How much of what a publisher sends to a peer is under way.
//!
//! From time to time a frame asks for credit: the receiving node gives it once there is room in the
//! mailboxes that the publisher's messages have filled there. What has been sent and not been given
//! credit for is under way, in the lane, in the network or in front of those mailboxes. When that is
//! much, the publisher is to wait, and nobody else: other publishers have windows of their own.
//!
//! How much that is begins small and grows with the credit. It is small again when a node holds credit
//! back: what is under way still comes to a mailbox that is half full already, and that of some dozens
//! of publishers together is to fit into the other half.
//!
//! Credit that is lost, with a link or for want of room, does no harm: the next credit says the same
//! and more, and nobody waits for long without news. Who has waited in vain
//! is forgiven what is under way, and waits again when it has sent twice as much as before, but not for
//! a lane that has not moved since. So a peer that is stuck is waited for once, and one that takes all
//! and never gives credit ever more rarely.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidings_transport::{Room, SendError};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::holds::HELD_BACK;
use crate::pressure::{Level, Pressure};
use crate::waits::Filling;

/// The window of one publisher to one peer.
pub(crate) struct Window {
    bytes_max: usize,
    /// Says something else when the lane has moved.
    lane: Box<dyn Fn() -> u64 + Send + Sync>,
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
    /// The same, and the publisher is to wait for room before it sends the next.
    LostPressing,
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
    /// What the lane said when it was looked at last.
    moved: u64,
    /// How often in a row the publisher has waited in vain.
    vain: u32,
    /// What the lane said when it last did, until it says something else.
    stuck_at: Option<u64>,
    pressure: Pressure,
}

impl Window {
    /// At most half of so many bytes are under way. `lane` says something else when frames have been
    /// taken from the lane of the publisher.
    pub(crate) fn new(bytes_max: usize, lane: Box<dyn Fn() -> u64 + Send + Sync>) -> Self {
        Self {
            bytes_max,
            lane,
            flow: Mutex::new(Flow {
                bytes: bytes_max / SMALL,
                sent: 0,
                asked: 0,
                credited: 0,
                is_scarce: false,
                moved: 0,
                vain: 0,
                stuck_at: None,
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
        if flow.stuck_at.is_some_and(|at| at != (self.lane)()) {
            flow.stuck_at = None;
        }
        let is_stuck = flow.stuck_at.is_some();
        // A frame that found little room in the lane has not asked, so it is the next that waits.
        let level = match flow.is_scarce {
            _ if is_stuck => Level::Low,
            true => Level::High,
            false => Level::of(flow.under_way(position), flow.allowed()),
        };
        let begins = level == Level::High && !flow.pressure.is_asking();
        let ask_after = (flow.bytes / ASKS).min(ASK_BYTES_MAX) as u64;
        let asks = begins || flow.is_scarce || position - flow.asked >= ask_after;
        let (level, kept) = match send(asks.then_some(position)) {
            Ok(room) => {
                flow.sent = position;
                if asks {
                    flow.asked = position;
                }
                flow.is_scarce = room == Room::Scarce;
                (level, true)
            }
            // There is something to wait for only if something of its own is under way.
            Err(SendError::Full) if flow.sent > flow.credited && !is_stuck => (Level::High, false),
            Err(_) => return Sent::Lost,
        };
        let pressing = flow.pressure.pushed(level, Instant::now);
        match (kept, pressing) {
            (true, true) => Sent::KeptPressing,
            (true, false) => Sent::Kept,
            (false, true) => Sent::LostPressing,
            (false, false) => Sent::Lost,
        }
    }

    /// The peer has given credit up to here, or says that it holds credit back.
    pub(crate) fn credit(&self, position: u64) {
        let mut flow = self.lock();
        // What is further was meant for another run of this node.
        if position == HELD_BACK {
            flow.bytes = self.bytes_max / SMALL;
        } else if (flow.credited + 1..=flow.sent).contains(&position) {
            let credited = position - flow.credited;
            let grown = flow.bytes as u64 + credited;
            flow.bytes = usize::try_from(grown).map_or(self.bytes_max, |b| b.min(self.bytes_max));
            flow.credited = position;
            (flow.vain, flow.stuck_at) = (0, None);
        } else {
            return;
        }
        let level = Level::of(flow.under_way(flow.sent), flow.allowed());
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
        let mut flow = self.lock();
        if !flow.pressure.is_asking() {
            return None;
        }
        let moved = (self.lane)();
        if moved != flow.moved {
            flow.moved = moved;
            // The link gets on, if only with what others have sent.
            flow.pressure.took(Level::Middle, || now);
        }
        let until = flow.pressure.wait(now, STALL_MAX, wait_max);
        if until.is_none() {
            flow.credited = flow.sent;
            flow.vain = flow.vain.saturating_add(1);
            flow.stuck_at = Some(moved);
            flow.pressure = Pressure::None;
        }
        until
    }

    fn room(&self) -> &Notify {
        &self.room
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Window").field(&self.lock()).finish()
    }
}

impl Flow {
    fn allowed(&self) -> usize {
        self.bytes.saturating_mul(1 << self.vain.min(DOUBLINGS_MAX))
    }

    fn under_way(&self, sent: u64) -> usize {
        usize::try_from(sent - self.credited).unwrap_or(usize::MAX)
    }
}

/// What a frame counts besides its payload and headers, so that what waits for small messages is
/// bounded, too.
const FRAME_BYTES: usize = 128;
/// Credit is asked for so many times in a window, and at least after so many bytes.
const ASKS: usize = 8;
const ASK_BYTES_MAX: usize = 64 << 10;
/// After so many, no window is ever filled.
const DOUBLINGS_MAX: u32 = 24;
/// A link on which nothing moves for so long is stuck. One whose queue of half a second runs over
/// stands still for longer than that, until what was lost has been sent again.
const STALL_MAX: Duration = Duration::from_secs(1);
/// A small window is such a part of a full one.
const SMALL: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 64 << 10;

    /// Its lane stands still.
    fn window() -> Window {
        Window::new(BYTES_MAX, Box::new(|| 0))
    }

    /// Its lane moves all the time.
    fn moving() -> Window {
        let lane = AtomicU64::new(0);
        Window::new(BYTES_MAX, Box::new(move || lane.fetch_add(1, Relaxed)))
    }

    /// Waits in vain, and says until when.
    fn wait(window: &Window, mut now: Instant) -> Instant {
        while let Some(until) = window.wait(now, Duration::from_secs(5)) {
            now = until;
        }
        now
    }

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
        let window = window();
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
        let window = window();
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
        let window = window();
        for _ in 0..1_000 {
            let lost = window.send(1_000, |_| Err(SendError::Full));
            assert_eq!(lost, Sent::Lost);
        }
        assert_eq!(send(&window, 1_000, &mut VecDeque::new()), Sent::Kept);
    }

    #[test]
    fn who_finds_little_room_in_a_lane_waits_for_the_credit_of_the_next_frame() {
        let window = window();
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
        let window = window();
        let mut asked = VecDeque::new();
        while send(&window, 1_000, &mut asked) == Sent::Kept {}
        window.credit(u64::MAX);
        let wait = window.wait(Instant::now(), Duration::from_secs(5));
        assert!(wait.is_some(), "it waits on");
    }

    #[test]
    fn who_loses_a_frame_for_want_of_room_waits_for_those_that_were_kept() {
        let window = window();
        let mut asked = VecDeque::new();
        let lose = || window.send(1, |_| Err(SendError::Full));
        assert_eq!(lose(), Sent::Lost);
        while asked.is_empty() {
            send(&window, 100, &mut asked);
        }
        assert_eq!(lose(), Sent::LostPressing);
        window.credit(asked[0]);
        assert_eq!(lose(), Sent::Lost);
    }

    #[test]
    fn a_lane_that_stands_still_is_waited_for_once() {
        let lane = Arc::new(AtomicU64::new(0));
        let moved = Arc::clone(&lane);
        let window = Window::new(BYTES_MAX, Box::new(move || moved.load(Relaxed)));
        let mut asked = VecDeque::new();
        while send(&window, 1_000, &mut asked) == Sent::Kept {}
        let begun = Instant::now();
        assert!(wait(&window, begun) <= begun + Duration::from_millis(1_100));
        for _ in 0..1_000 {
            assert_eq!(send(&window, 1_000, &mut asked), Sent::Kept);
        }
        assert_eq!(window.send(1, |_| Err(SendError::Full)), Sent::Lost);
        // What has piled up meanwhile counts again as soon as the link gets on.
        lane.fetch_add(1, Relaxed);
        assert_eq!(send(&window, 1_000, &mut asked), Sent::KeptPressing);
    }

    #[test]
    fn a_peer_that_takes_all_and_gives_no_credit_is_waited_for_ever_more_rarely() {
        let window = moving();
        let (mut sent, mut waits) = (0_u64, 0);
        let mut now = Instant::now();
        while sent < 1 << 30 {
            sent += 60_000;
            if send(&window, 60_000, &mut VecDeque::new()) == Sent::KeptPressing {
                // It holds back what it will never give.
                window.credit(HELD_BACK);
                now = wait(&window, now);
                waits += 1;
            }
        }
        assert!(waits <= 24, "{waits} waits");
    }

    #[test]
    fn who_waits_for_a_lane_that_moves_waits_up_to_the_bound() {
        let lane = Arc::new(AtomicU64::new(0));
        let moved = Arc::clone(&lane);
        let window = Window::new(BYTES_MAX, Box::new(move || moved.load(Relaxed)));
        while send(&window, 1_000, &mut VecDeque::new()) == Sent::Kept {}
        let bound = Duration::from_secs(5);
        let begun = Instant::now();
        let mut now = begun;
        while let Some(until) = window.wait(now, bound) {
            lane.fetch_add(1, Relaxed);
            now = until - Duration::from_millis(1);
            assert!(now <= begun + 2 * bound);
            if now + Duration::from_millis(2) >= begun + bound {
                now = begun + bound;
            }
        }
        assert!(
            now >= begun + bound - Duration::from_millis(100),
            "{:?}",
            now - begun
        );
    }

    proptest! {
        /// However frames and credit are lost, a publisher that waits goes on: at once when credit
        /// for all comes, and within the bound when none does.
        #[test]
        fn what_is_lost_stops_nobody_and_lets_nobody_go_unslowed(
            steps in prop::collection::vec((1..4_000_usize, 0..4_u8), 1..400),
        ) {
            let window = moving();
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
            // Nobody is waited for in vain, or let go, for good.
            let mut sent = 0;
            while send(&window, 1_000, &mut asked) == Sent::Kept {
                sent += 1_000 + FRAME_BYTES;
                prop_assert!(sent <= BYTES_MAX);
            }
            let last = asked.pop_back().unwrap();
            window.credit(last);
            prop_assert_eq!(send(&window, 1_000, &mut asked), Sent::Kept);
        }
    }
}
