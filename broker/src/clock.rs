//! The wall clock, read in one place. Deadlines travel as absolute timestamps, so that every hop sees the same one.

use spalla_shared::time::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Time left until `at`; zero once it is reached.
pub(crate) fn until(at: Timestamp) -> Duration {
    Duration::from_millis(at.since(now()))
}

pub(crate) fn is_past(at: Option<Timestamp>, now: Timestamp) -> bool {
    at.is_some_and(|at| at <= now)
}
