//! Who may speak: asks for the lease, counts it by this gateway's own monotonic clock, gives it back.
//! Decides only; the service proposes. Wall clocks of gateways are never compared: a lease is a length, not an instant.

use super::Timings;
use spalla_shared::engine::outbox::Speaker;
use spalla_shared::id::NodeId;
use spalla_shared::time::Timestamp;
use std::time::{Duration, Instant};

/// What the chair looks at.
pub struct View<'a> {
    pub now: Instant,
    pub wall: Timestamp,
    pub connected: bool,
    pub leads: bool,
    pub speaker: Option<&'a Speaker>,
    /// The log's newest instant.
    pub clock: Timestamp,
    /// Place of this gateway among those that do not lead, from 0.
    pub rank: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    Wait,
    /// Propose `Speak` until then (by the leader's clock, as far as it is known).
    Ask {
        until: Timestamp,
    },
    /// Propose `Yield`.
    Yield {
        epoch: u64,
    },
}

pub struct Chair {
    node: NodeId,
    timings: Timings,
    held: Option<Held>,
    /// The speaker in the log, and when its lease ends by our own clock.
    seen: Option<(Speaker, Instant)>,
    empty_since: Option<Instant>,
    /// Nothing is asked before it.
    not_before: Option<Instant>,
    /// The leader's stamp minus our wall clock, as last seen.
    skew_ms: i64,
}

#[derive(Clone, Copy)]
struct Held {
    epoch: u64,
    since: Instant,
    renewed: Instant,
    until: Instant,
}

impl Chair {
    pub fn new(node: NodeId, timings: Timings) -> Self {
        Self { node, timings, held: None, seen: None, empty_since: None, not_before: None, skew_ms: 0 }
    }

    /// The epoch under which this gateway may publish now; a margin is kept so that what leaves arrives within the lease.
    pub fn speaks(&self, now: Instant) -> Option<u64> {
        let margin = self.timings.lease / 10;
        self.held.filter(|held| now + margin < held.until).map(|held| held.epoch)
    }

    pub fn decide(&mut self, view: &View<'_>) -> Move {
        self.look(view);
        if let Some(held) = self.held {
            let overstays = !view.leads && view.now >= held.since + self.timings.tenure_of_followers;
            if !view.connected || overstays {
                self.held = None;
                return Move::Yield { epoch: held.epoch };
            }
            return if view.now >= held.renewed + self.timings.lease / 3 { self.ask(view) } else { Move::Wait };
        }
        let live = self.seen.as_ref().filter(|(speaker, until)| speaker.node != self.node && view.now < *until);
        if live.is_some() || !view.connected {
            self.empty_since = None;
            return Move::Wait;
        }
        let since = *self.empty_since.get_or_insert(view.now);
        let grace = if view.leads { Duration::ZERO } else { self.timings.grace * (view.rank + 1) };
        if view.now >= since + grace { self.ask(view) } else { Move::Wait }
    }

    /// When `decide` may say something new though nothing happened.
    pub fn wakes(&self, view: &View<'_>) -> Instant {
        let tenure = |held: &Held| if view.leads { held.until } else { held.since + self.timings.tenure_of_followers };
        let waits = match (&self.held, self.empty_since, &self.seen) {
            (Some(held), _, _) => (held.renewed + self.timings.lease / 3).min(tenure(held)),
            _ if !view.connected => view.now + self.timings.lease,
            (None, Some(since), _) => since + self.timings.grace * (view.rank + 1),
            (None, None, Some((_, until))) => *until,
            (None, None, None) => view.now + self.timings.lease,
        };
        // A bound that is behind us means: soon, but not in a busy loop.
        waits.max(self.not_before.unwrap_or(view.now)).max(view.now + self.timings.lease / 100)
    }

    /// The answer to an `Ask` that was begun at `asked`.
    pub fn granted(&mut self, asked: Instant, wall_asked: Timestamp, at: Timestamp, epoch: u64, until: Timestamp) {
        self.skew_ms = at.millis().saturating_sub(wall_asked.millis());
        let length = Duration::from_millis(until.since(at)).min(self.timings.lease);
        let since = self.held.filter(|held| held.epoch == epoch).map_or(asked, |held| held.since);
        self.held = Some(Held { epoch, since, renewed: asked, until: asked + length });
        self.empty_since = None;
        self.not_before = None;
    }

