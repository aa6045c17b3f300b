//! History that a snapshot carried this gateway over, fetched from the others. Each gateway answers from its own file;
//! nothing here reaches into the log or the state.
//!
//! ```text
//! snapshot -> gap noted -> Backfill: links from the newest down, entries part by part -- history.audit, history.part --> Answer: the file there
//! ```

mod answer;
mod fill;

pub use answer::Answer;
pub use fill::Backfill;

use serde::{Deserialize, Serialize};
use spalla_shared::id::GroupId;

pub const PREFIX: &str = "history.";
const AUDIT: &str = "history.audit";
/// Not `history.rows`, by which older builds ask for a whole gap: they would take a part of it for all.
const PART: &str = "history.part";

/// Audit links before this one.
#[derive(Serialize, Deserialize)]
struct AskAudit {
    group: GroupId,
    before_seq: u64,
}

/// Traces and instances of a part of entries `from..=to`, behind `after`.
#[derive(Serialize, Deserialize)]
struct AskRows {
    group: GroupId,
    from: u64,
    to: u64,
    after: (u64, u32),
}
