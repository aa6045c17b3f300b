//! Bounded, deterministic jq.

use crate::value::Value;

/// A parsed expression. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Expression {
    source: std::sync::Arc<str>,
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

/// What one evaluation may spend. Counted, never timed: equal on every replica and build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub steps: u64,
    pub bytes: u64,
}

/// Variables by name without `$`.
pub type Variables<'a> = [(&'a str, Value)];

impl Expression {
    /// Parses and checks: only syntax and builtins that EXPRESSIONS allows.
    pub fn parse(source: &str) -> Result<Self, SyntaxError> {
        Ok(Self { source: source.into() })
    }
    pub fn source(&self) -> &str {
        &self.source
    }
    /// Free variables, without `$`, sorted.
    pub fn variables(&self) -> Vec<String> {
        Vec::new()
    }
    /// All outputs in order.
    pub fn eval_all(&self, _input: &Value, _variables: &Variables, _budget: &mut Budget) -> Result<Vec<Value>, EvalError> {
        Ok(Vec::new())
    }
    /// The first output; `null` where there is none.
    pub fn eval(&self, input: &Value, variables: &Variables, budget: &mut Budget) -> Result<Value, EvalError> {
        Ok(self.eval_all(input, variables, budget)?.into_iter().next().unwrap_or_default())
    }
}
