//! One group's gateways on virtual time, for the seeded simulation in `tests/`: openraft with this gateway's settings, its log
//! store and its applying are the real ones; the network, the disk and the dice are the simulation's.
//!
//! All gateways live in one thread of a paused tokio runtime. Nothing here reads a clock or draws from the system's randomness,
//! so that one seed gives one run. Never part of a gateway: it is built with the feature `simulation` only.
//!
//! ```text
//! SimGateway -> openraft -> SimLog (log_store.rs over disk.rs) , Roads (network.rs) , SimMachine (machine.rs's Applier, in line)
//!                                        '------------------ World: how long, whether at all, what happened -------------'
//! ```

mod disk;
mod gateway;
mod life;
mod log;
mod machine;
mod network;
mod runtime;
mod watch;

pub use disk::SimDisk;
pub use gateway::{SimGateway, Site, Wrote};
pub use runtime::throw_dice_from;

use super::types::{Answer, Proposal, RaftEntry, RaftVote};
use openraft::BasicNode;
use openraft::impls::leader_id_std;
use spalla_shared::id::NodeId;
use std::time::Duration;

openraft::declare_raft_types!(
    /// [`super::types::Types`] on another runtime.
    pub SimTypes:
        D = Proposal,
        R = Answer,
        NodeId = u64,
        Node = BasicNode,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        Vote = RaftVote,
        Entry = RaftEntry,
        AsyncRuntime = runtime::SimRuntime,
);

type SimRaft = openraft::Raft<SimTypes, machine::SimMachine>;

/// What surrounds the gateways, and notes what they do.
pub trait World: Send + Sync + 'static {
    /// How long a message is on its way; `None`: it is lost.
    fn carry(&self, from: NodeId, to: NodeId) -> Option<Duration>;
    /// How long the next fsync of `node` takes.
    fn flush_time(&self, node: NodeId) -> Duration;
    /// How many of `waiting` writes that were begun and not confirmed lie on the disk of `node` after a crash.
    fn survive(&self, node: NodeId, waiting: usize) -> usize;
    /// `node` speaks as the leader of `term`.
    fn leads(&self, node: NodeId, term: u64);
    /// Each entry, each time that `node` applies it.
    fn applied(&self, node: NodeId, applied: AppliedEntry);
    /// `node` took the state at `index` from a snapshot.
    fn installed(&self, node: NodeId, index: u64);
    /// Agreement on `node` ended by itself. A gateway stops then.
    fn broke(&self, node: NodeId, reason: String);
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedEntry {
    pub index: u64,
    pub term: u64,
    /// Of the bytes and the instant in the entry; 0 for entries without a command.
    pub command: u64,
    /// Of what `apply` said.
    pub reply: u64,
}

/// A mistake that is made on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mistake {
    #[default]
    None,
    /// Openraft's default: a leader that restarts takes its term up again, although its newest entries were not flushed.
    LeaderRestore,
    /// The disk forgets the vote in a crash.
    VoteForgotten,
    /// The disk says that it has flushed as soon as it is asked to.
    FlushedTooEarly,
    /// A leader tells the client of success when the command is in its own log.
    ToldTooEarly,
    /// The position in a snapshot is one entry behind the state in it, so that this entry is applied again.
    SnapshotBehind,
    /// The log is purged up to a snapshot that is not on disk yet.
    PurgedTooEarly,
    /// The disk keeps what lay behind an entry that is replaced.
    TailKept,
    /// The network says yes to each question before a vote, as openraft does where nobody implements it.
    PreVoteGranted,
}
