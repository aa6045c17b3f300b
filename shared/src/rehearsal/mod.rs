//! Flows run without a mesh: one group in hand, its log stepped through `engine::apply` by whoever plays the outside.
//!
//! ```text
//! World (state, log, clock) <- entries <- Outside (answers, devices, people; virtual time) <- scenario, torture
//!                           <- entries <- the gateway's command line (real time, real HTTP, prompts)
//! ```
//! It opens nothing and reads no clock: time passes because the player says so.

pub mod answer;
pub mod asked;
pub mod building;
pub mod outside;
pub mod run;
pub mod scenario;
pub mod stub;
mod template;
pub mod torture;
mod world;

pub use world::{Ended, Endless, World};
