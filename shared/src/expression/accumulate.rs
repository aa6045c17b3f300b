//! `reduce` whose update only adds to the state: it is charged for what is added, not for all that is there already.
//!
//! `. + [$x]`, `.[$x.id] = $x`, `.count += 1`, conditions and pipes of these: as long as nothing in the update can take hold of the
//! whole state, the state belongs to this `reduce` alone from its first change on, and is changed in place. Which updates are of
//! that kind is read off the text when it is parsed, never off a reference count: every replica decides alike.

use super::builtins::add::Sum;
use super::environment::Env;
use super::fuel::{Flow, Machine, Stop};
use super::math::binary;
use super::path;
use super::single::single;
use super::syntax::{Assignment, Kind, Operator, Part, Term};
use crate::value::Value;

/// Whether an update is of the kind that [`State::advance`] runs. Recursion is bounded by the height of the tree.
pub(super) fn accumulates(update: &Term) -> bool {
    match &update.kind {
        Kind::Identity => true,
        Kind::Binary(Operator::Add, pair) => matches!(pair.0.kind, Kind::Identity) && blind(&pair.1),
        // The right side of `|=` sees what is at the path and nothing else.
        Kind::Assign(Assignment::Modify, pair) => plain_path(&pair.0) && pair.1.single,
        Kind::Assign(_, pair) => plain_path(&pair.0) && blind(&pair.1),
        Kind::If(branches, otherwise) => {
            branches.iter().all(|(test, then)| blind(test) && accumulates(then)) && otherwise.as_deref().is_none_or(accumulates)
        }
        Kind::Pipe(terms) => terms.iter().all(accumulates),
        _ => false,
    }
}

/// `.a[$k].b`
fn plain_path(term: &Term) -> bool {
    match &term.kind {
        Kind::Index(pair) => blind(&pair.1) && (matches!(pair.0.kind, Kind::Identity) || plain_path(&pair.0)),
        _ => false,
    }
}

/// Gives one output whatever the input is: it cannot hold on to it.
fn blind(term: &Term) -> bool {
    term.single
        && match &term.kind {
            Kind::Literal(_) | Kind::Variable { .. } | Kind::Free(_) => true,
            Kind::Array(inner) => inner.as_deref().is_none_or(blind),
            Kind::Object(fields) => fields.iter().all(|(key, value)| blind(key) && value.as_ref().is_some_and(blind)),
            Kind::Negate(inner) => blind(inner),
            Kind::Binary(_, pair) | Kind::And(pair) | Kind::Or(pair) | Kind::Alternative(pair) | Kind::Index(pair) => {
                blind(&pair.0) && blind(&pair.1)
            }
            Kind::Text(_, parts) => parts.iter().all(|part| match part {
                Part::Plain(_) => true,
                Part::Term(term) => blind(term),
            }),
            // What follows sees the output of the first.
            Kind::Pipe(terms) => terms.first().is_some_and(blind),
            Kind::If(branches, otherwise) => {
                branches.iter().all(|(test, then)| blind(test) && blind(then)) && otherwise.as_deref().is_some_and(blind)
            }
            _ => false,
        }
}

/// The state of one such `reduce`.
pub(super) struct State {
    /// Null while `sum` is open.
    value: Value,
    sum: Sum,
    /// The path that was written last: containers on it are paid for.
    last: Option<Vec<Value>>,
}

impl State {
    pub(super) fn new(value: Value) -> Self {
        Self { value, sum: Sum::None, last: None }
    }

    pub(super) fn into_value(mut self, m: &mut Machine) -> Result<Value, Stop> {
        self.sum.close(m, &mut self.value)
    }

    pub(super) fn advance(&mut self, m: &mut Machine, update: &Term, env: &Env) -> Flow {
        m.step(1)?;
        match &update.kind {
            Kind::Binary(_, pair) => {
                let more = single(m, &pair.1, env, &Value::Null)?;
                self.last = None;
                self.sum.append(m, &mut self.value, &more)
            }
            Kind::Assign(assignment, pair) => self.write(m, *assignment, pair, env),
            Kind::If(branches, otherwise) => {
                for (test, then) in branches {
                    if single(m, test, env, &Value::Null)?.is_truthy() {
                        return self.advance(m, then, env);
                    }
                }
                otherwise.as_deref().map_or(Ok(()), |term| self.advance(m, term, env))
            }
            Kind::Pipe(terms) => terms.iter().try_for_each(|term| self.advance(m, term, env)),
            _ => Ok(()),
        }
    }

    fn write(&mut self, m: &mut Machine, assignment: Assignment, pair: &(Term, Term), env: &Env) -> Flow {
        let (left, right) = pair;
        self.value = self.sum.close(m, &mut self.value)?;
        let new = match assignment {
            Assignment::Modify => Value::Null,
            _ => single(m, right, env, &Value::Null)?,
        };
        let mut keys = Vec::new();
        keys_of(m, left, env, &mut keys)?;
        let paid = match &self.last {
            Some(before) => path::common(m, before, &keys)?,
            None => 0,
        };
        path::update(m, &mut self.value, &keys, paid, &mut |m, old| match assignment {
            Assignment::Modify => single(m, right, env, &old),
            Assignment::Set => Ok(new.clone()),
            Assignment::Apply(operator) => binary(m, operator, &old, &new),
            Assignment::Default => Ok(if old.is_truthy() { old } else { new.clone() }),
        })?;
        self.last = Some(keys);
        Ok(())
    }
}

/// Recursion is bounded by the height of the tree.
fn keys_of(m: &mut Machine, term: &Term, env: &Env, keys: &mut Vec<Value>) -> Flow {
    let Kind::Index(pair) = &term.kind else { return Ok(()) };
    keys_of(m, &pair.0, env, keys)?;
    m.mem_element()?;
    keys.push(single(m, &pair.1, env, &Value::Null)?);
    Ok(())
}
