//! The interpreter as a whole: a state, one entry, what comes out. Every entry of every test is applied twice,
//! once on a replica that was restored from a snapshot just before: state and outputs must be equal.

mod arguments;
mod called;
mod config;
mod errors;
mod events;
mod extensions;
mod functions;
pub(super) mod harness;
mod life_cycle;
mod operators;
mod problems;
mod random;
mod runs;
mod steps;
mod traces;
mod versions;
