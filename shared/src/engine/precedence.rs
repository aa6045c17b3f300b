//! Who wins when commands to one device collide: fire > lockdown > interlock > schedule > grant.
//!
//! A *hold* is a mode that a device was put into on purpose (a fire release, a lockdown). A grant's opening is momentary and
//! leaves none. A hold lasts until a command that may end it, never until a time.

use crate::flow::plan::{Plan, Schedule};
use crate::id::Actor;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Ordered: the later variant outranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Grant,
    Schedule,
    Interlock,
    Lockdown,
    Fire,
}

/// What a command wants of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Open,
    Shut,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    pub mode: Mode,
    pub by: Actor,
    pub since: Timestamp,
    /// The command that ends it (besides [`RELEASES`]).
    pub ended_by: Option<Arc<str>>,
}

/// The holds of one device: one per priority, so that a lockdown is still there when the fire release above it ends.
pub type Holds = BTreeMap<Priority, Hold>;

/// Commands that end a hold of the same priority.
pub const RELEASES: [&str; 2] = ["resumeSchedule", "release"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Refused,
}

impl Priority {
    /// A life-safety flow acts for the fire; `lockdown` and `interlock` are told by the command's name; a flow that a clock starts acts for the schedule.
    pub fn of(plan: Option<&Plan>, command: &str) -> Self {
        match (plan, command) {
            (Some(plan), _) if plan.life_safety => Self::Fire,
            (_, "lockdown" | "endLockdown") => Self::Lockdown,
            (_, "interlock" | "endInterlock") => Self::Interlock,
            (Some(Plan { schedule: Some(Schedule::Cron(_) | Schedule::Every { .. } | Schedule::After { .. }), .. }), _) => Self::Schedule,
            _ => Self::Grant,
        }
    }
    pub fn name(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Schedule => "schedule",
            Self::Interlock => "interlock",
            Self::Lockdown => "lockdown",
            Self::Fire => "fire",
        }
    }
}

/// The table: an opposed mode of a higher priority refuses; of the same priority the later one wins.
pub fn decide(wanted: (Mode, Priority), held: (Mode, Priority)) -> Verdict {
    match (wanted.0 == held.0, wanted.1 >= held.1) {
        (true, _) | (false, true) => Verdict::Allowed,
        (false, false) => Verdict::Refused,
    }
}

/// The hold that refuses a command, if any. The highest hold is the one in force: what lies below it waits.
pub fn refusal(holds: &Holds, mode: Mode, priority: Priority) -> Option<(Priority, &Hold)> {
    let (held, hold) = holds.iter().next_back()?;
    (decide((mode, priority), (hold.mode, *held)) == Verdict::Refused).then_some((*held, hold))
}

/// Ends the holds that `command` may end: by its name at or below its priority, by [`RELEASES`] or `end…` at its own.
pub fn end_holds(holds: &mut Holds, command: &str, priority: Priority) {
    let releases = RELEASES.contains(&command) || matches!(command, "endLockdown" | "endInterlock");
    holds.retain(|held, hold| {
        let named = hold.ended_by.as_deref() == Some(command) && *held <= priority;
        !(named || releases && *held == priority)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use Mode::{Open, Shut};
    use Priority::{Fire, Grant, Interlock, Lockdown, Schedule};

    /// Rows: who wants to open. Columns: who holds it shut. `.` allowed, `x` refused.
    const TABLE: [(Priority, &str); 5] = [
        //           grant schedule interlock lockdown fire
        (Grant, ".xxxx"),
        (Schedule, "..xxx"),
        (Interlock, "...xx"),
        (Lockdown, "....x"),
        (Fire, "....."),
    ];

    #[test]
    fn every_pair_of_opposed_commands_follows_the_table() {
        for (wanted, row) in TABLE {
            for (held, cell) in [Grant, Schedule, Interlock, Lockdown, Fire].into_iter().zip(row.chars()) {
                let expected = if cell == 'x' { Verdict::Refused } else { Verdict::Allowed };
                assert_eq!(decide((Open, wanted), (Shut, held)), expected, "{wanted:?} opens, {held:?} holds shut");
                assert_eq!(decide((Shut, wanted), (Open, held)), expected, "{wanted:?} shuts, {held:?} holds open");
                assert_eq!(decide((Open, wanted), (Open, held)), Verdict::Allowed);
                assert_eq!(decide((Shut, wanted), (Shut, held)), Verdict::Allowed);
            }
        }
    }

    fn hold(mode: Mode, ended_by: Option<&str>) -> Hold {
        Hold { mode, by: Actor::system(), since: Timestamp(0), ended_by: ended_by.map(Into::into) }
    }

    #[test]
    fn a_lockdown_is_still_there_when_the_fire_release_above_it_ends() {
        let mut holds = Holds::from([(Lockdown, hold(Shut, None)), (Fire, hold(Open, None))]);
        assert_eq!(refusal(&holds, Open, Grant), None, "fire holds it open: a badge may open what is open");
        assert!(refusal(&holds, Shut, Lockdown).is_some(), "nobody shuts it before the fire release ends");
        end_holds(&mut holds, "resumeSchedule", Grant);
        assert_eq!(holds.len(), 2, "a normal flow's release ends neither");
        end_holds(&mut holds, "resumeSchedule", Fire);
        assert_eq!(holds.keys().copied().collect::<Vec<_>>(), [Lockdown]);
        assert!(refusal(&holds, Open, Grant).is_some());
        end_holds(&mut holds, "endLockdown", Lockdown);
        assert!(holds.is_empty());
    }

    #[test]
    fn the_named_command_ends_a_hold_from_its_own_priority_up() {
        let mut holds = Holds::from([(Schedule, hold(Open, Some("lock")))]);
        end_holds(&mut holds, "lock", Grant);
        assert_eq!(holds.len(), 1);
        end_holds(&mut holds, "lock", Fire);
        assert!(holds.is_empty());
    }
}
