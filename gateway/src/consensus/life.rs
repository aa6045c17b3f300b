//! A building's group begun again: one gateway writes down what it goes on from, with a membership of the founder alone and a place
//! in the log and a term that no earlier life reached, and the founder installs it as a snapshot. Who does so is decided in the
//! mesh's log (`spalla_shared::engine::life`); here it is carried out, as often as it takes.

use super::group::RaftGroup;
use super::images::on_deep_stack;
use super::links::Gateway;
use super::machine::Held;
use super::membership::MemberError;
use super::mesh::Mesh;
use super::network::Target;
use super::registry::Registry;
use super::types::{Body, LogId, Membership, RaftVote, SnapshotMeta};
use super::wire::{self, Chunk, ChunkTaken, Transfer};
use crate::storage::SnapshotImage;
use openraft::BasicNode;
use serde::{Deserialize, Serialize};
use spalla_shared::codec;
use spalla_shared::engine::State;
use spalla_shared::id::{GroupId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Terms between two lives: a gateway that is lost may have asked for votes in vain for days.
const TERMS_APART: u64 = 1_000_000;
/// Terms that one life may have.
const LIFE_TERMS: u64 = 1 << 32;
/// For a group to come to the end of the entries that it is applying.
const HOLD_TIME_MAX: Duration = Duration::from_secs(5);
/// The leader of a life's first term, and who votes in a group whose voters are lost: no gateway, so that none takes itself for it.
pub const NOBODY: u64 = 0;
/// Founders that know of a later term say so; the next try is behind that.
const TRIES_MAX: usize = 3;
/// For the founder to read the snapshot.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How a building's group stands at one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub group: GroupId,
    pub life: u64,
    /// Of the newest applied entry.
    pub term: u64,
    pub index: u64,
    /// Each of these must decide for itself; two while its voters change.
    pub voters: Vec<BTreeSet<NodeId>>,
    /// It leads there and has a quorum.
    pub leads: bool,
}

impl Standing {
    /// Of two, the later one has what the other has, and more.
    pub fn age(&self) -> (u64, u64, u64) {
        (self.life, self.term, self.index)
    }
}

impl Registry {
    /// Of all buildings' groups of which this gateway has anything; nothing is known while it starts.
    pub fn standings(&self) -> Option<Vec<Standing>> {
        if !self.whole.load(Ordering::Acquire) {
            return None;
        }
        let groups: Vec<Arc<RaftGroup>> = self.groups.read().values().cloned().collect();
        let of = |group: &Arc<RaftGroup>| {
            let (last, life) = group.core.view.last_and(|state| state.life);
            let last = last?;
            let (voters, leads) = group.core.with_metrics(|metrics| {
                let of = |config: &BTreeSet<u64>| config.iter().copied().map(NodeId).collect();
                (metrics.membership_config.membership().get_joint_config().iter().map(of).collect(), group.core.leads(metrics))
            });
            let (group, term) = (group.core.id.clone(), last.committed_leader_id().term);
            Some(Standing { group, life, term, index: last.index, voters, leads })
        };
        Some(groups.iter().filter(|group| group.core.id.site().is_some()).filter_map(of).collect())
    }
}

impl Mesh {
    /// Makes `founder` the only voter of `group`, in its life `number`: with this gateway's copy of it (with an empty one, where not
    /// `from_copy`) as `edit` leaves it, which hears where the log goes on. `first_index` says that of a copy that ends there. Does it again
    /// where it was done already: ask for the standings first.
    pub async fn begin_life(
        &self,
        group: &GroupId,
        number: u64,
        founder: &Gateway,
        from_copy: bool,
        first_index: impl Fn(u64) -> u64,
        edit: impl FnOnce(&mut State, u64) + Send + 'static,
    ) -> Result<(), MemberError> {
        let (last, mut state) = match self.host.registry.group(group) {
            Some(running) if from_copy => {
                // Between two entries, with the records of all before handed on.
                let held = tokio::time::timeout(HOLD_TIME_MAX, running.core.view.hold()).await.map_err(|_| MemberError::Timeout)?;
                let (meta, state) = held.and_then(Held::release).ok_or_else(|| MemberError::NoGroup(group.clone()))?;
                (meta.last_log_id, state)
            }
            _ => (None, State::new(group.clone())),
        };
        if from_copy && last.is_none() {
            return Err(MemberError::Failed(format!("this gateway has no copy of `{group}`")));
        }
        let index = first_index(last.map_or(0, |last| last.index));
        edit(&mut state, index);
        let (state, sink, id) = (on_deep_stack(move || codec::encode(&state)).await?, self.host.sink.clone(), group.clone());
        // Whoever lacks the entries up to here can ask this gateway for what came of them.
        let noted = tokio::task::spawn_blocking(move || sink.take(&id, index, Vec::new()));
        noted.await.map_err(|error| MemberError::Failed(error.to_string()))?;

        // A copy that comes back may know of a life that nobody else here does.
        let mut term = last.map_or(0, |last| last.committed_leader_id().term).max(number.saturating_sub(1).saturating_mul(LIFE_TERMS));
        for _ in 0..TRIES_MAX {
            term = term.saturating_add(TERMS_APART);
            let vote = RaftVote::new_committed(term, NOBODY);
            let image = SnapshotImage::new(&codec::encode(&meta(founder, term, index)?), &state);
            let answer = self.install(group, founder.node, vote, &image).await?;
            if answer.leader_id.term <= term {
                tracing::info!(%group, founder = %founder.node, number, index, term, "a building's group begins again");
                return Ok(());
            }
            term = answer.leader_id.term;
        }
        Err(MemberError::Failed(format!("gateway {} knows of a later term of `{group}` each time", founder.node)))
    }

    async fn install(&self, group: &GroupId, founder: NodeId, vote: RaftVote, image: &SnapshotImage) -> Result<RaftVote, MemberError> {
        let failed = |error: String| MemberError::Failed(error);
        if founder != self.node() {
            let target = Target::new(self.node(), founder, group.clone(), self.host.registry.links.clone());
            return target.send(vote, image, INSTALL_TIMEOUT).await.map_err(|error| failed(error.to_string()));
        }
        let running = self.host.registry.group(group).ok_or_else(|| MemberError::NoGroup(group.clone()))?;
        let bytes = image.bytes().clone();
        let transfer = Transfer { len: bytes.len() as u64, checksum: crc32fast::hash(&bytes) };
        match running.chunk(Chunk { vote, transfer, offset: 0, data: Body(bytes) }).await {
            Ok(ChunkTaken::Answered { vote }) => Ok(vote),
            Ok(ChunkTaken::More { .. }) => Err(failed("its own snapshot was not taken whole".into())),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// How a building's groups stand at `node`.
    pub async fn standings_at(&self, node: NodeId, timeout: Duration) -> Option<Vec<Standing>> {
        if node == self.node() {
            return self.host.registry.standings();
        }
        let answer = self.call(node, wire::STANDINGS, bytes::Bytes::new(), timeout).await.ok()?;
        wire::decode(&answer).ok()
    }
}

fn meta(founder: &Gateway, term: u64, index: u64) -> Result<SnapshotMeta, MemberError> {
    let last = LogId::new_term_index(term, index);
    let members = BTreeMap::from([(founder.node.0, BasicNode::new(&founder.address))]);
    let membership = openraft::Membership::new(vec![BTreeSet::from([founder.node.0])], members);
    let membership = membership.map_err(|error| MemberError::Failed(error.to_string()))?;
    Ok(SnapshotMeta { last_log_id: Some(last), last_membership: Membership::new(Some(last), membership) })
}
