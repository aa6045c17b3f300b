//! Names and bodies of the calls between gateways that agreement makes. Bodies are CBOR envelopes.

use super::types::{Body, RaftVote};
use super::{ProposeError, Receipt};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use spalla_broker::rpc::RpcError;
use spalla_shared::codec;
use spalla_shared::id::{GroupId, NodeId};

pub const APPEND: &str = "raft.append";
pub const VOTE: &str = "raft.vote";
pub const PRE_VOTE: &str = "raft.pre-vote";
pub const SNAPSHOT: &str = "raft.snapshot";
pub const TRANSFER: &str = "raft.transfer";
pub const PROPOSE: &str = "propose";
pub const BOOT: &str = "boot";
pub const DIGEST: &str = "digest";
/// How all buildings' groups stand at a gateway; no body.
pub const STANDINGS: &str = "standings";

/// How the refusal of a gateway that was removed begins.
pub const REMOVED: &str = "removed:";

/// Wraps every body: an address that moved to another gateway must not be taken for the one it was.
#[derive(Serialize, Deserialize)]
pub struct To<T> {
    pub group: GroupId,
    pub node: NodeId,
    pub body: T,
}

#[derive(Serialize, Deserialize)]
pub struct Propose {
    pub commands: Vec<Body>,
    /// The leader answers within this time.
    pub budget_ms: u64,
}

/// One for each command, in order.
#[derive(Serialize, Deserialize)]
pub enum Proposed {
    Done(Receipt),
    /// Not carried out, and another gateway may lead.
    NotLeader,
    Failed(ProposeError),
}

/// A part of a snapshot. One without data asks how far an earlier attempt got.
#[derive(Serialize, Deserialize)]
pub struct Chunk {
    pub vote: RaftVote,
    pub transfer: Transfer,
    pub offset: u64,
    pub data: Body,
}

/// What tells one snapshot's transfer from another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    pub len: u64,
    pub checksum: u32,
}

#[derive(Serialize, Deserialize)]
pub enum ChunkTaken {
    /// Everything before `next` is there.
    More { next: u64 },
    /// The last part came, and the snapshot is installed or refused by this vote.
    Answered { vote: RaftVote },
}

/// The state of one group at one gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    pub applied: u64,
    /// [`spalla_shared::engine::State::digest`].
    pub digest: String,
}

pub fn encode<T: Serialize>(body: &T) -> Bytes {
    codec::encode(body).into()
}

/// Reads an answer.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RpcError> {
    codec::decode(bytes).map_err(|error| RpcError::Remote(format!("answer cannot be read: {error}")))
}

/// Reads a request.
pub fn request<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RpcError> {
    codec::decode(bytes).map_err(|error| RpcError::Refused(format!("request cannot be read: {error}")))
}
