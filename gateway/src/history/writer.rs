//! The thread that writes: takes what waits, writes it in one transaction with the index that it reaches.
//! On the first error it stops for good and says so; it never goes on with a hole.

use super::aside::set_aside_links;
use super::cut::Cut;
use super::rows::{AuditRow, GapPage};
use super::schema::signed;
use super::{OnFailure, backfill, gap};
use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, params};
use spalla_shared::engine::Record;
use spalla_shared::engine::audit::AuditChain;
use spalla_shared::engine::life::Fork;
use spalla_shared::engine::record::{InstanceStatus, RecordBody};
use spalla_shared::id::GroupId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use tokio::sync::watch;

/// Jobs in one transaction: it bounds both the delay before a reader sees them and what a rollback costs.
const BATCH_LEN_MAX: usize = 512;

pub enum Job {
    Take {
        group: GroupId,
        index: u64,
        records: Vec<Record>,
    },
    Flush {
        group: GroupId,
        index: u64,
        answer: SyncSender<Result<(), String>>,
    },
    Carried {
        group: GroupId,
        index: u64,
        audit: AuditChain,
        fork: Option<Fork>,
    },
    Links {
        group: GroupId,
        links: Vec<AuditRow>,
        answer: SyncSender<Result<usize, String>>,
    },
    Rows {
        group: GroupId,
        page: GapPage,
        answer: SyncSender<Result<usize, String>>,
    },
    /// Opens the file as it stands behind everything that was taken before.
    Cut {
        answer: SyncSender<Result<Cut, String>>,
    },
    Stop,
}

pub struct Writer {
    connection: Connection,
    applied: BTreeMap<GroupId, u64>,
    jobs: Receiver<Job>,
    failure: Arc<Mutex<Option<String>>>,
    on_failure: Option<OnFailure>,
    /// Counts snapshots that carried this gateway over entries.
    carried: watch::Sender<u64>,
    /// Counts transactions: whoever follows a trace looks again.
    written: watch::Sender<u64>,
    file: String,
}

