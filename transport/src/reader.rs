//! The receiving sides of a link: a task for each lane and one for the control stream. They hand over what
//! arrives and wait for nothing else, but that of the control stream for room for more gossip of its peer.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use quinn::{ReadError, ReadExactError, RecvStream};
use tidings_identity::{
    ForeignListError, Learnt, RevocationList, RevocationListError, Revocations,
};
use tracing::{debug, info, warn};

use crate::control::{Control, ControlError};
use crate::cursor::Lack;
use crate::frame::{FrameDecoder, FrameTooLargeError, Piece};
use crate::gossip_in::GossipIn;
use crate::link::Link;
use crate::links::Links;
use crate::opening::Opening;
use crate::stats::Counters;
use crate::{Receive, Violation};

/// Reads lanes from one link.
#[derive(Clone)]
pub(crate) struct LaneReader {
    pub(crate) link: Arc<Link>,
    pub(crate) links: Arc<Links>,
    pub(crate) receiver: Arc<dyn Receive>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) frame_bytes_max: usize,
}

/// Reads gossip, reports, questions and revocations from the control stream of one link.
pub(crate) struct ControlReader {
    pub(crate) link: Arc<Link>,
    pub(crate) links: Arc<Links>,
    pub(crate) receiver: Arc<dyn Receive>,
    pub(crate) gossip_in: Arc<GossipIn>,
    pub(crate) revocations: Revocations,
    pub(crate) counters: Arc<Counters>,
    pub(crate) control_bytes_max: usize,
}

