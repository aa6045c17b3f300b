//! What a scenario expects, beside what there is.

use super::play::{Miss, Stage};
use super::view::word;
use crate::engine::State;
use crate::engine::effect::Owner;
use crate::engine::instance::Wait;
use crate::engine::work_item::{WorkItem, WorkItemKind};
use crate::id::InstanceId;
use crate::rehearsal::asked::Asked;
use crate::rehearsal::{building, template};
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every field that does not hold.
pub fn check(stage: &Stage, instance: Option<&str>, fields: &[(Arc<str>, Value, u32)]) -> Vec<Miss> {
    let id = stage.instance(instance);
    let misses = fields.iter().filter_map(|(key, expected, line)| {
        let missed = |expected: String, found: String| Some(Miss { line: *line, what: key.to_string(), expected, found });
        let compare = |found: &Value| {
            if template::fits(expected, found) { None } else { missed(expected.to_json(), found.to_json()) }
        };
        match &**key {
            "status" => compare(&Value::from(status(stage, id.as_ref()))),
            "output" => compare(&ended(stage, id.as_ref()).map(|(output, _)| output).unwrap_or_default()),
            "error" => error(expected, &found_error(stage, id.as_ref())).and_then(|found| missed(expected.to_json(), found.to_json())),
            "at" => {
                let found = places(stage, id.as_ref());
                let wanted = sorted(expected);
                if wanted == found { None } else { missed(wanted.join(", "), found.join(", ")) }
            }
            "commanded" => commanded(stage, expected).and_then(|found| missed(expected.to_json(), found.to_json())),
            "workItems" => {
                let found: Vec<&WorkItem> = stage.world.state.work_items.values().collect();
                let wanted = expected.as_array().unwrap_or_default();
                let shown = || found.iter().map(|item| shown_item(item)).collect::<Vec<_>>().join(", ");
                if same_items(wanted, &found) { None } else { missed(expected.to_json(), format!("[{}]", shown())) }
            }
            "leases" => {
                let held = building::held(&stage.world.state);
                let texts = |units: &Vec<Arc<str>>| Value::array(units.iter().map(|unit| Value::String(unit.clone())).collect());
                let found = Value::object(held.iter().map(|(pool, units)| (pool, texts(units))));
                if found == *expected { None } else { missed(expected.to_json(), found.to_json()) }
            }
            "grants" => compare(&count(stage.world.state.grants.len())),
            "running" => compare(&count(stage.world.state.instances.len())),
            "emitted" => compare(&Value::array(stage.world.emitted.iter().map(crate::event::Event::to_value).collect())),
            "asked" => asked_in_order(expected, &stage.outside.asked).and_then(|(wanted, found)| missed(wanted, found)),
            "notAsked" => {
                let wanted = expected.as_array().unwrap_or_default();
                let hit = stage.outside.asked.iter().find(|asked| wanted.iter().any(|wanted| is_call(wanted, asked)));
                hit.and_then(|asked| missed(format!("not {}", expected.to_json()), shown_call(asked)))
            }
            "released" => {
                let left = building::leftovers(&stage.world.state);
                if left.is_empty() { None } else { missed("nothing is owned".into(), left.join(", ")) }
            }
            _ => missed("a known expectation".into(), "none".into()),
        }
        .map(|miss| Miss { found: if miss.found.is_empty() { "nothing".into() } else { miss.found }, ..miss })
    });
    misses.collect()
}

fn count(count: usize) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn status(stage: &Stage, id: Option<&InstanceId>) -> &'static str {
    let Some(id) = id else { return "none" };
    match (stage.world.instance(id), stage.world.ended(id)) {
        (Some(instance), _) if instance.incident.is_some() => "incident",
        (Some(instance), _) => word(instance.status),
        (None, Some(ended)) => word(ended.status),
        (None, None) => "none",
    }
}

fn ended(stage: &Stage, id: Option<&InstanceId>) -> Option<(Value, Option<Value>)> {
    stage.world.ended(id?).map(|ended| (ended.output, ended.problem))
}

/// The error it ended with, or stands at.
fn found_error(stage: &Stage, id: Option<&InstanceId>) -> Value {
    let standing = id.and_then(|id| stage.world.instance(id)).and_then(|instance| instance.incident.as_ref());
    match standing {
        Some(incident) => incident.problem.to_value(),
        None => ended(stage, id).and_then(|(_, problem)| problem).unwrap_or_default(),
    }
}

