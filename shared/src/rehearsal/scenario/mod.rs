//! Scenarios: what is given, what happens, what is expected, in virtual time.
//!
//! text -> `document` (read, checked, located) -> `play` (steps through a world) -> `expect` (what was expected, what was found).

mod document;
mod expect;
mod play;
mod view;

pub use document::{Action, Given, Person, Scenario, Step, read, schema};
pub use play::{Miss, Played, play};
pub(in crate::rehearsal) use view::{trace, view, word};
