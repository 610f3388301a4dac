/// What the permissions of an identity do not allow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denied {
    /// To publish on a topic.
    #[error("this identity may not publish there")]
    Publish,
    /// To subscribe to a topic or pattern.
    #[error("this identity may not subscribe to that")]
    Subscribe,
    /// To see that of the cluster.
    #[error("this identity may not see that of the cluster")]
    See,
    /// To describe a topic.
    #[error("this identity may not describe that topic")]
    Describe,
    /// To be in that scope.
    #[error("this identity is in another scope")]
    Scope,
}
