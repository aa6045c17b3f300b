//! Questions to the file, on connections that cannot write, off the async threads.

use super::gap::{self, Gap};
use super::held::{self, Held};
use super::rows::{AuditFilter, AuditRow, GapPage, InstanceFilter, InstanceRow, Page, TaskRow, page_len};
use super::schema::{self, signed, unsigned};
use super::verify::{self, Verification};
use super::{HistoryError, backfill, rows};
use parking_lot::Mutex;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use spalla_shared::id::{Actor, GroupId, InstanceId};
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Semaphore, watch};

/// Questions answered at once; more wait. Each holds a connection and a blocking thread.
const CONNECTIONS_MAX: usize = 4;
/// Audit links that go to another gateway at once, and JSON bytes after which a page of them ends.
const LINKS_MAX: u32 = 500;
const LINKS_LEN_MAX: usize = 256 * 1024;

#[derive(Clone)]
pub struct Reader {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
    written: watch::Receiver<u64>,
}

impl Reader {
    /// `written` changes whenever there may be something new to read.
    pub fn new(path: PathBuf, written: watch::Receiver<u64>) -> Self {
        Self { inner: Arc::new(Inner { path, permits: Semaphore::new(CONNECTIONS_MAX), idle: Mutex::new(Vec::new()), written }) }
    }

    /// Changes whenever there may be something new to read.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.inner.written.clone()
    }

    /// A page of the audit trail; the cursor is a `seq` for `before_seq` (or `after_seq`, when that was asked).
    pub async fn audit(&self, filter: AuditFilter) -> Result<Page<AuditRow, u64>, HistoryError> {
        self.ask(move |connection| audit(connection, &filter)).await
    }

    pub async fn instances(&self, filter: InstanceFilter) -> Result<Page<InstanceRow, (Timestamp, InstanceId)>, HistoryError> {
        self.ask(move |connection| instances(connection, &filter)).await
    }

    pub async fn instance(&self, id: InstanceId) -> Result<Option<InstanceRow>, HistoryError> {
        self.ask(move |connection| instance(connection, &id)).await
    }

    /// The trace of an instance, oldest first, behind `after` = (index, ordinal).
    pub async fn trace(&self, id: InstanceId, after: Option<(u64, u32)>, limit: u32) -> Result<Page<TaskRow, (u64, u32)>, HistoryError> {
        self.ask(move |connection| trace(connection, &id, after, page_len(limit))).await
    }

    /// Recomputes the whole chain of a group. Reads every link: minutes on years of trail.
    pub async fn verify(&self, group: GroupId) -> Result<Verification, HistoryError> {
        self.ask(move |connection| verify::verify(connection, &group)).await
    }

    /// Stretches whose records never came here, oldest first. Another gateway may have them. Cheap.
    pub async fn gaps(&self, group: GroupId) -> Result<Vec<Gap>, HistoryError> {
        self.ask(move |connection| gap::all(connection, &group)).await
    }

    /// What is here of each group.
    pub async fn held(&self) -> Result<Vec<Held>, HistoryError> {
        self.ask(held::all).await
    }

    /// The audit link before `before_seq`, which another gateway lacks, and those before it without a hole, in order, as many as one
    /// call between gateways may carry.
    pub async fn links_before(&self, group: GroupId, before_seq: u64) -> Result<Vec<AuditRow>, HistoryError> {
        let filter = AuditFilter { group: Some(group), before_seq: Some(before_seq), limit: LINKS_MAX, ..AuditFilter::default() };
        let links = self.audit(filter).await?.rows;
        let (mut len, mut below) = (0, before_seq);
        let fitting = links.into_iter().take_while(|link| {
            let fits = len < LINKS_LEN_MAX && link.seq.checked_add(1) == Some(below);
            len += link.data.to_json().len() + link.subject.len();
            below = link.seq;
            fits
        });
        let mut links: Vec<AuditRow> = fitting.collect();
        links.reverse();
        Ok(links)
    }

    /// Traces and instances of a part of entries `from..=to`, which another gateway lacks, behind `after`. None: of none of them all is here.
    pub async fn gap_page(&self, group: GroupId, from: u64, to: u64, after: (u64, u32)) -> Result<Option<GapPage>, HistoryError> {
        self.ask(move |connection| backfill::page(connection, &group, (from, to), after)).await
    }

    /// Index of the newest entry of `group` whose records can be read here.
    pub async fn reached(&self, group: GroupId) -> Result<u64, HistoryError> {
        self.ask(move |connection| schema::reached(connection, &group)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let inner = self.inner.clone();
        let _permit = self.inner.permits.acquire().await.map_err(|_| HistoryError::Stopped("closed".into()))?;
        let answer = tokio::task::spawn_blocking(move || {
            let idle = inner.idle.lock().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => schema::open_for_reading(&inner.path)?,
            };
            // All that one question reads is of the same moment.
            let asked = connection.unchecked_transaction().and_then(|reading| question(&reading));
            let answer = asked.map_err(|error| HistoryError::File { path: inner.path.clone(), error })?;
            inner.idle.lock().push(connection);
            Ok(answer)
        });
        answer.await.map_err(|error| HistoryError::Stopped(error.to_string()))?
    }
}