impl Writer {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        connection: Connection,
        applied: BTreeMap<GroupId, u64>,
        jobs: Receiver<Job>,
        failure: Arc<Mutex<Option<String>>>,
        on_failure: OnFailure,
        carried: watch::Sender<u64>,
        written: watch::Sender<u64>,
        file: String,
    ) -> Self {
        Self { connection, applied, jobs, failure, on_failure: Some(on_failure), carried, written, file }
    }

    pub fn run(mut self) {
        while let Ok(first) = self.jobs.recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH_LEN_MAX
                && !matches!(batch.last(), Some(Job::Cut { .. }))
                && let Ok(next) = self.jobs.try_recv()
            {
                batch.push(next);
            }
            let stop = batch.iter().any(|job| matches!(job, Job::Stop));
            if let Err(detail) = self.write(batch) {
                return self.fail(detail);
            }
            if stop {
                return;
            }
        }
    }

    fn write(&mut self, batch: Vec<Job>) -> Result<(), String> {
        let (mut flushes, mut filled) = (Vec::new(), Vec::new());
        let mut cut = None;
        let mut carried = false;
        let mut touched = BTreeSet::new();
        let transaction = self.connection.transaction().map_err(say)?;
        for job in batch {
            match job {
                Job::Take { group, index, records } => {
                    let applied = self.applied.entry(group.clone()).or_default();
                    // Replayed after a restart: it is in the file already.
                    if index <= *applied {
                        continue;
                    }
                    *applied = index;
                    for record in &records {
                        insert(&transaction, &group, record)?;
                    }
                    touched.insert(group);
                }
                Job::Flush { group, index, answer } => flushes.push((group, index, answer)),
                Job::Carried { group, index, audit, fork } => {
                    let applied = self.applied.entry(group.clone()).or_default();
                    if index <= *applied {
                        continue;
                    }
                    let fork = fork.unwrap_or(Fork { index, audit_seq: audit.seq, copied: None });
                    let lost = set_aside_links(&transaction, &group, fork).map_err(say)?;
                    if lost > 0 {
                        tracing::warn!(%group, links = lost, "the group went on without the newest of what was here; they are put aside");
                    }
                    gap::note(&transaction, &group, (*applied + 1, index), &audit).map_err(say)?;
                    // Nobody has what never was: a life begins with a snapshot.
                    if let Some(copied) = fork.copied.filter(|copied| *copied < fork.index) {
                        gap::rows_are_here(&transaction, &group, copied + 1, fork.index).map_err(say)?;
                        gap::close_filled(&transaction, &group).map_err(say)?;
                    }
                    *applied = index;
                    carried = true;
                    touched.insert(group);
                }
                Job::Links { group, links, answer } => {
                    let taken = backfill::links(&transaction, &group, &links).map_err(say)?;
                    gap::close_filled(&transaction, &group).map_err(say)?;
                    filled.push((answer, taken));
                }
                Job::Rows { group, page, answer } => {
                    let new = backfill::rows(&transaction, &group, &page).map_err(say)?;
                    if page.next.is_none() {
                        gap::rows_are_here(&transaction, &group, page.from, page.to).map_err(say)?;
                        gap::close_filled(&transaction, &group).map_err(say)?;
                    }
                    filled.push((answer, Ok(new)));
                }
                // The last of its batch.
                Job::Cut { answer } => cut = Some(answer),
                Job::Stop => {}
            }
        }
        for group in &touched {
            let index = self.applied.get(group).copied().unwrap_or_default();
            transaction
                .prepare_cached("INSERT INTO meta (grp, applied_index) VALUES (?1, ?2) ON CONFLICT (grp) DO UPDATE SET applied_index = ?2")
                .and_then(|mut statement| statement.execute(params![group.as_str(), signed(index)]))
                .map_err(say)?;
        }
        transaction.commit().map_err(say)?;
        self.written.send_modify(|count| *count += 1);
        if let Some(answer) = cut {
            let _ = answer.send(Cut::open(std::path::Path::new(&self.file)));
        }
        // Whoever asked looks into the file next.
        for (answer, taken) in filled {
            let _ = answer.send(taken);
        }
        if carried {
            self.carried.send_modify(|count| *count += 1);
        }
        if flushes.is_empty() {
            return Ok(());
        }
        self.sync()?;
        for (group, index, answer) in flushes {
            let applied = self.applied.get(&group).copied().unwrap_or_default();
            let outcome =
                if applied >= index { Ok(()) } else { Err(format!("history of group {group} reaches entry {applied}, not {index}")) };
            let _ = answer.send(outcome);
        }
        Ok(())
    }

    /// A commit with `synchronous = FULL` syncs the write-ahead log, and with it every commit before.
    fn sync(&mut self) -> Result<(), String> {
        self.connection.execute_batch("PRAGMA synchronous = FULL").map_err(say)?;
        let transaction = self.connection.transaction().map_err(say)?;
        transaction
            .execute("INSERT INTO meta VALUES ('', 1) ON CONFLICT (grp) DO UPDATE SET applied_index = applied_index + 1", [])
            .map_err(say)?;
        transaction.commit().map_err(say)?;
        self.connection.execute_batch("PRAGMA synchronous = NORMAL").map_err(say)
    }

    fn fail(mut self, detail: String) {
        let line = format!(
            "history {} cannot be written: {detail}; this gateway stops, nothing was lost: mend the disk and start it again",
            self.file
        );
        tracing::error!(file = %self.file, detail, "history cannot be written");
        *self.failure.lock() = Some(line.clone());
        if let Some(tell) = self.on_failure.take() {
            tell(line);
        }
    }
}

