//! Audit links fetched from another gateway, for the stretch that a snapshot carried this one over.
//! The hash chain is the proof: a stretch is taken when it ends in the link that stands behind the hole.

use super::rows::AuditRow;
use super::schema::{signed, unsigned};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use spalla_shared::engine::audit::link_hash;
use spalla_shared::engine::record::AuditRecord;
use spalla_shared::id::GroupId;

/// The first hole, `from..=to`.
pub fn missing(connection: &Connection, group: &GroupId) -> rusqlite::Result<Option<(u64, u64)>> {
    // A link without the one before it, the first link aside, stands behind a hole.
    let behind: Option<i64> = connection
        .prepare_cached(
            "SELECT seq FROM audit AS late WHERE grp = ?1 AND seq > 1
             AND NOT EXISTS (SELECT 1 FROM audit WHERE grp = ?1 AND seq = late.seq - 1) ORDER BY seq LIMIT 1",
        )?
        .query_row([group.as_str()], |row| row.get(0))
        .optional()?;
    let Some(behind) = behind else { return Ok(None) };
    let before: Option<i64> = connection
        .prepare_cached("SELECT max(seq) FROM audit WHERE grp = ?1 AND seq < ?2")?
        .query_row(params![group.as_str(), behind], |row| row.get(0))?;
    Ok(Some((unsigned(before.unwrap_or(0)) + 1, unsigned(behind) - 1)))
}

/// Takes `links`, neighbours in ascending order, when the last of them is what the link behind it names. The inner error is the giver's fault.
pub fn insert(transaction: &Transaction<'_>, group: &GroupId, links: &[AuditRow]) -> rusqlite::Result<Result<usize, String>> {
    let Some(last) = links.last() else { return Ok(Ok(0)) };
    if let Err(why) = check(links) {
        return Ok(Err(why));
    }
    let named: Option<String> = transaction
        .prepare_cached("SELECT previous FROM audit WHERE grp = ?1 AND seq = ?2")?
        .query_row(params![group.as_str(), signed(last.seq.saturating_add(1))], |row| row.get(0))
        .optional()?;
    if named.as_deref() != Some(&*last.hash) {
        return Ok(Err(format!("link {} is not the one that link {} here names", last.seq, last.seq.saturating_add(1))));
    }
    let mut new = 0;
    for link in links {
        // What is here already was checked when it came; the chain says that it is the same.
        new += transaction.prepare_cached("INSERT OR IGNORE INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?.execute(
            params![
                group.as_str(),
                signed(link.seq),
                signed(link.index),
                link.at.millis(),
                link.actor.as_str(),
                link.action,
                link.subject,
                link.data.to_json(),
                link.previous,
                link.hash
            ],
        )?;
    }
    Ok(Ok(new))
}

/// Each link gives its hash and names the one before.
fn check(links: &[AuditRow]) -> Result<(), String> {
    let mut before: Option<&AuditRow> = None;
    for link in links {
        if before.is_some_and(|before| before.seq.checked_add(1) != Some(link.seq) || before.hash != link.previous) {
            return Err(format!("link {} does not follow the one before", link.seq));
        }
        let record = AuditRecord {
            seq: link.seq,
            actor: link.actor.clone(),
            action: link.action.as_str().into(),
            subject: link.subject.as_str().into(),
            data: link.data.clone(),
            previous: link.previous.as_str().into(),
            hash: link.hash.as_str().into(),
        };
        if link_hash(&record, link.at) != link.hash {
            return Err(format!("link {} does not give its hash", link.seq));
        }
        before = Some(link);
    }
    Ok(())
}
