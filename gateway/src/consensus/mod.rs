//! Agreement: one Raft group per `GroupId`. The only module that names openraft.
//!
//! ```text
//! propose -> propose.rs -> (leader: openraft -> log_store -> disk, network -> the others) -> machine -> engine::apply
//!    ^---------------------- Receipt, once this gateway's own state has it too ---------------------------'
//! ```

mod core;
mod failure;
mod group;
mod host;
mod images;
mod life;
mod links;
mod log_store;
mod machine;
mod membership;
mod mesh;
mod network;
mod pipeline;
mod place;
mod plan;
mod propose;
pub mod recovery;
mod registry;
#[cfg(feature = "simulation")]
pub mod simulation;
#[cfg(test)]
mod tests;
mod tuning;
mod types;
mod watchman;
mod wire;

pub use failure::Failure;
pub use images::GroupImage;
pub use life::Standing;
pub use links::Gateway;
pub use membership::MemberError;
pub use mesh::{Mesh, MeshConfig, StartError};
pub use plan::{GroupPlan, VOTERS_MAX, copies};
pub use tuning::Tuning;
pub use wire::Digest;

use async_trait::async_trait;
use parking_lot::RwLock;
use spalla_broker::clock::wall_now;
use spalla_shared::engine::audit::AuditChain;
use spalla_shared::engine::life::Fork;
use spalla_shared::engine::{Command, Record, Reply, State};
use spalla_shared::id::{GroupId, NodeId};
use spalla_shared::time::Timestamp;
use std::sync::Arc;
use tokio::sync::watch;

pub type GroupRef = Arc<dyn Group>;

/// One group as the rest of the gateway sees it.
#[async_trait]
pub trait Group: Send + Sync + 'static {
    fn id(&self) -> &GroupId;
    fn node(&self) -> NodeId;
    /// Commits `command` and answers with what `apply` said of it. Forwards to the leader where this is not it.
    /// Answers within 3 s: where it cannot tell, it says so ([`ProposeError::Unknown`]), and the caller repeats with the same key.
    async fn propose(&self, command: Command) -> Result<Receipt, ProposeError>;
    /// The applied state. Hold the lock briefly and never over an await.
    fn state(&self) -> &RwLock<State>;
    /// Now as the group counts it, on the leader what it stamps. A wall clock that is behind the log is not waited for: the log's
    /// newest instant is carried on, so that timers fire and deadlines pass whatever the machines' clocks do.
    fn now(&self) -> Timestamp {
        wall_now().max(self.state().read().clock)
    }
    /// Changes with each applied entry.
    fn applied(&self) -> watch::Receiver<u64>;
    fn leadership(&self) -> watch::Receiver<Leadership>;
    fn freshness(&self) -> Freshness;
    /// What the group's members are and how they do, for `mesh status`.
    fn members(&self) -> Vec<Member>;
    /// Whether a change of voters is under way: until it is done, the old ones and the new ones have to agree.
    fn is_changing(&self) -> bool {
        false
    }
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Receipt {
    pub index: u64,
    /// The instant that the leader stamped.
    pub at: Timestamp,
    pub reply: Reply,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
pub enum ProposeError {
    #[error("no quorum: fewer than half of the gateways of group `{0}` reach each other")]
    NoQuorum(String),
    #[error("it is not known whether the command was committed; repeat it with the same key")]
    Unknown,
    #[error("too many commands are waiting ({0}); try again")]
    Busy(usize),
    #[error("the command is too large: {size} bytes, at most {max}")]
    TooLarge { size: usize, max: usize },
    #[error("this gateway is stopping")]
    Stopping,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<NodeId>,
    /// This gateway leads, and has applied everything committed before its term.
    pub is_self: bool,
    pub term: u64,
}

/// How old an answer from the local state may be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Freshness {
    pub applied: u64,
    pub leader: Option<NodeId>,
    /// No leader has been heard of for longer than an election takes.
    pub stale: bool,
    /// Milliseconds since the leader was heard of (0 on the leader itself while it has a quorum).
    pub leader_seen_ms: Option<u64>,
}

impl Freshness {
    /// Who leads now, as far as this gateway can know. One that it does not hear of any more may long have a successor.
    pub fn leads(&self) -> Option<NodeId> {
        self.leader.filter(|_| !self.stale)
    }

    /// Whom this gateway last heard lead, where it hears of nobody now.
    pub fn led(&self) -> Option<NodeId> {
        self.leader.filter(|_| self.stale)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Member {
    pub node: NodeId,
    pub voter: bool,
    pub address: String,
    /// Known on the leader: entries that it still lacks.
    pub lag: Option<u64>,
    /// Known on the leader: milliseconds since it answered.
    pub heard_ms: Option<u64>,
}

/// Where records go, off the apply path.
pub trait RecordSink: Send + Sync + 'static {
    /// Takes the records of entries up to `index`, in order; may block while its bounded queue is full.
    /// Entries that were taken before (after a restart) are recognised and passed over.
    fn take(&self, group: &GroupId, index: u64, records: Vec<Record>);
    /// A snapshot brought the state to `index`: the records of the entries up to there that were not taken will not come.
    /// `audit` is the end of the audit chain there. Behind `fork` the group went on without what copies of it may have had.
    fn carried(&self, group: &GroupId, index: u64, audit: &AuditChain, fork: Option<Fork>);
    /// Blocks until everything up to `index` is on disk: called before a snapshot lets the log be purged.
    fn flush(&self, group: &GroupId, index: u64) -> Result<(), String>;
}
