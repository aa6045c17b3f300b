//! Any flow, put through what can go wrong without a test of its own: each effect fails, stays silent, is answered twice;
//! events come twice; it is suspended, cancelled and failed over at each step. Whatever happens, nothing stays owned.
//!
//! `story` (what begins it, which events and people there are) -> `player` (one run under one trouble) -> `check` (all runs).

mod account;
mod check;
mod invent;
mod player;
mod story;
mod trouble;

pub use check::{Failure, Report, torture};
pub use player::Run;
pub use story::Story;
pub use trouble::Trouble;

#[cfg(test)]
mod tests;