/// A page of the audit trail in a history file alone, with no gateway running or beside it. A group that has none there is an error
/// that names those that have.
pub fn read_audit(path: &Path, filter: &AuditFilter) -> Result<Page<AuditRow, u64>, HistoryError> {
    let connection = schema::open_for_reading(path)?;
    let file = |error| HistoryError::File { path: path.into(), error };
    let found = audit(&connection, filter).map_err(file)?;
    let group = filter.group.clone().unwrap_or_else(GroupId::mesh);
    let there = verify::groups(&connection).map_err(file)?;
    if !there.iter().any(|name| name == group.as_str()) {
        return Err(HistoryError::NoGroup { path: path.into(), group, there: there.join(", ") });
    }
    Ok(found)
}

/// Conditions joined by AND, with their values.
#[derive(Default)]
struct Where {
    text: Vec<&'static str>,
    values: Vec<Sql>,
}

impl Where {
    fn and(&mut self, condition: &'static str, value: Option<impl Into<Sql>>) {
        if let Some(value) = value {
            self.text.push(condition);
            self.values.push(value.into());
        }
    }
    fn sql(&self) -> String {
        if self.text.is_empty() { String::new() } else { format!("WHERE {}", self.text.join(" AND ")) }
    }
}

fn audit(connection: &Connection, filter: &AuditFilter) -> rusqlite::Result<Page<AuditRow, u64>> {
    let limit = page_len(filter.limit);
    let mut conditions = Where::default();
    let group = filter.group.clone().unwrap_or_else(GroupId::mesh);
    conditions.and("grp = ?", Some(group.as_str().to_owned()));
    conditions.and("actor = ?", filter.actor.clone());
    if let Some(action) = &filter.action {
        conditions.text.push("(action = ? OR substr(action, 1, length(?)) = ?)");
        conditions.values.extend([action.clone(), format!("{action}."), format!("{action}.")].map(Sql::from));
    }
    conditions.and("subject = ?", filter.subject.clone());
    conditions.and("at >= ?", filter.from.map(Timestamp::millis));
    conditions.and("at < ?", filter.until.map(Timestamp::millis));
    conditions.and("seq < ?", filter.before_seq.map(signed));
    conditions.and("seq > ?", filter.after_seq.map(signed));
    let order = if filter.after_seq.is_some() { "ASC" } else { "DESC" };
    let sql = format!(
        "SELECT grp, seq, log_index, at, actor, action, subject, data, previous, hash FROM audit {} ORDER BY seq {order} LIMIT {}",
        conditions.sql(),
        limit + 1
    );
    let rows =
        connection.prepare_cached(&sql)?.query_map(params_from_iter(conditions.values), audit_row)?.collect::<Result<Vec<_>, _>>()?;
    Ok(page(rows, limit, |row| row.seq))
}

pub fn instance(connection: &Connection, id: &InstanceId) -> rusqlite::Result<Option<InstanceRow>> {
    connection
        .prepare_cached(&format!("SELECT {INSTANCE_COLUMNS} FROM instances WHERE id = ?1"))?
        .query_row([id.as_str()], instance_row)
        .optional()
}

pub fn audit_row(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    Ok(AuditRow {
        group: GroupId::new(row.get::<_, String>(0)?),
        seq: unsigned(row.get(1)?),
        index: unsigned(row.get(2)?),
        at: Timestamp(row.get(3)?),
        actor: Actor::new(row.get::<_, String>(4)?),
        action: row.get(5)?,
        subject: row.get(6)?,
        data: json(row, 7)?,
        previous: row.get(8)?,
        hash: row.get(9)?,
    })
}

