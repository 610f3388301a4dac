use super::op::Op;

/// What a connection does before all others have had their turn: as much work as takes a few
/// milliseconds, however much has arrived. A client that sends without pause so delays nobody.
///
/// A turn is not shorter either: what a publisher hands over in one goes out to its subscribers in
/// one piece. With a quarter of it, one to four subscribers costs half as much again.
#[derive(Debug, Default)]
pub(super) struct Turn {
    work: usize,
    delivered_bytes: usize,
}

impl Turn {
    /// This operation was applied, and a message handed to so many recipients by it.
    pub(super) fn operation(&mut self, op: &Op<'_>, recipients: usize) {
        let work = if op.is_of_membership() {
            WORK_OF_A_MEMBERSHIP
        } else {
            1
        };
        self.work = self.work.saturating_add(work).saturating_add(recipients);
    }

    /// Messages were translated into so many bytes for the client.
    pub(super) fn delivered(&mut self, bytes: usize) {
        self.delivered_bytes = self.delivered_bytes.saturating_add(bytes);
    }

    /// Whether it is the others' turn.
    pub(super) fn is_over(&self) -> bool {
        self.work >= WORK_MAX || self.delivered_bytes >= DELIVERED_BYTES_MAX
    }
}

/// The work of a turn: an operation is 1, and so is each recipient of what it publishes, because one
/// message to many is as much as many to one.
const WORK_MAX: usize = 32_768;
/// SUB, UNSUB and requests to the node change the routes and the view, which costs far more than to use them.
const WORK_OF_A_MEMBERSHIP: usize = 128;
/// Bytes of messages in a turn.
const DELIVERED_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::op::Publication;

    const UNSUBSCRIBE: Op<'_> = Op::Unsubscribe {
        sid: "1",
        max: None,
    };

    fn operations(op: &Op<'_>, recipients: usize) -> usize {
        let mut turn = Turn::default();
        let mut count = 0;
        while !turn.is_over() {
            turn.operation(op, recipients);
            count += 1;
        }
        count
    }

    #[test]
    fn a_turn_ends_after_its_work_of_any_kind() {
        assert_eq!(operations(&Op::Ping, 0), WORK_MAX);
        assert_eq!(operations(&Op::Ping, 3), WORK_MAX / 4);
        assert_eq!(operations(&Op::Ping, usize::MAX), 1, "to many is work");
        assert_eq!(operations(&UNSUBSCRIBE, 0), 256);
        let update = Op::Publish(Publication {
            subject: "$TIDINGS.presence.a",
            reply: None,
            headers: None,
            payload: b"{}",
        });
        assert_eq!(operations(&update, 0), 256);
        let mut turn = Turn::default();
        turn.delivered(DELIVERED_BYTES_MAX);
        assert!(turn.is_over());
    }
}
