//! The stub file of `spalla flow run`: what the functions of the domain answer, and which events come when.

use super::answer::{self, Answers, duration};
use super::template;
use crate::event::Event;
use crate::flow::document::{self, Located};
use crate::flow::{Diagnostic, join};
use crate::schema;
use crate::time::Timestamp;
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

#[derive(Clone, Debug, Default)]
pub struct Stub {
    pub answers: Answers,
    pub events: Vec<StubEvent>,
}

/// An event that comes so long behind the start.
#[derive(Clone, Debug)]
pub struct StubEvent {
    pub after_ms: u64,
    pub template: EventTemplate,
}

/// An event but for its time, and perhaps its id.
#[derive(Clone, Debug)]
pub struct EventTemplate {
    fields: Value,
}

impl Stub {
    /// Reads a stub file (YAML or JSON). On failure all errors, by line.
    pub fn read(text: &str) -> Result<Self, Vec<Diagnostic>> {
        let located = document::read(text)?;
        fits(&SCHEMA, "stub", &located)?;
        let mut found = Vec::new();
        let none = Value::Null;
        let answers = Answers::read(located.value.get("answers").unwrap_or(&none), "/answers", &mut found);
        let events = located.value.get("events").and_then(Value::as_array).unwrap_or_default().iter().enumerate();
        let events = events
            .map(|(at, event)| {
                let pointer = join("/events", at);
                let after_ms = duration(event, "after", &pointer, &mut found);
                StubEvent { after_ms, template: EventTemplate::read(event, &pointer, &mut found) }
            })
            .collect();
        all_found(&located, found)?;
        Ok(Self { answers, events })
    }
}

impl EventTemplate {
    pub fn of(fields: &Value) -> Self {
        Self { fields: fields.clone() }
    }

    /// Its type, where it is plain text.
    pub fn kind(&self) -> Option<Arc<str>> {
        self.fields.get("type").and_then(Value::as_str).map(Arc::from)
    }

    pub(super) fn read(event: &Value, pointer: &str, found: &mut Vec<Diagnostic>) -> Self {
        template::check(event, pointer, found);
        Self { fields: event.clone() }
    }

    /// The event, with its `${ … }` filled over `input`. `number` makes an id where it names none.
    pub fn event(&self, at: Timestamp, number: u64, input: &Value) -> Result<Event, String> {
        let fields = template::fill(&self.fields, input)?;
        let text = |key: &str| fields.get(key).and_then(Value::as_str).map(Arc::<str>::from);
        let extensions = fields.get("extensions").and_then(Value::as_object).cloned().unwrap_or_else(BTreeMap::new);
        Ok(Event {
            id: text("id").unwrap_or_else(|| format!("rehearsal-{number}").into()),
            source: text("source").unwrap_or_else(|| "/rehearsal".into()),
            kind: text("type").ok_or("an event needs a `type` that is text")?,
            subject: text("subject"),
            time: at,
            data: fields.get("data").cloned().unwrap_or_default(),
            extensions,
        })
    }
}

/// Whether a document fits the schema of `kind`.
pub(in crate::rehearsal) fn fits(schema: &Value, kind: &str, located: &Located) -> Result<(), Vec<Diagnostic>> {
    schema::validate(schema, &located.value)
        .map_err(|violations| violations.into_iter().map(|violation| located.locate(crate::resource::told(kind, violation))).collect())
}

pub(in crate::rehearsal) fn all_found(located: &Located, found: Vec<Diagnostic>) -> Result<(), Vec<Diagnostic>> {
    if found.is_empty() {
        return Ok(());
    }
    let mut found: Vec<Diagnostic> = found.into_iter().map(|diagnostic| located.locate(diagnostic)).collect();
    found.sort_by_key(|found| (found.line, found.column));
    Err(found)
}

/// A schema of ours in which `"ANSWER"` stands for the schema of an answer. Read by a test; a slip would refuse every file.
pub(in crate::rehearsal) fn schema_of(text: &str) -> Value {
    Value::from_json(&text.replace("\"ANSWER\"", answer::SCHEMA)).unwrap_or(Value::Bool(false))
}

static SCHEMA: LazyLock<Value> = LazyLock::new(|| schema_of(include_str!("stub.schema.json")));

#[cfg(test)]
mod tests {
    use super::super::answer::Verdict;
    use super::super::asked::Asked;
    use super::*;
    use crate::engine::Outcome;

    fn asked(function: &str, task: &str, with: &str) -> Asked {
        Asked { function: function.into(), task: task.into(), reference: "/do/0/x".into(), with: Value::from_json(with).unwrap() }
    }

    #[test]
    fn our_schema_is_one_that_we_know_whole() {
        assert_eq!(schema::check(&SCHEMA), Ok(()));
    }

    #[test]
    fn the_first_rule_that_fits_answers_until_it_is_used_up() {
        let text = "
answers:
  - { function: device.command, with: { command: open }, error: device-offline, times: 1 }
  - { function: 'device.command:1.0.0@default', task: open, answer: { status: done, to: '${ .target }' }, after: PT1S }
  - { function: human.task, never: true }
";
        let mut stub = Stub::read(text).unwrap();
        let mut pick = |function: &str| stub.answers.pick(&asked(function, "open", r#"{"command": "open", "target": "hq/a"}"#));
        let Some(Verdict::After { outcome: Outcome::Failed { problem }, .. }) = pick("device.command") else { panic!() };
        assert_eq!((&*problem.title, problem.status), ("device-offline", 500));
        let output = Value::from_json(r#"{"status": "done", "to": "hq/a"}"#).unwrap();
        assert_eq!(pick("device.command"), Some(Verdict::After { millis: 1000, outcome: Outcome::Done { output } }));
        assert_eq!(pick("human.task"), Some(Verdict::Never));
        assert_eq!(pick("notify.send"), None);
    }

    #[test]
    fn a_slip_is_told_with_its_line() {
        let told = |text: &str| {
            let found = Stub::read(text).unwrap_err();
            found.iter().map(|found| format!("{} {}", found.line, found.code)).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(told("answers:\n  - funktion: x\n    answer: 1\n"), "2 unknown-key");
        assert_eq!(told("answers:\n  - function: device.comand\n    answer: 1\n"), "2 unknown-name");
        assert_eq!(told("answers:\n  - function: http\n"), "2 bad-value");
        assert_eq!(told("answers:\n  - function: http\n    error: tiemout\n"), "3 unknown-name");
        assert_eq!(told("events:\n  - type: x\n    after: 3s\n"), "3 bad-value");
        assert_eq!(told("events:\n  - type: x\n    data: '${ .x( }'\n"), "3 bad-expression");
    }
}
