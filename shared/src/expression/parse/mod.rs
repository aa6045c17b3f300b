//! From text to a resolved tree.

mod lexer;
mod names;
mod object;
mod parser;
mod pattern;
mod scope;

pub(super) use parser::{parse_definitions, parse_expression};
