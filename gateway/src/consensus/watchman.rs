//! Looks after one group: tells who leads, reports what is fatal, takes snapshots by size, brings learners in.

use super::core::Core;
use super::{Failure, Leadership};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{BasicNode, RaftMetrics, ServerState};
use spalla_shared::id::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Runs until the group stops.
pub async fn run(core: Arc<Core>, told: watch::Sender<Leadership>, failure: Failure, learners: BTreeMap<u64, BasicNode>) {
    let mut metrics = core.raft.metrics();
    // A lost quorum shows by nothing happening: look several times within the time it takes to elect another.
    let mut clock = tokio::time::interval(core.tuning.election_min / 8);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut adding = JoinSet::new();
    loop {
        let (now, running, missing) =
            core.with_metrics(|metrics| (leadership(&core, metrics), metrics.running_state.clone(), missing(&core, metrics, &learners)));
        match running {
            Ok(()) => {}
            Err(Fatal::Stopped) => return,
            Err(error) => {
                told.send_replace(Leadership::default());
                failure.set(format!("group `{}`: {error}", core.id));
                return;
            }
        }
        let leads = now.is_self;
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
        // Beside the watch: without a quorum it takes as long as that takes.
        if let (true, Some((id, node)), true) = (leads, missing, adding.is_empty()) {
            let raft = core.raft.clone();
            adding.spawn(async move { raft.add_learner(id, node, false).await });
        }
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { return },
            // One that failed is tried again, as long as it is missing.
            Some(_) = adding.join_next() => {}
            _ = clock.tick() => {}
        }
    }
}

fn leadership(core: &Core, metrics: &RaftMetrics<super::types::Types>) -> Leadership {
    let term = metrics.current_term;
    let quorum = core.quorum_age(metrics).is_some_and(|age| age < core.tuning.election_min);
    let is_self = metrics.state == ServerState::Leader && Core::is_caught_up(metrics) && quorum;
    Leadership { leader: metrics.current_leader.map(NodeId), is_self, term }
}

fn missing(core: &Core, metrics: &RaftMetrics<super::types::Types>, learners: &BTreeMap<u64, BasicNode>) -> Option<(u64, BasicNode)> {
    let membership = metrics.membership_config.membership();
    learners
        .iter()
        .find(|(id, _)| membership.get_node(id).is_none() && !core.links.is_removed(NodeId(**id)))
        .map(|(id, node)| (*id, node.clone()))
}
