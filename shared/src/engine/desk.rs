//! What the engine remembers about device commands beyond the open effects: group calls, holds, and equal commands just given.

use super::effect::Owner;
use super::precedence::Holds;
use super::problem::Problem;
use crate::id::{DeviceId, EffectId};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Desk {
    /// By the token that called a group.
    pub group_calls: BTreeMap<Owner, GroupCall>,
    pub holds: BTreeMap<DeviceId, Holds>,
    /// By device and dedupe key (or `command␟args`).
    pub recent: BTreeMap<DeviceId, BTreeMap<Arc<str>, Recent>>,
}

/// A `group:` target: one command per member, answered as one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupCall {
    pub mode: AckMode,
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub device: DeviceId,
    pub result: Option<Result<Value, Problem>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckMode {
    /// The first success is enough; it fails when every member failed.
    One,
    /// Every member must succeed. It is answered when all are, so that one broken door does not hide the others.
    #[default]
    All,
}

/// A command that an equal one may not repeat before `until`, nor while it is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    /// While it is open.
    pub effect: Option<EffectId>,
    /// Who asked for the same meanwhile, and gets the same answer.
    pub followers: Vec<Owner>,
    /// Once it is done. `None` with no effect: attempted, then nobody waited for the answer.
    pub output: Option<Value>,
    pub until: Timestamp,
}

impl GroupCall {
    /// The answer, once there is one.
    pub fn verdict(&self) -> Option<Result<Value, Problem>> {
        match self.mode {
            AckMode::One => self.first_success(),
            AckMode::All => self.all_answers(),
        }
    }

    fn first_success(&self) -> Option<Result<Value, Problem>> {
        let mut last_failure = None;
        let mut open = false;
        for member in &self.members {
            match &member.result {
                Some(Ok(output)) => return Some(Ok(output.clone())),
                Some(Err(problem)) => last_failure = Some(problem.clone()),
                None => open = true,
            }
        }
        if open { None } else { last_failure.map(Err) }
    }

    fn all_answers(&self) -> Option<Result<Value, Problem>> {
        let mut details = Vec::new();
        let mut failed: Vec<String> = Vec::new();
        let mut first_failure: Option<&Problem> = None;
        let mut weakest = 2;
        let mut at = Value::Null;
        for member in &self.members {
            match member.result.as_ref()? {
                Ok(output) => {
                    let stage = stage_rank(output.get("status").and_then(Value::as_str).unwrap_or_default());
                    weakest = weakest.min(stage);
                    if output.get("at").and_then(Value::as_str) > at.as_str() {
                        at = output.get("at").cloned().unwrap_or_default();
                    }
                    details.push((member.device.as_str(), output.clone()));
                }
                Err(problem) => {
                    failed.push(format!("{}: {}", member.device, problem.detail.as_deref().unwrap_or(&problem.title)));
                    first_failure = first_failure.or(Some(problem));
                }
            }
        }
        Some(match first_failure {
            None => Ok(Value::object([("status", Value::from(STAGES[weakest])), ("detail", Value::object(details)), ("at", at)])),
            Some(problem) => {
                let detail = format!("{} of {} failed: {}", failed.len(), self.members.len(), failed.join("; "));
                Err(Problem { detail: Some(detail.into()), ..problem.clone() })
            }
        })
    }
}

/// From the weakest: what a group as a whole has reached.
const STAGES: [&str; 3] = ["transported", "accepted", "done"];

fn stage_rank(status: &str) -> usize {
    STAGES.iter().position(|stage| *stage == status).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use crate::codec::{decode, encode};
    use crate::engine::fixture::{building, call, call_of, done};
    use crate::engine::{Context, State};
    use crate::time::Timestamp;

    #[test]
    fn what_the_desk_holds_survives_a_snapshot() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let waits = "waits for effect";
        assert_eq!(done(call(&mut context, "i", "device.command", r#"{"target":"group:doors","command":"blink"}"#)), waits);
        assert_eq!(done(call_of(&mut context, "fire", "f", "device.command", r#"{"target":"hq/door-1","command":"stayOpen"}"#)), waits);
        let unlock = r#"{"target":"hq/door-2","command":"unlock","dedupe":"k"}"#;
        assert_eq!(done(call(&mut context, "j", "device.command", unlock)), waits);
        assert_eq!(done(call(&mut context, "k", "device.command", unlock)), waits);
        let desk = state.desk.clone();
        assert_eq!((desk.group_calls.len(), desk.holds.len(), desk.recent.len()), (1, 1, 1));
        let back: State = decode(&encode(&state)).unwrap();
        assert_eq!(back.desk, desk);
        assert_eq!(back.digest(), state.digest());
    }
}
