//! The engine: `apply(state, entry)` turns one log entry into new state, effects and records.
//! Synchronous, total, and the same on every replica, build and CPU.

pub mod access;
mod apply;
pub mod attachment;
pub mod audit;
pub mod command;
pub mod context;
pub mod correlation;
pub mod crossing;
pub mod dedupe;
pub mod denial;
pub mod deploy;
pub mod desk;
pub mod door;
pub mod effect;
pub mod effect_end;
pub mod fence;
#[cfg(test)]
mod fixture;
pub mod function;
mod index;
pub mod instance;
pub mod interest;
mod interpreter;
pub mod life;
pub(crate) mod lifecycle;
mod operator;
pub mod outbox;
pub mod passback;
pub mod pool;
pub mod precedence;
pub mod problem;
pub mod record;
mod retry;
mod rollout;
pub mod roster;
pub mod schedule;
pub mod semantics;
pub mod site;
pub mod state;
mod task;
#[cfg(test)]
mod tests;
pub mod timer;
pub mod trace;
pub mod version;
mod waiting;
pub mod whereabouts;
pub mod work_item;

pub use command::{Accepted, Command, CrossingCommand, Denial, Denied, Entry, Known, Rejection, Reply, SiteCommand};
pub use context::Context;
pub use effect::{Effect, EffectClass, Outcome, Owner, Request};
pub use passback::PassbackCommand;
pub use problem::Problem;
pub use record::Record;
pub use state::State;

/// What came of one entry.
#[derive(Clone, Debug)]
pub struct Applied {
    pub reply: Reply,
    /// Effects that this entry opened (they also stand in `state.effects` until they are done).
    pub effects: Vec<Effect>,
    /// For history and audit, in order.
    pub records: Vec<Record>,
}

/// Applies one committed entry. Never panics, never fails: what is refused is said in the reply.
pub fn apply(state: &mut State, entry: &Entry) -> Applied {
    apply::apply(state, entry)
}