    /// It was refused, or nobody knows. What is held runs on to its end.
    pub fn refused(&mut self, now: Instant, skew: Option<(Timestamp, Timestamp)>) {
        if let Some((wall_asked, at)) = skew {
            self.skew_ms = at.millis().saturating_sub(wall_asked.millis());
        }
        self.not_before = Some(now + self.timings.lease / 10);
    }

    fn ask(&mut self, view: &View<'_>) -> Move {
        if self.not_before.is_some_and(|instant| view.now < instant) {
            return Move::Wait;
        }
        let leaders_clock = Timestamp(view.wall.millis().saturating_add(self.skew_ms)).max(view.clock);
        let lease_ms = u64::try_from(self.timings.lease.as_millis()).unwrap_or(u64::MAX);
        Move::Ask { until: leaders_clock.plus(lease_ms) }
    }

    fn look(&mut self, view: &View<'_>) {
        // A grant answers a little before it is applied here, so an older entry says nothing about it.
        let fenced = |held: &Held| view.speaker.is_some_and(|speaker| speaker.epoch > held.epoch);
        if self.held.is_some_and(|held| view.now >= held.until || fenced(&held)) {
            self.held = None;
        }
        match view.speaker {
            None => self.seen = None,
            Some(speaker) if self.seen.as_ref().is_some_and(|(seen, _)| seen == speaker) => {}
            Some(speaker) => {
                let length = Duration::from_millis(speaker.until.since(view.clock));
                self.seen = Some((speaker.clone(), view.now + length));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timings() -> Timings {
        Timings { grace: Duration::from_secs(1), tenure_of_followers: Duration::from_secs(60), ..Timings::default() }
    }
    fn view(start: Instant, seconds: f64, leads: bool, speaker: Option<&Speaker>) -> View<'_> {
        let now = start + Duration::from_secs_f64(seconds);
        let clock = Timestamp(1_000_000 + (seconds * 1000.0) as i64);
        View { now, wall: clock, connected: true, leads, speaker, clock, rank: 0 }
    }
    fn speaker(node: u64, epoch: u64, until_seconds: f64) -> Speaker {
        Speaker { node: NodeId(node), epoch, until: Timestamp(1_000_000 + (until_seconds * 1000.0) as i64) }
    }
    /// A chair held by node 1 since second 0.
    fn held(start: Instant) -> Chair {
        let mut chair = Chair::new(NodeId(1), timings());
        let at = Timestamp(1_000_000);
        chair.granted(start, at, at, 3, at.plus(10_000));
        chair
    }

    #[test]
    fn the_leader_asks_at_once_the_others_after_a_grace() {
        let start = Instant::now();
        let mut leader = Chair::new(NodeId(1), timings());
        assert_eq!(leader.decide(&view(start, 0.0, true, None)), Move::Ask { until: Timestamp(1_010_000) });
        let mut follower = Chair::new(NodeId(2), timings());
        assert_eq!(follower.decide(&view(start, 0.0, false, None)), Move::Wait);
        assert_eq!(follower.decide(&view(start, 0.9, false, None)), Move::Wait);
        assert!(matches!(follower.decide(&view(start, 1.0, false, None)), Move::Ask { .. }));
    }

    #[test]
    fn nobody_asks_while_another_lease_runs_by_our_own_clock() {
        let start = Instant::now();
        let mut chair = Chair::new(NodeId(1), timings());
        let other = speaker(2, 1, 10.0);
        assert_eq!(chair.decide(&view(start, 0.0, true, Some(&other))), Move::Wait);
        assert_eq!(chair.decide(&view(start, 9.9, true, Some(&other))), Move::Wait);
        assert!(matches!(chair.decide(&view(start, 10.0, true, Some(&other))), Move::Ask { .. }));
        // An hour's difference between the wall clocks changes nothing but the instant that is asked for.
        let mut late = Chair::new(NodeId(1), timings());
        let wall =
            |seconds, hours: i64| View { wall: Timestamp(1_000_000 + hours * 3_600_000), ..view(start, seconds, true, Some(&other)) };
        assert_eq!(late.decide(&wall(0.0, -1)), Move::Wait);
        assert_eq!(late.decide(&wall(0.0, 1)), Move::Wait);
    }

    #[test]
    fn a_lease_is_renewed_in_time_and_ends_with_a_margin_when_it_is_not() {
        let start = Instant::now();
        let mut chair = held(start);
        let own = speaker(1, 3, 10.0);
        let at = |seconds| start + Duration::from_secs_f64(seconds);
        assert_eq!(chair.speaks(at(8.9)), Some(3));
        assert_eq!(chair.speaks(at(9.1)), None, "what leaves now could arrive behind the lease");
        assert_eq!(chair.decide(&view(start, 3.0, true, Some(&own))), Move::Wait);
        assert!(matches!(chair.decide(&view(start, 3.4, true, Some(&own))), Move::Ask { .. }));
        chair.refused(at(3.5), None);
        assert_eq!(chair.decide(&view(start, 3.6, true, Some(&own))), Move::Wait, "not in a busy loop");
        assert!(matches!(chair.decide(&view(start, 5.0, true, Some(&own))), Move::Ask { .. }));
        assert_eq!(chair.speaks(at(8.0)), Some(3), "a refusal takes nothing away");
        chair.granted(at(5.0), Timestamp(1_005_000), Timestamp(1_005_000), 3, Timestamp(1_015_000));
        assert_eq!(chair.speaks(at(13.0)), Some(3));
    }

    #[test]
    fn a_newer_epoch_in_the_log_silences_at_once() {
        let start = Instant::now();
        let mut chair = held(start);
        let before = speaker(2, 2, 1.0);
        chair.decide(&view(start, 1.0, true, Some(&before)));
        assert_eq!(chair.speaks(start), Some(3), "an older entry, applied late, does not");
        let other = speaker(2, 4, 20.0);
        assert_eq!(chair.decide(&view(start, 2.0, true, Some(&other))), Move::Wait);
        assert_eq!(chair.speaks(start), None);
    }

    #[test]
    fn a_lost_cloud_and_a_long_tenure_of_a_follower_empty_the_chair() {
        let start = Instant::now();
        let own = speaker(1, 3, 100.0);
        let mut cut = held(start);
        assert_eq!(cut.decide(&View { connected: false, ..view(start, 1.0, true, Some(&own)) }), Move::Yield { epoch: 3 });
        assert_eq!(cut.speaks(start), None);

        let mut follower = held(start);
        for second in 1..60 {
            let now = start + Duration::from_secs(second);
            assert!(!matches!(follower.decide(&view(start, second as f64, false, Some(&own))), Move::Yield { .. }));
            let at = Timestamp(1_000_000).plus(second * 1000);
            follower.granted(now, at, at, 3, at.plus(10_000));
        }
        assert_eq!(follower.decide(&view(start, 60.0, false, Some(&own))), Move::Yield { epoch: 3 });
        assert_eq!(follower.decide(&view(start, 60.5, false, None)), Move::Wait, "the leader goes first");
        assert!(matches!(follower.decide(&view(start, 61.6, false, None)), Move::Ask { .. }));
    }

    #[test]
    fn a_clock_that_is_behind_learns_the_leaders() {
        let start = Instant::now();
        let mut chair = Chair::new(NodeId(1), timings());
        let slow = |seconds| View { wall: Timestamp(5_000), clock: Timestamp(0), ..view(start, seconds, true, None) };
        assert_eq!(chair.decide(&slow(0.0)), Move::Ask { until: Timestamp(15_000) });
        // `late`: the leader stamped it an hour ahead.
        chair.refused(start, Some((Timestamp(5_000), Timestamp(3_605_000))));
        assert_eq!(chair.decide(&slow(2.0)), Move::Ask { until: Timestamp(3_615_000) });
    }
}
