//! Looks after one group: tells who leads, reports what is fatal, takes snapshots by size, and lets a group with one voter rest: it
//! needs no clock that elects, and no heartbeat but one that tells copies elsewhere that it lives.

use super::core::Core;
use super::tuning::LONE_HEARTBEAT;
use super::types::Types;
use super::{Failure, Leadership};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{RaftMetrics, ServerState};
use spalla_shared::id::NodeId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Between two tries of the only voter to lead: writing its vote may take as long on a disk that is busy, and another try undoes the last.
const ELECT_AGAIN: Duration = Duration::from_secs(3);

/// Runs until the group stops.
pub async fn run(core: Arc<Core>, told: watch::Sender<Leadership>, failure: Failure) {
    let mut metrics = core.raft.metrics();
    let mut pace = Pace::default();
    loop {
        let (now, running, voice) =
            core.with_metrics(|metrics| (leadership(&core, metrics), metrics.running_state.clone(), Voice::of(&core, metrics)));
        match running {
            Ok(()) => {}
            Err(Fatal::Stopped) => return,
            Err(error) => {
                told.send_replace(Leadership::default());
                failure.set(format!("group `{}`: {error}", core.id));
                return;
            }
        }
        told.send_if_modified(|before| {
            let changed = *before != now;
            if changed {
                tracing::info!(group = %core.id, leader = ?now.leader.map(|node| node.0), here = now.is_self, term = now.term, "leadership");
                *before = now;
            }
            changed
        });
        if core.view.log_len.load(Ordering::Relaxed) > core.tuning.snapshot_len {
            core.view.log_len.store(0, Ordering::Relaxed);
            drop(core.raft.trigger().snapshot().await);
        }
        let pause = pace.keep(&core, voice).await;
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { return },
            // A lost quorum shows by nothing happening.
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn leadership(core: &Core, metrics: &RaftMetrics<Types>) -> Leadership {
    Leadership { leader: metrics.current_leader.map(NodeId), is_self: core.leads(metrics), term: metrics.current_term }
}

/// What this gateway is to the group.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voice {
    /// Several vote, or it is not certain yet that one does: openraft's own clock counts.
    OneOfMany,
    /// It votes alone, and leads.
    LoneLeader,
    /// It votes alone, and must lead.
    Lone,
    /// Another one votes alone, or nobody yet.
    None,
}

impl Voice {
    fn of(core: &Core, metrics: &RaftMetrics<Types>) -> Self {
        let own = metrics.membership_config.membership().voter_ids().next() == Some(core.node.0);
        // A leader may have given its vote away in an entry that nobody else has: until that is committed, it must be able to lead again.
        match (Core::is_lone(metrics) && Core::is_settled(metrics), own, metrics.state) {
            (false, ..) => Self::OneOfMany,
            (true, true, ServerState::Leader) => Self::LoneLeader,
            (true, true, _) => Self::Lone,
            (true, false, _) => Self::None,
        }
    }
}

#[derive(Default)]
struct Pace {
    /// Of openraft's clock; it runs at first.
    rests: bool,
    beat_at: Option<Instant>,
    asked_at: Option<Instant>,
}

impl Pace {
    /// Does what is due; gives the time until it must look again.
    async fn keep(&mut self, core: &Core, voice: Voice) -> Duration {
        let rests = voice != Voice::OneOfMany;
        if rests != self.rests {
            core.raft.runtime_config().tick(!rests);
            self.rests = rests;
        }
        match voice {
            // Several times within the time that it takes to elect another.
            Voice::OneOfMany => core.tuning.election_min / 8,
            Voice::None => LONE_HEARTBEAT,
            Voice::LoneLeader => {
                if is_due(self.beat_at, LONE_HEARTBEAT) {
                    self.beat_at = Some(Instant::now());
                    drop(core.raft.trigger().heartbeat().await);
                }
                LONE_HEARTBEAT
            }
            Voice::Lone => {
                if is_due(self.asked_at, ELECT_AGAIN) {
                    self.asked_at = Some(Instant::now());
                    drop(core.raft.trigger().elect(false).await);
                }
                ELECT_AGAIN
            }
        }
    }
}

fn is_due(last: Option<Instant>, every: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= every)
}
