//! Expressions and templates, with the variables that are in scope where they stand, within the entry's budget.

use super::{Cursor, Interpreter, PAYLOAD_SIZE_MAX, VALUE_SIZE_MAX, task_of};
use crate::engine::instance::{Frame, Token, Work};
use crate::engine::problem::Problem;
use crate::engine::semantics::WITH_INPUT;
use crate::engine::state::State;
use crate::expression::{Budget, EvalError, Expression};
use crate::flow::plan::{DurationSpec, FlowKey, Plan, Schema, TaskKind, Template};
use crate::id::InstanceId;
use crate::time::{Timestamp, parse_duration_ms};
use crate::value::Value;
use std::sync::Arc;

/// A wait or timeout longer than this is a mistake, and keeps instants within what dates can show: 100 years.
const DURATION_MAX_MS: u64 = 100 * 366 * 86_400_000;

/// Among extra variables: the task's raw output. No expression can name it, `$task.output` shows it.
pub(in crate::engine) const RAW_OUTPUT: &str = "task.output";

/// What is left for this entry.
pub(in crate::engine) struct Budgets {
    left: Budget,
    /// Which wording errors have.
    semantics: u32,
}

impl Budgets {
    pub fn for_entry(semantics: u32) -> Self {
        Self { left: Budget::per_entry(), semantics }
    }
    /// Too little for another step: what is ready goes on in the next entry.
    pub fn is_low(&self) -> bool {
        self.left.steps < Budget::STEPS_PER_ENTRY / 2 || self.left.bytes < Budget::BYTES_PER_ENTRY / 2
    }
    pub fn eval(&mut self, expression: &Expression, input: &Value, variables: &[(&str, Value)]) -> Result<Value, Problem> {
        let result = expression.eval(input, variables, &mut self.left);
        result.map_err(|error| problem_of(self.semantics, expression, input, &error))
    }
}

/// Evaluates where there is no instance yet: only `input` and the given variables are in scope.
pub(in crate::engine) fn static_value(
    budgets: &mut Budgets,
    expression: &Expression,
    input: &Value,
    variables: &[(&str, Value)],
) -> Result<Value, Problem> {
    budgets.eval(expression, input, variables)
}

fn problem_of(semantics: u32, expression: &Expression, input: &Value, error: &EvalError) -> Problem {
    // Sources are at most 4 KiB, but an error travels further than its flow: the head is enough to find it.
    let head: String = expression.source().chars().take(200).collect();
    if semantics < WITH_INPUT {
        return Problem::standard("expression", 400, format!("{error} in `{head}`"));
    }
    Problem::standard("expression", 400, format!("{error} in `{head}`, given {}", shape(input)))
}

/// What kind of value stands there, without its content: `an object with id, name`, `an array of 3`.
fn shape(value: &Value) -> String {
    const KEYS_SHOWN: usize = 8;
    match value {
        Value::Null => "null".into(),
        Value::Object(fields) if fields.is_empty() => "an empty object".into(),
        Value::Object(fields) => {
            let shown: Vec<String> = fields.keys().take(KEYS_SHOWN).map(|key| key.chars().take(40).collect()).collect();
            let more = if fields.len() > KEYS_SHOWN { ", …" } else { "" };
            format!("an object with {}{more}", shown.join(", "))
        }
        Value::Array(items) => format!("an array of {}", items.len()),
        other => format!("a {}", other.type_name()),
    }
}

impl Interpreter<'_, '_> {
    /// Evaluates in the scope of the token in hand. `extra` shadows everything else.
    pub fn eval(&mut self, cursor: &Cursor, expression: &Expression, input: &Value, extra: &[(&str, Value)]) -> Result<Value, Problem> {
        let needed = expression.variables();
        let values = if needed.is_empty() {
            Vec::new()
        } else {
            let raw_output = extra.iter().find(|(name, _)| *name == RAW_OUTPUT).map(|(_, value)| value);
            let scope = Scope { state: self.context.state, id: &cursor.id, token: &cursor.token, plan: &cursor.plan, raw_output };
            needed.iter().filter_map(|name| Some((&**name, lookup(extra, name).or_else(|| scope.variable(name))?))).collect()
        };
        self.budgets.eval(expression, input, &values)
    }

