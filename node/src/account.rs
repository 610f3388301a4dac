use tidings_identity::NodeId;
use tidings_membership::{AgentName, Member, MemberId};

use crate::assurance::Fate;
use crate::outcome::{MemberOutcome, Outcome, Outcomes, WaitFor};

/// What is known of one assured message, with each member that it is for.
///
/// Of all that is told about a member, in whatever order and however often, the furthest counts: nothing
/// is ever taken back.
#[derive(Debug)]
pub(crate) struct Account {
    wait_for: WaitFor,
    /// Sorted by node and member.
    rows: Vec<Row>,
    /// The nodes of the members, sorted.
    nodes: Vec<Side>,
    /// With how many members more is to be waited for.
    open: usize,
}

/// A member that a message is for.
#[derive(Debug)]
pub(crate) struct Addressee {
    node: NodeId,
    member: MemberId,
    agent: Option<AgentName>,
}

#[derive(Debug)]
struct Row {
    member: Addressee,
    known: Option<Outcome>,
}

/// The members on one node.
#[derive(Debug)]
struct Side {
    node: NodeId,
    from: usize,
    to: usize,
    open: usize,
    /// Where the next members to be asked about begin.
    next: usize,
}

impl Account {
    /// For these members, of whom nothing is known yet.
    pub(crate) fn new(wait_for: WaitFor, mut members: Vec<Addressee>) -> Self {
        members.sort_unstable_by(|a, b| (&a.node, a.member).cmp(&(&b.node, b.member)));
        members.dedup_by_key(|member| member.member);
        let mut nodes: Vec<Side> = Vec::new();
        for (at, member) in members.iter().enumerate() {
            match nodes.last_mut() {
                Some(side) if side.node == member.node => {
                    side.to += 1;
                    side.open += 1;
                }
                _ => nodes.push(Side {
                    node: member.node.clone(),
                    from: at,
                    to: at + 1,
                    open: 1,
                    next: at,
                }),
            }
        }
        let open = members.len();
        let rows = members.into_iter();
        let rows = rows.map(|member| Row {
            member,
            known: None,
        });
        Self {
            wait_for,
            rows: rows.collect(),
            nodes,
            open,
        }
    }

    /// The nodes that have members, which are called by their place here.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.iter().map(|side| &side.node)
    }

    /// A node has told what became of it with one of its members.
    pub(crate) fn told(&mut self, node: usize, member: MemberId, fate: Fate) {
        let Some(side) = self.nodes.get(node) else {
            return;
        };
        let rows = &self.rows[side.from..side.to];
        // Who came later is not asked for.
        if let Ok(at) = rows.binary_search_by_key(&member, |row| row.member.member) {
            self.learn(node, side.from + at, fate.into());
        }
    }

    /// A node is gone.
    pub(crate) fn lost(&mut self, node: usize) {
        let Some(side) = self.nodes.get(node) else {
            return;
        };
        for at in side.from..side.to {
            self.learn(node, at, Outcome::NodeLost);
        }
    }

    /// How many members there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing more to wait for.
    pub(crate) fn is_settled(&self) -> bool {
        self.open == 0
    }

    /// Whether there is, with a member on this node.
    pub(crate) fn is_open(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|side| side.open > 0)
    }

    /// Up to so many members of a node with whom there is something to wait for. Of more, the next call
    /// goes on where this one ended.
    pub(crate) fn due(&mut self, node: usize, max: usize) -> Vec<MemberId> {
        let Some(side) = self.nodes.get_mut(node) else {
            return Vec::new();
        };
        let order = (side.next..side.to).chain(side.from..side.next);
        let open = order.filter(|at| !is_final(self.wait_for, self.rows[*at].known));
        let asked: Vec<usize> = open.take(max).collect();
        side.next = match asked.last() {
            Some(last) if last + 1 < side.to => last + 1,
            _ => side.from,
        };
        let asked = asked.into_iter();
        asked.map(|at| self.rows[at].member.member).collect()
    }

    /// What is known now, as the last word.
    pub(crate) fn close(self) -> Outcomes {
        let members = self.rows.into_iter().map(|row| MemberOutcome {
            node: row.member.node,
            member: row.member.member,
            agent: row.member.agent,
            outcome: row.known.unwrap_or(Outcome::TimedOut),
        });
        Outcomes {
            wait_for: self.wait_for,
            members: members.collect(),
        }
    }

    fn learn(&mut self, node: usize, at: usize, outcome: Outcome) {
        let known = &mut self.rows[at].known;
        let rank = |outcome| rank(self.wait_for, outcome);
        if known.is_some_and(|known| rank(known) >= rank(outcome)) {
            return;
        }
        let was_final = is_final(self.wait_for, *known);
        *known = Some(outcome);
        if !was_final && is_final(self.wait_for, *known) {
            self.nodes[node].open -= 1;
            self.open -= 1;
        }
    }
}

