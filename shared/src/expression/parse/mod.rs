//! From text to a resolved tree.

mod definition;
mod keyword;
mod lexer;
mod names;
mod object;
mod operators;
mod parser;
mod pattern;
mod scope;
mod term;

pub(super) use parser::{parse_definitions, parse_expression};
