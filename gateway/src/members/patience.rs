//! How long an operator's wish waits for a leader that takes it.

use super::{CHANGE_TIME_MAX, LOOK_AGAIN};
use std::time::Duration;
use tokio::time::Instant;

/// Without a leader. An election that goes well takes a second; with what it took to miss the old one, and the way to the caller,
/// this stays within the three seconds in which a gateway says that nothing can be decided.
const LEADERLESS_MAX: Duration = Duration::from_millis(2_400);

/// One wish's.
pub struct Patience {
    ends: Instant,
    /// When a leader was last there, or the wish came.
    led: Instant,
}

impl Patience {
    pub fn from(now: Instant) -> Self {
        Self { ends: now + CHANGE_TIME_MAX, led: now }
    }

    /// Waits a moment; false where waiting on is of no use. `is_led`: a leader is there, it only could not take the wish.
    pub async fn again(&mut self, is_led: bool) -> bool {
        let lasts = self.lasts(Instant::now(), is_led);
        if lasts {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        lasts
    }

    fn lasts(&mut self, now: Instant, is_led: bool) -> bool {
        if is_led {
            self.led = now;
        }
        now < self.ends && now.duration_since(self.led) < LEADERLESS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds until it ends, where a leader is there for the first `led_ms`.
    fn lasts_ms(led_ms: u64) -> u64 {
        let begun = Instant::now();
        let mut patience = Patience::from(begun);
        let mut looks = (0..).step_by(50).map(Duration::from_millis);
        let last = looks.find(|at| !patience.lasts(begun + *at, *at < Duration::from_millis(led_ms)));
        last.map_or(0, |at| u64::try_from(at.as_millis()).expect("some seconds"))
    }

    #[test]
    fn a_leader_is_waited_for_as_long_as_an_election_takes_and_its_work_for_longer() {
        assert_eq!(lasts_ms(0), 2_400, "nobody leads");
        assert_eq!(lasts_ms(5_000), 4_950 + 2_400, "the leader goes while it works");
        assert_eq!(lasts_ms(60_000), 15_000, "it never gets done");
    }
}
