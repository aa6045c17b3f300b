//! Stretches of the log whose records never came here, because a snapshot carried this gateway over them.
//! What is known of each is where it lies and how the audit chain ends behind it; another gateway has the rest.

use super::schema::{signed, unsigned};
use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};
use spalla_shared::engine::audit::AuditChain;
use spalla_shared::id::GroupId;

/// Gaps that are told of at once, oldest first: mostly there is none.
const GAPS_MAX: usize = 1_000;

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

/// As it stands in the file: links are missing down from `seq`, whose hash is `hash`; 0 and empty where none are.
struct Stored {
    from: u64,
    to: u64,
    seq: u64,
    hash: String,
    rows_done: bool,
}

/// Notes a new one.
pub fn note(transaction: &Transaction<'_>, group: &GroupId, entries: (u64, u64), audit: &AuditChain) -> rusqlite::Result<()> {
    let gap = Stored { from: entries.0, to: entries.1, seq: audit.seq, hash: audit.head.to_string(), rows_done: false };
    insert(transaction, group, &gap)
}

fn insert(transaction: &Transaction<'_>, group: &GroupId, gap: &Stored) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO gaps VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![group.as_str(), signed(gap.from), signed(gap.to), signed(gap.seq), gap.hash, gap.rows_done])
        .map(|_| ())
}

/// Those of `group` that reach into entries `from..=to`, oldest first.
fn stored(connection: &Connection, group: &GroupId, from: u64, to: u64) -> rusqlite::Result<Vec<Stored>> {
    connection
        .prepare_cached(
            "SELECT from_index, to_index, seq, hash, rows_done FROM gaps
             WHERE grp = ?1 AND from_index <= ?3 AND to_index >= ?2 ORDER BY to_index",
        )?
        .query_map(params![group.as_str(), signed(from), signed(to)], |row| {
            Ok(Stored {
                from: unsigned(row.get(0)?),
                to: unsigned(row.get(1)?),
                seq: unsigned(row.get(2)?),
                hash: row.get(3)?,
                rows_done: row.get(4)?,
            })
        })?
        .collect()
}

/// Those of `group`, oldest first. Cheap.
pub fn all(connection: &Connection, group: &GroupId) -> rusqlite::Result<Vec<Gap>> {
    let gaps = stored(connection, group, 0, u64::MAX)?;
    let told = gaps.into_iter().take(GAPS_MAX).map(|gap| {
        // What is here of the links before them ends where this gap's missing ones begin.
        let before: Option<i64> = connection
            .prepare_cached("SELECT max(seq) FROM audit WHERE grp = ?1 AND seq <= ?2")?
            .query_row(params![group.as_str(), signed(gap.seq)], |row| row.get(0))?;
        let from = unsigned(before.unwrap_or(0)) + 1;
        let audit = (from <= gap.seq).then_some((from, gap.seq));
        Ok(Gap { from_index: gap.from, to_index: gap.to, audit, rows_done: gap.rows_done })
    });
    told.collect()
}

/// The oldest part of entries `from..=to` whose instances and traces are all here. Links have a proof of their own.
pub fn first_whole(connection: &Connection, group: &GroupId, from: u64, to: u64) -> rusqlite::Result<Option<(u64, u64)>> {
    let mut start = from;
    for gap in stored(connection, group, from, to)?.iter().filter(|gap| !gap.rows_done) {
        if gap.from > start {
            return Ok(Some((start, gap.from - 1)));
        }
        start = start.max(gap.to.saturating_add(1));
    }
    Ok((start <= to).then_some((start, to)))
}

/// Instances and traces of entries `from..=to` are here now; what is missing before and behind them stays a gap.
pub fn rows_are_here(transaction: &Transaction<'_>, group: &GroupId, from: u64, to: u64) -> rusqlite::Result<()> {
    for gap in stored(transaction, group, from, to)?.into_iter().filter(|gap| !gap.rows_done) {
        transaction.execute("DELETE FROM gaps WHERE grp = ?1 AND to_index = ?2", params![group.as_str(), signed(gap.to)])?;
        if gap.from < from {
            let before = Stored { to: from - 1, seq: 0, hash: String::new(), ..gap };
            insert(transaction, group, &before)?;
        }
        // How the links end is known behind the whole gap only.
        let (from, rows_done) = if gap.to > to { (to + 1, false) } else { (gap.from.max(from), true) };
        insert(transaction, group, &Stored { from, rows_done, ..gap })?;
    }
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