pub const INSTANCE_COLUMNS: &str =
    "id, grp, namespace, name, version, business_key, status, started_at, started_by, input, ended_at, output, problem, ended_index";

fn instances(connection: &Connection, filter: &InstanceFilter) -> rusqlite::Result<Page<InstanceRow, (Timestamp, InstanceId)>> {
    let limit = page_len(filter.limit);
    let mut conditions = Where::default();
    conditions.and("grp = ?", filter.group.as_ref().map(|group| group.as_str().to_owned()));
    conditions.and("status = ?", filter.status.clone());
    if filter.ended {
        conditions.text.push("ended_at IS NOT NULL");
    }
    conditions.and("instr(namespace || '/' || name || ':' || version, ?) > 0", filter.flow_part.clone());
    conditions.and("namespace = ?", filter.namespace.clone());
    conditions.and("name = ?", filter.name.clone());
    conditions.and("business_key = ?", filter.business_key.clone());
    conditions.and("started_at < ?", filter.started_before.map(Timestamp::millis));
    if let Some((at, id)) = &filter.before {
        conditions.text.push("(started_at, id) < (?, ?)");
        conditions.values.extend([Sql::from(at.millis()), Sql::from(id.as_str().to_owned())]);
    }
    let sql =
        format!("SELECT {INSTANCE_COLUMNS} FROM instances {} ORDER BY started_at DESC, id DESC LIMIT {}", conditions.sql(), limit + 1);
    let rows =
        connection.prepare_cached(&sql)?.query_map(params_from_iter(conditions.values), instance_row)?.collect::<Result<Vec<_>, _>>()?;
    Ok(page(rows, limit, |row| (row.started_at, row.id.clone())))
}

pub fn instance_row(row: &Row<'_>) -> rusqlite::Result<rows::InstanceRow> {
    Ok(InstanceRow {
        id: InstanceId::new(row.get::<_, String>(0)?),
        group: GroupId::new(row.get::<_, String>(1)?),
        namespace: row.get(2)?,
        name: row.get(3)?,
        version: row.get(4)?,
        business_key: row.get(5)?,
        status: row.get(6)?,
        started_at: Timestamp(row.get(7)?),
        started_by: Actor::new(row.get::<_, String>(8)?),
        input: json(row, 9)?,
        ended_at: row.get::<_, Option<i64>>(10)?.map(Timestamp),
        output: optional_json(row, 11)?,
        problem: optional_json(row, 12)?,
        ended_index: row.get::<_, Option<i64>>(13)?.map(unsigned),
    })
}

fn trace(connection: &Connection, id: &InstanceId, after: Option<(u64, u32)>, limit: u32) -> rusqlite::Result<Page<TaskRow, (u64, u32)>> {
    let (index, ordinal) = after.unwrap_or_default();
    // Indexes begin at 1, so (0, 0) is before everything.
    let rows = connection
        .prepare_cached(
            "SELECT log_index, ordinal, at, reference, name, what, data FROM tasks
             WHERE instance = ?1 AND (log_index, ordinal) > (?2, ?3) ORDER BY log_index, ordinal LIMIT ?4",
        )?
        .query_map(rusqlite::params![id.as_str(), signed(index), ordinal, limit + 1], task_row)?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(page(rows, limit, |row| (row.index, row.ordinal)))
}

pub fn task_row(row: &Row<'_>) -> rusqlite::Result<TaskRow> {
    Ok(TaskRow {
        index: unsigned(row.get(0)?),
        ordinal: row.get(1)?,
        at: Timestamp(row.get(2)?),
        reference: row.get(3)?,
        name: row.get(4)?,
        what: row.get(5)?,
        data: json(row, 6)?,
    })
}

/// One row more than the limit was asked for: it tells whether there is a next page.
fn page<R, C>(mut rows: Vec<R>, limit: u32, cursor: impl Fn(&R) -> C) -> Page<R, C> {
    let limit = limit as usize;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(cursor) } else { None };
    Page { rows, next }
}

fn json(row: &Row<'_>, column: usize) -> rusqlite::Result<Value> {
    parse(column, row.get(column)?)
}

fn optional_json(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Value>> {
    row.get::<_, Option<String>>(column)?.map(|text| parse(column, text)).transpose()
}

fn parse(column: usize, text: String) -> rusqlite::Result<Value> {
    Value::from_json(&text).map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error.into()))
}
