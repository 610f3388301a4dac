use std::collections::HashMap;

use crate::note::{Note, SessionNumber};
use crate::oracle::Oracle;
use crate::truth::Truth;

/// No more waits for a subscriber than its mailbox may hold.
///
/// Judged by what a session receives that was published on its own node while it did not read:
/// that went into the mailbox at once. (What comes from other nodes may have been on its way.)
#[derive(Debug, Default)]
pub struct Mailbox {
    pauses: HashMap<SessionNumber, Pause>,
}

/// A time in which a session does not read.
#[derive(Debug)]
struct Pause {
    /// The step at which it began.
    began: u64,
    /// And ended.
    ended: Option<u64>,
    /// How much was received afterwards that was published here in between.
    waited: usize,
}

impl Oracle for Mailbox {
    fn note(&mut self, note: &Note, truth: &Truth) -> Result<(), String> {
        match note {
            Note::Reading {
                session,
                reading: false,
            } => {
                let pause = Pause {
                    began: truth.step,
                    ended: None,
                    waited: 0,
                };
                self.pauses.insert(*session, pause);
            }
            Note::Reading {
                session,
                reading: true,
            } => {
                if let Some(pause) = self.pauses.get_mut(session) {
                    pause.ended = Some(truth.step);
                }
            }
            Note::Delivered {
                session,
                from,
                number,
                ..
            } => {
                let (receiver, publisher) = (&truth.sessions[*session], &truth.sessions[*from]);
                let message = truth.messages.get(&(*from, *number));
                let (Some(pause), Some(message)) = (self.pauses.get_mut(session), message) else {
                    return Ok(());
                };
                let Some(ended) = pause.ended else {
                    return Ok(());
                };
                let in_pause = (pause.began..ended).contains(&message.step);
                let is_local = receiver.host == publisher.host;
                pause.waited += usize::from(in_pause && is_local);
                if pause.waited > receiver.mailbox_messages_max {
                    return Err(format!(
                        "mailbox: {} messages waited for session {session}, {} may",
                        pause.waited, receiver.mailbox_messages_max
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
