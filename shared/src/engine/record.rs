//! What history keeps: derived from the log, written off the apply path, recognised by (index, ordinal) when replayed.

use crate::flow::plan::FlowKey;
use crate::id::{Actor, InstanceId};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub index: u64,
    /// Place among the entry's records.
    pub ordinal: u32,
    pub at: Timestamp,
    pub body: RecordBody,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RecordBody {
    Audit(AuditRecord),
    InstanceStarted {
        instance: InstanceId,
        flow: FlowKey,
        business_key: Option<Arc<str>>,
        input: Value,
        by: Actor,
    },
    InstanceEnded {
        instance: InstanceId,
        status: InstanceStatus,
        output: Value,
        problem: Option<Value>,
    },
    /// One line of an instance's trace.
    Task(TaskRecord),
}

/// One link of the audit chain: `hash = SHA-256(previous ‖ canonical JSON of {seq, at, actor, action, subject, data})`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// From 1, without holes.
    pub seq: u64,
    pub actor: Actor,
    /// `instance.started`, `effect.done`, `access.granted`, `access.denied`, `work-item.completed`, `resource.deployed`, …
    pub action: Arc<str>,
    pub subject: Arc<str>,
    pub data: Value,
    /// Lower-case hex.
    pub previous: Arc<str>,
    pub hash: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstanceStatus {
    Running,
    Suspended,
    Completed,
    Faulted,
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    pub instance: InstanceId,
    pub reference: Arc<str>,
    pub name: Arc<str>,
    /// `started`, `called`, `answered`, `completed`, `faulted`, `skipped`, `cancelled`, `retrying`, `incident`, `operator`, `suspended`,
    /// `resumed`. A task that started says `completed`, `faulted` or `cancelled` once, unless it stands.
    pub what: Arc<str>,
    /// By `what`: started `{kind, input}`; called `{function, with}`, `{function, method, uri}` or `{flow, instance}`;
    /// answered `{by, from, problem?}`; operator `{by, action}`; completed: the output; faulted, retrying, incident: the problem.
    pub data: Value,
}
