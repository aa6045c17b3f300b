//! What fills a gap, from another gateway. Of audit links the hash chain is the proof: a stretch is taken when it ends in the
//! link whose hash the snapshot, or the stretch behind it, named. Instances and traces are taken on the other's word.

use super::rows::{AuditRow, GapPage, GapRow, InstanceRow};
use super::schema::{signed, unsigned};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use spalla_shared::engine::audit::link_hash;
use spalla_shared::engine::record::AuditRecord;
use spalla_shared::id::{GroupId, InstanceId};
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::collections::BTreeSet;

/// Trace lines, or instances, of one page; with their instances it stays far below what a call between gateways may carry.
const PAGE_ROWS_MAX: usize = 500;
/// JSON bytes of one page after which it ends.
const PAGE_LEN_MAX: usize = 256 * 1024;
/// JSON bytes of an input or output that goes along; a larger one is left out.
const VALUE_LEN_MAX: usize = 128 * 1024;

/// Takes `links`, neighbours in ascending order, when a gap names the last of them. The inner error is the giver's fault.
pub fn links(transaction: &Transaction<'_>, group: &GroupId, links: &[AuditRow]) -> rusqlite::Result<Result<usize, String>> {
    let (Some(first), Some(last)) = (links.first(), links.last()) else { return Ok(Ok(0)) };
    if let Err(why) = check(links) {
        return Ok(Err(why));
    }
    let gap: Option<i64> = transaction
        .prepare_cached("SELECT to_index FROM gaps WHERE grp = ?1 AND seq = ?2 AND hash = ?3")?
        .query_row(params![group.as_str(), signed(last.seq), last.hash], |row| row.get(0))
        .optional()?;
    let Some(to_index) = gap else { return Ok(Err(format!("link {} is not the one that is missing here", last.seq))) };
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
    transaction.execute(
        "UPDATE gaps SET seq = ?3, hash = ?4 WHERE grp = ?1 AND to_index = ?2",
        params![group.as_str(), to_index, signed(first.seq.saturating_sub(1)), first.previous],
    )?;
    Ok(Ok(new))
}

/// Each link gives its hash and names the one before.
fn check(links: &[AuditRow]) -> Result<(), String> {
    let mut before: Option<&AuditRow> = None;
    for link in links {
        if link.seq == 0 || before.is_some_and(|before| before.seq.checked_add(1) != Some(link.seq) || before.hash != link.previous) {
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

/// Trace lines of the entries `from..=to` behind `after` = (index, ordinal), in order, with the instances that they are of;
/// then the instances that ended in these entries, for one may end without a line: `after` is (`to` + 1, how many were had).
pub fn page(connection: &Connection, group: &GroupId, entries: (u64, u64), after: (u64, u32)) -> rusqlite::Result<GapPage> {
    if after.0 > entries.1 {
        return ended(connection, group, entries, after.1);
    }
    let mut statement = connection.prepare_cached(
        "SELECT log_index, ordinal, at, reference, name, what, data, instance FROM tasks
         WHERE grp = ?1 AND log_index >= ?2 AND log_index <= ?3 AND (log_index, ordinal) > (?4, ?5) ORDER BY log_index, ordinal",
    )?;
    let mut found = statement.query(params![group.as_str(), signed(entries.0), signed(entries.1), signed(after.0), after.1])?;
    let mut page = GapPage { rows: Vec::new(), instances: Vec::new(), next: Some((entries.1.saturating_add(1), 0)) };
    let (mut known, mut len) = (BTreeSet::new(), 0);
    while let Some(row) = found.next()? {
        if page.rows.len() >= PAGE_ROWS_MAX || len >= PAGE_LEN_MAX {
            page.next = page.rows.last().map(|last: &GapRow| (last.line.index, last.line.ordinal));
            break;
        }
        let instance = InstanceId::new(row.get::<_, String>(7)?);
        let line = super::reader::task_row(row)?;
        len += line.data.to_json().len();
        if known.insert(instance.clone())
            && let Some(mut instance) = super::reader::instance(connection, &instance)?
        {
            len += slim(&mut instance);
            page.instances.push(instance);
        }
        page.rows.push(GapRow { instance, line });
    }
    Ok(page)
}

fn ended(connection: &Connection, group: &GroupId, entries: (u64, u64), had: u32) -> rusqlite::Result<GapPage> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM instances WHERE grp = ?1 AND ended_index >= ?2 AND ended_index <= ?3 ORDER BY ended_index, id LIMIT -1 OFFSET ?4",
        super::reader::INSTANCE_COLUMNS
    ))?;
    let mut found = statement.query(params![group.as_str(), signed(entries.0), signed(entries.1), had])?;
    let mut page = GapPage { rows: Vec::new(), instances: Vec::new(), next: None };
    let (mut count, mut len) = (had, 0);
    while let Some(row) = found.next()? {
        if page.instances.len() >= PAGE_ROWS_MAX || len >= PAGE_LEN_MAX {
            page.next = Some((entries.1.saturating_add(1), count));
            break;
        }
        let mut instance = super::reader::instance_row(row)?;
        len += slim(&mut instance);
        count += 1;
        page.instances.push(instance);
    }
    Ok(page)
}

