use std::sync::Arc;

use tidings_membership::MemberId;

use crate::mailbox::Subscriber;

/// The subscribers of a route on this node, in the order in which they came.
///
/// They are in pieces, which a version shares with the one before. So a change copies one piece, and of
/// the others nothing but that they are there, however many subscribers a topic has.
#[derive(Debug, Clone, Default)]
pub(crate) struct Locals(Vec<Piece>);

/// Never empty. The ids are there besides, so that who looks for one need not look at each subscriber.
type Piece = Arc<Vec<(MemberId, Arc<Subscriber>)>>;

impl Locals {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Subscriber>> + Clone {
        let all = self.0.iter().flat_map(|piece| &**piece);
        all.map(|(_, subscriber)| subscriber)
    }

    /// Adds one behind all others.
    pub(crate) fn push(&mut self, subscriber: Arc<Subscriber>) {
        let entry = (subscriber.member, subscriber);
        match self.0.last_mut() {
            Some(last) if last.len() < PIECE_MAX => Arc::make_mut(last).push(entry),
            _ => self.0.push(Arc::new(vec![entry])),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|piece| piece.len()).sum()
    }

    /// Those from this place on.
    pub(crate) fn iter_from(
        &self,
        mut place: usize,
    ) -> impl Iterator<Item = &Arc<Subscriber>> + Clone {
        let mut pieces = self.0.as_slice();
        while let [first, rest @ ..] = pieces
            && place >= first.len()
        {
            place -= first.len();
            pieces = rest;
        }
        let from = pieces.iter().flat_map(|piece| &**piece).skip(place);
        from.map(|(_, subscriber)| subscriber)
    }

    /// Takes out the subscription of this id, if it is there.
    pub(crate) fn remove(&mut self, member: MemberId) {
        let at = |piece: &Piece| piece.iter().position(|(own, _)| *own == member);
        let found = self.0.iter().enumerate();
        let Some((index, at)) = found.filter_map(|(index, p)| Some((index, at(p)?))).next() else {
            return;
        };
        let piece = Arc::make_mut(&mut self.0[index]);
        piece.remove(at);
        if piece.is_empty() {
            self.0.remove(index);
        }
    }

    /// Keeps those of which this is true.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Subscriber) -> bool) {
        self.0.retain_mut(|piece| {
            if !piece.iter().all(|(_, own)| keep(own)) {
                Arc::make_mut(piece).retain(|(_, own)| keep(own));
            }
            !piece.is_empty()
        });
    }
}

/// So many are in one piece.
const PIECE_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{Mailbox, MailboxConfig};
    use crate::registry::SessionId;
    use proptest::prelude::*;
    use tidings_transport::Budget;

    fn subscriber(number: u16, session: u64) -> Arc<Subscriber> {
        let mut bytes = [0; 16];
        bytes[14..].copy_from_slice(&number.to_be_bytes());
        let budget = Arc::new(Budget::new(usize::MAX));
        Arc::new(Subscriber {
            member: MemberId::from_bytes(bytes),
            tag: 0,
            session: SessionId::new(session),
            is_private: false,
            queue: None,
            mailbox: Arc::new(Mailbox::new(MailboxConfig::default(), &budget)),
            grant: None,
        })
    }

    fn of(locals: &Locals) -> Vec<MemberId> {
        locals.iter().map(|own| own.member).collect()
    }

    proptest! {
        #[test]
        fn they_are_a_list_whose_versions_stay_as_they_are(
            changes in proptest::collection::vec((0_u16..300, 0_u64..5, 0..10), 0..600),
        ) {
            let (mut locals, mut list) = (Locals::default(), Vec::<Arc<Subscriber>>::new());
            let mut middle = None;
            for (at, (number, session, what)) in changes.iter().enumerate() {
                let one = subscriber(*number, *session);
                match what {
                    0 => {
                        locals.retain(|own| own.session != one.session);
                        list.retain(|own| own.session != one.session);
                    }
                    1..3 => {
                        locals.remove(one.member);
                        list.retain(|own| own.member != one.member);
                    }
                    _ if list.iter().all(|own| own.member != one.member) => {
                        locals.push(Arc::clone(&one));
                        list.push(one);
                    }
                    _ => {}
                }
                if at == 300 {
                    middle = Some((locals.clone(), of(&locals)));
                }
            }
            let expected: Vec<_> = list.iter().map(|own| own.member).collect();
            prop_assert_eq!(of(&locals), expected);
            prop_assert_eq!(locals.is_empty(), list.is_empty());
            if let Some((version, then)) = middle {
                prop_assert_eq!(of(&version), then);
            }
        }
    }

    #[test]
    fn a_change_copies_one_piece_and_shares_the_others() {
        let mut before = Locals::default();
        for number in 0..10_000 {
            before.push(subscriber(number, 1));
        }
        let mut after = before.clone();
        after.remove(MemberId::from_bytes([0; 16]));
        after.push(subscriber(10_000, 1));
        let pieces = before.0.iter().zip(&after.0);
        let copied = pieces
            .filter(|(one, other)| !Arc::ptr_eq(one, other))
            .count();
        assert_eq!((before.0.len(), copied), (79, 2));
    }
}
