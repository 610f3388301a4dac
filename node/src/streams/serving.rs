//! Answers to the nodes whose agents follow streams of this one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tidings_membership::Scope;
use tidings_transport::Answering;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::streams_here::StreamsHere;
use crate::question::Reply;

/// A node asks what follows on the first `from` chunks of a stream.
#[derive(Debug)]
pub(crate) struct StreamAsked {
    pub(crate) scope: Scope,
    pub(crate) number: u64,
    pub(crate) from: u64,
    /// How long the answer may wait until there is something.
    pub(crate) wait: Duration,
    pub(crate) answering: Answering,
}

/// Answers as soon as there is something to say, or nothing has come for as long as the question says. What
/// has ended is forgotten in time meanwhile.
pub(crate) async fn serve(
    mut asked: mpsc::UnboundedReceiver<StreamAsked>,
    streams: Arc<StreamsHere>,
) {
    let mut open = FuturesUnordered::new();
    let mut expiry = interval(EXPIRY_PACE);
    expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            question = asked.recv() => match question {
                Some(question) => {
                    let is_crowded = open.len() >= WAITING_MAX;
                    open.push(answer(&streams, question, is_crowded));
                }
                None => return,
            },
            Some(()) = open.next(), if !open.is_empty() => {}
            _ = expiry.tick() => streams.store().expire(Instant::now()),
        }
    }
}

async fn answer(streams: &StreamsHere, asked: StreamAsked, is_crowded: bool) {
    let StreamAsked {
        scope,
        number,
        from,
        wait,
        answering,
    } = asked;
    let wait = if is_crowded {
        Duration::ZERO
    } else {
        wait.min(WAIT_MAX)
    };
    let reply = match streams.read_within(&scope, number, from, wait).await {
        Some(piece) => Reply::Stream(piece),
        None => Reply::NoStream,
    };
    answering.answer(reply.encode());
}

/// How many questions wait for something at a time; more are answered at once. 32 of each peer can, so this is
/// for peers whose links come and go.
const WAITING_MAX: usize = 4_096;
/// How long a question waits at most, whatever it says.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often it is looked whether something may be forgotten.
const EXPIRY_PACE: Duration = Duration::from_secs(5);
