use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::ResourceContents;
use tidings::{FollowError, Followed, Following, StreamEnd, StreamId};

use super::results::{StreamResult, json};

/// What is read of a stream at a time: what is written of it from somewhere on, up to 64 KiB and the chunk with which
/// that is reached.
#[derive(Debug)]
pub(super) struct StreamPage {
    id: StreamId,
    from: u64,
    bytes: Vec<u8>,
    /// How long each of its chunks is.
    lengths: Vec<usize>,
    after: After,
}

/// What comes after a page.
#[derive(Debug, PartialEq, Eq)]
enum After {
    /// More that is written already.
    More,
    /// What is not written yet.
    Open,
    /// Nothing.
    End(StreamEnd),
}

impl StreamPage {
    /// Reads what is written so far.
    pub(super) async fn read(mut following: Following) -> Result<Self, FollowError> {
        let mut page = Self {
            id: following.id().clone(),
            from: following.offset(),
            bytes: Vec::new(),
            lengths: Vec::new(),
            after: After::Open,
        };
        let asked = page.from;
        while let Some(followed) = following.so_far().await? {
            match followed {
                Followed::Chunk { bytes, .. } if !page.is_full() => {
                    page.bytes.extend_from_slice(&bytes);
                    page.lengths.push(bytes.len());
                }
                // Of a stream that is written meanwhile; what comes after it is no part of this page.
                Followed::Missed { to, .. } if page.lengths.is_empty() && page.from == asked => {
                    page.from = to;
                }
                Followed::Chunk { .. } | Followed::Missed { .. } => {
                    page.after = After::More;
                    break;
                }
                Followed::End(end) => {
                    page.after = After::End(end);
                    break;
                }
            }
        }
        page.hold_back();
        Ok(page)
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= BYTES_MAX || self.lengths.len() >= CHUNKS_MAX
    }

    /// Leaves the chunk in which a character has begun that is not whole for the next page, which has the rest of it.
    fn hold_back(&mut self) {
        if matches!(self.after, After::End(_)) {
            return;
        }
        let Err(cut) = str::from_utf8(&self.bytes) else {
            return;
        };
        if cut.error_len().is_some() {
            // It is no text.
            return;
        }
        while self.bytes.len() > cut.valid_up_to()
            && let Some(last) = self.lengths.pop()
        {
            self.bytes.truncate(self.bytes.len() - last);
        }
    }

    /// What is shown of it: the text, or the bytes if it is none, and where and whether it goes on.
    pub(super) fn contents(self, uri: &str) -> Vec<ResourceContents> {
        let next = self.from.saturating_add(self.lengths.len() as u64);
        let (state, reason) = match &self.after {
            After::More => ("more", ""),
            After::Open => ("open", ""),
            After::End(end) => (end.name(), end.reason()),
        };
        let state = StreamResult {
            from: self.from,
            next,
            state,
            reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
        };
        let content = match String::from_utf8(self.bytes) {
            Ok(text) => ResourceContents::text(text, uri),
            Err(error) => ResourceContents::blob(STANDARD.encode(error.as_bytes()), uri)
                .with_mime_type("application/octet-stream"),
        };
        let rest = format!("tidings://streams/{}?from={next}", self.id);
        vec![content, json(&state, rest)]
    }
}

/// How many bytes of a stream are read at a time, besides the last chunk of them: as many as of messages.
const BYTES_MAX: usize = 64 << 10;
/// How many chunks of it, whatever another node tells.
const CHUNKS_MAX: usize = 64 << 10;
