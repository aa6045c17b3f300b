//! One simulated gateway, from its start to its crash, and the others as it finds them.

use super::disk::SimDisk;
use super::life::Life;
use super::log::SimLog;
use super::machine::{SimMachine, digest};
use super::network::Roads;
use super::{Mistake, SimRaft, SimTypes, World};
use crate::consensus::log_store::LogStore;
use crate::consensus::machine::{Applier, Apply, View};
use crate::consensus::types::{Body, Proposal};
use crate::consensus::{Failure, ProposeError, Receipt, RecordSink, Tuning};
use openraft::Instant as _;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::rt::{WatchReceiver, watch};
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{BasicNode, RaftMetrics, ServerState};
use parking_lot::{Mutex, RwLock};
use spalla_shared::codec;
use spalla_shared::engine::audit::AuditChain;
use spalla_shared::engine::life::Fork;
use spalla_shared::engine::{Command, Record, State};
use spalla_shared::id::{GroupId, NodeId};
use spalla_shared::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The gateways that run, by node.
#[derive(Clone, Default)]
pub struct Peers(Arc<Mutex<BTreeMap<NodeId, (Life, SimRaft)>>>);

impl Peers {
    pub(super) fn find(&self, node: NodeId) -> Option<(Life, SimRaft)> {
        self.0.lock().get(&node).cloned()
    }
}

/// What all gateways of one simulation share.
#[derive(Clone)]
pub struct Site {
    pub voters: Vec<NodeId>,
    pub tuning: Tuning,
    pub apply: Apply,
    pub world: Arc<dyn World>,
    pub mistake: Mistake,
    pub peers: Peers,
}

/// A command that its proposer was told of.
#[derive(Clone, Debug)]
pub struct Wrote {
    /// As in [`AppliedEntry::command`](super::AppliedEntry::command).
    pub command: u64,
    /// None where the proposer was told before there was one: a [`Mistake`].
    pub receipt: Option<Receipt>,
}

#[derive(Clone)]
pub struct SimGateway {
    pub node: NodeId,
    site: Site,
    disk: SimDisk,
    life: Life,
    raft: SimRaft,
    view: Arc<View>,
}

impl SimGateway {
    /// As `mesh.rs` begins a group, from what `disk` holds.
    pub async fn start(site: &Site, disk: &SimDisk, node: NodeId) -> Result<Self, String> {
        let life = Life::default();
        let begun = life.spawn(begin(site.clone(), disk.clone(), node, life.clone()));
        let (raft, view) = begun.await.map_err(|error| error.to_string())??;
        site.peers.0.lock().insert(node, (life.clone(), raft.clone()));
        let members: BTreeMap<u64, BasicNode> = site.voters.iter().map(|node| (node.0, BasicNode::new(node.to_string()))).collect();
        let started = raft.clone();
        // It is begun already in all lives but the first.
        drop(life.spawn(async move { drop(started.initialize(members).await) }).await);
        life.spawn(watch_over(raft.metrics(), site.world.clone(), node));
        Ok(Self { node, site: site.clone(), disk: disk.clone(), life, raft, view })
    }

    /// The power goes.
    pub fn crash(self) {
        self.site.peers.0.lock().remove(&self.node);
        self.life.end();
        self.disk.lose_power();
    }

    /// The term that it leads; None where it does not, or cannot be sure that it still does, as in `core.rs`.
    pub fn leads(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let heard = metrics.last_quorum_acked.map(|at| at.elapsed())?;
        (metrics.state == ServerState::Leader && heard < self.site.tuning.election_min).then_some(metrics.current_term)
    }

    pub fn state(&self) -> &RwLock<State> {
        &self.view.state
    }

    /// Index of the newest applied entry, and the digest of the state there.
    pub fn stands(&self) -> (u64, String) {
        let (index, state) = self.view.copy();
        (index, state.digest())
    }