/// Why a lane cannot be read any further.
#[derive(Debug, thiserror::Error)]
enum LaneError {
    #[error("the stream ended before the lane began")]
    Opening(#[from] ReadExactError),
    #[error("the stream broke")]
    Read(#[from] ReadError),
    #[error("lane {0} does not exist or is open already")]
    Lane(u8),
    #[error("lane {lane} claims that {lost} frames were lost")]
    Jump { lane: u8, lost: u64 },
    #[error(transparent)]
    Frame(#[from] FrameTooLargeError),
    #[error(transparent)]
    Refused(#[from] Violation),
}

/// Why a revocation list of a peer cannot be one.
#[derive(Debug, thiserror::Error)]
enum RevokedError {
    #[error("malformed revocation list: {0}")]
    List(#[from] RevocationListError),
    #[error(transparent)]
    Cluster(#[from] ForeignListError),
}

impl LaneReader {
    /// Reads one lane until it or the link ends.
    pub(crate) async fn run(self, stream: RecvStream) {
        match self.read(stream).await {
            Ok(()) => {}
            // Whatever ended the connection is reported with the link.
            Err(LaneError::Opening(_) | LaneError::Read(_)) => {}
            Err(error) => self.links.violation(&self.link, &error),
        }
    }

    async fn read(&self, mut stream: RecvStream) -> Result<(), LaneError> {
        let link = &*self.link;
        let mut opening = [0; Opening::BYTES];
        stream.read_exact(&mut opening).await?;
        let opening = Opening::decode(opening);
        let lane = opening.lane;
        if !link.open_lane(lane) {
            return Err(LaneError::Lane(lane));
        }
        let opened = link
            .peer
            .inbound(lane)
            .open(link.incarnation, link.number, &opening);
        let Some(lack) = opened else {
            return Ok(());
        };
        if lack.lost > LOST_MAX {
            let lost = lack.lost;
            return Err(LaneError::Jump { lane, lost });
        }
        link.peer.count_lack(lack);
        link.peer.report_lost();
        if lack.lost > 0 {
            let frames = lack.lost;
            warn!(peer = %link.peer.name(), lane, frames, "frames were lost with the last link");
        }
        let read = self.read_frames(stream, &opening).await;
        if read.is_ok() {
            link.peer.inbound(lane).finish(link.number);
        } else if link.peer.inbound(lane).cut(link.number) {
            link.peer.count_cut();
        }
        read
    }

    async fn read_frames(
        &self,
        mut stream: RecvStream,
        opening: &Opening,
    ) -> Result<(), LaneError> {
        let link = &*self.link;
        let (lane, mut number) = (opening.lane, opening.first);
        let mut decoder = FrameDecoder::new(self.frame_bytes_max);
        let mut chunks = [const { Bytes::new() }; CHUNKS_MAX];
        while let Some(count) = stream.read_chunks(&mut chunks).await? {
            let chunks = chunks[..count].iter_mut().map(std::mem::take);
            if !self.deliver(lane, &mut number, &mut decoder, chunks)? {
                debug!(peer = %link.peer.name(), lane, "a newer link carries the lane");
                return Ok(());
            }
            // A peer that sends without a pause must not keep other tasks from running.
            tokio::task::coop::consume_budget().await;
        }
        Ok(())
    }

    /// Hands over the frames that are complete with `chunks`. `number` is that of the next one.
    /// False when another link carries the lane now.
    fn deliver(
        &self,
        lane: u8,
        number: &mut u64,
        decoder: &mut FrameDecoder,
        chunks: impl Iterator<Item = Bytes>,
    ) -> Result<bool, LaneError> {
        let link = &*self.link;
        let mut cursor = link.peer.inbound(lane);
        if !cursor.is_read_from(link.number) {
            return Ok(false);
        }
        for chunk in chunks {
            decoder.feed(chunk);
            while let Some(piece) = decoder.next()? {
                let frame = match piece {
                    Piece::Frame(frame) => frame,
                    Piece::Withheld(frames) => {
                        cursor.withheld(frames);
                        link.peer.count_lack(Lack {
                            withheld: frames.into(),
                            unknown: frames == 0,
                            ..Lack::default()
                        });
                        continue;
                    }
                };
                let admitted = cursor.admit(*number);
                *number = number.saturating_add(1);
                if !admitted {
                    // Numbered below what came before, which only a node that runs twice under
                    // one name does.
                    link.peer.count_lack(Lack {
                        lost: 1,
                        ..Lack::default()
                    });
                    continue;
                }
                self.counters.frames_received.fetch_add(1, Relaxed);
                self.counters
                    .frame_bytes_received
                    .fetch_add(frame.len() as u64, Relaxed);
                self.receiver.frame(&link.peer, link.incarnation, frame)?;
            }
        }
        Ok(true)
    }
}

impl ControlReader {
    /// Reads until the link ends or the peer has nothing more to say.
    pub(crate) async fn run(self, mut stream: RecvStream) {
        loop {
            if self.link.is_violated() {
                return;
            }
            let violation: Box<dyn Error + Send> =
                match Control::read(&mut stream, self.control_bytes_max).await {
                    Ok(Control::Gossip(message)) => {
                        self.hand_over(message).await;
                        tokio::task::coop::consume_budget().await;
                        continue;
                    }
                    Ok(Control::Credit(credit)) => {
                        let Link {
                            peer, incarnation, ..
                        } = &*self.link;
                        self.receiver.credit(peer, *incarnation, credit);
                        // As with lanes, a peer that sends without a pause does not keep others from running.
                        tokio::task::coop::consume_budget().await;
                        continue;
                    }
                    Ok(Control::Assurance(message)) => {
                        let Link {
                            peer, incarnation, ..
                        } = &*self.link;
                        match self.receiver.assurance(peer, *incarnation, message) {
                            Ok(()) => {
                                tokio::task::coop::consume_budget().await;
                                continue;
                            }
                            Err(violation) => Box::new(violation),
                        }
                    }
                    Ok(Control::Lost(frames)) => {
                        self.link.peer.lost_there(frames);
                        tokio::task::coop::consume_budget().await;
                        continue;
                    }
                    Ok(Control::Revoked(list)) => match self.learn(&list) {
                        Ok(()) => {
                            tokio::task::coop::consume_budget().await;
                            continue;
                        }
                        Err(error) => Box::new(error),
                    },
                    Ok(Control::Ask { number, body }) => match self.asked(number, body) {
                        Ok(()) => {
                            tokio::task::coop::consume_budget().await;
                            continue;
                        }
                        Err(error) => Box::new(error),
                    },
                    Ok(Control::Answer { number, body }) => {
                        match self.link.questions.answered(number, body) {
                            Ok(()) => {
                                tokio::task::coop::consume_budget().await;
                                continue;
                            }
                            Err(error) => Box::new(error),
                        }
                    }
                    Ok(other) => Box::new(ControlError::Unexpected(other.name())),
                    // The connection is lost, or the peer is leaving.
                    Err(ControlError::Read(_)) => return,
                    Err(error) => Box::new(error),
                };
            return self.links.violation(&self.link, &violation);
        }
    }

    fn asked(&self, number: u64, question: Bytes) -> Result<(), ControlError> {
        let Link {
            peer, incarnation, ..
        } = &*self.link;
        let answering = self.link.questions.asked(number)?;
        let receiver = &self.receiver;
        receiver.question(peer, *incarnation, question, answering);
        Ok(())
    }

    /// Whatever is new holds from now on, also for this link.
    fn learn(&self, bytes: &[u8]) -> Result<(), RevokedError> {
        if self.revocations.is_known(bytes) {
            return Ok(());
        }
        let list = RevocationList::parse(bytes)?;
        let learnt = self.revocations.learn(&list)?;
        let (peer, sequence) = (self.link.peer.name(), list.sequence());
        match learnt {
            Learnt::New => {
                let nodes = list.entries().count();
                info!(%peer, sequence, nodes, "a peer told of a newer revocation list");
            }
            Learnt::Conflict => warn!(
                %peer,
                sequence,
                "two revocation lists have the same number: revoke with one copy of the authority only, \
                 and revoke again what the newest list lacks"
            ),
            // One of the two nodes is behind, or is changing from one authority to another.
            Learnt::Known | Learnt::Stranger => {
                debug!(%peer, sequence, ?learnt, "a peer told of a revocation list that changes nothing");
            }
        }
        Ok(())
    }

    /// Waits for room, and meanwhile the peer for this link, until it ends. Who claims the address of
    /// another is not heard.
    async fn hand_over(&self, message: Bytes) {
        let counters = &self.counters;
        counters.gossip_received.fetch_add(1, Relaxed);
        counters
            .gossip_bytes_received
            .fetch_add(message.len() as u64, Relaxed);
        let run = self.link.run();
        // Answers would go to whoever has answered there.
        if self.links.is_of_another(run.addr, &run.node) {
            counters.gossip_dropped.fetch_add(1, Relaxed);
            return;
        }
        let is_taken = tokio::select! {
            biased;
            is_taken = self.gossip_in.push(run, message) => is_taken,
            _ = self.link.connection.closed() => false,
        };
        if !is_taken {
            counters.gossip_dropped.fetch_add(1, Relaxed);
        }
    }
}

/// Chunks taken from QUIC at a time.
const CHUNKS_MAX: usize = 32;
/// More frames than links can lose in any sensible time.
const LOST_MAX: u64 = 1 << 32;
