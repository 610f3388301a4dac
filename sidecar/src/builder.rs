use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Builds the answers that take long in a large cluster, beside the threads that serve clients and
/// links: a few at a time, so that however many ask, the machine has time for its work.
#[derive(Debug, Clone)]
pub(crate) struct Builder {
    places: Arc<Semaphore>,
    wait_max: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BuildError {
    /// There was no place in time.
    #[error("too many long answers are asked for at a time")]
    Busy,
    /// There will be none.
    #[error("the node stops")]
    Stopped,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(BUILDING_MAX)),
            wait_max: WAIT_MAX,
        }
    }

    /// Builds an answer as soon as there is a place, or says that there is none.
    pub(crate) async fn build<T: Send + 'static>(
        &self,
        answer: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BuildError> {
        run(self.place().await?, answer).await
    }

    /// A place, to be kept while an answer is made, or that there is none.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit, BuildError> {
        let place = timeout(self.wait_max, Arc::clone(&self.places).acquire_owned()).await;
        place.map_err(|_| BuildError::Busy)?.map_err(stopped)
    }

    /// Builds an answer as soon as there is a place, however long that takes.
    pub(crate) async fn build_when_free<T: Send + 'static>(
        &self,
        answer: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BuildError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        run(place.map_err(stopped)?, answer).await
    }
}

async fn run<T: Send + 'static>(
    place: OwnedSemaphorePermit,
    answer: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BuildError> {
    // It keeps its place also when nobody waits for the answer any more.
    let building = spawn_blocking(move || {
        let _place = place;
        answer()
    });
    building.await.map_err(stopped)
}

fn stopped<E>(_: E) -> BuildError {
    BuildError::Stopped
}

/// Answers that are being built.
const BUILDING_MAX: usize = 2;
/// How long one may wait for its turn.
const WAIT_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn only_a_few_answers_are_built_at_a_time_and_the_others_wait_a_bounded_time() {
        let builder = Builder {
            wait_max: Duration::from_millis(20),
            ..Builder::new()
        };
        let (finish, finished) = channel::<()>();
        let finished = Arc::new(std::sync::Mutex::new(finished));
        let under_way: Vec<_> = (0..BUILDING_MAX)
            .map(|_| {
                let (builder, finished) = (builder.clone(), Arc::clone(&finished));
                let build = async move {
                    let wait = move || finished.lock().unwrap().recv().is_ok();
                    builder.build(wait).await
                };
                Box::pin(build)
            })
            .collect();
        let mut under_way = futures::future::join_all(under_way);
        assert!(futures::poll!(&mut under_way).is_pending());
        assert_eq!(builder.build(|| ()).await, Err(BuildError::Busy));

        (0..BUILDING_MAX).for_each(|_| finish.send(()).unwrap());
        assert!(
            under_way
                .await
                .into_iter()
                .all(|built| matches!(built, Ok(true)))
        );
        assert!(builder.build(|| ()).await.is_ok());
    }
}
