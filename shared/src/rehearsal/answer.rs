//! What the outside answers to whom: rules in order, the first that fits and is not used up.

use super::asked::Asked;
use super::template;
use crate::engine::{Outcome, Problem};
use crate::flow::{Diagnostic, join, suggest};
use crate::time::parse_duration_ms;
use crate::value::Value;
use std::sync::Arc;

/// The schema of one rule, for the files that hold some.
pub(in crate::rehearsal) const SCHEMA: &str = include_str!("answer.schema.json");

#[derive(Clone, Debug, Default)]
pub struct Answers {
    rules: Vec<Rule>,
}

/// For whom a rule is, and what it says. Read from data that fits its schema.
#[derive(Clone, Debug)]
struct Rule {
    /// Bare name; `None`: any.
    function: Option<Arc<str>>,
    /// Name or reference.
    task: Option<Arc<str>>,
    with: Value,
    says: Says,
    after_ms: u64,
    /// How often it may still be used; `None`: always.
    left: Option<u32>,
}

#[derive(Clone, Debug)]
enum Says {
    Answer(Value),
    Error(Problem),
    Unknown(Arc<str>),
    Never,
}

/// What the outside does about a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    After {
        millis: u64,
        outcome: Outcome,
    },
    /// It stays silent.
    Never,
}

impl Answers {
    /// Reads the rules at `pointer`; what is wrong beyond the schema goes to `found`.
    pub(in crate::rehearsal) fn read(rules: &Value, pointer: &str, found: &mut Vec<Diagnostic>) -> Self {
        let rules = rules.as_array().unwrap_or_default().iter().enumerate();
        Self { rules: rules.filter_map(|(at, rule)| Rule::read(rule, &join(pointer, at), found)).collect() }
    }

    /// The first rule that fits, used once more. `None`: nobody said anything about this.
    pub fn pick(&mut self, asked: &Asked) -> Option<Verdict> {
        let rule = self.rules.iter_mut().find(|rule| rule.left != Some(0) && rule.is_for(asked))?;
        rule.left = rule.left.map(|left| left.saturating_sub(1));
        let outcome = match &rule.says {
            Says::Never => return Some(Verdict::Never),
            Says::Error(problem) => Outcome::Failed { problem: problem.clone() },
            Says::Unknown(detail) => Outcome::Unknown { detail: detail.clone() },
            Says::Answer(answer) => match template::fill(answer, &asked.with) {
                Ok(output) => Outcome::Done { output },
                Err(why) => Outcome::Failed { problem: Problem::standard("expression", 400, format!("the stub's answer: {why}")) },
            },
        };
        Some(Verdict::After { millis: rule.after_ms, outcome })
    }
}

impl Rule {
    fn read(rule: &Value, pointer: &str, found: &mut Vec<Diagnostic>) -> Option<Self> {
        let text = |key: &str| rule.get(key).and_then(Value::as_str).map(Arc::from);
        template::check(rule, pointer, found);
        let says: Vec<Says> = [
            rule.get("answer").map(|answer| Says::Answer(answer.clone())),
            rule.get("error").map(|error| Says::Error(problem(error))),
            rule.get("unknown").map(|detail| Says::Unknown(detail.as_str().unwrap_or_default().into())),
            rule.get("never").filter(|never| never.is_truthy()).map(|_| Says::Never),
        ]
        .into_iter()
        .flatten()
        .collect();
        let [says] = says.try_into().ok().or_else(|| {
            let error =
                Diagnostic::error("bad-value", pointer, "a rule says exactly one of `answer`, `error`, `unknown` and `never: true`");
            found.push(error);
            None
        })?;
        if let Some(name) = rule.get("error").and_then(|error| error.as_str().or_else(|| error.get("type")?.as_str())) {
            misspelt(name, &join(pointer, "error"), found);
        }
        let function = text("function").map(|name: Arc<str>| Arc::from(name.split(':').next().unwrap_or_default()));
        if let Some(name) = &function
            && **name != *"http"
            && let Err(unknown) = crate::flow::catalog::resolve(name)
        {
            let at = join(pointer, "function");
            found.push(Diagnostic::error("unknown-name", at, unknown.to_string()).hint(unknown.hint()));
        }
        Some(Self {
            function,
            task: text("task"),
            with: rule.get("with").cloned().unwrap_or_default(),
            says,
            after_ms: duration(rule, "after", pointer, found),
            left: rule.get("times").and_then(Value::as_i64).and_then(|times| u32::try_from(times).ok()),
        })
    }

    fn is_for(&self, asked: &Asked) -> bool {
        self.function.as_ref().is_none_or(|function| *function == asked.function)
            && self.task.as_ref().is_none_or(|task| *task == asked.task || *task == asked.reference)
            && (self.with.is_null() || template::fits(&self.with, &asked.with))
    }
}

/// The ISO 8601 duration under `key`, 0 where there is none.
pub(in crate::rehearsal) fn duration(of: &Value, key: &str, pointer: &str, found: &mut Vec<Diagnostic>) -> u64 {
    let Some(text) = of.get(key).and_then(Value::as_str) else { return 0 };
    parse_duration_ms(text).unwrap_or_else(|| {
        found.push(
            Diagnostic::error("bad-value", join(pointer, key), format!("`{text}` is not an ISO 8601 duration")).suggest("write `PT30S`"),
        );
        0
    })
}

/// A name of one's own may be what is meant, but not one letter beside a name of the specification.
fn misspelt(name: &str, pointer: &str, found: &mut Vec<Diagnostic>) {
    let known = STANDARD.map(|(known, _)| known);
    if !known.contains(&name)
        && let Some(near) = suggest::nearest(name, known)
    {
        let error = Diagnostic::error("unknown-name", pointer, format!("the error `{name}` is not known"));
        found.push(error.suggest(format!("did you mean `{near}`?")));
    }
}

/// Errors that a name alone stands for, with their usual status.
const STANDARD: [(&str, i64); 8] = [
    ("configuration", 400),
    ("validation", 400),
    ("expression", 400),
    ("authentication", 401),
    ("authorization", 403),
    ("timeout", 408),
    ("communication", 503),
    ("runtime", 500),
];

/// An error as a stub writes it, or somebody at the terminal: a standard name (`timeout`, `communication`, …), one of ours (`device-offline`, …), or a whole problem.
pub fn problem(error: &Value) -> Problem {
    let text = |key: &str| error.get(key).and_then(Value::as_str);
    let kind = error.as_str().or_else(|| text("type")).unwrap_or("communication");
    let detail = text("detail").unwrap_or("a stub said so");
    let status = error.get("status").and_then(Value::as_i64);
    let mut problem = match STANDARD.iter().find(|(name, _)| *name == kind) {
        Some((name, default)) => Problem::standard(name, status.unwrap_or(*default), detail),
        None if kind.contains(':') => {
            let title = text("title").unwrap_or(kind).into();
            Problem { kind: kind.into(), status: status.unwrap_or(500), title, detail: None, instance: None }
        }
        None => Problem::own(kind, status.unwrap_or(500), detail),
    };
    if let Some(title) = text("title") {
        problem.title = title.into();
    }
    if text("detail").is_some() {
        problem.detail = Some(detail.into());
    }
    problem
}
