use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::RequestId;
use serde::Deserialize;
use tidings::Access;
use tokio_util::sync::CancellationToken;

/// The calls that wait for messages, by the ids that their clients have given them.
///
/// A client of a revision before that of 2026 that gives up a call leaves its connection as it is, and says so on
/// another. Whose call that is could be known within a session only, and clients count their ids from 0. So all calls
/// end that have this id and identity: one that was not meant answers that nothing has come, and is made again.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<Vec<Waiting>>);

#[derive(Debug)]
struct Waiting {
    id: RequestId,
    access: Access,
    end: CancellationToken,
}

/// A call that waits, as long as this is kept.
#[derive(Debug)]
pub(super) struct Wait {
    waits: Arc<Waits>,
    end: CancellationToken,
}

impl Waits {
    /// Whoever calls this has a place among those who wait, so there are no more of them.
    pub(super) fn begin(self: &Arc<Self>, id: &RequestId, access: &Access) -> Wait {
        let end = CancellationToken::new();
        self.lock().push(Waiting {
            id: id.clone(),
            access: access.clone(),
            end: end.clone(),
        });
        Wait {
            waits: Arc::clone(self),
            end,
        }
    }

    /// Ends what is given up in this message, if that is what it says.
    pub(super) fn end(&self, message: &[u8], access: &Access) {
        let Some(Ok(given_up)) = (message.len() <= MESSAGE_BYTES_MAX)
            .then(|| serde_json::from_slice::<GivenUp>(message))
        else {
            return;
        };
        if given_up.method != "notifications/cancelled" {
            return;
        }
        for own in self.lock().iter() {
            if own.id == given_up.params.request_id && own.access.is_same(access) {
                own.end.cancel();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // Nothing panics while the lock is held, so what is behind a poisoned one is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wait {
    /// Resolves when the client has given it up.
    pub(super) async fn given_up(&self) {
        self.end.cancelled().await;
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // Those that have been ended have been told, and go as well.
        self.end.cancel();
        self.waits.lock().retain(|own| !own.end.is_cancelled());
    }
}

/// As far as it is looked at.
#[derive(Deserialize)]
struct GivenUp {
    method: String,
    params: GivenUpParams,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GivenUpParams {
    request_id: RequestId,
}

/// How long a message may be that says that something is given up.
const MESSAGE_BYTES_MAX: usize = 8 << 10;
