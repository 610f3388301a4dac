use tidings::NodeId;

/// The name of the node on a host.
pub fn of(host: usize) -> NodeId {
    NodeId::parse(&format!("n{host}")).expect("a letter and digits are a node name")
}

/// The host on which a node of this name runs.
pub fn host(name: &NodeId) -> Option<usize> {
    name.as_str().strip_prefix('n')?.parse().ok()
}
