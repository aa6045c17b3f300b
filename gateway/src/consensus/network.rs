//! Openraft's calls to one other gateway.

use super::links::{Link, Links};
use super::pipeline::{Answers, pipelined};
use super::types::{Body, RaftVote, Snapshot, Types};
use super::wire::{self, Chunk, ChunkTaken, To, Transfer};
use crate::storage::SnapshotImage;
use bytes::Bytes;
use futures::Stream;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::VoteOf;
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use serde::Serialize;
use serde::de::DeserializeOwned;
use spalla_broker::rpc::{Peer, RpcError};
use spalla_shared::id::{GroupId, NodeId};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Parts of a snapshot, which has a connection of its own beside the heartbeats'. The next one waits for the answer, so over a distance a part
/// has to be large, and on a narrow line small: heartbeats share it.
const CHUNK_LEN_MIN: usize = 64 * 1024;
const CHUNK_LEN_MAX: usize = 512 * 1024;
/// A part that took less may be followed by a larger one; one that took more is followed by a smaller one.
const CHUNK_TIME_SHORT: Duration = Duration::from_millis(300);
const CHUNK_TIME_LONG: Duration = Duration::from_secs(1);
/// Chunks until the last; the last also waits for installing.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(5);
/// Of appends that are not answered yet: on a narrow line each full one would wait behind those before until its time is over.
const APPENDS_LEN_MAX: u32 = 256 * 1024;
/// Appends may wait for the other side's fsync. Heartbeats have openraft's own, shorter limit.
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);

pub struct Network {
    pub node: NodeId,
    pub group: GroupId,
    pub links: Arc<Links>,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Target;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Target {
        self.links.ensure(NodeId(target), &node.addr);
        Target::new(self.node, NodeId(target), self.group.clone(), self.links.clone())
    }
}

/// One gateway as this group's replication sees it.
pub struct Target {
    node: NodeId,
    target: NodeId,
    group: GroupId,
    links: Arc<Links>,
    /// Bytes that appends may have under way, given in the order in which they are asked for.
    room: Semaphore,
}

impl Target {
    pub fn new(node: NodeId, target: NodeId, group: GroupId, links: Arc<Links>) -> Self {
        Self { node, target, group, links, room: Semaphore::new(APPENDS_LEN_MAX as usize) }
    }

    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        pick: impl Fn(&Link) -> &Peer,
        method: &str,
        body: Q,
        timeout: Duration,
    ) -> Result<A, RpcError> {
        self.send_encoded(pick, method, self.encode(body), timeout).await
    }

    fn encode<Q: Serialize>(&self, body: Q) -> Bytes {
        wire::encode(&To { group: self.group.clone(), node: self.target, body })
    }

    async fn send_encoded<A: DeserializeOwned>(
        &self,
        pick: impl Fn(&Link) -> &Peer,
        method: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<A, RpcError> {
        let link = self.links.to(self.target)?;
        wire::decode(&self.links.heed(pick(&link).call(method, body, timeout).await)?)
    }

    /// One of several that may be under way.
    async fn append(&self, rpc: AppendEntriesRequest<Types>, timeout: Duration) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let body = self.encode(rpc);
        let len = u32::try_from(body.len()).unwrap_or(APPENDS_LEN_MAX).min(APPENDS_LEN_MAX);
        // It is never closed.
        let _room = self.room.acquire_many(len).await;
        let answer = self.send_encoded(|link| &link.raft, wire::APPEND, body, timeout).await;
        answer.map_err(|error| self.error(error, RPCTypes::AppendEntries, timeout))
    }

    async fn raft<Q: Serialize, A: DeserializeOwned>(
        &self,
        action: RPCTypes,
        method: &str,
        body: Q,
        timeout: Duration,
    ) -> Result<A, RPCError<Types>> {
        self.call(|link| &link.raft, method, body, timeout).await.map_err(|error| self.error(error, action, timeout))
    }

    fn error(&self, error: RpcError, action: RPCTypes, timeout: Duration) -> RPCError<Types> {
        match error {
            RpcError::Timeout => RPCError::Timeout(Timeout { action, id: self.node.0, target: self.target.0, timeout }),
            RpcError::Unreachable | RpcError::Refused(_) => RPCError::Unreachable(Unreachable::from_string(error)),
            RpcError::Remote(_) => RPCError::Network(NetworkError::from_string(error)),
        }
    }

    /// Sends what the other side lacks, from where an earlier attempt ended.
    pub(super) async fn send(&self, vote: RaftVote, image: &SnapshotImage, install_timeout: Duration) -> Result<RaftVote, RPCError<Types>> {
        let bytes = image.bytes();
        let transfer = Transfer { len: bytes.len() as u64, checksum: crc32fast::hash(bytes) };
        let mut offset = 0;
        // Asks first, by a chunk without data. Each further round brings at least one byte over, or ends.
        let mut data = bytes.slice(0..0);
        let mut len = CHUNK_LEN_MIN;
        loop {
            let asked = Instant::now();
            let timeout = if offset + data.len() == bytes.len() { install_timeout } else { CHUNK_TIMEOUT };
            let chunk = Chunk { vote, transfer: transfer.clone(), offset: offset as u64, data: Body(data.clone()) };
            let taken = self.call(|link| &link.snapshot, wire::SNAPSHOT, chunk, timeout).await;
            match taken.map_err(|error| self.error(error, RPCTypes::InstallSnapshot, timeout))? {
                ChunkTaken::Answered { vote } => return Ok(vote),
                ChunkTaken::More { next } => {
                    let next = usize::try_from(next).ok().filter(|next| *next < bytes.len());
                    let next = next.filter(|next| data.is_empty() || *next > offset);
                    offset =
                        next.ok_or_else(|| RPCError::Network(NetworkError::from_string("the snapshot's transfer makes no progress")))?;
                    len = next_len(len, asked.elapsed());
                    data = bytes.slice(offset..bytes.len().min(offset + len));
                }
            }
        }
    }
}

