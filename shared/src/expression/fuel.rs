//! What an evaluation has left to spend, and how it stops. Counted in steps and bytes, never in time.
//!
//! Charges are `u64`, made *before* the work, and depend on values alone: never on reference counts, pointer widths or
//! capacities. A shared container is charged as if it were copied, so replicas that share differently agree.

use super::{Budget, EvalError};
use crate::value::{DEPTH_MAX, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Nested evaluations. Each takes a few stack frames; see the module head of `expression` for the stack that it needs.
pub(super) const DEPTH: u32 = 512;
/// An element of an array: 24 bytes, doubled because vectors grow by doubling.
const ELEMENT: u64 = 48;
const ARRAY: u64 = 64;
const OBJECT: u64 = 64;
/// A field of an object: tree nodes are allocated for 11 and may be half full.
const FIELD: u64 = 128;
/// A tree node holds eleven fields even when it has one.
const NODE: u64 = 512;

pub(super) type Flow = Result<(), Stop>;

/// Why an evaluation goes no further.
#[derive(Debug)]
pub(super) enum Stop {
    /// jq's `error`: what `try` catches.
    Raised(Value),
    /// On the way out to the label with this number.
    Break(u64),
    /// Nothing catches this.
    Budget(&'static str),
}

impl Stop {
    pub(super) fn raise<T>(message: impl AsRef<str>) -> Result<T, Self> {
        Err(Self::Raised(Value::string(message)))
    }

    pub(super) fn into_error(self) -> EvalError {
        match self {
            Self::Raised(value) => EvalError::Raised(value),
            Self::Break(_) => EvalError::Raised(Value::from("break")),
            Self::Budget(what) => EvalError::Budget(what),
        }
    }
}

/// The state of one evaluation that is not on the stack.
pub(super) struct Machine {
    steps: u64,
    bytes: u64,
    depth: u32,
    labels: u64,
    pub(super) variables: Vec<Option<Value>>,
    pub(super) names: Arc<[String]>,
    /// Compiled once for speed, charged each time.
    pub(super) patterns: BTreeMap<String, Arc<super::builtins::regex::Pattern>>,
}

impl Machine {
    pub(super) fn new(budget: Budget, variables: Vec<Option<Value>>, names: Arc<[String]>) -> Self {
        Self { steps: budget.steps, bytes: budget.bytes, depth: 0, labels: 0, variables, names, patterns: BTreeMap::new() }
    }

    pub(super) fn left(&self) -> Budget {
        Budget { steps: self.steps, bytes: self.bytes }
    }

    pub(super) fn step(&mut self, count: u64) -> Flow {
        match self.steps.checked_sub(count) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => {
                self.steps = 0;
                Err(Stop::Budget("steps"))
            }
        }
    }

    /// To call before taking memory.
    pub(super) fn mem(&mut self, bytes: u64) -> Flow {
        match self.bytes.checked_sub(bytes) {
            Some(left) => self.bytes = left,
            None => {
                self.bytes = 0;
                return Err(Stop::Budget("bytes"));
            }
        }
        self.step(bytes / 64)
    }

    /// To call before looking through `length` bytes.
    pub(super) fn scan(&mut self, length: impl Count) -> Flow {
        self.step(length.count() / 64)
    }

    pub(super) fn mem_text(&mut self, length: impl Count) -> Flow {
        self.mem(length.count().saturating_add(32))
    }

    pub(super) fn mem_array(&mut self, length: impl Count) -> Flow {
        self.mem(length.count().saturating_mul(ELEMENT).saturating_add(ARRAY))
    }

    pub(super) fn mem_element(&mut self) -> Flow {
        self.mem(ELEMENT)
    }

    pub(super) fn mem_object(&mut self, fields: impl Count) -> Flow {
        let fields = fields.count();
        let node = if fields == 0 { 0 } else { NODE };
        self.mem(fields.saturating_mul(FIELD).saturating_add(OBJECT + node))
    }

    pub(super) fn mem_field(&mut self, key: &str) -> Flow {
        self.mem(wide(key.len()).saturating_add(FIELD))
    }

    /// Goes through a value that becomes part of another one or of the state: charges as if it were copied, and
    /// refuses what nests deeper than `levels`.
    pub(super) fn nest(&mut self, value: &Value, levels: usize) -> Flow {
        match value {
            Value::String(text) => self.mem(wide(text.len())),
            Value::Array(items) => {
                let Some(levels) = levels.checked_sub(1) else { return Err(Stop::Budget("depth of a value")) };
                self.mem(wide(items.len()).saturating_mul(16).saturating_add(16))?;
                items.iter().try_for_each(|item| self.nest(item, levels))
            }
            Value::Object(fields) => {
                let Some(levels) = levels.checked_sub(1) else { return Err(Stop::Budget("depth of a value")) };
                self.mem(wide(fields.len()).saturating_mul(32).saturating_add(16))?;
                fields.iter().try_for_each(|(key, value)| {
                    self.mem(wide(key.len()))?;
                    self.nest(value, levels)
                })
            }
            _ => Ok(()),
        }
    }

    /// As [`Machine::nest`], for a value one level below a new container.
    pub(super) fn nest_child(&mut self, value: &Value) -> Flow {
        self.nest(value, DEPTH_MAX - 1)
    }

    pub(super) fn enter(&mut self) -> Flow {
        if self.depth >= DEPTH {
            return Err(Stop::Budget("depth"));
        }
        self.depth += 1;
        self.step(1)
    }

    pub(super) fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    pub(super) fn depth(&self) -> u32 {
        self.depth
    }

    /// After a stop was caught: the levels between are left.
    pub(super) fn unwind(&mut self, depth: u32) {
        self.depth = depth;
    }

    pub(super) fn fresh_label(&mut self) -> u64 {
        self.labels += 1;
        self.labels
    }
}

/// What a charge is made for. Sums and products of lengths are taken as `u64`, see [`wide`].
pub(super) trait Count {
    fn count(self) -> u64;
}

impl Count for usize {
    fn count(self) -> u64 {
        wide(self)
    }
}

impl Count for u64 {
    fn count(self) -> u64 {
        self
    }
}

/// To call before any arithmetic with a length, so that 32 and 64 bit count alike.
pub(super) fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
