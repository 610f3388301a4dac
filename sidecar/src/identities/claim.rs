/// Who somebody says that it is, and what it shows for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim<'a> {
    /// A name and a password.
    Password { user: &'a str, password: &'a str },
    /// A token.
    Token(&'a str),
    /// A public key, and what was signed with it.
    Nkey {
        key: &'a str,
        signature: &'a str,
        nonce: &'a str,
    },
    /// Nothing at all.
    Nothing,
    /// Something that is not served.
    Unknown,
}
