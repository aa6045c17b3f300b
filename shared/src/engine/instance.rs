//! One running execution of a flow.

use super::record::InstanceStatus;
use crate::flow::plan::FlowKey;
use crate::id::{Actor, InstanceId};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    pub flow: FlowKey,
    pub status: InstanceStatus,
    pub started_at: Timestamp,
    pub started_by: Actor,
    pub business_key: Option<Arc<str>>,
    /// `$workflow.input`, behind the flow's `input.from`.
    pub input: Value,
    /// `$context`.
    pub context: Value,
    pub incident: Option<Incident>,
}

/// Exhausted retries or a broken expression: the instance pauses until an operator decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    pub at: Timestamp,
    /// Task reference.
    pub task: Arc<str>,
    pub problem: super::problem::Problem,
}

/// Where an instance is, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    pub reference: Arc<str>,
    pub name: Arc<str>,
    /// `ready`, `effect`, `timer`, `event`, `pool`, `work-item`, `child`, `join`, `incident`.
    pub waits_for: Arc<str>,
    pub since: Timestamp,
}

impl Instance {
    /// The generation of a live token; `None` when there is no such token.
    pub fn token_generation(&self, _token: u32) -> Option<u32> {
        None
    }
    /// The tasks it stands at.
    pub fn positions(&self) -> Vec<Position> {
        Vec::new()
    }
}
