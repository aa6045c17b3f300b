//! The audit chain of one group: every link names the hash of the one before.

use super::record::AuditRecord;
use crate::id::Actor;
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditChain {
    pub seq: u64,
    /// Lower-case hex of the newest link; 64 zeros before the first.
    pub head: Arc<str>,
}

impl Default for AuditChain {
    fn default() -> Self {
        Self { seq: 0, head: "0".repeat(64).into() }
    }
}

impl AuditChain {
    pub fn link(&mut self, at: Timestamp, actor: Actor, action: &str, subject: &str, data: Value) -> AuditRecord {
        let mut record = AuditRecord {
            seq: self.seq + 1,
            actor,
            action: action.into(),
            subject: subject.into(),
            data,
            previous: self.head.clone(),
            hash: "".into(),
        };
        record.hash = link_hash(&record, at).into();
        self.seq = record.seq;
        self.head = record.hash.clone();
        record
    }
}

/// SHA-256 over `previous` and the canonical JSON of the rest, lower-case hex.
pub fn link_hash(record: &AuditRecord, at: Timestamp) -> String {
    let body = Value::object([
        ("seq", Value::Int(i64::try_from(record.seq).unwrap_or(i64::MAX))),
        ("at", Value::Int(at.millis())),
        ("actor", Value::from(record.actor.as_str())),
        ("action", Value::String(record.action.clone())),
        ("subject", Value::String(record.subject.clone())),
        ("data", record.data.clone()),
    ]);
    let mut hash = Sha256::new();
    hash.update(record.previous.as_bytes());
    hash.update(body.to_json());
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
