//! The syntax tree, with every name already resolved.
//!
//! Variables, parameters and local functions are addressed by how many environment nodes lie between their use and
//! their binding, so that evaluation never compares names. Every node knows its height: the parser bounds it, and with
//! it every recursion over a tree, drop included.

use super::builtins::Native;
use super::builtins::format::Format;
use crate::value::Value;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Term {
    pub kind: Kind,
    /// Longest way down to a leaf, 1 for a leaf.
    pub height: u16,
    /// Gives exactly one output or an error: evaluated without callbacks.
    pub single: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    Identity,
    /// `..`
    Descend,
    Literal(Value),
    /// A string with `\( )`, each part passed through the format.
    Text(Format, Vec<Part>),
    /// `@base64` without a string.
    Format(Format),
    Variable {
        up: u32,
        slot: u32,
    },
    /// A variable that the caller supplies: its place in the sorted names.
    Free(u32),
    Array(Option<Box<Term>>),
    /// Keys and values; without a value, the input's own field under that key.
    Object(Vec<(Term, Option<Term>)>),
    Negate(Box<Term>),
    Pipe(Vec<Term>),
    Comma(Vec<Term>),
    Binary(Operator, Box<(Term, Term)>),
    And(Box<(Term, Term)>),
    Or(Box<(Term, Term)>),
    Alternative(Box<(Term, Term)>),
    Assign(Assignment, Box<(Term, Term)>),
    /// Base and key; both see the same input.
    Index(Box<(Term, Term)>),
    Slice(Box<(Term, Option<Term>, Option<Term>)>),
    Iterate(Box<Term>),
    Try(Box<Term>, Option<Box<Term>>),
    If(Vec<(Term, Term)>, Option<Box<Term>>),
    Reduce(Box<Fold>),
    Foreach(Box<Fold>),
    Bind(Box<Binding>),
    Label(Box<Term>),
    Break {
        up: u32,
    },
    Define(Box<(Definition, Term)>),
    /// A local function.
    Call {
        up: u32,
        args: Vec<Term>,
    },
    /// A function parameter.
    Parameter {
        up: u32,
        index: u32,
    },
    /// A function of the prelude, by its place there.
    Prelude(u32, Vec<Term>),
    Native(Native, Vec<Term>),
    Special(Special, Vec<Term>),
}

#[derive(Debug)]
pub(super) enum Part {
    Plain(Arc<str>),
    Term(Term),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assignment {
    /// `=`
    Set,
    /// `|=`
    Modify,
    /// `+=` and its kin
    Apply(Operator),
    /// `//=`
    Default,
}

#[derive(Debug)]
pub(super) struct Fold {
    pub source: Term,
    pub patterns: Vec<Pattern>,
    pub slots: u32,
    pub init: Term,
    pub update: Term,
    pub extract: Option<Term>,
    /// Whether `update` only adds to the state, see `accumulate`.
    pub accumulates: bool,
}

#[derive(Debug)]
pub(super) struct Binding {
    pub source: Term,
    /// More than one where `?//` separates them.
    pub patterns: Vec<Pattern>,
    pub slots: u32,
    pub body: Term,
}

#[derive(Debug)]
pub(super) enum Pattern {
    Variable(u32),
    Array(Vec<Pattern>),
    /// Key, the slot that takes the whole field (`$name`), and what is inside.
    Object(Vec<(Term, Option<u32>, Option<Pattern>)>),
}

/// A function. Its body sees, from inside out: one node per `$parameter`, the arguments, the definition itself.
#[derive(Debug)]
pub(super) struct Definition {
    pub body: Term,
}

/// Functions that take their arguments unevaluated, or that keep track of paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    Empty,
    Path,
    GetPath,
    Select,
    Recurse,
    First,
    Last,
    Limit,
    Skip,
    Until,
    While,
    Range,
    Substitute,
    Walk,
}

impl Kind {
    /// Height of the highest child and whether the node gives exactly one output.
    pub(super) fn shape(&self) -> (u16, bool) {
        match self {
            Self::Identity | Self::Literal(_) | Self::Variable { .. } | Self::Free(_) | Self::Format(_) => (0, true),
            Self::Descend | Self::Break { .. } | Self::Parameter { .. } => (0, false),
            Self::Text(_, parts) => {
                let terms = || {
                    parts.iter().filter_map(|part| match part {
                        Part::Plain(_) => None,
                        Part::Term(term) => Some(term),
                    })
                };
                (highest(terms()), terms().all(|term| term.single))
            }
            Self::Array(inner) => (inner.as_ref().map_or(0, |term| term.height), inner.as_ref().is_none_or(|term| term.single)),
            Self::Object(fields) => {
                let terms = || fields.iter().flat_map(|(key, value)| std::iter::once(key).chain(value));
                (highest(terms()), terms().all(|term| term.single))
            }
            Self::Negate(inner) => (inner.height, inner.single),
            Self::Pipe(terms) | Self::Native(_, terms) => (highest(terms), terms.iter().all(|term| term.single)),
            Self::Comma(terms) => (highest(terms), false),
            Self::Binary(_, pair) | Self::And(pair) | Self::Or(pair) | Self::Alternative(pair) | Self::Index(pair) => {
                (pair.0.height.max(pair.1.height), pair.0.single && pair.1.single)
            }
            Self::Assign(_, pair) => (pair.0.height.max(pair.1.height), false),
            Self::Slice(parts) => {
                let (base, from, to) = &**parts;
                (highest([base].into_iter().chain(from).chain(to)), false)
            }
            Self::Iterate(inner) | Self::Label(inner) => (inner.height, false),
            Self::Try(body, handler) => (body.height.max(handler.as_ref().map_or(0, |term| term.height)), false),
            Self::If(branches, otherwise) => {
                let terms = || branches.iter().flat_map(|(test, then)| [test, then]).chain(otherwise.iter().map(|term| &**term));
                (highest(terms()), terms().all(|term| term.single))
            }
            Self::Reduce(fold) | Self::Foreach(fold) => {
                let own = highest([&fold.source, &fold.init, &fold.update].into_iter().chain(&fold.extract));
                (own.max(fold.patterns.iter().map(Pattern::height).max().unwrap_or(0)), false)
            }
            Self::Bind(binding) => {
                let own = binding.source.height.max(binding.body.height);
                (own.max(binding.patterns.iter().map(Pattern::height).max().unwrap_or(0)), false)
            }
            Self::Define(pair) => (pair.0.body.height.max(pair.1.height), false),
            Self::Call { args, .. } | Self::Prelude(_, args) | Self::Special(_, args) => (highest(args), false),
        }
    }
}

impl Pattern {
    /// Recursion is bounded by the parser's nesting bound.
    fn height(&self) -> u16 {
        match self {
            Self::Variable(_) => 1,
            Self::Array(items) => items.iter().map(Self::height).max().unwrap_or(0).saturating_add(1),
            Self::Object(fields) => fields
                .iter()
                .map(|(key, _, inner)| key.height.max(inner.as_ref().map_or(0, Self::height)))
                .max()
                .unwrap_or(0)
                .saturating_add(1),
        }
    }
}

fn highest<'a>(terms: impl IntoIterator<Item = &'a Term>) -> u16 {
    terms.into_iter().map(|term| term.height).max().unwrap_or(0)
}
