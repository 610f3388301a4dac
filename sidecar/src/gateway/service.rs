use serde_json::json;
use tidings::{Metadata, Pattern, Session};

/// Subjects that begin so are requests to the node itself. They are broadcast to nobody.
pub(crate) const PREFIX: &str = "$TIDINGS.";

/// What came of a request.
pub(super) struct Served {
    /// The answer, for who asked for one.
    pub(super) answer: String,
    /// How many memberships were changed.
    pub(super) members: usize,
}

/// Does what is asked for under this subject, without the prefix. An error says, for people, why
/// nothing was done.
pub(super) fn serve(session: &Session, subject: &str, payload: &[u8]) -> Result<Served, String> {
    match subject.split_once('.') {
        Some(("presence", pattern)) => presence(session, pattern, payload),
        _ => Err("the node serves nothing of this name".into()),
    }
}

/// Lets the session's memberships of a topic or pattern say this of themselves; nothing, if there is
/// no payload.
fn presence(session: &Session, pattern: &str, payload: &[u8]) -> Result<Served, String> {
    let pattern = Pattern::parse(pattern).map_err(|error| error.to_string())?;
    let metadata = match payload {
        [] => Ok(Metadata::default()),
        json => Metadata::parse(std::str::from_utf8(json).map_err(|error| error.to_string())?),
    };
    let metadata = metadata.map_err(told)?;
    let members = session.update_all(&pattern, metadata).map_err(told)?;
    let answer = json!({ "members": members }).to_string();
    Ok(Served { answer, members })
}

/// An error and what caused it, in a line.
fn told(error: impl std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