fn next_len(len: usize, took: Duration) -> usize {
    if took < CHUNK_TIME_SHORT {
        (len * 2).min(CHUNK_LEN_MAX)
    } else if took > CHUNK_TIME_LONG {
        (len / 2).max(CHUNK_LEN_MIN)
    } else {
        len
    }
}

impl RaftNetworkV2<Types> for Target {
    type SnapshotData = SnapshotImage;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let timeout = if rpc.entries.is_empty() { option.hard_ttl() } else { option.hard_ttl().max(APPEND_TIMEOUT) };
        self.raft(RPCTypes::AppendEntries, wire::APPEND, rpc, timeout).await
    }

    /// One without entries may wait for the fsync of those before it.
    fn stream_append<'s, S>(&'s mut self, input: S, option: RPCOption) -> Answers<'s, Types>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let timeout = option.hard_ttl().max(APPEND_TIMEOUT);
        let target = &*self;
        pipelined(input, move |rpc| target.append(rpc, timeout))
    }

    async fn vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.raft(RPCTypes::Vote, wire::VOTE, rpc, option.soft_ttl()).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.raft(RPCTypes::Vote, wire::PRE_VOTE, rpc, option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            sent = self.send(vote, &snapshot.snapshot, option.hard_ttl()) => Ok(SnapshotResponse::new(sent?)),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.raft(RPCTypes::TransferLeader, wire::TRANSFER, request, option.soft_ttl()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_over_a_distance_and_shrink_on_a_narrow_line() {
        let (near, far, slow) = (Duration::from_millis(1), Duration::from_millis(100), Duration::from_secs(2));
        let after = |times: &[Duration]| times.iter().fold(CHUNK_LEN_MIN, |len, took| next_len(len, *took));
        assert_eq!(after(&[near; 9]), CHUNK_LEN_MAX);
        assert_eq!(after(&[far; 9]), CHUNK_LEN_MAX);
        assert_eq!(after(&[far, far, slow, slow, slow]), CHUNK_LEN_MIN);
        assert_eq!(after(&[far, Duration::from_millis(500)]), 2 * CHUNK_LEN_MIN, "well as it is");
    }
}
