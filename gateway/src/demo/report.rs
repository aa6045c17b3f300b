//! What a headless demo found, as JSON and as an exit code.

use serde::Serialize;

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub visits: Visits,
    pub faults: Vec<Fault>,
    /// Opening commands that a device received more than once, and openings of a door for a credential beyond the times it was shown there.
    pub duplicate_actuations: u64,
    /// Opening commands that a device received at or past their deadline.
    pub stale_actuations: u64,
    /// Events that a gateway acknowledged and that no gateway's audit trail holds.
    pub acked_events_lost: u64,
    pub acked_events: u64,
    pub device_commands: u64,
    pub summaries: Summaries,
    pub audit: Audit,
    pub state: State,
    /// Every promise held.
    pub ok: bool,
    /// What did not hold.
    pub broken: Vec<String>,
    pub duration_s: f64,
}

#[derive(Debug, Default, Serialize)]
pub struct Visits {
    pub started: u64,
    pub completed: u64,
    pub faulted: u64,
    /// Ended in no way before the script did.
    pub unfinished: u64,
}

#[derive(Debug, Serialize)]
pub struct Fault {
    /// `kill-leader`, `kill-follower`, `cut-site`, `cut-cloud`, `kill-all`.
    pub kind: String,
    pub on: String,
    /// Seconds since the script began.
    pub at: f64,
    /// The longest stretch around it in which nothing at all moved anywhere.
    pub gap_ms: u64,
}

/// The numbered events of the uplink, as the cloud stand-in counted them.
#[derive(Debug, Default, Serialize)]
pub struct Summaries {
    pub expected: u64,
    pub received: u64,
    pub gaps: u64,
    /// Received again and recognised (at least once is the contract).
    pub duplicates: u64,
    /// Handed on to be kept more than once: must be 0.
    pub taken_twice: u64,
    /// Site summaries received.
    pub site_summaries: u64,
    pub sites: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
pub struct Audit {
    pub chain_ok: bool,
    pub replicas_equal: bool,
    pub links: u64,
    pub heads: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
pub struct State {
    pub replicas_equal: bool,
    pub applied: u64,
    pub digests: Vec<String>,
}

impl Report {
    /// Judges all the promises; `broken` says which did not hold.
    pub fn judge(&mut self, visits_wanted: u64) {
        let mut broken = Vec::new();
        let mut promise = |held: bool, what: String| {
            if !held {
                broken.push(what);
            }
        };
        let visits = &self.visits;
        promise(visits.started == visits_wanted, format!("{} of {visits_wanted} visits started", visits.started));
        promise(
            visits.completed == visits.started,
            format!(
                "{} of {} visits completed ({} faulted, {} unfinished)",
                visits.completed, visits.started, visits.faulted, visits.unfinished
            ),
        );
        promise(self.duplicate_actuations == 0, format!("{} opening commands came twice", self.duplicate_actuations));
        promise(self.stale_actuations == 0, format!("{} opening commands came late", self.stale_actuations));
        promise(self.acked_events > 0, "no event was acknowledged".into());
        promise(self.acked_events_lost == 0, format!("{} acknowledged events are in no audit trail", self.acked_events_lost));
        let cloud = &self.summaries;
        promise(
            cloud.expected > 0 && cloud.received == cloud.expected,
            format!("the cloud holds {} of {} numbered events", cloud.received, cloud.expected),
        );
        promise(cloud.taken_twice == 0, format!("the cloud took {} numbered events twice", cloud.taken_twice));
        promise(cloud.gaps == 0, format!("{} gaps in the cloud's sequence", cloud.gaps));
        promise(cloud.sites.len() == 3, format!("site summaries came from {} of 3 sites", cloud.sites.len()));
        promise(self.audit.chain_ok && self.audit.links > 0, "an audit chain is broken or empty".into());
        promise(self.audit.replicas_equal, format!("the audit heads differ: {:?}", self.audit.heads));
        promise(self.state.replicas_equal, format!("the states differ: {:?}", self.state.digests));
        self.ok = broken.is_empty();
        self.broken = broken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        Report {
            visits: Visits { started: 3, completed: 3, ..Visits::default() },
            acked_events: 9,
            summaries: Summaries {
                expected: 5,
                received: 5,
                sites: vec!["depot".into(), "hq".into(), "plant".into()],
                ..Summaries::default()
            },
            audit: Audit { chain_ok: true, replicas_equal: true, links: 7, heads: Vec::new() },
            state: State { replicas_equal: true, applied: 1, digests: Vec::new() },
            ..Report::default()
        }
    }

    #[test]
    fn each_broken_promise_is_named() {
        let mut report = good();
        report.judge(3);
        assert!(report.ok, "{:?}", report.broken);
        let breaks: [fn(&mut Report); 10] = [
            |r| r.visits.started = 2,
            |r| r.visits.completed = 2,
            |r| r.duplicate_actuations = 1,
            |r| r.stale_actuations = 1,
            |r| r.acked_events_lost = 1,
            |r| r.summaries.received = 4,
            |r| r.summaries.gaps = 1,
            |r| r.audit.chain_ok = false,
            |r| r.audit.replicas_equal = false,
            |r| r.state.replicas_equal = false,
        ];
        for (place, break_it) in breaks.into_iter().enumerate() {
            let mut report = good();
            break_it(&mut report);
            report.judge(3);
            assert!(!report.ok && !report.broken.is_empty(), "promise {place}");
        }
    }
}
