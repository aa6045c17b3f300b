//! Stretches of the log whose records never came here, because a snapshot carried this gateway over them.
//! What is known of each is where it lies and how the audit chain ends behind it; another gateway has the rest.

use super::schema::{signed, unsigned};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use spalla_shared::engine::audit::AuditChain;
use spalla_shared::id::GroupId;

/// Entries `from_index..=to_index`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub from_index: u64,
    pub to_index: u64,
    /// Audit links that are missing, `from..=to`; none when all are here.
    pub audit: Option<(u64, u64)>,
    /// Instances and their traces are here.
    pub rows_done: bool,
}

/// Notes a new one.
pub fn note(transaction: &Transaction<'_>, group: &GroupId, entries: (u64, u64), audit: &AuditChain) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO gaps VALUES (?1, ?2, ?3, ?4, ?5, 0)")?
        .execute(params![group.as_str(), signed(entries.0), signed(entries.1), signed(audit.seq), &*audit.head])
        .map(|_| ())
}

/// The oldest one of `group`. Cheap: there are few, mostly none.
pub fn oldest(connection: &Connection, group: &GroupId) -> rusqlite::Result<Option<Gap>> {
    let found = connection
        .prepare_cached("SELECT from_index, to_index, seq, rows_done FROM gaps WHERE grp = ?1 ORDER BY to_index LIMIT 1")?
        .query_row([group.as_str()], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?), unsigned(row.get(2)?), row.get(3)?)))
        .optional()?;
    let Some((from_index, to_index, seq, rows_done)) = found else { return Ok(None) };
    // What is here of the links before them ends where the oldest gap's missing ones begin.
    let before: Option<i64> = connection
        .prepare_cached("SELECT max(seq) FROM audit WHERE grp = ?1 AND seq <= ?2")?
        .query_row(params![group.as_str(), signed(seq)], |row| row.get(0))?;
    let from = unsigned(before.unwrap_or(0)) + 1;
    Ok(Some(Gap { from_index, to_index, audit: (from <= seq).then_some((from, seq)), rows_done }))
}

/// Whether entries `from..=to` reach into one: then nobody can be told of them from here.
pub fn overlaps(connection: &Connection, group: &GroupId, from: u64, to: u64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM gaps WHERE grp = ?1 AND from_index <= ?3 AND to_index >= ?2)")?
        .query_row(params![group.as_str(), signed(from), signed(to)], |row| row.get(0))
}

/// Instances and traces up to entry `to_index` are here now.
pub fn rows_are_here(transaction: &Transaction<'_>, group: &GroupId, to_index: u64) -> rusqlite::Result<()> {
    transaction.execute("UPDATE gaps SET rows_done = 1 WHERE grp = ?1 AND to_index = ?2", params![group.as_str(), signed(to_index)])?;
    Ok(())
}

/// Forgets those that are filled.
pub fn close_filled(transaction: &Transaction<'_>, group: &GroupId) -> rusqlite::Result<()> {
    transaction.execute(
        "DELETE FROM gaps WHERE grp = ?1 AND rows_done = 1 AND (seq = 0
         OR EXISTS (SELECT 1 FROM audit WHERE audit.grp = ?1 AND audit.seq = gaps.seq))",
        [group.as_str()],
    )?;
    Ok(())
}
