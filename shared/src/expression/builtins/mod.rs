//! The library: natives by name, and the prelude, which is jq text and so metered by itself.

pub(super) mod add;
mod any;
pub(super) mod array;
pub(super) mod format;
mod number;
mod object;
mod order;
pub(super) mod regex;
pub(super) mod text;
mod time;

use super::fuel::{Machine, Stop};
use super::parse;
use super::syntax::{Definition, Special};
use crate::value::Value;
use std::sync::OnceLock;

pub(super) type Run = fn(&mut Machine, &Value, &[Value]) -> Result<Value, Stop>;

/// A function of its input and of evaluated arguments, as many as its arity says.
#[derive(Clone, Copy)]
pub(super) struct Native {
    name: &'static str,
    arity: usize,
    pub run: Run,
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.name, self.arity)
    }
}

const SPECIALS: &[(&str, usize, Special)] = &[
    ("empty", 0, Special::Empty),
    ("path", 1, Special::Path),
    ("getpath", 1, Special::GetPath),
    ("select", 1, Special::Select),
    ("recurse", 0, Special::Recurse),
    ("recurse", 1, Special::Recurse),
    ("first", 1, Special::First),
    ("last", 1, Special::Last),
    ("limit", 2, Special::Limit),
    ("skip", 2, Special::Skip),
    ("until", 2, Special::Until),
    ("while", 2, Special::While),
    ("range", 3, Special::Range),
    ("sub", 3, Special::Substitute),
    ("walk", 1, Special::Walk),
];

fn natives() -> impl Iterator<Item = &'static (&'static str, usize, Run)> {
    [any::NATIVES, array::NATIVES, object::NATIVES, order::NATIVES, number::NATIVES, regex::NATIVES, text::NATIVES, time::NATIVES]
        .into_iter()
        .flatten()
}

pub(super) fn special(name: &str, arity: usize) -> Option<Special> {
    SPECIALS.iter().find(|(own, takes, _)| *own == name && *takes == arity).map(|(_, _, special)| *special)
}

pub(super) fn native(name: &str, arity: usize) -> Option<Native> {
    natives().find(|(own, takes, _)| *own == name && *takes == arity).map(|(name, arity, run)| Native { name, arity: *arity, run: *run })
}

/// Names and arities of natives and special functions.
pub(super) fn names() -> impl Iterator<Item = (&'static str, usize)> {
    SPECIALS.iter().map(|(name, arity, _)| (*name, *arity)).chain(natives().map(|(name, arity, _)| (*name, *arity)))
}

#[derive(Default)]
pub(super) struct Prelude {
    names: Vec<(String, usize)>,
    definitions: Vec<Definition>,
}

impl Prelude {
    pub(super) fn names(&self) -> &[(String, usize)] {
        &self.names
    }

    pub(super) fn get(&self, index: u32) -> Option<&Definition> {
        self.definitions.get(index as usize)
    }
}

/// Parsed once. A test holds that its text is sound; if it were not, its functions would be unknown.
pub(super) fn prelude() -> &'static Prelude {
    static PRELUDE: OnceLock<Prelude> = OnceLock::new();
    PRELUDE.get_or_init(|| {
        let mut prelude = Prelude::default();
        for (name, arity, definition) in parse::parse_definitions(include_str!("../prelude.jq")).unwrap_or_default() {
            prelude.names.push((name, arity));
            prelude.definitions.push(definition);
        }
        prelude
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prelude_is_sound() {
        let parsed = parse::parse_definitions(include_str!("../prelude.jq"));
        assert!(parsed.as_ref().is_ok_and(|found| found.len() > 40), "{:?}", parsed.err());
    }
}
