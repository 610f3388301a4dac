use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How often a condition is asked again.
const POLL: Duration = Duration::from_millis(2);

/// Waits until the condition holds, and says how long that took.
///
/// # Panics
/// When it does not hold within `limit`; the panic tells `what` was waited for. A condition that
/// itself hangs is cut off there too.
pub async fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> bool,
) -> Duration {
    let start = Instant::now();
    let holds = async {
        while !condition().await {
            sleep(POLL).await;
        }
    };
    match timeout(limit, holds).await {
        Ok(()) => start.elapsed(),
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}

/// Watches that the condition holds all the time for as long as said.
///
/// # Panics
/// As soon as it does not; the panic tells `what` should have held.
pub async fn holds_for(what: &str, duration: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        assert!(condition().await, "did not hold for {duration:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
