//! Data for flows that nobody described: input that a schema takes, events that a filter takes, as far as they say so in words
//! that can be read: literals, and conditions like `.direction == "out" and .kg > 3`.

use crate::engine::State;
use crate::engine::instance::{Frame, Listening, Work};
use crate::event::Event;
use crate::flow::plan::{AttributeMatch, Consume, EventFilter, Plan, TaskKind, Until};
use crate::rehearsal::stub::EventTemplate;
use crate::small_map::SmallMap;
use crate::time::Timestamp;
use crate::value::{Object, Value};
use std::sync::Arc;

/// Deepest schema that is followed.
const DEPTH_MAX: u32 = 16;
/// Paths into an event's data that are looked for in one flow or task.
const PATHS_MAX: usize = 64;
/// An hour before the first instant that is made: the clock of a rehearsal that nobody set, 2026-11-23T09:00:00Z.
const FIRST_INSTANT: Timestamp = Timestamp(1_795_424_400_000);

/// Data that a schema takes: its required fields, each as small as may be, and those of which it gives an example.
pub fn input(schema: Option<&Value>) -> Value {
    schema.map_or_else(Value::empty_object, |schema| sample(schema, 0, &mut 0))
}

/// `instants`: how many were made; each is an hour later than the one before, so that `from` comes before `until`.
fn sample(schema: &Value, depth: u32, instants: &mut u32) -> Value {
    for known in ["const", "default"] {
        if let Some(value) = schema.get(known) {
            return value.clone();
        }
    }
    let first = |key: &str| schema.get(key).and_then(Value::as_array).and_then(|items| items.first());
    if let Some(value) = first("enum").or_else(|| first("examples")) {
        return value.clone();
    }
    if depth >= DEPTH_MAX {
        return Value::Null;
    }
    if let Some(one) = first("anyOf").or_else(|| first("oneOf")) {
        return sample(one, depth + 1, instants);
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => &**kind,
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("null"),
        _ if schema.get("properties").is_some() => "object",
        _ => "null",
    };
    let number = |key: &str| schema.get(key).and_then(Value::as_i64);
    match kind {
        "object" => {
            let required = schema.get("required").and_then(Value::as_array).unwrap_or_default().iter().filter_map(Value::as_str);
            let properties = schema.get("properties").and_then(Value::as_object);
            let described = properties.into_iter().flatten().filter(|(_, field)| field.get("examples").is_some()).map(|(name, _)| &**name);
            let mut names: Vec<&str> = required.collect();
            names.extend(described.filter(|name| !names.contains(name)).collect::<Vec<_>>());
            let none = Value::empty_object();
            let field = |name| properties.and_then(|properties| properties.get(name)).unwrap_or(&none);
            Value::object(names.into_iter().map(|name| (name, sample(field(name), depth + 1, instants))))
        }
        "array" => {
            let count = usize::try_from(number("minItems").unwrap_or(0)).unwrap_or(0).min(16);
            let none = Value::empty_object();
            Value::array((0..count).map(|_| sample(schema.get("items").unwrap_or(&none), depth + 1, instants)).collect())
        }
        "string" => match schema.get("format").and_then(Value::as_str) {
            Some("date-time") => {
                *instants = instants.saturating_add(1);
                Value::from(FIRST_INSTANT.plus(u64::from(*instants) * 3_600_000).to_rfc3339())
            }
            Some("duration") => Value::from("PT1M"),
            Some("email") => Value::from("somebody@example.com"),
            Some("uri") => Value::from("http://127.0.0.1/x"),
            _ => Value::from("x".repeat(usize::try_from(number("minLength").unwrap_or(1).clamp(1, 256)).unwrap_or(1))),
        },
        "integer" | "number" => {
            Value::Int(number("minimum").or_else(|| number("exclusiveMinimum").map(|low| low.saturating_add(1))).unwrap_or(1))
        }
        "boolean" => Value::Bool(true),
        _ => Value::Null,
    }
}

