//! What openraft is told about our types, and how entries look in the log and on the wire.

use bytes::Bytes;
use openraft::impls::{BasicNode, Vote, leader_id_std};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spalla_shared::engine::Reply;
use spalla_shared::time::Timestamp;
use std::fmt;

openraft::declare_raft_types!(
    /// One leader per term, so that a term fences effects.
    pub Types:
        D = Proposal,
        R = Answer,
        NodeId = u64,
        Node = BasicNode,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        Vote = Vote<Self::LeaderId>,
);

pub type Raft = openraft::Raft<Types, super::machine::Machine>;
pub type RaftEntry = openraft::type_config::alias::EntryOf<Types>;
pub type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub type RaftVote = openraft::type_config::alias::VoteOf<Types>;
pub type Membership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;
pub type Snapshot = openraft::type_config::alias::SnapshotOf<Types, crate::storage::SnapshotImage>;

/// A command in the log: encoded once, by whoever proposed it, and stamped by the leader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    pub at: Timestamp,
    /// Envelope of a [`spalla_shared::engine::Command`].
    pub command: Body,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes at {}", self.command.0.len(), self.at)
    }
}

/// What `apply` said of a command; `None` for entries that carry none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer(pub Option<(Timestamp, Reply)>);

/// Bytes that serialise as bytes, not as a list of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body(pub Bytes);

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytewise;
        impl Visitor<'_> for Bytewise {
            type Value = Body;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Body, E> {
                Ok(Body(Bytes::copy_from_slice(bytes)))
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Body, E> {
                Ok(Body(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(Bytewise)
    }
}
