//! Who takes part in a group, changed while it runs. Carries out what it is told: who should belong and vote is decided by the
//! room `members`, from the roster in the log.

use super::Gateway;
use super::core::Core;
use super::group::RaftGroup;
use super::mesh::Mesh;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers, ServerState};
use spalla_broker::rpc::TlsError;
use spalla_shared::engine::roster::Roster;
use spalla_shared::id::{GroupId, NodeId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A change of members is two entries at most, each committed by a quorum. Without one it waits, and is tried again later.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    #[error("group `{0}` does not run here")]
    NoGroup(GroupId),
    #[error("this gateway does not lead the group")]
    NotLeader,
    #[error("another change of members is under way")]
    UnderWay,
    #[error("no quorum agreed in time")]
    Timeout,
    #[error("{0}")]
    Failed(String),
}

impl Mesh {
    /// All others that belong to the mesh.
    pub fn peers(&self) -> Vec<Gateway> {
        self.host.registry.links.peers()
    }

    /// Whether there is a connection for calls to `node`; dials where there was none, and waits for it at most `wait`.
    pub async fn reaches(&self, node: NodeId, wait: Duration) -> bool {
        match self.host.registry.links.to(node) {
            Ok(link) => link.calls.ready(wait).await,
            Err(_) => false,
        }
    }

    /// Addresses, and who is refused from now on.
    pub fn learn(&self, roster: &Roster) -> Result<(), TlsError> {
        let still: BTreeSet<NodeId> = self.groups().iter().flat_map(|group| group.members()).map(|member| member.node).collect();
        self.host.registry.links.learn(roster, &still)
    }

    /// Why this gateway belongs to the mesh no more, once another one says so. It works on until it is told to `fail`.
    pub fn cast_out(&self) -> watch::Receiver<Option<String>> {
        self.host.registry.links.cast_out()
    }

    /// This gateway must stop, for `reason`.
    pub fn fail(&self, reason: String) {
        self.host.failure.set(reason);
    }

    /// Takes `node` in as a learner. On the leader.
    pub async fn admit(&self, group: &GroupId, node: NodeId, address: &str) -> Result<(), MemberError> {
        let group = self.running(group)?;
        let added = group.core.raft.add_learner(node.0, BasicNode::new(address), false);
        done(tokio::time::timeout(CHANGE_TIME_MAX, added).await)
    }

    /// Who votes from now on; all of them are members. On the leader.
    pub async fn set_voters(&self, group: &GroupId, voters: &BTreeSet<NodeId>) -> Result<(), MemberError> {
        let group = self.running(group)?;
        let voters: BTreeSet<u64> = voters.iter().map(|node| node.0).collect();
        let changed = group.core.raft.change_membership(ChangeMembers::ReplaceAllVoters(voters), true);
        done(tokio::time::timeout(CHANGE_TIME_MAX, changed).await)
    }

    /// Who votes in a group that runs here; nothing while that is being changed.
    pub fn settled_voters(&self, group: &GroupId) -> Option<BTreeSet<NodeId>> {
        let group = self.running(group).ok()?;
        group.core.with_metrics(|metrics| {
            let voters = metrics.membership_config.membership().voter_ids().map(NodeId);
            Core::is_settled(metrics).then(|| voters.collect())
        })
    }

    /// Lets a learner go. On the leader.
    pub async fn dismiss(&self, group: &GroupId, node: NodeId) -> Result<(), MemberError> {
        let group = self.running(group)?;
        let removed = group.core.raft.change_membership(ChangeMembers::RemoveNodes(BTreeSet::from([node.0])), true);
        done(tokio::time::timeout(CHANGE_TIME_MAX, removed).await)
    }

    /// Hands leadership of a group to another voter, which asks for votes at once. On the leader; whether it came about, the
    /// group's leadership tells.
    pub async fn transfer(&self, group: &GroupId, to: NodeId) -> Result<(), MemberError> {
        let group = self.running(group)?;
        if group.core.with_metrics(|metrics| metrics.state != ServerState::Leader) {
            return Err(MemberError::NotLeader);
        }
        group.core.raft.trigger().transfer_leader(to.0).await.map_err(|error| MemberError::Failed(error.to_string()))
    }

    fn running(&self, group: &GroupId) -> Result<Arc<RaftGroup>, MemberError> {
        self.host.registry.group(group).ok_or_else(|| MemberError::NoGroup(group.clone()))
    }
}

type Changed<T> = Result<Result<T, RaftError<super::types::Types, ClientWriteError<super::types::Types>>>, tokio::time::error::Elapsed>;

fn done<T>(changed: Changed<T>) -> Result<(), MemberError> {
    match changed {
        Ok(Ok(_)) => Ok(()),
        Err(_) => Err(MemberError::Timeout),
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => Err(MemberError::NotLeader),
        Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_))))) => {
            Err(MemberError::UnderWay)
        }
        Ok(Err(error)) => Err(MemberError::Failed(error.to_string())),
    }
}
