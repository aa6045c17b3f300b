//! What the parts of one running group share.

use super::links::Links;
use super::machine::View;
use super::tuning::Tuning;
use super::types::{Raft, Types};
use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{RaftMetrics, ServerState};
use parking_lot::Mutex;
use spalla_broker::clock::wall_now;
use spalla_shared::device::OPENING_EXPIRY_MAX_MS;
use spalla_shared::id::{GroupId, NodeId};
use spalla_shared::time::Timestamp;
use std::sync::Arc;
use std::sync::Once;
use std::time::Duration;
use tokio::time::Instant;

/// Clocks of gateways that are set by time servers differ by less.
const BEHIND_MAX_MS: u64 = 1_000;

pub struct Core {
    pub id: GroupId,
    pub node: NodeId,
    pub raft: Raft,
    pub view: Arc<View>,
    pub links: Arc<Links>,
    pub tuning: Tuning,
    /// When a leader was last heard of.
    heard: Mutex<Option<Instant>>,
    first_stamp: Once,
}

/// Where a command must go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Here,
    To(NodeId),
    Nowhere,
}

impl Core {
    pub fn new(id: GroupId, node: NodeId, raft: Raft, view: Arc<View>, links: Arc<Links>, tuning: Tuning) -> Self {
        Self { id, node, raft, view, links, tuning, heard: Mutex::new(None), first_stamp: Once::new() }
    }

    pub fn with_metrics<T>(&self, read: impl FnOnce(&RaftMetrics<Types>) -> T) -> T {
        read(&self.raft.metrics().borrow_watched())
    }

    pub fn route(&self) -> Route {
        self.with_metrics(|metrics| match metrics.current_leader {
            Some(leader) if leader == self.node.0 && metrics.state == ServerState::Leader => Route::Here,
            Some(leader) if leader != self.node.0 => Route::To(NodeId(leader)),
            _ => Route::Nowhere,
        })
    }

    /// This gateway leads: a quorum answered it within the time in which no other can have been elected, and it has applied an entry of
    /// its term. The first one of a term is its leader's own, so everything committed before is applied too, and the log's time is known.
    pub fn leads(&self, metrics: &RaftMetrics<Types>) -> bool {
        let caught_up = metrics.last_applied.is_some_and(|id| id.committed_leader_id().term == metrics.current_term);
        caught_up && self.quorum_age(metrics).is_some_and(|age| age < self.tuning.election_min)
    }

    /// A leader that may stamp.
    pub fn may_stamp(&self) -> bool {
        self.with_metrics(|metrics| self.leads(metrics))
    }

    /// Nobody's vote is waited for: one gateway votes, or none does yet.
    pub fn is_lone(metrics: &RaftMetrics<Types>) -> bool {
        metrics.membership_config.membership().voter_ids().nth(1).is_none()
    }

    /// Who votes is not being changed, as far as this gateway knows.
    pub fn is_settled(metrics: &RaftMetrics<Types>) -> bool {
        metrics.membership_config.log_id() == metrics.committed_membership_config.log_id()
    }

    /// After so long without a word of the leader, what stands here may be old.
    pub fn silence_max(&self) -> Duration {
        if self.with_metrics(Self::is_lone) { self.tuning.lone_silence_max() } else { self.tuning.election_max }
    }

    /// How long ago a quorum answered this leader; zero where it is a quorum by itself.
    pub fn quorum_age(&self, metrics: &RaftMetrics<Types>) -> Option<Duration> {
        if metrics.state != ServerState::Leader {
            return None;
        }
        if Self::is_lone(metrics) && metrics.membership_config.membership().voter_ids().next() == Some(self.node.0) {
            return Some(Duration::ZERO);
        }
        metrics.last_quorum_acked.map(|at| at.elapsed())
    }

    /// Now as the group counts it: the wall clock, or the log's newest instant carried on where the wall clock is behind it.
    pub fn now(&self) -> Timestamp {
        wall_now().max(self.view.clock.at(std::time::Instant::now()))
    }

    /// What a leader stamps. The first stamp after a time in which nobody led cannot be read off a clock that is behind the log: no
    /// opening of before may live through that time, however long it was.
    pub fn stamp(&self) -> Timestamp {
        self.first_stamp.call_once(|| {
            let (wall, carried) = (wall_now(), self.view.clock.at(std::time::Instant::now()));
            if self.heard.lock().is_none() && carried > wall.plus(BEHIND_MAX_MS) {
                tracing::warn!(group = %self.id, clock = %wall, log = %carried, "this gateway's clock is behind the log, whose time goes on");
                self.view.clock.see(carried.plus(OPENING_EXPIRY_MAX_MS), std::time::Instant::now());
            }
        });
        self.now()
    }

    pub fn leader_was_heard(&self) {
        *self.heard.lock() = Some(Instant::now());
    }

    /// Time since a leader was heard of, on the leader itself since a quorum answered.
    pub fn leader_age(&self) -> Option<Duration> {
        let own = self.with_metrics(|metrics| self.quorum_age(metrics));
        own.or_else(|| self.heard.lock().map(|at| at.elapsed()))
    }
}
