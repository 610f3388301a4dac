use crate::note::Phase;
use crate::oracle::Oracle;
use crate::truth::{MessageTruth, SessionTruth, Truth};

/// Every message of the quiet phase reached every member, once (that it was not twice, `order`
/// sees). At any time, also of chaos, it reached every member on the publisher's own node. A
/// subscriber that was told that it missed messages may lack so many.
#[derive(Debug, Default)]
pub struct Delivery;

impl Oracle for Delivery {
    fn finish(&mut self, truth: &Truth) -> Result<(), String> {
        let mut lacking = vec![0; truth.sessions.len()];
        for ((from, number), message) in &truth.messages {
            for (session, member) in &message.waiting {
                let receiver = &truth.sessions[*session];
                if !is_owed(truth, *from, message, receiver) {
                    continue;
                }
                let membership = receiver.members.get(member);
                if membership.is_none_or(|membership| membership.until.is_some()) {
                    continue;
                }
                lacking[*session] += 1;
                if lacking[*session] > receiver.missed {
                    return Err(format!(
                        "delivery: session {session} on host {} never received message {number} of \
                         session {from} on host {}, published on {} while {:?}, and was told of {} \
                         missed",
                        receiver.host,
                        truth.sessions[*from].host,
                        message.topic,
                        message.phase,
                        receiver.missed,
                    ));
                }
            }
        }
        Ok(())
    }
}

fn is_owed(truth: &Truth, from: usize, message: &MessageTruth, receiver: &SessionTruth) -> bool {
    let publisher = &truth.sessions[from];
    let is_local = (publisher.host, publisher.incarnation) == (receiver.host, receiver.incarnation);
    truth.is_open(receiver) && (is_local || message.phase == Phase::Quiet)
}
