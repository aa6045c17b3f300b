//! Calls between simulated gateways: a way there and a way back, each of which takes its time or never ends.

use super::gateway::Peers;
use super::{Mistake, SimRaft, SimTypes, World};
use crate::consensus::pipeline::{Answers, pipelined};
use crate::consensus::types::{RaftVote, Snapshot};
use crate::storage::SnapshotImage;
use futures::Stream;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use spalla_shared::id::NodeId;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// As in [`crate::consensus::network`]: an append may wait for the other side's fsync, and a snapshot for its installing.
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Roads {
    pub node: NodeId,
    pub world: Arc<dyn World>,
    pub peers: Peers,
    pub mistake: Mistake,
}

impl RaftNetworkFactory<SimTypes> for Roads {
    type Network = Road;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Road {
        Road { roads: self.clone(), target: NodeId(target) }
    }
}

/// To one other gateway.
pub struct Road {
    roads: Roads,
    target: NodeId,
}

impl Road {
    async fn call<A, E, F>(
        &self,
        action: RPCTypes,
        timeout: Duration,
        ask: impl FnOnce(SimRaft) -> F + Send + 'static,
    ) -> Result<A, RPCError<SimTypes>>
    where
        A: Send + 'static,
        E: Display + Send + 'static,
        F: Future<Output = Result<A, E>> + Send + 'static,
    {
        let (from, to) = (self.roads.node, self.target);
        let there_and_back = async {
            arrive(self.roads.world.carry(from, to)).await;
            let Some((life, raft)) = self.roads.peers.find(to) else { return std::future::pending().await };
            let (tell, told) = oneshot::channel();
            life.spawn(async move { drop(tell.send(ask(raft).await.map_err(|error| error.to_string()))) });
            // The other side went down with the answer: nobody ever hears of it.
            let Ok(answer) = told.await else { return std::future::pending().await };
            arrive(self.roads.world.carry(to, from)).await;
            answer
        };
        match tokio::time::timeout(timeout, there_and_back).await {
            Ok(answer) => answer.map_err(|error| RPCError::Network(NetworkError::from_string(error))),
            Err(_) => Err(RPCError::Timeout(Timeout { action, id: from.0, target: to.0, timeout })),
        }
    }

    fn leads(&self, vote: &RaftVote) {
        if vote.committed {
            self.roads.world.leads(self.roads.node, vote.leader_id.term);
        }
    }
}

async fn arrive(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

impl RaftNetworkV2<SimTypes> for Road {
    type SnapshotData = SnapshotImage;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<SimTypes>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<SimTypes>, RPCError<SimTypes>> {
        self.leads(&rpc.vote);
        let timeout = if rpc.entries.is_empty() { option.hard_ttl() } else { option.hard_ttl().max(APPEND_TIMEOUT) };
        self.call(RPCTypes::AppendEntries, timeout, |raft| async move { raft.append_entries(rpc).await }).await
    }

    /// They may overtake each other, as in a gateway they may not.
    fn stream_append<'s, S>(&'s mut self, input: S, option: RPCOption) -> Answers<'s, SimTypes>
    where
        S: Stream<Item = AppendEntriesRequest<SimTypes>> + OptionalSend + Unpin + 'static,
    {
        let timeout = option.hard_ttl().max(APPEND_TIMEOUT);
        let road = &*self;
        pipelined(input, move |rpc| {
            road.leads(&rpc.vote);
            road.call(RPCTypes::AppendEntries, timeout, |raft| async move { raft.append_entries(rpc).await })
        })
    }

    async fn vote(&mut self, rpc: VoteRequest<SimTypes>, option: RPCOption) -> Result<VoteResponse<SimTypes>, RPCError<SimTypes>> {
        self.call(RPCTypes::Vote, option.soft_ttl(), |raft| async move { raft.vote(rpc).await }).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<SimTypes>, option: RPCOption) -> Result<VoteResponse<SimTypes>, RPCError<SimTypes>> {
        if self.roads.mistake == Mistake::PreVoteGranted {
            return Ok(VoteResponse::new(rpc.vote, None, true));
        }
        self.call(RPCTypes::Vote, option.soft_ttl(), |raft| async move { raft.pre_vote(rpc).await }).await
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<SimTypes>, StreamingError<SimTypes>> {
        self.leads(&vote);
        let send = self
            .call(RPCTypes::InstallSnapshot, SNAPSHOT_TIMEOUT, move |raft| async move { raft.install_full_snapshot(vote, snapshot).await });
        // Not at random: one seed gives one run.
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = send => Ok(sent?),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<SimTypes>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<SimTypes>, RPCError<SimTypes>> {
        self.call(RPCTypes::TransferLeader, option.soft_ttl(), |raft| async move { raft.handle_transfer_leader(request).await }).await
    }
}
