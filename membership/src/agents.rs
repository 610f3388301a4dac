use rpds::HashTrieMapSync;

use crate::AgentName;

/// The names that the agents of a node have, and how many memberships each name.
///
/// A name takes room in gossip once, however many memberships have it. A copy shares what is in it with
/// the original.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agents(HashTrieMapSync<AgentName, usize>);

impl Agents {
    /// How many bytes the names count.
    pub(crate) fn bytes(&self) -> usize {
        self.0.size() * NAME_BYTES
    }

    /// How many bytes more they count with one more membership of this agent.
    pub(crate) fn more_with(&self, agent: Option<&AgentName>) -> usize {
        let is_new = |agent: &&AgentName| !self.0.contains_key(*agent);
        agent.filter(is_new).map_or(0, |_| NAME_BYTES)
    }

    /// An agent of this name has one more membership.
    pub(crate) fn join(&mut self, agent: Option<&AgentName>) {
        let Some(agent) = agent else { return };
        match self.0.get_mut(agent) {
            Some(memberships) => *memberships += 1,
            None => self.0.insert_mut(agent.clone(), 1),
        }
    }

    /// An agent of this name has one membership less.
    pub(crate) fn leave(&mut self, agent: Option<&AgentName>) {
        let Some(agent) = agent else { return };
        match self.0.get_mut(agent) {
            Some(memberships) if *memberships > 1 => *memberships -= 1,
            _ => {
                self.0.remove_mut(agent);
            }
        }
    }
}

/// What a name counts, whatever its length: more than the longest takes. So there are never more of
/// them than there are numbers for ([`Numbering`](crate::names::Numbering)).
pub(crate) const NAME_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_once_for_as_long_as_somebody_has_it() {
        let names = ["one", "two"].map(|name| AgentName::parse(name).ok());
        let [one, two] = names.each_ref().map(Option::as_ref);
        let mut agents = Agents::default();
        assert_eq!(agents.more_with(one), NAME_BYTES);
        agents.join(one);
        agents.join(one);
        agents.join(two);
        agents.join(None);
        assert_eq!((agents.more_with(one), agents.more_with(None)), (0, 0));
        assert_eq!(agents.bytes(), 2 * NAME_BYTES);
        agents.leave(one);
        assert_eq!(agents.bytes(), 2 * NAME_BYTES);
        agents.leave(one);
        agents.leave(two);
        agents.leave(None);
        assert_eq!(agents.bytes(), 0);
    }
}
