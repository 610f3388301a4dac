/// A value in gossip: a text and its seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Its key.
    pub key: String,
    /// Text, dot and seal.
    pub value: String,
    /// The version at which it was written.
    pub version: u64,
}
