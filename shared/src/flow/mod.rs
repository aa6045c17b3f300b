//! Flows: the file (`document`), what is wrong with it (`check`), what it may call (`catalog`), and what runs (`plan`).
//!
//! YAML text -> document -> check -> canonical JSON + hash (what the log carries) -> plan (rebuilt from canonical JSON on every replica).

pub mod catalog;
mod check;
pub mod codes;
mod compile;
mod diagnostic;
pub mod document;
mod lint;
pub mod plan;
pub mod profile;
pub(crate) mod suggest;

pub use check::{Checked, check, check_located};
pub(crate) use compile::expression_part;
pub(crate) use diagnostic::join;
pub use diagnostic::{Diagnostic, Severity, lines};
pub use suggest::nearest;
