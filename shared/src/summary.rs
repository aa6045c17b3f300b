//! What goes up to the cloud: batches of numbered events, and one summary per site.

use crate::engine::outbox::OutboxItem;
use crate::id::{NodeId, SiteId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Body of `ev`: outbox items in order of their sequence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventBatch {
    /// Fixed for the life of a mesh's log; the cloud deduplicates by (mesh, incarnation, seq).
    pub incarnation: String,
    /// Fences an old speaker: grows with each change of speaker.
    pub epoch: u64,
    pub historical: bool,
    pub items: Vec<OutboxItem>,
}

/// Body of `ack`: everything up to and with `upto_seq` is safe with the cloud.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventAck {
    pub incarnation: String,
    pub upto_seq: u64,
}

/// Body of `gap`: please send `from..=to` again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventGap {
    pub incarnation: String,
    pub from: u64,
    pub to: u64,
}

/// Body of `birth`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Birth {
    pub incarnation: String,
    pub epoch: u64,
    pub first_seq: u64,
    pub at: Timestamp,
    pub nodes: BTreeMap<NodeId, SiteId>,
    /// `namespace/name:version`.
    pub flows: Vec<String>,
}

/// Body of `node/{n}/state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeState {
    pub online: bool,
    pub at: Timestamp,
    pub role: String,
}

/// Body of `sum/{site}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SiteSummary {
    pub site: String,
    /// The gateway that wrote it.
    pub node: NodeId,
    pub at: Timestamp,
    /// Grows by one per summary of (node, boot).
    pub seq: u64,
    pub boot: u64,
    pub occupancy: i64,
    pub doors: Doors,
    pub devices_live: u32,
    pub devices_stale: u32,
    /// device/property -> aggregate over the window.
    pub sensors: BTreeMap<String, Aggregate>,
    pub flows_running: u32,
    /// Instances with an incident.
    pub flows_stuck: u32,
    pub work_items_open: u32,
    pub alarms_open: u32,
    pub outbox_depth: u64,
    /// This gateway's clock minus the leader's stamp of the newest entry, milliseconds.
    pub clock_skew_ms: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doors {
    pub open: u32,
    pub forced: u32,
    pub held: u32,
}

/// A window of one sensor's readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    pub from: Timestamp,
    pub to: Timestamp,
    pub count: u64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    pub last: f64,
}
