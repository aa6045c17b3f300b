//! The wall clock, read in one place. Deadlines travel as absolute timestamps, so that every hop sees the same one.
//!
//! A machine's clock leaps: a time server sets it, a person does, a virtual machine wakes up. Within one process it only goes forward
//! here: set forward it is followed, as what slept is late; set back it goes on as if nothing had happened, or a command that waits
//! would live on past its deadline.

use parking_lot::Mutex;
use spalla_shared::time::Timestamp;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// This process's own time: never back. For deadlines inside the process, such as [`crate::message::Message::expires_at`].
pub fn now() -> Timestamp {
    static CLOCK: Steady = Steady::new(10);
    let instant = Instant::now();
    CLOCK.see(wall_now(), instant);
    CLOCK.at(instant)
}

/// The wall clock as the machine has it, in whole milliseconds. For what people read and what other machines compare.
pub fn wall_now() -> Timestamp {
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

/// Carries a time on where the clock that it came from goes back. Reads no clock itself.
#[derive(Debug)]
pub struct Steady {
    /// How fast it goes by itself: below 10, a clock that was set back catches up with it one day.
    pace_tenths: u32,
    newest: Mutex<Option<(Timestamp, Instant)>>,
}

impl Steady {
    pub const fn new(pace_tenths: u32) -> Self {
        Self { pace_tenths, newest: Mutex::new(None) }
    }

    /// A source said `time` at `instant`. Nothing changes where that is behind what is carried on.
    pub fn see(&self, time: Timestamp, instant: Instant) {
        let mut newest = self.newest.lock();
        if newest.is_none_or(|newest| self.carried(newest, instant) <= time) {
            *newest = Some((time, instant));
        }
    }

    /// What it comes to at `instant`; the beginning of time where nothing was seen.
    pub fn at(&self, instant: Instant) -> Timestamp {
        self.newest.lock().map_or_else(Timestamp::default, |newest| self.carried(newest, instant))
    }

    fn carried(&self, (time, seen): (Timestamp, Instant), instant: Instant) -> Timestamp {
        let elapsed = instant.saturating_duration_since(seen) * self.pace_tenths / 10;
        time.plus(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_is_carried_on_and_one_that_is_set_forward_is_followed() {
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let seconds = |seconds: i64| Timestamp(seconds * 1000);
        let clock = Steady::new(9);
        assert_eq!(clock.at(begin), Timestamp::default());
        clock.see(seconds(1_000), begin);
        clock.see(seconds(1_001), after(1));
        assert_eq!(clock.at(after(1)), seconds(1_001), "as the source has it");
        // An hour forward, and back again ten seconds later.
        clock.see(seconds(4_602), after(2));
        clock.see(seconds(4_612), after(12));
        clock.see(seconds(1_013), after(13));
        assert_eq!(clock.at(after(22)), seconds(4_621));
        // What was ahead by an hour is met after ten of them.
        clock.see(seconds(1_000 + 40_000), after(40_000));
        assert_eq!(clock.at(after(40_000)), seconds(41_000));
        // An instant that is older than the newest is no way back.
        assert_eq!(clock.at(begin), seconds(41_000));
    }

    #[test]
    fn what_expires_inside_the_process_follows_the_wall_clock() {
        let before = wall_now();
        assert!(now() >= before);
        assert!(is_past(Some(before), now()) && !is_past(Some(now().plus(60_000)), now()));
        assert!(until(now().plus(60_000)) > Duration::from_secs(50));
    }
}
