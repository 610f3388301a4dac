use tidings::NodeId;

/// The name of the node on a host.
pub fn of(host: usize) -> NodeId {
    NodeId::parse(&format!("n{host}")).expect("a letter and digits are a node name")
}

/// The name of a liar.
pub fn of_liar(number: usize) -> NodeId {
    NodeId::parse(&format!("liar{number}")).expect("letters and digits are a node name")
}

/// Whether this is the name of a liar.
pub fn is_liar(name: &str) -> bool {
    name.starts_with("liar")
}

/// The host on which a node of this name runs.
pub fn host(name: &NodeId) -> Option<usize> {
    name.as_str().strip_prefix('n')?.parse().ok()
}
