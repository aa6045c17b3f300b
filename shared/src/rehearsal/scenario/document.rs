//! The scenario file: one or several `---` documents. All that is wrong in it is told by line.

use super::super::answer::{Answers, duration};
use super::super::stub::{EventTemplate, all_found, fits, schema_of};
use super::super::template;
use crate::engine::command::{OperatorAction, WorkItemAction};
use crate::flow::document::{self, Located};
use crate::flow::{Diagnostic, join};
use crate::id::DeviceId;
use crate::time::Timestamp;
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Where a scenario begins that names no clock: a Monday morning.
const CLOCK_DEFAULT: &str = "2026-11-23T09:00:00Z";

#[derive(Clone, Debug)]
pub struct Scenario {
    pub title: Arc<str>,
    /// Line of its title, from 1.
    pub line: u32,
    pub given: Given,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Given {
    /// Files and folders, as written.
    pub resources: Vec<Arc<str>>,
    pub clock: Timestamp,
    pub offline: Vec<DeviceId>,
    pub silent: Vec<DeviceId>,
    /// Units that somebody else holds; `None`: all of the pool.
    pub taken: BTreeMap<Arc<str>, Option<Vec<Arc<str>>>>,
    pub answers: Answers,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub line: u32,
    pub action: Action,
}

#[derive(Clone, Debug)]
pub enum Action {
    Start {
        flow: Arc<str>,
        input: Value,
        name: Arc<str>,
        refused: Option<Arc<str>>,
    },
    Event(EventTemplate),
    Person(Person),
    Device {
        id: DeviceId,
        is: Arc<str>,
    },
    Operator {
        instance: Option<Arc<str>>,
        action: OperatorAction,
    },
    /// Milliseconds.
    Wait(u64),
    /// Fields, each with its line.
    Expect {
        instance: Option<Arc<str>>,
        fields: Vec<(Arc<str>, Value, u32)>,
    },
}

/// A person who acts on the oldest work item that asks them.
#[derive(Clone, Debug)]
pub struct Person {
    pub who: Arc<str>,
    pub action: WorkItemAction,
    pub task: Option<Arc<str>>,
    pub refused: Option<Arc<str>>,
}

/// Reads a scenario file. On failure all errors, by line.
pub fn read(text: &str) -> Result<Vec<Scenario>, Vec<Diagnostic>> {
    let documents = document::read_all(text)?;
    if documents.is_empty() {
        let error = Diagnostic::error("empty-file", "", "the file holds no scenario").suggest("begin with `scenario: what happens`");
        return Err(vec![error.at_line(1, 1)]);
    }
    let (mut scenarios, mut found) = (Vec::new(), Vec::new());
    for located in &documents {
        match one(located) {
            Ok(scenario) => scenarios.push(scenario),
            Err(errors) => found.extend(errors),
        }
    }
    if found.is_empty() { Ok(scenarios) } else { Err(found) }
}

/// The JSON Schema of a scenario.
pub fn schema() -> &'static Value {
    &SCHEMA
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let step = include_str!("step.schema.json");
    let expect = include_str!("expect.schema.json");
    schema_of(&include_str!("scenario.schema.json").replace("\"STEP\"", step).replace("\"EXPECT\"", expect))
});

fn one(located: &Located) -> Result<Scenario, Vec<Diagnostic>> {
    fits(&SCHEMA, "scenario", located)?;
    let mut found = Vec::new();
    let value = &located.value;
    let none = Value::Null;
    let given = given(value.get("given").unwrap_or(&none), &mut found);
    let mut reader = Reader { located, found };
    let mut steps: Vec<Step> = Vec::new();
    for (at, step) in value.get("when").and_then(Value::as_array).unwrap_or_default().iter().enumerate() {
        steps.extend(reader.step(step, &join("/when", at)));
    }
    if let Some(expect) = value.get("expect") {
        steps.push(reader.expect(expect, "/expect"));
    }
    all_found(located, reader.found)?;
    Ok(Scenario {
        title: value.get("scenario").and_then(Value::as_str).unwrap_or_default().into(),
        line: located.position("/scenario").0,
        given,
        steps,
    })
}

fn given(value: &Value, found: &mut Vec<Diagnostic>) -> Given {
    let texts = |key: &str| -> Vec<Arc<str>> { texts_of(value.get(key)) };
    let taken = value.get("taken").and_then(Value::as_object).into_iter().flatten();
    let none = Value::Null;
    let clock = value.get("clock").and_then(Value::as_str).unwrap_or(CLOCK_DEFAULT);
    Given {
        resources: texts("resources"),
        // The schema has seen to its form.
        clock: Timestamp::parse_rfc3339(clock).unwrap_or_default(),
        offline: texts("offline").iter().map(DeviceId::new).collect(),
        silent: texts("silent").iter().map(DeviceId::new).collect(),
        taken: taken.map(|(pool, units)| (pool.clone(), units.as_array().map(|_| texts_of(Some(units))))).collect(),
        answers: Answers::read(value.get("answers").unwrap_or(&none), "/given/answers", found),
    }
}

