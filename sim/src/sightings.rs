use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::path::Fate;

/// A connection of which nothing was heard for this long is over.
const QUIET: Duration = Duration::from_secs(3);

/// Rare things that a run may contain, as the wire shows them: told from the headers of QUIC that
/// are not encrypted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sightings {
    /// A handshake packet that a cut swallowed, after the handshake had begun.
    pub(crate) cuts_in_handshake: u64,
    /// Two hosts that dialled each other before either heard of it.
    pub(crate) crossed_dials: u64,
    /// When a path last carried handshake packets: sent, and due to arrive.
    handshakes: BTreeMap<(usize, usize), (Instant, Instant)>,
}

impl Sightings {
    pub(crate) fn sent(
        &mut self,
        way: (usize, usize),
        bytes: &[u8],
        now: Instant,
        fate: Fate,
        is_cut: bool,
    ) {
        // The first bit tells the long header, which only handshakes use; the two bits after the
        // next are zero in the first packets of either side.
        let Some(first) = bytes.first().filter(|first| **first & 0x80 != 0) else {
            return;
        };
        let is_initial = first & 0x30 == 0;
        let back = self.handshakes.get(&(way.1, way.0)).copied();
        let forth = self.handshakes.get(&way).copied();
        let is_recent = |seen: (Instant, Instant)| now.duration_since(seen.0) < QUIET;
        if is_cut && back.is_some_and(|seen| is_recent(seen) && seen.1 <= now) {
            self.cuts_in_handshake += 1;
        }
        // Theirs is still under way, so that ours is no answer to it.
        let is_crossing = |seen: (Instant, Instant)| seen.1 > now;
        if is_initial && back.is_some_and(is_crossing) && !forth.is_some_and(is_recent) {
            self.crossed_dials += 1;
        }
        if let Fate::Arrives(at, _) = fate {
            // What is under way already arrives first.
            let at = forth
                .filter(|seen| is_recent(*seen))
                .map_or(at, |seen| seen.1.min(at));
            self.handshakes.insert(way, (now, at));
        }
    }
}
