//! The interpreter as a whole: a state, one entry, what comes out. Every entry of every test is applied twice,
//! once on a replica that was restored from a snapshot just before: state and outputs must be equal.

mod errors;
mod events;
mod functions;
mod harness;
mod operators;
mod random;
mod steps;
