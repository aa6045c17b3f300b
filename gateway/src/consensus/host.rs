//! What it takes to run a group at this gateway. Groups are begun at the start of the gateway, and later on when a leader elsewhere
//! wants this gateway to have a copy.

use super::core::Core;
use super::group::RaftGroup;
use super::life::NOBODY;
use super::log_store::LogStore;
use super::machine::{Apply, Machine};
use super::mesh::StartError;
use super::network::Network;
use super::place::{folder_of, region_of};
use super::plan::GroupPlan;
use super::registry::Registry;
use super::tuning::Tuning;
use super::types::Raft;
use super::{Failure, Gateway, Leadership, RecordSink, propose, watchman};
use crate::storage::{Log, SnapshotFolder};
use openraft::BasicNode;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{InitializeError, RaftError};
use spalla_shared::id::{GroupId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Groups that leaders want begun here and that are not yet: they ask again.
pub const WANTED_MAX: usize = 64;

pub struct Host {
    pub node: NodeId,
    pub data: PathBuf,
    pub gateways: Vec<Gateway>,
    pub tuning: Tuning,
    pub log: Arc<Log>,
    pub registry: Arc<Registry>,
    pub failure: Failure,
    pub apply: Apply,
    pub sink: Arc<dyn RecordSink>,
    /// Counts groups that were begun.
    pub begun: watch::Sender<u64>,
}

impl Host {
    /// Takes part in `group` from now on, with what the folder holds of it; no member of a new one before a leader admits it.
    pub async fn begin(&self, group: &GroupId) -> Result<Arc<RaftGroup>, StartError> {
        let fail = |reason: String| StartError::Group { group: group.clone(), reason };
        let settings = self.tuning.raft(group.as_str()).map_err(|error| fail(error.to_string()))?;
        let store = LogStore::open(self.log.file(region_of(group)))?;
        let folder = SnapshotFolder::open(&folder_of(&self.data, group))?;
        let (machine, view) = Machine::open(group.clone(), folder, self.apply, self.sink.clone(), self.failure.clone())?;
        let links = &self.registry.links;
        // Before a word of theirs can be heard: who was removed, and who is where now.
        // Buildings' groups have no roster: theirs would make the removed welcome again.
        if *group == GroupId::mesh() {
            let roster = view.state.read().roster.clone();
            links.learn(&roster, &BTreeSet::new())?;
        }
        let network = Network { node: self.node, group: group.clone(), links: links.clone() };
        let raft = Raft::new(self.node.0, settings, network, store, machine).await.map_err(|error| fail(error.to_string()))?;

        // Who was a member when this gateway went down may stand in no settings file.
        for (id, node) in raft.metrics().borrow_watched().membership_config.nodes().filter(|(id, _)| **id != NOBODY) {
            links.ensure(NodeId(*id), &node.addr);
        }
        let core = Arc::new(Core::new(group.clone(), self.node, raft, view, links.clone(), self.tuning));
        let (waiting, commands) = mpsc::channel(propose::WAITING_MAX);
        tokio::spawn(propose::run(core.clone(), commands));
        let (told, leadership) = watch::channel(Leadership::default());
        tokio::spawn(watchman::run(core.clone(), told, self.failure.clone()));
        let running = Arc::new(RaftGroup::new(core, waiting, leadership));
        self.registry.groups.write().insert(group.clone(), running.clone());
        self.begun.send_modify(|count| *count += 1);
        Ok(running)
    }

    /// All voters begin an empty group alike; where it is begun already, nothing happens.
    pub async fn initialise(&self, plan: &GroupPlan, group: &RaftGroup) -> Result<(), StartError> {
        let of = |id: &NodeId| self.gateways.iter().find(|gateway| gateway.node == *id);
        let voters: BTreeMap<u64, BasicNode> =
            plan.voters.iter().filter_map(of).map(|gateway| (gateway.node.0, BasicNode::new(&gateway.address))).collect();
        match group.core.raft.initialize(voters).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(StartError::Group { group: plan.id.clone(), reason: error.to_string() }),
        }
    }

    /// Begins what leaders elsewhere want to be copied here. Runs until the mesh's runtime ends.
    pub async fn heed_wishes(self: Arc<Self>, mut wanted: mpsc::Receiver<GroupId>) {
        while let Some(group) = wanted.recv().await {
            if self.registry.group(&group).is_some() || !self.is_known(&group) {
                continue;
            }
            tracing::info!(%group, "this gateway is to hold a copy of a building's group");
            if let Err(error) = self.begin(&group).await {
                tracing::error!(%group, %error, "the copy cannot be begun here");
            }
        }
    }

    /// A group of a building that the mesh has a gateway in.
    fn is_known(&self, group: &GroupId) -> bool {
        let Some(site) = group.site() else { return false };
        let mesh = self.registry.group(&GroupId::mesh());
        mesh.is_some_and(|mesh| mesh.core.view.state.read().roster.members.values().any(|member| member.site == site))
    }
}
