//! What the cloud is owed: numbered without holes, kept until it is acknowledged, and who may speak.

use crate::event::Event;
use crate::id::NodeId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Items kept while the cloud is away. Past it the oldest `State` items go first, told by a numbered `dropped` item; audit never goes.
pub const OUTBOX_LEN_MAX: usize = 100_000;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outbox {
    /// Sequence of the newest item; the first item is 1.
    pub newest_seq: u64,
    pub acknowledged_seq: u64,
    pub items: VecDeque<OutboxItem>,
    pub speaker: Option<Speaker>,
    /// The newest epoch ever given.
    pub epoch: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboxItem {
    pub seq: u64,
    pub class: OutboxClass,
    pub event: Event,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutboxClass {
    Audit,
    Alarm,
    State,
}

/// The one gateway that may speak to the cloud, until its lease ends. The epoch fences an old one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speaker {
    pub node: NodeId,
    pub epoch: u64,
    pub until: Timestamp,
}
