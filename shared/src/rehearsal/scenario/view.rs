//! What a scenario's `${ … }` see of the world, and its trace for people.

use crate::engine::record::{InstanceStatus, Record, RecordBody};
use crate::id::InstanceId;
use crate::rehearsal::World;
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Lines of a trace that are worth showing; the oldest go first.
const TRACE_LEN_MAX: usize = 200;
/// Characters of one value in a trace.
const VALUE_LEN_MAX: usize = 160;

/// `{now, instances: {name: id}, credentials: {holder: id}, units: {holder: unit}}`.
pub fn view(world: &World, names: &BTreeMap<Arc<str>, InstanceId>) -> Value {
    let state = &world.state;
    let credentials = state.credentials.values().filter(|credential| credential.revoked_at.is_none());
    let units = state.pools.values().flat_map(|pool| &pool.leases);
    Value::object([
        ("now", Value::from(world.at.to_rfc3339())),
        ("instances", Value::object(names.iter().map(|(name, id)| (name, Value::from(id.as_str()))))),
        ("credentials", Value::object(credentials.map(|credential| (&credential.holder, Value::from(credential.id.as_str()))))),
        ("units", Value::object(units.map(|(unit, lease)| (&lease.holder, Value::String(unit.clone()))))),
    ])
}

/// One line per task step, and per beginning and end of an instance.
pub fn trace(records: &[Record]) -> Vec<String> {
    let mut flows: BTreeMap<&InstanceId, &str> = BTreeMap::new();
    let mut lines = Vec::new();
    for record in records {
        let at = record.at.to_rfc3339();
        match &record.body {
            RecordBody::InstanceStarted { instance, flow, input, .. } => {
                flows.insert(instance, &flow.name);
                lines.push(format!("{at} {} started with {}", flow.name, short(input)));
            }
            RecordBody::InstanceEnded { instance, status, output, problem } => {
                let flow = flows.get(instance).copied().unwrap_or_default();
                let shown = problem.as_ref().unwrap_or(output);
                lines.push(format!("{at} {flow} {}: {}", word(*status), short(shown)));
            }
            RecordBody::Task(task) => {
                let flow = flows.get(&task.instance).copied().unwrap_or_default();
                let data = if task.data.is_null() { String::new() } else { format!(": {}", short(&task.data)) };
                lines.push(format!("{at} {flow} {} {}{data}", task.reference, task.what));
            }
            RecordBody::Audit(_) => {}
        }
    }
    let skipped = lines.len().saturating_sub(TRACE_LEN_MAX);
    if skipped > 0 {
        lines.drain(..skipped);
        lines.insert(0, format!("({skipped} lines before)"));
    }
    lines
}

pub fn word(status: InstanceStatus) -> &'static str {
    match status {
        InstanceStatus::Running => "running",
        InstanceStatus::Suspended => "suspended",
        InstanceStatus::Completed => "completed",
        InstanceStatus::Faulted => "faulted",
        InstanceStatus::Cancelled => "cancelled",
    }
}

fn short(value: &Value) -> String {
    let text = value.to_json();
    match text.char_indices().nth(VALUE_LEN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
