//! Bounded, deterministic jq.
//!
//! ```text
//! text --parse--> tree with resolved names --eval, fuelled--> values
//! ```
//!
//! Never: reads a clock, the environment or a file; spends more than its [`Budget`]; gives different results, errors or
//! charges on two machines. What results, errors and charges are belongs to `semantics_version`.
//!
//! Differences from jq, all on purpose: whole numbers are exact within 64 bits and every number is finite; objects are
//! ordered by their keys; regular expressions are those of the `regex` crate with ASCII classes; `recurse`, `while` and
//! `until` gather the outputs of one step before they go on; `fromdate` reads any RFC 3339 time.
//!
//! Evaluation nests at most [`fuel::DEPTH`] levels, which needs up to 8 MiB of stack in a debug build: evaluate on a
//! thread that has 16 MiB. Parsing needs less than 1 MiB.

mod accumulate;
mod assign;
mod builtins;
mod construct;
mod control;
mod environment;
mod eval;
mod fuel;
mod item;
mod math;
mod parse;
mod path;
mod single;
mod sort;
mod special;
mod syntax;
#[cfg(test)]
mod tests;

use crate::value::{DEPTH_MAX, Value};
use fuel::{Machine, Stop};
use std::fmt;
use std::sync::Arc;

/// Longest source, in bytes: longer ones are programs, and belong into a function of the host.
pub const SOURCE_MAX: usize = 4096;

/// A parsed expression. Cheap to clone; equal when the sources are.
#[derive(Clone)]
pub struct Expression {
    inner: Arc<Inner>,
}

struct Inner {
    source: Box<str>,
    term: syntax::Term,
    free: Arc<[String]>,
}

/// Where and why text is not an expression that we run. Line and column count from 1, inside the expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line}, column {column})")]
pub struct SyntaxError {
    pub message: String,
    pub line: u32,
    pub column: u32,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// jq's own error, catchable inside jq. The value is what `error(value)` carried, else a message string.
    #[error("{}", .0.as_str().map_or_else(|| .0.to_json(), str::to_owned))]
    Raised(Value),
    /// Out of budget: never catchable inside jq.
    #[error("expression is out of budget: {0}")]
    Budget(&'static str),
}

/// What evaluations may spend. Counted, never timed: equal on every replica and build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub steps: u64,
    pub bytes: u64,
}

impl Budget {
    /// Expressions of real flows take a few dozen steps; this many take milliseconds.
    pub const STEPS_PER_EVALUATION: u64 = 100_000;
    /// Cumulative, not at one time. A context of 256 KiB can be copied 32 times.
    pub const BYTES_PER_EVALUATION: u64 = 8 * 1024 * 1024;
    /// One log entry evaluates many expressions; together they may hold up a replica for some tens of milliseconds.
    pub const STEPS_PER_ENTRY: u64 = 10 * Self::STEPS_PER_EVALUATION;
    pub const BYTES_PER_ENTRY: u64 = 8 * Self::BYTES_PER_EVALUATION;

    pub const fn per_evaluation() -> Self {
        Self { steps: Self::STEPS_PER_EVALUATION, bytes: Self::BYTES_PER_EVALUATION }
    }

    /// For all evaluations of one log entry together; each is bounded by [`Budget::per_evaluation`] besides.
    pub const fn per_entry() -> Self {
        Self { steps: Self::STEPS_PER_ENTRY, bytes: Self::BYTES_PER_ENTRY }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::per_evaluation()
    }
}

/// Variables by name without `$`. Names that the expression does not use cost nothing.
pub type Variables<'a> = [(&'a str, Value)];

impl Expression {
    /// Parses and checks: known functions, bound labels, bounded size and nesting.
    pub fn parse(source: &str) -> Result<Self, SyntaxError> {
        if source.len() > SOURCE_MAX {
            return Err(SyntaxError { message: format!("the expression is longer than {SOURCE_MAX} bytes"), line: 1, column: 1 });
        }
        let parsed = parse::parse_expression(source)?;
        let inner = Inner { source: source.into(), term: parsed.term, free: parsed.free.into() };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn source(&self) -> &str {
        &self.inner.source
    }

    /// Free variables, without `$`, sorted.
    pub fn variables(&self) -> Vec<String> {
        self.inner.free.to_vec()
    }

    /// All outputs in order. Spends from `budget`, and no more than [`Budget::per_evaluation`] of it.
    pub fn eval_all(&self, input: &Value, variables: &Variables, budget: &mut Budget) -> Result<Vec<Value>, EvalError> {
        let mut outputs = Vec::new();
        self.run(input, variables, budget, &mut |m, value| {
            m.mem_element()?;
            m.nest(&value, DEPTH_MAX)?;
            outputs.push(value);
            Ok(())
        })?;
        Ok(outputs)
    }

    /// The first output, after which evaluation stops; `null` where there is none.
    pub fn eval(&self, input: &Value, variables: &Variables, budget: &mut Budget) -> Result<Value, EvalError> {
        let mut first = None;
        // Labels count from 1.
        let done = 0;
        let result = self.run(input, variables, budget, &mut |m, value| {
            m.nest(&value, DEPTH_MAX)?;
            first = Some(value);
            Err(Stop::Break(done))
        });
        match (result, first) {
            (_, Some(value)) => Ok(value),
            (Ok(()), None) => Ok(Value::Null),
            (Err(error), None) => Err(error),
        }
    }

    fn run(
        &self,
        input: &Value,
        variables: &Variables,
        budget: &mut Budget,
        out: &mut dyn FnMut(&mut Machine, Value) -> fuel::Flow,
    ) -> Result<(), EvalError> {
        let find = |name: &String| variables.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.clone());
        let bound = self.inner.free.iter().map(find).collect();
        let most = Budget::per_evaluation();
        let granted = Budget { steps: budget.steps.min(most.steps), bytes: budget.bytes.min(most.bytes) };
        let mut machine = Machine::new(granted, bound, self.inner.free.clone());
        let flow = eval::each(&mut machine, &self.inner.term, &environment::Env::ROOT, input, out);
        let left = machine.left();
        budget.steps = budget.steps.saturating_sub(granted.steps - left.steps);
        budget.bytes = budget.bytes.saturating_sub(granted.bytes - left.bytes);
        flow.map_err(Stop::into_error)
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source()).finish()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Expression {}