fn texts_of(value: Option<&Value>) -> Vec<Arc<str>> {
    value.and_then(Value::as_array).unwrap_or_default().iter().filter_map(Value::as_str).map(Arc::from).collect()
}

struct Reader<'a> {
    located: &'a Located,
    found: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn step(&mut self, step: &Value, pointer: &str) -> Option<Step> {
        let fields = step.as_object()?;
        let (Some((key, value)), 1) = (fields.iter().next(), fields.len()) else {
            let error = Diagnostic::error("bad-value", pointer, format!("a step does one thing, not {}", fields.len()));
            self.found.push(error.suggest("write each as an item of its own"));
            return None;
        };
        let at = join(pointer, key);
        template::check(value, &at, &mut self.found);
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(Arc::<str>::from);
        let action = match &**key {
            "start" => {
                let flow = text("flow").unwrap_or_default();
                let short = flow.rsplit('/').next().unwrap_or_default();
                Action::Start {
                    name: text("as").unwrap_or_else(|| short.into()),
                    input: value.get("input").cloned().unwrap_or_else(Value::empty_object),
                    refused: text("refused"),
                    flow,
                }
            }
            "event" => Action::Event(EventTemplate::of(value)),
            "person" => Action::Person(self.person(value, &at)?),
            "device" => Action::Device { id: DeviceId::new(text("id").unwrap_or_default()), is: text("is").unwrap_or_default() },
            "operator" => Action::Operator { instance: text("instance"), action: operator(value) },
            "wait" => Action::Wait(duration(step, "wait", pointer, &mut self.found)),
            _ => return Some(self.expect(value, &at)),
        };
        Some(Step { line: self.located.position(&at).0, action })
    }

    fn person(&mut self, value: &Value, pointer: &str) -> Option<Person> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(Arc::<str>::from);
        let comment = text("comment");
        let action = match (text("choose"), value.get("complete")) {
            (Some(choice), None) => WorkItemAction::Choose { choice, comment },
            (None, Some(answers)) => WorkItemAction::Complete { answers: answers.clone(), comment },
            _ => {
                self.found.push(Diagnostic::error("bad-value", pointer, "a person does exactly one of `choose` and `complete`"));
                return None;
            }
        };
        Some(Person { who: text("who")?, action, task: text("task"), refused: text("refused") })
    }

    fn expect(&mut self, value: &Value, pointer: &str) -> Step {
        template::check(value, pointer, &mut self.found);
        let line = |pointer: &str| self.located.position(pointer).0;
        let fields = value.as_object().into_iter().flatten().filter(|(key, _)| ***key != *"instance");
        let mut fields: Vec<_> = fields.map(|(key, expected)| (key.clone(), expected.clone(), line(&join(pointer, key)))).collect();
        fields.sort_by_key(|(_, _, line)| *line);
        let instance = value.get("instance").and_then(Value::as_str).map(Arc::from);
        Step { line: line(pointer), action: Action::Expect { instance, fields } }
    }
}

fn operator(value: &Value) -> OperatorAction {
    match value.get("does").and_then(Value::as_str).unwrap_or_default() {
        "suspend" => OperatorAction::Suspend,
        "resume" => OperatorAction::Resume,
        "retry" => OperatorAction::Retry,
        "skip" => OperatorAction::Skip { output: value.get("output").cloned().unwrap_or_default() },
        _ => OperatorAction::Cancel { reason: "the scenario says so".into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_schema_is_one_that_we_know_whole() {
        assert_eq!(crate::schema::check(schema()), Ok(()));
    }

    #[test]
    fn all_slips_are_told_with_their_lines() {
        let text = "scenario: x\ngiven: { resources: [ a.yaml ] }\nwhen:\n  - start: { flow: a }\n    wait: PT1S\n  - wait: soon\n  \
                    - person: { who: a }\n  - expect: { output: '${ .( }' }\n";
        let found = read(text).unwrap_err();
        let told: Vec<String> = found.iter().map(|found| format!("{} {}", found.line, found.code)).collect();
        assert_eq!(told, ["4 bad-value", "6 bad-value", "7 bad-value", "8 bad-expression", "8 bad-expression"]);
        let found = read("scenario: x\ngiven: { resources: [ a.yaml ] }\nwhen:\n  - strat: {}\n").unwrap_err();
        assert_eq!((found[0].line, &*found[0].code), (4, "unknown-key"));
    }
}
