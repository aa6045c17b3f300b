//! What one run came to: how the story's instances ended, and which tasks of it were reached. Without it a flow that fails at its
//! first task would be called sound.

use crate::engine::record::{InstanceStatus, RecordBody};
use crate::flow::plan::{FlowKey, Plan};
use crate::id::InstanceId;
use crate::rehearsal::World;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Instances that are told of; a flow may start itself by its own events.
const ENDS_MAX: usize = 3;

/// (how each instance of `flow` ended or stands, references of its tasks that were reached).
pub fn of(world: &World, flow: &FlowKey) -> (Vec<String>, BTreeSet<Arc<str>>) {
    let mut instances: BTreeMap<&InstanceId, Option<String>> = BTreeMap::new();
    let mut reached = BTreeSet::new();
    for record in &world.records {
        match &record.body {
            RecordBody::InstanceStarted { instance, flow: of, .. } if of == flow => {
                instances.insert(instance, None);
            }
            RecordBody::InstanceEnded { instance, status, problem, .. } => {
                if let Some(end) = instances.get_mut(instance) {
                    *end = Some(ended(*status, problem.as_ref()));
                }
            }
            RecordBody::Task(task) if instances.contains_key(&task.instance) && matches!(&*task.what, "started" | "skipped") => {
                reached.insert(task.reference.clone());
            }
            _ => {}
        }
    }
    let told = |(id, end): (&InstanceId, Option<String>)| end.unwrap_or_else(|| stands(world, id));
    (instances.into_iter().take(ENDS_MAX).map(told).collect(), reached)
}

/// Tasks of the flow that are not among `reached`, in the order of the document.
pub fn never(plan: &Plan, reached: &BTreeSet<Arc<str>>) -> Vec<Arc<str>> {
    plan.tasks.iter().map(|task| task.reference.clone()).filter(|reference| !reached.contains(reference)).collect()
}

fn ended(status: InstanceStatus, problem: Option<&Value>) -> String {
    let word = crate::rehearsal::scenario::word(status);
    problem.map_or_else(|| word.to_owned(), |problem| format!("{word}: {}", in_words(problem)))
}

fn stands(world: &World, id: &InstanceId) -> String {
    let Some(instance) = world.instance(id) else { return "gone".into() };
    let at = instance.positions().first().map(|position| position.reference.to_string()).unwrap_or_default();
    match &instance.incident {
        Some(incident) => format!("an incident at {at}: {}", in_words(&incident.problem.to_value())),
        None => format!("waits at {at}"),
    }
}

fn in_words(problem: &Value) -> String {
    let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
    let at = if text("instance").is_empty() { String::new() } else { format!(" ({})", text("instance")) };
    match text("detail") {
        "" => format!("{}{at}", text("title")),
        detail => format!("{}, {detail}{at}", text("title")),
    }
}
