//! Waiting, never for longer than the deadline.

use std::time::Duration;

/// How long anything may take before a test fails. Far above what a loaded machine needs.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How often a state is looked at that cannot be awaited.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Waits for a future.
///
/// # Panics
/// After the deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Waits until a state is reached.
///
/// # Panics
/// After the deadline.
pub async fn eventually(what: &str, mut is_reached: impl FnMut() -> bool) {
    within(what, async {
        while !is_reached() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    })
    .await;
}