/// One event per filter that a schedule needs.
pub fn starters(consume: &Consume, plan: &Plan) -> Vec<EventTemplate> {
    let filters = match consume {
        Consume::One(filter) => vec![filter],
        Consume::All(filters) => filters.iter().collect(),
        Consume::Any { filters, .. } => filters.iter().take(1).collect(),
    };
    // What the flow reads of the event that started it, in its keys and its first tasks: text, for most of it names somebody or something.
    let keys = plan.business_key.iter().chain(&plan.singleton).map(|key| Value::from(key.source()));
    let texts: Vec<Value> = keys.chain(plan.tasks.iter().map(|task| task.definition.clone())).collect();
    let mut read = Vec::new();
    texts.iter().for_each(|text| paths_of("[0].data", text, &mut read));
    let event =
        |filter| EventTemplate::of(&Value::Object(Arc::new(with_data(fields(filter, &SmallMap::default()), &read, &Value::from("x")))));
    filters.into_iter().map(event).collect()
}

/// Adds what is read of an event's data and not there.
fn with_data(mut fields: Object, read: &[Vec<Arc<str>>], value: &Value) -> Object {
    let mut data = fields.get("data").cloned().unwrap_or_else(Value::empty_object);
    for path in read {
        let known = path.iter().try_fold(&data, |data, name| data.get(name)).is_some();
        if !known {
            data = put(&data, path, value.clone());
        }
    }
    fields.insert("data".into(), data);
    fields
}

/// Paths behind `prefix` in all texts of `value`: `[0].data.plate` -> `plate`.
fn paths_of(prefix: &str, value: &Value, found: &mut Vec<Vec<Arc<str>>>) {
    match value {
        Value::String(text) => {
            for (at, _) in text.match_indices(prefix) {
                let rest = text.get(at + prefix.len()..).unwrap_or_default();
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))).unwrap_or(rest.len());
                let path = rest.get(..end).unwrap_or_default().trim_end_matches('.');
                if let Some(path) = path_of(path).filter(|path| !path.is_empty() && !found.contains(path))
                    && found.len() < PATHS_MAX
                {
                    found.push(path);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| paths_of(prefix, item, found)),
        Value::Object(fields) => fields.values().for_each(|field| paths_of(prefix, field, found)),
        _ => {}
    }
}

pub fn names_type(consume: &Consume, kind: &str) -> bool {
    let filters = match consume {
        Consume::One(filter) => std::slice::from_ref(filter),
        Consume::All(filters) | Consume::Any { filters, .. } => filters,
    };
    filters.iter().any(|filter| {
        filter
            .with
            .iter()
            .any(|(name, expected)| matches!(expected, AttributeMatch::Equal(Value::String(text)) if **name == *"type" && **text == *kind))
    })
}

/// Events for the listening tasks of all instances, oldest instance first.
pub fn for_listeners(state: &State, at: Timestamp, number: u64) -> Vec<Event> {
    let mut events = Vec::new();
    for instance in state.instances.values() {
        let Some(plan) = state.plans.get(&instance.flow) else { continue };
        for frame in instance.tokens.values().flat_map(|token| &token.frames) {
            let Frame::Task(frame) = frame else { continue };
            let (Some(TaskKind::Listen(listen)), Work::Listen(listening)) =
                (plan.tasks.get(frame.task as usize).map(|task| &task.kind), &frame.work)
            else {
                continue;
            };
            if listening.closed {
                continue;
            }
            // What the task reads of what it hears: most of it is measured.
            let mut read = Vec::new();
            for key in ["output", "export"] {
                plan.tasks
                    .get(frame.task as usize)
                    .and_then(|task| task.definition.get(key))
                    .iter()
                    .for_each(|part| paths_of(".[0]", part, &mut read));
            }
            for filter in wanted(&listen.to, listening) {
                let id = number.saturating_add(events.len() as u64);
                let fields = with_data(fields(filter, &listening.keys), &read, &Value::Int(1));
                let template = EventTemplate::of(&Value::Object(Arc::new(fields)));
                events.extend(template.event(at, id, &Value::Null));
            }
        }
    }
    events
}

/// The filters whose event it still waits for; with an `until` that is an event, that one.
fn wanted<'a>(consume: &'a Consume, listening: &Listening) -> Vec<&'a EventFilter> {
    match consume {
        Consume::One(filter) => vec![filter],
        Consume::All(filters) => {
            filters.iter().zip(&listening.matched).filter(|(_, matched)| !**matched).map(|(filter, _)| filter).collect()
        }
        Consume::Any { filters, until: Some(Until::Event(until)) } => match &**until {
            Consume::One(filter) => filters.iter().take(1).chain(std::iter::once(filter)).collect(),
            Consume::All(others) | Consume::Any { filters: others, .. } => filters.iter().take(1).chain(others).collect(),
        },
        Consume::Any { filters, .. } => filters.iter().collect(),
    }
}