impl From<Member> for Addressee {
    fn from(member: Member) -> Self {
        Self {
            node: member.node,
            member: member.member,
            agent: member.agent,
        }
    }
}

impl From<Fate> for Outcome {
    fn from(fate: Fate) -> Self {
        match fate {
            Fate::Taken => Self::Taken,
            Fate::Acknowledged => Self::Acknowledged,
            Fate::Refused => Self::Refused,
            Fate::Left => Self::Left,
            Fate::Died => Self::Died,
        }
    }
}

/// Whether nothing more is waited for once that much is known.
fn is_final(wait_for: WaitFor, known: Option<Outcome>) -> bool {
    match known {
        None => false,
        Some(Outcome::Taken) => wait_for == WaitFor::Taken,
        Some(_) => true,
    }
}

/// What says more about a message ranks higher. That it was taken says all, unless more is waited for.
fn rank(wait_for: WaitFor, outcome: Outcome) -> u8 {
    match (outcome, wait_for) {
        (Outcome::TimedOut, _) => 0,
        (Outcome::Taken, WaitFor::Acknowledged) => 1,
        (Outcome::NodeLost, _) => 2,
        (Outcome::Left, _) => 3,
        (Outcome::Died, _) => 4,
        (Outcome::Refused, _) => 5,
        (Outcome::Taken, WaitFor::Taken) => 6,
        (Outcome::Acknowledged, _) => 7,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FATES: [Fate; 5] = [
        Fate::Taken,
        Fate::Acknowledged,
        Fate::Refused,
        Fate::Left,
        Fate::Died,
    ];

    fn id(number: u8) -> MemberId {
        MemberId::from_bytes([number; 16])
    }

    fn member(node: u8, number: u8) -> Addressee {
        Addressee {
            node: format!("n{node}").parse().unwrap(),
            member: id(10 * node + number),
            agent: None,
        }
    }

    /// Two nodes with two members each.
    fn account(wait_for: WaitFor) -> Account {
        let members = (0..2).flat_map(|node| (0..2).map(move |number| member(node, number)));
        Account::new(wait_for, members.collect())
    }

    fn outcomes(account: Account) -> Vec<Outcome> {
        let members = account.close().members.into_iter();
        members.map(|member| member.outcome).collect()
    }

    /// What happens to a message: a node tells something of a member, or is lost.
    fn happen(account: &mut Account, (node, number, what): (u8, u8, usize)) {
        match FATES.get(what) {
            Some(fate) => account.told(node.into(), id(10 * node + number), *fate),
            None => account.lost(node.into()),
        }
    }

    fn happenings() -> impl Strategy<Value = Vec<(u8, u8, usize)>> {
        // Also of nodes and members that are none of the message's.
        prop::collection::vec((0..3_u8, 0..3_u8, 0..6_usize), 0..40)
    }

    fn wait_for() -> impl Strategy<Value = WaitFor> {
        prop_oneof![Just(WaitFor::Taken), Just(WaitFor::Acknowledged)]
    }

    #[test]
    fn what_is_waited_for_settles_a_message_and_less_does_not() {
        for (wait_for, is_enough) in [(WaitFor::Taken, true), (WaitFor::Acknowledged, false)] {
            let mut account = account(wait_for);
            for (node, number) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                assert!(!account.is_settled());
                happen(&mut account, (node, number, 0));
            }
            assert_eq!(account.is_settled(), is_enough);
            assert_eq!(outcomes(account), [Outcome::Taken; 4]);
        }
    }

    #[test]
    fn a_node_that_is_lost_takes_with_it_what_is_not_known_yet() {
        let mut account = account(WaitFor::Taken);
        happen(&mut account, (0, 0, 0));
        account.lost(0);
        assert!(!account.is_settled() && !account.is_open(0) && account.is_open(1));
        assert_eq!(account.due(1, 9), [id(10), id(11)]);
        let expected = [
            Outcome::Taken,
            Outcome::NodeLost,
            Outcome::TimedOut,
            Outcome::TimedOut,
        ];
        assert_eq!(outcomes(account), expected);
    }

    #[test]
    fn all_are_asked_about_however_many_do_not_answer() {
        let members: Vec<Addressee> = (0..7).map(|number| member(0, number)).collect();
        let mut account = Account::new(WaitFor::Acknowledged, members);
        account.told(0, id(2), Fate::Refused);
        let asked: Vec<_> = (0..4).map(|_| account.due(0, 3)).collect();
        assert_eq!(asked[0], [id(0), id(1), id(3)]);
        assert_eq!(asked[1], [id(4), id(5), id(6)]);
        assert_eq!(asked[2], asked[0]);
    }

    proptest! {
        #[test]
        fn the_order_in_which_a_message_is_told_of_does_not_matter(
            wait_for in wait_for(),
            (happened, shuffled) in happenings()
                .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
            again in happenings(),
        ) {
            let mut one = account(wait_for);
            let mut other = account(wait_for);
            happened.iter().for_each(|what| happen(&mut one, *what));
            shuffled.iter().for_each(|what| happen(&mut other, *what));
            // Told twice is told once.
            let twice = again.into_iter().filter(|what| happened.contains(what));
            twice.for_each(|what| happen(&mut other, what));
            prop_assert_eq!(one.is_settled(), other.is_settled());
            prop_assert_eq!(outcomes(one), outcomes(other));
        }

        #[test]
        fn every_outcome_was_told_and_the_last_word_comes_once_all_are_final(
            wait_for in wait_for(),
            happened in happenings(),
        ) {
            let mut account = account(wait_for);
            for what in &happened {
                let was_settled = account.is_settled();
                happen(&mut account, *what);
                prop_assert!(account.is_settled() || !was_settled, "settled for good");
                for node in 0..2 {
                    prop_assert_eq!(account.is_open(node), !account.due(node, 9).is_empty());
                }
            }
            let is_settled = account.is_settled();
            let mut all_final = true;
            for member in account.close().members {
                let number = member.member.to_bytes()[0];
                let (node, number) = (number / 10, number % 10);
                let told = |what: usize| happened.iter().any(|own| match what {
                    5 => own.0 == node && own.2 == 5,
                    what => *own == (node, number, what),
                });
                let is_told = match member.outcome {
                    Outcome::NodeLost => told(5),
                    Outcome::TimedOut => !(0..6).any(told),
                    outcome => FATES.iter().position(|fate| Outcome::from(*fate) == outcome)
                        .is_some_and(told),
                };
                prop_assert!(is_told, "{:?}", member);
                all_final &= is_final(wait_for, Some(member.outcome))
                    && member.outcome != Outcome::TimedOut;
            }
            prop_assert_eq!(is_settled, all_final);
        }
    }
}
