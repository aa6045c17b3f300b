//! One running group: the seam that the rest of the gateway sees, and what other gateways ask of it.

use super::core::Core;
use super::machine::read_meta;
use super::propose::{self, COMMAND_LEN_MAX, WAITING_MAX, Waiting};
use super::types::{Body, RaftVote, Snapshot, SnapshotMeta, Types};
use super::wire::{Chunk, ChunkTaken, Digest, Propose, Proposed, Transfer};
use super::{Freshness, Group, Leadership, Member, ProposeError, Receipt};
use crate::storage::SnapshotImage;
use async_trait::async_trait;
use openraft::Instant as _;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use parking_lot::RwLock;
use spalla_broker::rpc::RpcError;
use spalla_shared::codec;
use spalla_shared::engine::{Command, State};
use spalla_shared::id::{GroupId, NodeId};
use spalla_shared::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::Instant;

/// Largest snapshot taken from another gateway; it is gathered in memory, where the state then lives.
const SNAPSHOT_LEN_MAX: u64 = 1024 * 1024 * 1024;

pub struct RaftGroup {
    pub(super) core: Arc<Core>,
    waiting: mpsc::Sender<Waiting>,
    leadership: watch::Receiver<Leadership>,
    /// A snapshot on its way in. Kept when the sender is lost, so that it goes on where it ended.
    incoming: Mutex<Option<Incoming>>,
}

struct Incoming {
    transfer: Transfer,
    bytes: Vec<u8>,
}

impl RaftGroup {
    pub(super) fn new(core: Arc<Core>, waiting: mpsc::Sender<Waiting>, leadership: watch::Receiver<Leadership>) -> Self {
        Self { core, waiting, leadership, incoming: Mutex::new(None) }
    }

    pub(super) async fn append(&self, request: AppendEntriesRequest<Types>) -> Result<AppendEntriesResponse<Types>, RpcError> {
        let response = self.core.raft.append_entries(request).await.map_err(remote)?;
        if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
            self.core.leader_was_heard();
        }
        Ok(response)
    }

    pub(super) async fn vote(&self, request: VoteRequest<Types>) -> Result<VoteResponse<Types>, RpcError> {
        self.core.raft.vote(request).await.map_err(remote)
    }

    pub(super) async fn pre_vote(&self, request: VoteRequest<Types>) -> Result<VoteResponse<Types>, RpcError> {
        self.core.raft.pre_vote(request).await.map_err(remote)
    }

    pub(super) async fn transfer(&self, request: TransferLeaderRequest<Types>) -> Result<TransferLeaderResponse<Types>, RpcError> {
        self.core.raft.handle_transfer_leader(request).await.map_err(remote)
    }

    /// A batch that another gateway sent on: committed here, or not at all.
    pub(super) async fn proposed(&self, request: Propose) -> Vec<Proposed> {
        let deadline = Instant::now() + Duration::from_millis(request.budget_ms).min(propose::TIMEOUT);
        propose::commit(&self.core, request.commands, deadline).await
    }

    pub(super) async fn chunk(&self, chunk: Chunk) -> Result<ChunkTaken, RpcError> {
        if chunk.transfer.len > SNAPSHOT_LEN_MAX {
            return Err(RpcError::Refused(format!("a snapshot of {} bytes is too large", chunk.transfer.len)));
        }
        let mut incoming = self.incoming.lock().await;
        let known = incoming.take().filter(|incoming| incoming.transfer == chunk.transfer);
        let mut known = known.unwrap_or_else(|| Incoming { transfer: chunk.transfer.clone(), bytes: Vec::new() });
        let data = &chunk.data.0;
        if chunk.offset == known.bytes.len() as u64 && chunk.offset + data.len() as u64 <= known.transfer.len {
            known.bytes.extend_from_slice(data);
        }
        let next = known.bytes.len() as u64;
        if next < known.transfer.len {
            *incoming = Some(known);
            return Ok(ChunkTaken::More { next });
        }
        self.install(chunk.vote, known).await
    }

    async fn install(&self, vote: RaftVote, incoming: Incoming) -> Result<ChunkTaken, RpcError> {
        let image = SnapshotImage::check(incoming.bytes.into())
            .map_err(|reason| RpcError::Remote(format!("snapshot arrived damaged: {reason}")))?;
        let meta = read_meta(&image).map_err(RpcError::Remote)?;
        self.check_place(&vote, &meta)?;
        tracing::info!(group = %self.core.id, bytes = image.bytes().len(), "installing a snapshot of the leader's");
        self.core.leader_was_heard();
        let response = self.core.raft.install_full_snapshot(vote, Snapshot { meta, snapshot: image }).await.map_err(remote)?;
        Ok(ChunkTaken::Answered { vote: response.vote })
    }

    /// Openraft takes these for impossible, and panics.
    fn check_place(&self, vote: &RaftVote, meta: &SnapshotMeta) -> Result<(), RpcError> {
        let Some(last) = &meta.last_log_id else { return Err(RpcError::Remote("the snapshot holds no entry".into())) };
        let contradicts = |known: &super::types::LogId| (*last > *known) != (last.index > known.index) && last != known;
        if let Some(known) = self.core.view.last().filter(contradicts) {
            return Err(RpcError::Remote(format!(
                "the snapshot ends at {last}, and {known} is confirmed here: its place was another life's"
            )));
        }
        if last.committed_leader_id().term > vote.leader_id.term {
            return Err(RpcError::Remote(format!("the snapshot ends at {last}, behind the term of who sends it")));
        }
        Ok(())
    }

    pub(super) async fn digest(&self) -> Result<Digest, RpcError> {
        let view = self.core.view.clone();
        let digest = tokio::task::spawn_blocking(move || {
            let (applied, state) = view.copy();
            Digest { applied, digest: state.digest() }
        });
        digest.await.map_err(remote)
    }
}

