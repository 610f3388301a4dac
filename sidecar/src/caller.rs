use tidings::{Access, Denied, Node, Scope, Sight, Topic};

/// Who asks by HTTP, as far as that decides what is answered. What it may do, the library decides.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) access: Access,
    /// Whether nobody has to say who it is.
    pub(crate) is_anybody: bool,
    /// The scope that it is in.
    own: Scope,
    node: Node,
}

impl Caller {
    /// Somebody with this access, who is in that scope.
    pub(crate) fn new(node: &Node, access: Access, own: Scope, is_anybody: bool) -> Self {
        Self {
            access,
            is_anybody,
            own,
            node: node.clone(),
        }
    }

    /// The scope in which it does something when it names this one, or none.
    pub(crate) fn scope(&self, named: Option<Scope>) -> Result<Scope, Denied> {
        let scope = named.unwrap_or_else(|| self.own.clone());
        let lets_enter = self.node.lets_enter(&self.access, &self.own, &scope);
        lets_enter.map(|()| scope)
    }

    /// The scope that it sees when it names this one, or none.
    pub(crate) fn seen(&self, named: Option<Scope>) -> Result<Scope, Denied> {
        let scope = named.unwrap_or_else(|| self.own.clone());
        self.sees(Some(&scope)).map(|()| scope)
    }

    /// The same for what can be seen of all scopes: none for all of them.
    pub(crate) fn seen_or_all(&self, named: Option<Scope>) -> Result<Option<Scope>, Denied> {
        if named.is_none() && self.access.sight() == Sight::Everything {
            return self.sees(None).map(|()| None);
        }
        self.seen(named).map(Some)
    }

    /// Whether it may see what is in this scope; without one, what is in all and of none.
    pub(crate) fn sees(&self, scope: Option<&Scope>) -> Result<(), Denied> {
        self.node.shows(&self.access, &self.own, scope)
    }

    /// Whether it may describe this topic.
    pub(crate) fn describes(&self, topic: &Topic) -> Result<(), Denied> {
        self.node.lets_describe(&self.access, topic)
    }
}
