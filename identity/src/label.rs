/// The longest label, in bytes: what DNS allows.
pub const LABEL_BYTES_MAX: usize = 63;

/// Why a text is not the name of a node or cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text, or a label in it, has no characters.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than its kind of name may be.
    #[error("a name is at most {bytes_max} bytes long, this one has {bytes}")]
    TooLong {
        /// Length of the text.
        bytes: usize,
        /// Length allowed.
        bytes_max: usize,
    },
    /// A character that DNS labels do not have. Upper case is refused, not folded.
    #[error("{0:?} is not allowed in a name (allowed: a-z, 0-9 and -)")]
    Character(char),
    /// A label starts or ends with a hyphen.
    #[error("a name neither starts nor ends with a hyphen")]
    Hyphen,
}

/// Parses one DNS label in lower case.
pub(crate) fn parse(label: &str) -> Result<(), NameError> {
    if label.is_empty() {
        return Err(NameError::Empty);
    }
    if label.len() > LABEL_BYTES_MAX {
        return Err(NameError::TooLong {
            bytes: label.len(),
            bytes_max: LABEL_BYTES_MAX,
        });
    }
    let allowed = |c: &char| matches!(c, 'a'..='z' | '0'..='9' | '-');
    if let Some(c) = label.chars().find(|c| !allowed(c)) {
        return Err(NameError::Character(c));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(NameError::Hyphen);
    }
    Ok(())
}
