use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext};
use tidings::{FollowError, Followed, Following};
use tokio_util::sync::CancellationToken;

/// Does the work of a tool, and meanwhile tells its caller what is written to a stream, if the caller has asked for
/// progress.
///
/// ```
/// # use rmcp::{RoleServer, service::RequestContext};
/// # use tidings::{Session, StreamError, StreamOptions};
/// # use tidings_mcp::with_progress;
/// # async fn tool(session: &Session, context: &RequestContext<RoleServer>) -> Result<(), Box<dyn std::error::Error>> {
/// let mut writer = session.stream(StreamOptions::default())?;
/// let following = session.follow(writer.id(), 0)?;
/// let text = with_progress(context, following, async move {
///     ["it is ", "sunny"].iter().try_for_each(|token| writer.push(*token).map(drop))?;
///     writer.finish();
///     Ok::<_, StreamError>("it is sunny")
/// }).await?;
/// # Ok(())
/// # }
/// ```
///
/// Each `notifications/progress` has as its message the text that was written since the one before, and as its progress the
/// offset after it, from where anybody can follow the stream. The next is sent when the transport has taken the last, so a
/// caller that is slow gets more at a time, up to 56 KiB, and the writer waits for nobody. What the caller has not got by
/// then waits in the stream, as for everybody who follows it. If the caller falls behind what is kept, or it is no text, only
/// numbers come from there on: the messages joined are always the beginning of what was written, and the result is what counts.
///
/// It returns what the work has returned, once the caller was told all that was written until then, or cannot be told.
/// So no progress comes after the result. That the caller has gone does not end the work: others may follow the stream.
/// Dropping it drops the work.
pub async fn with_progress<T>(
    context: &RequestContext<RoleServer>,
    following: Following,
    work: impl Future<Output = T>,
) -> T {
    let Some(token) = context.meta.get_progress_token() else {
        return work.await;
    };
    let is_done = CancellationToken::new();
    let telling = Telling {
        peer: &context.peer,
        token,
        following,
        text: Some(Vec::new()),
    };
    let work = async {
        let done = work.await;
        is_done.cancel();
        done
    };
    tokio::join!(work, telling.tell(&is_done)).0
}

struct Telling<'a> {
    peer: &'a Peer<RoleServer>,
    token: ProgressToken,
    following: Following,
    /// What was written and is not told. None once some of it is missing, or is no text.
    text: Option<Vec<u8>>,
}

impl Telling<'_> {
    async fn tell(mut self, is_done: &CancellationToken) {
        while let Some(first) = self.next(is_done).await {
            self.add(first);
            while let Some(more @ Followed::Chunk { .. }) = self.following.at_hand() {
                self.add(more);
            }
            #[expect(clippy::cast_precision_loss, reason = "no stream has 2^53 chunks")]
            let offset = self.following.offset() as f64;
            let mut progress = ProgressNotificationParam::new(self.token.clone(), offset);
            progress.message = self.message();
            if self.peer.notify_progress(progress).await.is_err() {
                return;
            }
        }
    }

    /// What is to be told next. None at the end of the stream, or when the work is done and all is told.
    async fn next(&mut self, is_done: &CancellationToken) -> Option<Followed> {
        loop {
            let next = is_done.run_until_cancelled(self.following.next()).await;
            let next = match next {
                Some(next) => next.map(Some),
                None => self.following.so_far().await,
            };
            match next {
                Ok(next) => return next.filter(|next| !matches!(next, Followed::End(_))),
                Err(FollowError::Unreachable { .. }) if !is_done.is_cancelled() => {}
                Err(_) => return None,
            }
        }
    }

    fn add(&mut self, followed: Followed) {
        match (followed, &mut self.text) {
            (Followed::Chunk { bytes, .. }, Some(text)) => text.extend_from_slice(&bytes),
            (Followed::Missed { .. }, _) => self.text = None,
            _ => {}
        }
    }

    /// The text up to a character that is not whole yet.
    fn message(&mut self) -> Option<String> {
        let text = self.text.as_mut()?;
        let whole = match str::from_utf8(text) {
            Ok(text) => text.len(),
            Err(cut) if cut.error_len().is_none() => cut.valid_up_to(),
            Err(_) => {
                self.text = None;
                return None;
            }
        };
        let rest = text.split_off(whole);
        let told = String::from_utf8(std::mem::replace(text, rest)).ok();
        told.filter(|told| !told.is_empty())
    }
}
