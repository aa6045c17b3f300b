//! What a person must do: an approval or a checklist.

use super::effect::Owner;
use crate::id::{Actor, WorkItemId};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkItem {
    pub id: WorkItemId,
    pub owner: Owner,
    /// `user:…` or `role:…`.
    pub to: Arc<str>,
    pub kind: WorkItemKind,
    pub data: Value,
    pub created_at: Timestamp,
    pub claimed_by: Option<Actor>,
    /// Approvals so far (one per actor).
    pub votes: Vec<Vote>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkItemKind {
    Approval { question: Arc<str>, choices: Vec<Arc<str>>, quorum: u32 },
    Task { title: Arc<str>, checklist: Vec<Arc<str>>, form: Value },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vote {
    pub by: Actor,
    pub choice: Arc<str>,
    pub comment: Option<Arc<str>>,
    pub at: Timestamp,
}