/// The found error, where it is not the expected one.
fn error<'a>(expected: &Value, found: &'a Value) -> Option<&'a Value> {
    let holds = match expected {
        Value::String(kind) => {
            found.get("type").and_then(Value::as_str).is_some_and(|found| found == &**kind || found.rsplit('/').next() == Some(&**kind))
        }
        fields => template::fits(fields, found),
    };
    (!holds).then_some(found)
}

/// Names of the tasks it stands at, sorted; forks and awaiting tasks that only hold others are left out.
fn places(stage: &Stage, id: Option<&InstanceId>) -> Vec<String> {
    let Some(instance) = id.and_then(|id| stage.world.instance(id)) else { return Vec::new() };
    let tokens = instance.tokens.values().filter(|token| !matches!(token.wait, Wait::Join));
    let mut names: Vec<String> = tokens.filter_map(|token| token.top_task()).map(|frame| frame.name.to_string()).collect();
    names.sort();
    names
}

fn sorted(names: &Value) -> Vec<String> {
    let mut names: Vec<String> = names.as_array().unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect();
    names.sort();
    names
}

/// What devices were told, where it is not what was expected.
fn commanded(stage: &Stage, expected: &Value) -> Option<Value> {
    let told = &stage.outside.commanded;
    let (holds, found) = match expected {
        Value::Object(counts) => {
            let mut found: BTreeMap<Arc<str>, i64> = BTreeMap::new();
            told.iter().for_each(|(_, command)| *found.entry(command.clone()).or_default() += 1);
            let found = Value::object(found.iter().map(|(command, count)| (command, Value::Int(*count))));
            (counts.iter().all(|(command, count)| found.get(command).unwrap_or(&Value::Int(0)) == count), found)
        }
        list => {
            let found = Value::array(told.iter().map(|(device, command)| Value::from(format!("{device} {command}"))).collect());
            (*list == found, found)
        }
    };
    (!holds).then_some(found)
}

/// Every expected item is one found item, and none is left over.
fn same_items(wanted: &[Value], found: &[&WorkItem]) -> bool {
    let mut left: Vec<Value> = found.iter().map(|item| item_value(item)).collect();
    wanted.len() == left.len()
        && wanted.iter().all(|wanted| match left.iter().position(|item| template::fits(wanted, item)) {
            Some(at) => {
                left.remove(at);
                true
            }
            None => false,
        })
}

fn item_value(item: &WorkItem) -> Value {
    let (kind, text) = match &item.kind {
        WorkItemKind::Approval { question, .. } => ("approval", question),
        WorkItemKind::Task { title, .. } => ("task", title),
    };
    Value::object([
        ("to", Value::String(item.to.clone())),
        ("kind", Value::from(kind)),
        ("text", Value::String(text.clone())),
        ("data", item.data.clone()),
    ])
}

pub(super) fn shown_item(item: &WorkItem) -> String {
    let value = item_value(item);
    let text = |key| value.get(key).and_then(Value::as_str).unwrap_or_default();
    format!("{} for {}: {}", text("kind"), text("to"), text("text"))
}

/// Name and reference of the task that asked.
pub(super) fn task_of(state: &State, owner: &Owner) -> Option<(Arc<str>, Arc<str>)> {
    let Owner::Token { instance, token, .. } = owner else { return None };
    let frame = state.instances.get(instance)?.tokens.get(token)?.top_task()?;
    Some((frame.name.clone(), frame.reference.clone()))
}

/// The first expected call that is not there behind the one before, and what went out.
fn asked_in_order(expected: &Value, all: &[Asked]) -> Option<(String, String)> {
    let mut rest = all.iter();
    for wanted in expected.as_array().unwrap_or_default() {
        if !rest.any(|asked| is_call(wanted, asked)) {
            let shown: Vec<String> = all.iter().map(shown_call).collect();
            return Some((wanted.to_json(), shown.join("; ")));
        }
    }
    None
}

fn is_call(wanted: &Value, asked: &Asked) -> bool {
    let text = |key: &str| wanted.get(key).and_then(Value::as_str);
    text("function").is_none_or(|function| *asked.function == *function)
        && text("task").is_none_or(|task| *asked.task == *task || *asked.reference == *task)
        && wanted.get("with").is_none_or(|with| template::fits(with, &asked.with))
}

fn shown_call(asked: &Asked) -> String {
    format!("{} {} {}", asked.task, asked.function, asked.with)
}
