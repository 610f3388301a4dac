/// What a connection does before all others have had their turn: as much work as takes about a
/// millisecond, however much has arrived. A client that sends without pause so delays nobody.
#[derive(Debug, Default)]
pub(super) struct Turn {
    operations: usize,
    delivered_bytes: usize,
}

impl Turn {
    /// An operation was applied, and a message handed to so many recipients by it.
    pub(super) fn operation(&mut self, recipients: usize) {
        self.operations = self.operations.saturating_add(1).saturating_add(recipients);
    }

    /// Messages were translated into so many bytes for the client.
    pub(super) fn delivered(&mut self, bytes: usize) {
        self.delivered_bytes = self.delivered_bytes.saturating_add(bytes);
    }

    /// Whether it is the others' turn.
    pub(super) fn is_over(&self) -> bool {
        self.operations >= OPERATIONS_MAX || self.delivered_bytes >= DELIVERED_BYTES_MAX
    }
}

/// Operations in a turn. What a publication is handed to counts as much as the operation itself:
/// one to many subscribers is work as well.
const OPERATIONS_MAX: usize = 256;
/// Bytes of messages in a turn.
const DELIVERED_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_ends_after_its_work_of_any_kind() {
        let mut turn = Turn::default();
        (1..OPERATIONS_MAX).for_each(|_| turn.operation(0));
        assert!(!turn.is_over());
        turn.operation(0);
        assert!(turn.is_over());

        let mut turn = Turn::default();
        turn.operation(OPERATIONS_MAX);
        assert!(turn.is_over(), "a publication to many is work");

        let mut turn = Turn::default();
        turn.delivered(DELIVERED_BYTES_MAX);
        assert!(turn.is_over());
    }
}
