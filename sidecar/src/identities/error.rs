use super::nkey::UserKeyError;
use super::secret::SecretError;

/// Why settings do not say who may connect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("identities: {name:?}: {problem}")]
pub struct IdentitiesError {
    /// The identity that is wrong.
    pub name: String,
    /// What is wrong with it.
    #[source]
    pub problem: Problem,
}

/// What is wrong with an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Its name.
    #[error("a name has 1 to 128 bytes and no control characters")]
    Name,
    /// Another one has its name.
    #[error("there are two of this name")]
    Twice,
    /// Another one has its token or key, or is anonymous as well.
    #[error("another one has the same token or key, or is anonymous, too")]
    Shared,
    /// There is no such role.
    #[error("there is no [roles.{0}]")]
    NoRole(String),
    /// It has no means to show that it is it, or several.
    #[error("it has just one of password, token, nkey, or anonymous = true")]
    Proofs,
    /// The hash of its password.
    #[error("password: {0}")]
    Password(#[source] SecretError),
    /// The hash of its token.
    #[error("token: {0}")]
    Token(#[source] SecretError),
    /// Its key.
    #[error("nkey: {0}")]
    Nkey(#[source] UserKeyError),
}