fn remote(error: impl std::fmt::Display) -> RpcError {
    RpcError::Remote(error.to_string())
}

#[async_trait]
impl Group for RaftGroup {
    fn id(&self) -> &GroupId {
        &self.core.id
    }

    fn node(&self) -> NodeId {
        self.core.node
    }

    async fn propose(&self, command: Command) -> Result<Receipt, ProposeError> {
        let command = codec::encode(&command);
        if command.len() > COMMAND_LEN_MAX {
            return Err(ProposeError::TooLarge { size: command.len(), max: COMMAND_LEN_MAX });
        }
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { command: Body(command.into()), deadline: Instant::now() + propose::TIMEOUT, answer };
        self.waiting.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProposeError::Busy(WAITING_MAX),
            mpsc::error::TrySendError::Closed(_) => ProposeError::Stopping,
        })?;
        // Nobody answers any more only when this gateway is going down: the command may be in the log.
        answered.await.unwrap_or(Err(ProposeError::Unknown))
    }

    fn state(&self) -> &RwLock<State> {
        &self.core.view.state
    }

    fn now(&self) -> Timestamp {
        self.core.now()
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.core.view.applied()
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    fn freshness(&self) -> Freshness {
        let age = self.core.leader_age();
        let leader = self.core.with_metrics(|metrics| metrics.current_leader.map(NodeId));
        let limit = self.core.silence_max();
        Freshness {
            applied: *self.core.view.applied().borrow(),
            leader,
            stale: leader.is_none() || age.is_none_or(|age| age > limit),
            leader_seen_ms: age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    fn is_changing(&self) -> bool {
        self.core.with_metrics(|metrics| {
            let joint = metrics.membership_config.membership().get_joint_config().len() > 1;
            joint || metrics.membership_config.log_id().as_ref() > metrics.last_applied.as_ref()
        })
    }

    fn members(&self) -> Vec<Member> {
        self.core.with_metrics(|metrics| {
            let membership = metrics.membership_config.membership();
            let voters: Vec<u64> = membership.voter_ids().collect();
            let newest = metrics.last_log_index.unwrap_or(0);
            let member = |(id, node): (&u64, &openraft::BasicNode)| Member {
                node: NodeId(*id),
                voter: voters.contains(id),
                address: node.addr.clone(),
                lag: metrics.replication.as_ref().and_then(|matched| {
                    let matched = matched.get(id)?.as_ref().map_or(0, |id| id.index);
                    Some(newest.saturating_sub(matched))
                }),
                heard_ms: metrics.heartbeat.as_ref().and_then(|heard| {
                    let age = heard.get(id)?.as_ref()?.elapsed();
                    Some(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
                }),
            };
            membership.nodes().map(member).collect()
        })
    }
}
