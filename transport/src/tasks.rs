use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Net;

/// Where the tasks of a transport run, and what ends them.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    net: Arc<dyn Net>,
    tracker: TaskTracker,
    /// Cancelled when the transport is over.
    token: CancellationToken,
    /// Cancelled when no new links are wanted and writers are to finish.
    draining: CancellationToken,
    /// The writers of all links, which a graceful end waits for.
    writers: TaskTracker,
}

impl Tasks {
    pub(crate) fn new(net: Arc<dyn Net>, tracker: TaskTracker, token: CancellationToken) -> Self {
        Self {
            net,
            tracker,
            draining: token.child_token(),
            token,
            writers: TaskTracker::new(),
        }
    }

    /// Runs `task` until it ends or the transport does.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.token.clone().run_until_cancelled_owned(task);
        let task = self.tracker.track_future(task);
        self.net.spawn(Box::pin(async move {
            task.await;
        }));
    }

    /// Runs `task` only as long as new links are wanted.
    pub(crate) fn spawn_dial(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.draining.clone().run_until_cancelled_owned(task);
        self.spawn(async move {
            task.await;
        });
    }

    /// Runs a task that sends on a link. A graceful end waits for it.
    pub(crate) fn spawn_writer(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(self.writers.track_future(task));
    }

    /// Cancelled when no new links are wanted and writers are to finish.
    pub(crate) fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Ends dialling, lets writers finish, and waits for them.
    pub(crate) async fn drain(&self) {
        self.draining.cancel();
        self.writers.close();
        self.writers.wait().await;
    }

    /// Ends all tasks.
    pub(crate) fn end(&self) {
        self.token.cancel();
    }
}