fn fields(filter: &EventFilter, keys: &SmallMap<Arc<str>, Value>) -> Object {
    let mut fields = Object::new();
    fields.insert("type".into(), Value::from("torture.invented"));
    let mut data = Value::empty_object();
    for (name, expected) in &filter.with {
        match expected {
            AttributeMatch::Equal(value) if **name == *"data" => data = value.clone(),
            AttributeMatch::Equal(value) => _ = fields.insert(name.clone(), value.clone()),
            AttributeMatch::Expression { expression, .. } if **name == *"data" => {
                for (path, value) in conditions(expression.source()) {
                    data = put(&data, &path, value);
                }
            }
            AttributeMatch::Expression { .. } => {}
        }
    }
    for correlation in &filter.correlate {
        let source = correlation.from.source().trim();
        let value = keys.get(&correlation.key).cloned().unwrap_or_else(|| Value::from("x"));
        if let Some(path) = source.strip_prefix(".data").and_then(path_of) {
            data = put(&data, &path, value);
        }
    }
    fields.insert("data".into(), data);
    fields
}

/// What `.a.b == LITERAL and .c > 3` wants where.
fn conditions(source: &str) -> Vec<(Vec<Arc<str>>, Value)> {
    let one = |part: &str| {
        let part = part.trim().trim_start_matches('(').trim_end_matches(')');
        for operator in ["==", ">=", "<=", "!=", ">", "<"] {
            let Some((left, right)) = part.split_once(operator) else { continue };
            let path = path_of(left.trim())?;
            let literal = Value::from_json(right.trim()).ok()?;
            let moved = |by: i64| literal.as_f64().and_then(|number| Value::number(number + by as f64));
            let value = match operator {
                "==" | ">=" | "<=" => literal.clone(),
                ">" => moved(1)?,
                "<" => moved(-1)?,
                _ => {
                    if literal == Value::from("x") {
                        Value::from("y")
                    } else {
                        Value::from("x")
                    }
                }
            };
            return Some((path, value));
        }
        // `.valid` alone wants to be true.
        Some((path_of(part)?, Value::Bool(true)))
    };
    source.split(" and ").filter_map(one).collect()
}

/// `.a.b` as names; empty for `.`.
fn path_of(text: &str) -> Option<Vec<Arc<str>>> {
    let text = text.trim();
    if text.is_empty() || text == "." {
        return Some(Vec::new());
    }
    let names: Vec<Arc<str>> = text.strip_prefix('.')?.split('.').map(Arc::from).collect();
    let plain = |name: &Arc<str>| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    names.iter().all(plain).then_some(names)
}

fn put(data: &Value, path: &[Arc<str>], value: Value) -> Value {
    let Some((first, rest)) = path.split_first() else { return value };
    let mut fields = data.as_object().cloned().unwrap_or_default();
    let inner = put(fields.get(first).unwrap_or(&Value::Null), rest, value);
    fields.insert(first.clone(), inner);
    Value::Object(Arc::new(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_and_a_condition_give_data_that_they_take() {
        let schema = r#"{"type": "object", "required": ["id", "n", "at", "in"], "properties": {"id": {"type": "string", "minLength": 2},
            "n": {"type": "integer", "minimum": 7}, "at": {"type": "string", "format": "date-time"},
            "in": {"type": "object", "required": ["e"], "properties": {"e": {"enum": ["a", "b"]}}}}}"#;
        let schema = Value::from_json(schema).unwrap();
        let made = input(Some(&schema));
        assert_eq!(crate::schema::validate(&schema, &made), Ok(()), "{made}");
        let mut read = Vec::new();
        paths_of("[0].data", &Value::from(r#"${ { p: .[0].data.plate, k: $workflow.input[0].data.load.kg } }"#), &mut read);
        assert_eq!(with_data(Object::new(), &read, &Value::Int(1)).get("data").unwrap().to_json(), r#"{"load":{"kg":1},"plate":1}"#);
        let told = conditions(r#".direction == "out" and .kg > 3 and (.deep.x < 1) and .ok"#);
        let data = told.into_iter().fold(Value::empty_object(), |data, (path, value)| put(&data, &path, value));
        assert_eq!(data.to_json(), r#"{"deep":{"x":0},"direction":"out","kg":4,"ok":true}"#);
    }
}