    /// For messages: what it thinks it is.
    pub fn describe(&self) -> String {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        format!(
            "{} {:?} in term {}, log to {:?}, applied {:?}, follows {:?}, running {:?}",
            self.node,
            metrics.state,
            metrics.current_term,
            metrics.last_log_index,
            metrics.last_applied.as_ref().map(|id| id.index),
            metrics.current_leader,
            metrics.running_state
        )
    }

    /// On the leader: commits `command`, stamped `at`.
    pub async fn propose(&self, command: &Command, at: Timestamp) -> Result<Wrote, ProposeError> {
        if self.leads().is_none() {
            return Err(ProposeError::NoQuorum("mesh".into()));
        }
        let bytes = codec::encode(command);
        let command = digest(&[&bytes, &at.0.to_be_bytes()]);
        let proposal = Proposal { at, command: Body(bytes.into()) };
        let (raft, mut metrics) = (self.raft.clone(), self.raft.metrics());
        let before = metrics.borrow_watched().last_log_index;
        let written = self.life.spawn(async move { raft.client_write(proposal).await });
        if self.site.mistake == Mistake::ToldTooEarly {
            let own = metrics.wait_until(|metrics| metrics.last_log_index > before).await;
            return own.map(|_| Wrote { command, receipt: None }).map_err(|_| ProposeError::Unknown);
        }
        match written.await {
            Ok(Ok(response)) => {
                let (at, reply) = response.data.0.ok_or(ProposeError::Unknown)?;
                Ok(Wrote { command, receipt: Some(Receipt { index: response.log_id.index, at, reply }) })
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Err(ProposeError::NoQuorum("mesh".into())),
            Ok(Err(_)) | Err(_) => Err(ProposeError::Unknown),
        }
    }
}

async fn begin(site: Site, disk: SimDisk, node: NodeId, life: Life) -> Result<(SimRaft, Arc<View>), String> {
    let mut settings = (*site.tuning.raft("mesh").map_err(|error| error.to_string())?).clone();
    if site.mistake == Mistake::LeaderRestore {
        settings.enable_leader_restore = Some(true);
    }
    let store = SimLog(LogStore::open(disk.file(&life)).map_err(|error| error.to_string())?);
    let (applier, view) = Applier::apart(GroupId::mesh(), site.apply, Arc::new(NoHistory), Failure::new());
    let (world, mistake) = (site.world.clone(), site.mistake);
    let machine = SimMachine { node, world, applier: Arc::new(applier), view: view.clone(), disk, mistake, before: None };
    machine.load()?;
    let roads = Roads { node, world: site.world, peers: site.peers, mistake };
    let raft = SimRaft::new(node.0, Arc::new(settings), roads, store, machine).await.map_err(|error| error.to_string())?;
    Ok((raft, view))
}

/// As `watchman.rs` does: agreement that ended by itself ends the gateway.
async fn watch_over(mut metrics: WatchReceiverOf<SimTypes, RaftMetrics<SimTypes>>, world: Arc<dyn World>, node: NodeId) {
    loop {
        let changed: Result<(), watch::RecvError> = metrics.changed().await;
        let ended = match &metrics.borrow_watched().running_state {
            Err(reason) => Some(reason.to_string()),
            Ok(()) if changed.is_err() => Some("its core has ended".to_owned()),
            Ok(()) => None,
        };
        if let Some(reason) = ended {
            world.broke(node, reason);
            return;
        }
    }
}

/// History is no part of agreement: the simulation keeps its own.
struct NoHistory;

impl RecordSink for NoHistory {
    fn take(&self, _group: &GroupId, _index: u64, _records: Vec<Record>) {}
    fn carried(&self, _group: &GroupId, _index: u64, _audit: &AuditChain, _fork: Option<Fork>) {}
    fn flush(&self, _group: &GroupId, _index: u64) -> Result<(), String> {
        Ok(())
    }
}
