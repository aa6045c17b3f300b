//! The audit chain of one group: every link names the hash of the one before.

use super::record::AuditRecord;
use crate::event::Event;
use crate::id::{Actor, GroupId};
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

/// The first link that does not follow from the one before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    #[error("audit record {found} stands where {expected} is due")]
    Gap { expected: u64, found: u64 },
    #[error("audit record {seq} does not name the record before it")]
    Previous { seq: u64 },
    #[error("audit record {seq} was altered: its content does not give its hash")]
    Altered { seq: u64 },
}

/// Walks `links` (in order, with their instants) on from `start`; gives the chain's end, to be compared with the state's.
pub fn verify<'a>(start: AuditChain, links: impl IntoIterator<Item = (&'a AuditRecord, Timestamp)>) -> Result<AuditChain, BrokenChain> {
    let mut chain = start;
    for (record, at) in links {
        let seq = record.seq;
        if seq != chain.seq + 1 {
            return Err(BrokenChain::Gap { expected: chain.seq + 1, found: seq });
        }
        if record.previous != chain.head {
            return Err(BrokenChain::Previous { seq });
        }
        if *link_hash(record, at) != *record.hash {
            return Err(BrokenChain::Altered { seq });
        }
        chain = AuditChain { seq, head: record.hash.clone() };
    }
    Ok(chain)
}

/// The link as the cloud gets it: type `spalla.audit.<action>`, with the hashes, so that the cloud can verify the chain too.
pub fn to_event(record: &AuditRecord, at: Timestamp, group: &GroupId) -> Event {
    Event {
        id: format!("audit-{}", record.seq).into(),
        source: format!("/groups/{group}/audit").into(),
        kind: format!("spalla.audit.{}", record.action).into(),
        subject: Some(record.subject.clone()),
        time: at,
        data: Value::object([
            ("seq", Value::Int(i64::try_from(record.seq).unwrap_or(i64::MAX))),
            ("actor", Value::from(record.actor.as_str())),
            ("action", Value::String(record.action.clone())),
            ("data", record.data.clone()),
            ("previous", Value::String(record.previous.clone())),
            ("hash", Value::String(record.hash.clone())),
        ]),
        extensions: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Vec<(AuditRecord, Timestamp)> {
        let mut chain = AuditChain::default();
        (1..=3)
            .map(|number| {
                let at = Timestamp(number);
                (chain.link(at, Actor::system(), "note", "visit-1", Value::Int(number)), at)
            })
            .collect()
    }
    fn check(links: &[(AuditRecord, Timestamp)]) -> Result<u64, BrokenChain> {
        verify(AuditChain::default(), links.iter().map(|(record, at)| (record, *at))).map(|chain| chain.seq)
    }

    #[test]
    fn an_untouched_chain_verifies() {
        assert_eq!(check(&links()), Ok(3));
    }

    #[test]
    fn every_alteration_breaks_it() {
        let altered = |change: fn(&mut Vec<(AuditRecord, Timestamp)>)| {
            let mut links = links();
            change(&mut links);
            check(&links)
        };
        assert_eq!(altered(|links| links[1].0.data = Value::Int(9)), Err(BrokenChain::Altered { seq: 2 }));
        assert_eq!(altered(|links| links[1].1 = Timestamp(9)), Err(BrokenChain::Altered { seq: 2 }));
        assert_eq!(altered(|links| links[0].0.actor = "user:eve".into()), Err(BrokenChain::Altered { seq: 1 }));
        assert_eq!(altered(|links| drop(links.remove(1))), Err(BrokenChain::Gap { expected: 2, found: 3 }));
        // Rewriting one link with a fitting hash shows at the next.
        let rewritten = altered(|links| {
            links[1].0.subject = "visit-2".into();
            links[1].0.hash = link_hash(&links[1].0, links[1].1).into();
        });
        assert_eq!(rewritten, Err(BrokenChain::Previous { seq: 3 }));
    }
}
