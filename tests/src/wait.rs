//! Waiting for what must come, with a bound.

use std::time::Duration;

/// No step takes this long unless it hangs: an unoptimised build, on two cores, beside other tests.
pub const LONG: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(40);

/// Asks again and again until there is an answer; fails the test with `what` when there is none within [`LONG`].
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(LONG, what, look).await
}

/// The same for what takes its time by nature.
pub async fn until_within<T>(bound: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(bound, asked).await {
        Ok(found) => found,
        Err(_) => panic!("waited {bound:?} in vain: {what}"),
    }
}
