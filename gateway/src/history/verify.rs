//! The audit chain recomputed, link by link. Works on a file alone, with no gateway running.

use super::schema::unsigned;
use super::{HistoryError, schema};
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};
use spalla_shared::engine::audit::{AuditChain, link_hash};
use spalla_shared::engine::record::AuditRecord;
use spalla_shared::id::{Actor, GroupId};
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::path::Path;

/// What came of it. A cut-off end cannot be told from the file alone: compare `count` and `head` with another gateway's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "lowercase")]
pub enum Verification {
    /// `head` is the newest link's hash, 64 zeros when there is none.
    Verified { count: u64, head: String },
    /// The first link that is not what it should be.
    Broken { seq: u64, why: String },
}

/// Verifies the chain of `group` in a history file. A group that has none there proves nothing: an error that names those that have.
pub fn verify_audit(path: &Path, group: &GroupId) -> Result<Verification, HistoryError> {
    let connection = schema::open_for_reading(path)?;
    let file = |error| HistoryError::File { path: path.into(), error };
    let verified = verify(&connection, group).map_err(file)?;
    if matches!(verified, Verification::Verified { count: 0, .. }) {
        let there = groups(&connection).map_err(file)?.join(", ");
        return Err(HistoryError::NoGroup { path: path.into(), group: group.clone(), there });
    }
    Ok(verified)
}

/// Those that have an audit trail here.
pub fn groups(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection.prepare("SELECT DISTINCT grp FROM audit ORDER BY grp")?.query_map([], |row| row.get(0))?.collect()
}

pub fn verify(connection: &Connection, group: &GroupId) -> rusqlite::Result<Verification> {
    let mut chain = AuditChain::default();
    let mut statement =
        connection.prepare_cached("SELECT seq, at, actor, action, subject, data, previous, hash FROM audit WHERE grp = ?1 ORDER BY seq")?;
    let mut rows = statement.query([group.as_str()])?;
    while let Some(row) = rows.next()? {
        let seq = unsigned(row.get(0)?);
        if let Err(why) = check(&mut chain, seq, row)? {
            return Ok(Verification::Broken { seq, why });
        }
    }
    Ok(Verification::Verified { count: chain.seq, head: chain.head.to_string() })
}

/// Moves `chain` on to the link in `row`, if it is the next one and unchanged.
fn check(chain: &mut AuditChain, seq: u64, row: &Row<'_>) -> rusqlite::Result<Result<(), String>> {
    let wanted = chain.seq + 1;
    if seq != wanted {
        return Ok(Err(format!("links {wanted} to {} are missing", seq.saturating_sub(1))));
    }
    let data: String = row.get(5)?;
    let Ok(data) = Value::from_json(&data) else {
        return Ok(Err("its data is no JSON: it was changed".into()));
    };
    let link = AuditRecord {
        seq,
        actor: Actor::new(row.get::<_, String>(2)?),
        action: row.get::<_, String>(3)?.into(),
        subject: row.get::<_, String>(4)?.into(),
        data,
        previous: row.get::<_, String>(6)?.into(),
        hash: row.get::<_, String>(7)?.into(),
    };
    if link.previous != chain.head {
        return Ok(Err("it does not name the hash of the link before".into()));
    }
    if link_hash(&link, Timestamp(row.get(1)?)) != *link.hash {
        return Ok(Err("its content does not give its hash: it was changed".into()));
    }
    chain.seq = seq;
    chain.head = link.hash;
    Ok(Ok(()))
}
