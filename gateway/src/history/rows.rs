//! What readers ask for and get, in pages.

use serde::{Deserialize, Serialize};
use spalla_shared::id::{Actor, GroupId, InstanceId};
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;

/// Rows of one page.
pub const PAGE_LEN_MAX: u32 = 1000;

/// `next` goes into the next question's cursor; none: that was the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<Row, Cursor> {
    pub rows: Vec<Row>,
    pub next: Option<Cursor>,
}

/// Every field narrows. Newest first, unless `after_seq` is given: then oldest first, for following the trail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditFilter {
    /// `mesh` when none.
    pub group: Option<GroupId>,
    pub actor: Option<String>,
    /// Equal, or the beginning up to a dot: `access` takes `access.granted`.
    pub action: Option<String>,
    pub subject: Option<String>,
    pub from: Option<Timestamp>,
    /// Exclusive.
    pub until: Option<Timestamp>,
    pub before_seq: Option<u64>,
    pub after_seq: Option<u64>,
    /// 100 when 0; at most [`PAGE_LEN_MAX`].
    pub limit: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    pub group: GroupId,
    pub seq: u64,
    /// Index of the log entry.
    pub index: u64,
    pub at: Timestamp,
    pub actor: Actor,
    pub action: String,
    pub subject: String,
    pub data: Value,
    pub previous: String,
    pub hash: String,
}

/// Every field narrows. Newest start first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceFilter {
    /// Of all groups where there is none.
    pub group: Option<GroupId>,
    /// `running`, `completed`, `faulted`, `cancelled`.
    pub status: Option<String>,
    /// Only those that have ended.
    pub ended: bool,
    /// A part of `namespace/name:version`.
    pub flow_part: Option<String>,
    pub namespace: Option<String>,
    /// Name of the flow.
    pub name: Option<String>,
    pub business_key: Option<String>,
    /// Exclusive.
    pub started_before: Option<Timestamp>,
    pub before: Option<(Timestamp, InstanceId)>,
    /// 100 when 0; at most [`PAGE_LEN_MAX`].
    pub limit: u32,
}

/// An instance as history knows it. `suspended` is known to the applied state only: here it is `running`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceRow {
    pub id: InstanceId,
    pub group: GroupId,
    pub namespace: String,
    pub name: String,
    pub version: String,
    pub business_key: Option<String>,
    pub status: String,
    pub started_at: Timestamp,
    pub started_by: Actor,
    pub input: Value,
    pub ended_at: Option<Timestamp>,
    pub output: Option<Value>,
    pub problem: Option<Value>,
    /// Index of the log entry that ended it.
    pub ended_index: Option<u64>,
}

/// One line of an instance's trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRow {
    pub index: u64,
    pub ordinal: u32,
    pub at: Timestamp,
    pub reference: String,
    pub name: String,
    pub what: String,
    pub data: Value,
}

/// A trace line with the instance that it is of, on its way to a gateway that lacks it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GapRow {
    pub instance: InstanceId,
    pub line: TaskRow,
}

/// Part of what fills a gap: of entries `from..=to`, and all of them with the page that has no `next`; else `next` goes into the next question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GapPage {
    pub from: u64,
    pub to: u64,
    pub rows: Vec<GapRow>,
    pub instances: Vec<InstanceRow>,
    pub next: Option<(u64, u32)>,
}

/// The limit that is really used.
pub fn page_len(limit: u32) -> u32 {
    if limit == 0 { 100 } else { limit.min(PAGE_LEN_MAX) }
}