    pub fn truth(&mut self, cursor: &Cursor, expression: &Expression, input: &Value, extra: &[(&str, Value)]) -> Result<bool, Problem> {
        Ok(self.eval(cursor, expression, input, extra)?.is_truthy())
    }

    /// Fills a template. Recursion is bounded by the depth of the document that it comes from.
    pub fn fill(&mut self, cursor: &Cursor, template: &Template, input: &Value, extra: &[(&str, Value)]) -> Result<Value, Problem> {
        Ok(match template {
            Template::Literal(value) => value.clone(),
            Template::Expression(expression) => self.eval(cursor, expression, input, extra)?,
            Template::Array(items) => {
                Value::array(items.iter().map(|item| self.fill(cursor, item, input, extra)).collect::<Result<_, _>>()?)
            }
            Template::Object(fields) => {
                let filled: Vec<(&Arc<str>, Value)> =
                    fields.iter().map(|(key, field)| Ok((key, self.fill(cursor, field, input, extra)?))).collect::<Result<_, Problem>>()?;
                Value::object(filled)
            }
        })
    }

    /// A template with the frame's input as `.`, no larger than a payload.
    pub fn fill_payload(&mut self, cursor: &Cursor, template: &Template, input: &Value) -> Result<Value, Problem> {
        let value = self.fill(cursor, template, input, &[])?;
        limit(&value, PAYLOAD_SIZE_MAX, "arguments")?;
        Ok(value)
    }

    /// Milliseconds.
    pub fn duration(&mut self, cursor: &Cursor, duration: &DurationSpec, input: &Value) -> Result<u64, Problem> {
        let millis = match duration {
            DurationSpec::Millis(millis) => *millis,
            DurationSpec::Expression(expression) => {
                let value = self.eval(cursor, expression, input, &[])?;
                value
                    .as_str()
                    .and_then(parse_duration_ms)
                    .ok_or_else(|| Problem::standard("expression", 400, format!("`{}` is not an ISO 8601 duration", head(&value))))?
            }
        };
        if millis > DURATION_MAX_MS {
            return Err(Problem::standard("validation", 400, "a duration of more than 100 years"));
        }
        Ok(millis)
    }
}

/// A short form for messages.
pub(super) fn head(value: &Value) -> String {
    value.to_json().chars().take(80).collect()
}

/// A value within `size_max`, else a problem that names it.
pub(in crate::engine) fn limit(value: &Value, size_max: usize, what: &str) -> Result<(), Problem> {
    let size = value.size();
    if size > size_max {
        return Err(Problem::standard("validation", 400, format!("{what} of {size} bytes; at most {size_max} are taken")));
    }
    Ok(())
}

/// A task's data: within its size and as its schema says.
pub(super) fn valid(value: &Value, schema: Option<&Schema>, what: &str) -> Result<(), Problem> {
    limit(value, VALUE_SIZE_MAX, what)?;
    let Some(schema) = schema else { return Ok(()) };
    crate::schema::validate(schema, value).map_err(|violations| {
        let first = violations.first().map(|found| format!("{}: {}", found.pointer, found.message)).unwrap_or_default();
        Problem::standard("validation", 400, format!("{what}{first}"))
    })
}

fn lookup(variables: &[(&str, Value)], name: &str) -> Option<Value> {
    variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
}

/// Where an expression stands.
struct Scope<'a> {
    state: &'a State,
    id: &'a InstanceId,
    token: &'a Token,
    plan: &'a Plan,
    /// Of the task on top, once it is there.
    raw_output: Option<&'a Value>,
}