fn insert(transaction: &Transaction<'_>, group: &GroupId, record: &Record) -> Result<(), String> {
    let at = record.at.millis();
    match &record.body {
        RecordBody::Audit(link) => transaction
            .prepare_cached("INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")
            .and_then(|mut statement| {
                statement.execute(params![
                    group.as_str(),
                    signed(link.seq),
                    signed(record.index),
                    at,
                    link.actor.as_str(),
                    &*link.action,
                    &*link.subject,
                    link.data.to_json(),
                    &*link.previous,
                    &*link.hash
                ])
            })
            .map_err(|error| format!("audit link {} of group {group}: {}", link.seq, say(error))),
        RecordBody::InstanceStarted { instance, flow, business_key, input, by } => transaction
            .prepare_cached(
                "INSERT INTO instances (id, grp, namespace, name, version, business_key, status, started_at, started_by, input)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'running', ?7, ?8, ?9)
                 ON CONFLICT (id) DO NOTHING",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    instance.as_str(),
                    group.as_str(),
                    &*flow.namespace,
                    &*flow.name,
                    &*flow.version,
                    business_key.as_deref(),
                    at,
                    by.as_str(),
                    input.to_json()
                ])
            })
            .map_err(say),
        // Its start is unknown here where this gateway was caught up by a snapshot in between.
        RecordBody::InstanceEnded { instance, status, output, problem } => transaction
            .prepare_cached(
                "INSERT INTO instances (id, grp, namespace, name, version, status, started_at, started_by, input, ended_at, output, problem, ended_index)
                 VALUES (?1, ?2, '', '', '', ?3, ?4, '', 'null', ?4, ?5, ?6, ?7)
                 ON CONFLICT (id) DO UPDATE SET status = ?3, ended_at = ?4, output = ?5, problem = ?6, ended_index = ?7",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    instance.as_str(),
                    group.as_str(),
                    status_text(*status),
                    at,
                    output.to_json(),
                    problem.as_ref().map(|problem| problem.to_json()),
                    signed(record.index)
                ])
            })
            .map_err(say),
        RecordBody::Task(task) => transaction
            .prepare_cached("INSERT INTO tasks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")
            .and_then(|mut statement| {
                statement.execute(params![
                    group.as_str(),
                    signed(record.index),
                    record.ordinal,
                    task.instance.as_str(),
                    at,
                    &*task.reference,
                    &*task.name,
                    &*task.what,
                    task.data.to_json()
                ])
            })
            .map_err(say),
    }
    .map(|_rows| ())
}

/// The words of the `status` column, as serde writes them.
pub fn status_text(status: InstanceStatus) -> &'static str {
    match status {
        InstanceStatus::Running => "running",
        InstanceStatus::Suspended => "suspended",
        InstanceStatus::Completed => "completed",
        InstanceStatus::Faulted => "faulted",
        InstanceStatus::Cancelled => "cancelled",
    }
}

fn say(error: rusqlite::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::RecordSink;
    use crate::history::{History, HistoryError, schema};
    use spalla_shared::engine::audit::AuditChain;
    use spalla_shared::id::Actor;
    use spalla_shared::time::Timestamp;
    use spalla_shared::value::Value;
    use std::sync::mpsc::{channel, sync_channel};

    #[test]
    fn a_full_disk_stops_the_gateway_with_a_clear_line_and_keeps_whole_entries() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("history.db");
        let connection = schema::open_for_writing(&path).expect("opens");
        // As a disk with room for a few hundred kilobytes.
        connection.execute_batch("PRAGMA max_page_count = 80").expect("limits");
        let (told, telling) = channel();
        let (jobs, taken) = sync_channel(4);
        let failure = Arc::new(Mutex::new(None));
        let writer = Writer::new(
            connection,
            BTreeMap::new(),
            taken,
            failure.clone(),
            Box::new(move |line| told.send(line).expect("heard")),
            watch::Sender::new(0),
            watch::Sender::new(0),
            "F".into(),
        );
        let thread = std::thread::spawn(move || writer.run());

        let (group, mut chain, mut written) = (GroupId::mesh(), AuditChain::default(), 0);
        for index in 1..=2000 {
            let at = Timestamp(1);
            let link = chain.link(at, Actor::system(), "note", "s", Value::from("x".repeat(1000)));
            let records = vec![Record { index, ordinal: 0, at, body: RecordBody::Audit(link) }];
            let (answer, answered) = sync_channel(1);
            let taken = jobs.send(Job::Take { group: group.clone(), index, records });
            let flushed = jobs.send(Job::Flush { group: group.clone(), index, answer });
            if taken.is_err() || flushed.is_err() || !answered.recv().is_ok_and(|outcome| outcome.is_ok()) {
                break;
            }
            written = index;
        }
        assert!((1..2000).contains(&written), "{written}");
        assert!(telling.recv().expect("told").contains("full"), "{:?}", failure.lock());
        thread.join().expect("ends in order");

        // With room again it goes on where it stopped; the log replays the rest.
        let history = History::open(folder.path(), Box::new(|line| panic!("{line}"))).expect("opens");
        assert!(
            matches!(crate::history::verify_audit(&path, &group), Ok(crate::history::Verification::Verified { count, .. }) if count == written)
        );
        history.take(&group, written + 1, Vec::new());
        history.flush(&group, written + 1).expect("flushes");
        assert!(matches!(History::open(&path, Box::new(|_| {})), Err(HistoryError::File { .. })), "a file is no folder");
    }
}
