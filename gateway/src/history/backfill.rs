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

/// What another gateway lacks of `entries` and has a right to ask for; nothing where none of them are whole here.
///
/// Of the oldest part that is whole here a chunk is taken, about one page: its trace lines in order, with the instances that they are
/// of, then the instances that ended in it, for one may end without a line. `after` is (index, ordinal) of the last line that was had,
/// or (the chunk's end + 1, how many ended ones were had).
pub fn page(connection: &Connection, group: &GroupId, entries: (u64, u64), after: (u64, u32)) -> rusqlite::Result<Option<GapPage>> {
    let to = entries.1.min(super::schema::reached(connection, group)?);
    let Some((from, to)) = super::gap::first_whole(connection, group, entries.0, to)? else { return Ok(None) };
    let to = chunk_end(connection, group, from, to)?;
    let mut page = GapPage { from, to, rows: Vec::new(), instances: Vec::new(), next: None };
    let mut room = Room { rows: PAGE_ROWS_MAX, len: PAGE_LEN_MAX };
    let had = if after.0 > to { after.1 } else { 0 };
    if after.0 <= to {
        lines(connection, group, after, &mut page, &mut room)?;
    }
    if page.next.is_none() {
        ended(connection, group, had, &mut page, &mut room)?;
    }
    Ok(Some(page))
}

/// Whole entries, at least one, whose lines fit into one page in number.
fn chunk_end(connection: &Connection, group: &GroupId, from: u64, to: u64) -> rusqlite::Result<u64> {
    let too_much: Option<i64> = connection
        .prepare_cached(
            "SELECT log_index FROM tasks WHERE grp = ?1 AND log_index >= ?2 AND log_index <= ?3 ORDER BY log_index, ordinal LIMIT 1 OFFSET ?4",
        )?
        .query_row(params![group.as_str(), signed(from), signed(to), signed(PAGE_ROWS_MAX as u64)], |row| row.get(0))
        .optional()?;
    Ok(too_much.map_or(to, |index| unsigned(index).saturating_sub(1).max(from)))
}

/// What still fits into a page.
struct Room {
    rows: usize,
    len: usize,
}

impl Room {
    fn is_full(&self) -> bool {
        self.rows == 0 || self.len == 0
    }
    fn take(&mut self, len: usize) {
        self.rows = self.rows.saturating_sub(1);
        self.len = self.len.saturating_sub(len);
    }
}

fn lines(connection: &Connection, group: &GroupId, after: (u64, u32), page: &mut GapPage, room: &mut Room) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT log_index, ordinal, at, reference, name, what, data, instance FROM tasks
         WHERE grp = ?1 AND log_index >= ?2 AND log_index <= ?3 AND (log_index, ordinal) > (?4, ?5) ORDER BY log_index, ordinal",
    )?;
    let mut found = statement.query(params![group.as_str(), signed(page.from), signed(page.to), signed(after.0), after.1])?;
    let mut known = BTreeSet::new();
    while let Some(row) = found.next()? {
        if room.is_full() {
            page.next = page.rows.last().map(|last: &GapRow| (last.line.index, last.line.ordinal));
            break;
        }
        let instance = InstanceId::new(row.get::<_, String>(7)?);
        let line = super::reader::task_row(row)?;
        let mut len = line.data.to_json().len();
        if known.insert(instance.clone())
            && let Some(mut instance) = super::reader::instance(connection, &instance)?
        {
            len += slim(&mut instance);
            page.instances.push(instance);
        }
        room.take(len);
        page.rows.push(GapRow { instance, line });
    }
    Ok(())
}

fn ended(connection: &Connection, group: &GroupId, had: u32, page: &mut GapPage, room: &mut Room) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {} FROM instances WHERE grp = ?1 AND ended_index >= ?2 AND ended_index <= ?3 ORDER BY ended_index, id LIMIT -1 OFFSET ?4",
        super::reader::INSTANCE_COLUMNS
    ))?;
    let mut found = statement.query(params![group.as_str(), signed(page.from), signed(page.to), had])?;
    let mut count = had;
    while let Some(row) = found.next()? {
        if room.is_full() {
            page.next = Some((page.to.saturating_add(1), count));
            break;
        }
        let mut instance = super::reader::instance_row(row)?;
        room.take(slim(&mut instance));
        count += 1;
        page.instances.push(instance);
    }
    Ok(())
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
