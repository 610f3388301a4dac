//! Streams that a client writes and reads by requests to the node.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tidings::{
    FollowError, Followed, Following, Session, StreamEnd, StreamId, StreamOptions, StreamWriter,
    Time,
};
use tokio::time::timeout;

use super::service::PREFIX;

/// The streams that a client writes. When it is gone, they have aborted.
#[derive(Debug, Default)]
pub(super) struct Writing {
    open: BTreeMap<StreamId, StreamWriter>,
}

impl Writing {
    /// Does what is asked for under this name, what stands after `$TIDINGS.stream.`; none if that is no
    /// request of one who writes. An error says, for people, why nothing was done.
    pub(super) fn serve(
        &mut self,
        session: &Session,
        name: &str,
        payload: &[u8],
    ) -> Option<Result<String, String>> {
        let answer = match name.split_once('.') {
            None if name == "open" => self.open(session),
            Some(("push", id)) => self.push(id, payload),
            Some(("finish", id)) => self.end(id, StreamEnd::Complete.name(), StreamWriter::finish),
            Some(("fail", id)) => {
                let reason = String::from_utf8_lossy(payload);
                self.end(id, "failed", |writer| writer.fail(&reason))
            }
            _ => return None,
        };
        Some(answer.map(|answer| answer.to_string()))
    }

    fn open(&mut self, session: &Session) -> Result<Value, String> {
        if self.open.len() >= WRITTEN_MAX {
            return Err(format!(
                "{WRITTEN_MAX} streams of this client have no end yet"
            ));
        }
        let writer = session.stream(StreamOptions::default());
        let writer = writer.map_err(|error| error.to_string())?;
        let id = writer.id().clone();
        self.open.insert(id.clone(), writer);
        let id = id.to_string();
        let own = |verb: &str| format!("{PREFIX}stream.{verb}.{id}");
        Ok(json!({
            "stream": id,
            "push": own("push"),
            "finish": own("finish"),
            "fail": own("fail"),
        }))
    }

    fn push(&mut self, id: &str, payload: &[u8]) -> Result<Value, String> {
        let id = parse(id)?;
        let writer = self.open.get_mut(&id).ok_or_else(|| unknown(&id))?;
        let pushed = writer.push(Bytes::copy_from_slice(payload));
        let chunks = pushed.map_err(|error| error.to_string())?;
        Ok(json!({ "chunks": chunks }))
    }

    fn end(
        &mut self,
        id: &str,
        state: &str,
        end: impl FnOnce(StreamWriter) -> u64,
    ) -> Result<Value, String> {
        let id = parse(id)?;
        let writer = self.open.remove(&id).ok_or_else(|| unknown(&id))?;
        Ok(json!({ "chunks": end(writer), "state": state }))
    }
}

/// What a client wants to read of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Read {
    from: u64,
    wait: Time<0, 60_000>,
}

impl Default for Read {
    fn default() -> Self {
        Self {
            from: 0,
            wait: Time::of_ms::<5_000>(),
        }
    }
}

/// What is to be answered to who wants to read of a stream as the payload says. An error says, for people,
/// why it cannot.
pub(super) fn read(
    session: &Session,
    id: &StreamId,
    payload: &[u8],
) -> Result<impl Future<Output = Value> + Send + use<>, String> {
    let Read { from, wait } = match payload {
        [] => Read::default(),
        json => serde_json::from_slice(json).map_err(|error| error.to_string())?,
    };
    let following = session.follow(id, from);
    let mut following = following.map_err(|error| error.to_string())?;
    Ok(async move {
        match timeout(wait.get(), following.next()).await {
            Ok(next) => answer(next, &mut following),
            Err(_) => json!({ "from": from, "next": from, "chunks": [] }),
        }
    })
}

/// What has come, and whatever else is here already.
fn answer(next: Result<Followed, FollowError>, following: &mut Following) -> Value {
    let mut next = match next {
        Ok(followed) => Some(followed),
        Err(error) => return json!({ "error": error.to_string() }),
    };
    let (mut from, mut chunks, mut end) = (None, Vec::new(), None);
    while let Some(followed) = next {
        match followed {
            Followed::Chunk { offset, bytes } => {
                from.get_or_insert(offset);
                chunks.push(match str::from_utf8(&bytes) {
                    Ok(text) => json!(text),
                    Err(_) => json!({ "base64": STANDARD.encode(&bytes) }),
                });
            }
            Followed::Missed { to, .. } => from = Some(to),
            Followed::End(how) => end = Some(how),
        }
        next = end.is_none().then(|| following.at_hand()).flatten();
    }
    let next = following.offset();
    let mut answer = json!({ "from": from.unwrap_or(next), "next": next, "chunks": chunks });
    if let Some(end) = end {
        answer["end"] = json!(end.name());
        if !end.reason().is_empty() {
            answer["reason"] = json!(end.reason());
        }
    }
    answer
}

fn parse(id: &str) -> Result<StreamId, String> {
    StreamId::parse(id).map_err(|error| error.to_string())
}

fn unknown(id: &StreamId) -> String {
    format!("this client writes no stream {id}")
}

/// How many streams a client writes at a time.
const WRITTEN_MAX: usize = 64;