impl Scope<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        if let Some(value) = self.local(name) {
            return Some(value);
        }
        let instance = self.state.instances.get(self.id)?;
        Some(match name {
            "context" => instance.context.clone(),
            "input" => self.token.top_task().map_or_else(|| instance.input.clone(), |frame| frame.input.clone()),
            "task" => self.task().unwrap_or_default(),
            "workflow" => {
                let raw = instance.raw_input.as_ref().unwrap_or(&instance.input);
                workflow(self.state, &instance.flow, self.id, raw, instance.started_at)
            }
            "runtime" => runtime(self.state.semantics),
            // Names, never values: they are looked up where a request is sent.
            "secrets" => Value::object(self.plan.secrets.iter().map(|name| (name, Value::from(format!("secret:{name}"))))),
            "authorization" => self.token.top_task().and_then(|frame| frame.authorization.as_deref().cloned()).unwrap_or_default(),
            "output" => Value::Null,
            _ => return None,
        })
    }

    fn task(&self) -> Option<Value> {
        let frame = self.token.top_task()?;
        let definition = task_of(self.plan, frame.task)?.definition.clone();
        let mut fields = vec![
            ("name", Value::String(frame.name.clone())),
            ("reference", Value::String(frame.reference.clone())),
            ("definition", definition),
            ("input", frame.raw_input.clone()),
            ("startedAt", moment(frame.started_at)),
        ];
        fields.extend(self.raw_output.map(|output| ("output", output.clone())));
        Some(Value::object(fields))
    }

    /// Variables of `for`, `catch` and `foreach`, innermost first; a branch sees those of its fork's token.
    fn local(&self, name: &str) -> Option<Value> {
        let tokens = &self.state.instances.get(self.id)?.tokens;
        let mut token = self.token;
        loop {
            // A frame's variables are for what runs inside it: the frames above.
            for frame in token.frames.iter().rev() {
                if let Frame::Task(frame) = frame
                    && let Some(value) = self.of_frame(frame.task, &frame.work, name)
                {
                    return Some(value);
                }
            }
            token = tokens.get(&token.parent?.token)?;
        }
    }

    fn of_frame(&self, task: u32, work: &Work, name: &str) -> Option<Value> {
        match (&task_of(self.plan, task)?.kind, work) {
            (TaskKind::For(each), Work::For { items, index }) if *each.each == *name => items.get(*index as usize).cloned(),
            (TaskKind::For(each), Work::For { index, .. }) if *each.at == *name => Some(Value::from(*index)),
            (TaskKind::Try(attempt), Work::Try { caught: Some(error), .. }) if *attempt.catch.as_ == *name => Some(error.clone()),
            (TaskKind::Listen(listen), Work::Listen(listening)) => match &listen.foreach {
                Some(each) if *each.item == *name => Some(listening.current.clone()),
                Some(each) if *each.at == *name => Some(Value::from(listening.index)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// `$workflow`. `input`: as it came, before `input.from`.
pub(in crate::engine) fn workflow(state: &State, flow: &FlowKey, id: &InstanceId, input: &Value, started_at: Timestamp) -> Value {
    Value::object([
        ("id", Value::from(id.as_str())),
        ("definition", state.flows.get(flow).map(|flow| flow.document.clone()).unwrap_or_default()),
        ("input", input.clone()),
        ("startedAt", moment(started_at)),
    ])
}

/// `$runtime`. Its version is that of the semantics: replicas may run different builds.
pub(in crate::engine) fn runtime(semantics: u32) -> Value {
    Value::object([
        ("name", Value::from("spalla")),
        ("version", Value::from(format!("semantics-{semantics}"))),
        ("metadata", Value::empty_object()),
    ])
}

/// An instant as the specification gives it to expressions.
fn moment(at: Timestamp) -> Value {
    Value::object([
        ("iso8601", Value::from(at.to_rfc3339())),
        ("epoch", Value::object([("seconds", Value::Int(at.millis().div_euclid(1000))), ("milliseconds", Value::Int(at.millis()))])),
    ])
}