/// Leaves out what is too large to go along; gives the size of the rest.
fn slim(instance: &mut InstanceRow) -> usize {
    let mut total = 0;
    let InstanceRow { input, output, problem, .. } = instance;
    for value in [Some(input), output.as_mut(), problem.as_mut()].into_iter().flatten() {
        let len = value.to_json().len();
        if len > VALUE_LEN_MAX {
            *value = Value::from("too large to be fetched from another gateway");
        }
        total += len.min(VALUE_LEN_MAX);
    }
    total
}

/// Takes a page. What is here already stays as it is; of an instance only what is not known here is taken.
pub fn rows(transaction: &Transaction<'_>, group: &GroupId, page: &GapPage) -> rusqlite::Result<usize> {
    let mut new = 0;
    for GapRow { instance, line } in &page.rows {
        new += transaction.prepare_cached("INSERT OR IGNORE INTO tasks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?.execute(params![
            group.as_str(),
            signed(line.index),
            line.ordinal,
            instance.as_str(),
            line.at.millis(),
            line.reference,
            line.name,
            line.what,
            line.data.to_json()
        ])?;
    }
    for row in &page.instances {
        // An empty name: only its end is known here.
        transaction
            .prepare_cached(
                "INSERT INTO instances (id, grp, namespace, name, version, business_key, status, started_at, started_by, input)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'running', ?7, ?8, ?9)
                 ON CONFLICT (id) DO UPDATE SET namespace = ?3, name = ?4, version = ?5, business_key = ?6, started_at = ?7,
                 started_by = ?8, input = ?9 WHERE instances.name = ''",
            )?
            .execute(params![
                row.id.as_str(),
                group.as_str(),
                row.namespace,
                row.name,
                row.version,
                row.business_key,
                row.started_at.millis(),
                row.started_by.as_str(),
                row.input.to_json()
            ])?;
        let Some(ended) = row.ended_at.map(Timestamp::millis) else { continue };
        transaction
            .prepare_cached(
                "UPDATE instances SET status = ?2, ended_at = ?3, output = ?4, problem = ?5, ended_index = ?6 WHERE id = ?1 AND ended_at IS NULL",
            )?
            .execute(params![
                row.id.as_str(),
                row.status,
                ended,
                row.output.as_ref().map(Value::to_json),
                row.problem.as_ref().map(Value::to_json),
                row.ended_index.map(signed)
            ])?;
    }
    Ok(new)
}

/// Whether everything up to entry `to` can be read here, with no gap from `from` on.
pub fn whole(connection: &Connection, group: &GroupId, from: u64, to: u64) -> rusqlite::Result<bool> {
    let applied: Option<i64> = connection
        .prepare_cached("SELECT applied_index FROM meta WHERE grp = ?1")?
        .query_row([group.as_str()], |row| row.get(0))
        .optional()?;
    Ok(unsigned(applied.unwrap_or(0)) >= to && !super::gap::overlaps(connection, group, from, to)?)
}
