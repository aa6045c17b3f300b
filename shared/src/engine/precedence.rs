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
    /// `namespace/name` of the flow that asked for it: that flow may end it.
    pub flow: Option<Arc<str>>,
    pub since: Timestamp,
    /// The command that ends it (besides [`RELEASES`]).
    pub ended_by: Option<Arc<str>>,
}

/// A command as precedence sees it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub command: &'a str,
    /// `None`: it neither opens nor shuts.
    pub mode: Option<Mode>,
    pub priority: Priority,
    pub flow: Option<&'a str>,
}

/// The holds of one device: one per priority, so that a lockdown is still there when the fire release above it ends.
pub type Holds = BTreeMap<Priority, Hold>;

/// Commands that end a mode. They end holds of their own priority and of their own flow, and make none, whatever their class.
pub const RELEASES: [&str; 4] = ["resume", "resumeSchedule", "endLockdown", "endInterlock"];

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

pub fn is_release(command: &str) -> bool {
    RELEASES.contains(&command)
}

/// The hold that refuses a command, if any. The highest that the command does not end is the one in force; what lies below it waits.
/// A release that may not end it is refused too, or it would take the device out of a mode that the engine still holds.
pub fn refusal<'a>(holds: &'a Holds, wanted: &Wanted) -> Option<(Priority, &'a Hold)> {
    let (held, hold) = holds.iter().rev().find(|(held, hold)| !ends(wanted, **held, hold))?;
    let opposed = wanted.mode.is_some_and(|mode| decide((mode, wanted.priority), (hold.mode, *held)) == Verdict::Refused);
    (opposed || is_release(wanted.command) && *held > wanted.priority).then_some((*held, hold))
}

/// Ends the holds that the command may end.
pub fn end_holds(holds: &mut Holds, wanted: &Wanted) {
    holds.retain(|held, hold| !ends(wanted, *held, hold));
}

fn ends(wanted: &Wanted, held: Priority, hold: &Hold) -> bool {
    let named = hold.ended_by.as_deref() == Some(wanted.command) && held <= wanted.priority;
    let own_flow = hold.flow.is_some() && hold.flow.as_deref() == wanted.flow;
    named || is_release(wanted.command) && (held == wanted.priority || own_flow)
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
        let ended_by = ended_by.map(Into::into);
        Hold { mode, by: Actor::system(), flow: Some("test/keeper".into()), since: Timestamp(0), ended_by }
    }
    fn wanted(command: &str, mode: Option<Mode>, priority: Priority) -> Wanted<'_> {
        Wanted { command, mode, priority, flow: Some("test/other") }
    }

    #[test]
    fn a_lockdown_is_still_there_when_the_fire_release_above_it_ends() {
        let mut holds = Holds::from([(Lockdown, hold(Shut, None)), (Fire, hold(Open, Some("resume")))]);
        assert_eq!(refusal(&holds, &wanted("unlock", Some(Open), Grant)), None, "a badge may open what is open");
        assert!(refusal(&holds, &wanted("lock", Some(Shut), Lockdown)).is_some(), "nobody shuts it before the fire release ends");
        assert!(refusal(&holds, &wanted("resume", Some(Shut), Grant)).is_some(), "a normal flow ends neither");
        assert_eq!(refusal(&holds, &wanted("resume", Some(Shut), Fire)), None);
        end_holds(&mut holds, &wanted("resume", Some(Shut), Fire));
        assert_eq!(holds.keys().copied().collect::<Vec<_>>(), [Lockdown]);
        assert!(refusal(&holds, &wanted("unlock", Some(Open), Grant)).is_some());
        assert!(refusal(&holds, &wanted("resume", None, Grant)).is_some(), "also where a release neither opens nor shuts");
        end_holds(&mut holds, &wanted("endLockdown", None, Lockdown));
        assert!(holds.is_empty());
    }

    #[test]
    fn the_flow_that_made_a_hold_may_end_it() {
        let mut holds = Holds::from([(Lockdown, hold(Shut, None))]);
        let keeper = Wanted { flow: Some("test/keeper"), ..wanted("resume", Some(Shut), Grant) };
        assert_eq!(refusal(&holds, &keeper), None);
        end_holds(&mut holds, &keeper);
        assert!(holds.is_empty());
    }

    #[test]
    fn the_named_command_ends_a_hold_from_its_own_priority_up() {
        let mut holds = Holds::from([(Schedule, hold(Open, Some("lock")))]);
        end_holds(&mut holds, &wanted("lock", Some(Shut), Grant));
        assert_eq!(holds.len(), 1);
        end_holds(&mut holds, &wanted("lock", Some(Shut), Fire));
        assert!(holds.is_empty());
    }
}
