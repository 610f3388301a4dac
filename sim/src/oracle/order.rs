use std::collections::HashMap;

use tidings::MemberId;

use crate::note::{Note, SessionNumber};
use crate::oracle::Oracle;
use crate::truth::Truth;

/// Messages of one publisher reach a subscriber in the order in which they were published, over all
/// topics, and none reaches a membership twice. Sessions are never reused, so each pair of them is
/// one pair of incarnations.
#[derive(Debug, Default)]
pub struct Order {
    /// The newest number that a session has from a publisher.
    session: HashMap<(SessionNumber, SessionNumber), u64>,
    /// And one of its memberships.
    member: HashMap<(MemberId, SessionNumber), u64>,
}

impl Oracle for Order {
    fn note(&mut self, note: &Note, _: &Truth) -> Result<(), String> {
        let Note::Delivered {
            session,
            member,
            from,
            number,
            ..
        } = note
        else {
            return Ok(());
        };
        let newest = self.session.entry((*session, *from)).or_insert(*number);
        if number < newest {
            return Err(format!(
                "order: session {session} received message {number} of {from} after {newest}"
            ));
        }
        *newest = *number;
        match self.member.insert((*member, *from), *number) {
            Some(last) if last >= *number => Err(format!(
                "duplicate: session {session} received message {number} of {from} again for the \
                 same membership {member}"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(numbers: &[(u8, u64)]) -> Result<(), String> {
        let mut order = Order::default();
        let truth = Truth::new(1);
        numbers.iter().try_for_each(|(member, number)| {
            let note = Note::Delivered {
                session: 0,
                member: MemberId::from_bytes([*member; 16]),
                from: 1,
                number: *number,
                topic: "a".parse().unwrap(),
            };
            order.note(&note, &truth)
        })
    }

    #[test]
    fn gaps_are_fine_and_repetitions_and_steps_back_are_not() {
        assert_eq!(receive(&[(1, 0), (2, 0), (1, 3), (2, 3)]), Ok(()));
        assert!(
            receive(&[(1, 0), (1, 0)])
                .unwrap_err()
                .starts_with("duplicate")
        );
        assert!(receive(&[(1, 1), (2, 0)]).unwrap_err().starts_with("order"));
    }
}
