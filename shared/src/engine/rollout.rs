//! Versions of a flow: which one is started, which only ends what it began, and which may go.
//!
//! Every version is enabled when it is deployed. The newest enabled one is *current*: started by name and by its schedule.
//! Rolling back is disabling the newer versions. An instance ends on the version that it began with, whatever is enabled.

use super::command::{Accepted, FlowAction, Rejection, Reply};
use super::context::Context;
use super::deploy::version_order;
use super::schedule;
use super::state::State;
use crate::flow::plan::FlowKey;
use crate::id::Actor;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Refused: `not-found`, `conflict` (removed while instances run on it).
pub(super) fn act(context: &mut Context, flow: &FlowKey, action: FlowAction, by: &Actor) -> Reply {
    let Some(there) = context.state.flows.get_mut(flow) else {
        return Err(Rejection::new("not-found", format!("no flow {flow} is deployed")));
    };
    let word = match action {
        FlowAction::Enable if there.enabled => return Ok(Accepted::Duplicate),
        FlowAction::Disable if !there.enabled => return Ok(Accepted::Duplicate),
        FlowAction::Enable | FlowAction::Disable => {
            there.enabled = action == FlowAction::Enable;
            if there.enabled { "flow.enabled" } else { "flow.disabled" }
        }
        FlowAction::Remove => {
            let running = context.state.instances.values().filter(|instance| instance.flow == *flow).count();
            if running > 0 {
                let message = format!("{running} instances run on {flow}; disable it, and remove it when they have ended");
                return Err(Rejection::new("conflict", message));
            }
            context.state.flows.remove(flow);
            context.state.plans.remove(flow);
            "flow.removed"
        }
    };
    schedule::refresh(context);
    context.state.declared_at = context.index;
    context.audit(by.clone(), word, flow.to_string(), Value::object([("current", current_of(context.state, flow))]));
    Ok(Accepted::Flow { key: flow.clone() })
}

/// The version that is started from now on, for the audit.
fn current_of(state: &State, flow: &FlowKey) -> Value {
    let current = state.current.iter().find(|key| key.namespace == flow.namespace && key.name == flow.name);
    current.map_or(Value::Null, |key| Value::String(key.version.clone()))
}

/// The flow to start: the enabled version that is named, or the current one. Refused: `not-found`, `conflict` (disabled).
pub(super) fn find(state: &State, namespace: &str, name: &str, version: Option<&str>) -> Result<FlowKey, Rejection> {
    let named = |key: &&FlowKey| *key.namespace == *namespace && *key.name == *name;
    let title = || format!("{namespace}/{name}{}", version.map(|version| format!(":{version}")).unwrap_or_default());
    let found = match version {
        Some(version) => state.flows.keys().filter(named).find(|key| *key.version == *version),
        None => state.current.iter().find(named).or_else(|| state.flows.keys().find(named)),
    };
    if let Some(found) = found
        && state.plans.get(found).is_some_and(|plan| !plan.lives_in(&state.group))
    {
        return Err(Rejection::new("conflict", format!("{found} lives in buildings, not in group `{}`: start it in one", state.group)));
    }
    let Some(found) = found else { return Err(Rejection::new("not-found", format!("no flow {} is deployed", title()))) };
    if state.flows.get(found).is_some_and(|flow| flow.enabled) {
        return Ok(found.clone());
    }
    Err(Rejection::new("conflict", format!("{} is disabled; `spalla flow enable {found}` lets it be started again", title())))
}

/// The newest enabled version of each flow.
pub(super) fn current(state: &State) -> BTreeSet<FlowKey> {
    let mut newest: BTreeMap<(&str, &str), &FlowKey> = BTreeMap::new();
    for (key, _) in state.flows.iter().filter(|(_, flow)| flow.enabled) {
        let best = newest.entry((&key.namespace, &key.name)).or_insert(key);
        if version_order(&best.version, &key.version).is_lt() {
            *best = key;
        }
    }
    newest.into_values().cloned().collect()
}
