//! History: finished and running instances, their traces and the audit trail, in a plain SQLite file.
//!
//! Derived from the log by a thread of its own, never on the apply path:
//! ```text
//! apply -> take (bounded queue) -> writer thread: records + the index they reach, one transaction -> history.db <- readers
//! ```
//! Nothing here is ever changed by a reader. A disk that cannot be written stops the gateway; no record is dropped.

mod aside;
mod backfill;
mod cut;
mod gap;
mod held;
mod reader;
mod rows;
mod schema;
mod verify;
mod writer;

pub use aside::{mark, set_aside};
pub use cut::Cut;
pub use gap::Gap;
pub use held::{Held, Missing, missing_without, tell_missing};
pub use reader::{Reader, read_audit};
pub use rows::{AuditFilter, AuditRow, GapPage, GapRow, InstanceFilter, InstanceRow, PAGE_LEN_MAX, Page, TaskRow};
pub use verify::{Verification, verify_audit};

use crate::consensus::RecordSink;
use parking_lot::Mutex;
use spalla_shared::engine::Record;
use spalla_shared::engine::audit::AuditChain;
use spalla_shared::engine::life::Fork;
use spalla_shared::id::GroupId;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use tokio::sync::watch;
use writer::{Job, Writer};

/// The file in the data folder.
pub const FILE_NAME: &str = "history.db";

/// Entries that wait to be written. More than this, and taking them holds `apply` back: history may lag, it may not grow without end.
const QUEUE_LEN_MAX: usize = 4096;

/// Called at most once, with a line for the operator: the gateway must stop, its history can no longer be kept.
pub type OnFailure = Box<dyn FnOnce(String) + Send + 'static>;

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("history file {}: {error}", path.display())]
    File { path: PathBuf, error: rusqlite::Error },
    #[error("history file {} has format {found}; this build reads {}", path.display(), schema::FORMAT)]
    Format { path: PathBuf, found: i64 },
    #[error("history holds what cannot be read: {0}")]
    Content(String),
    #[error("{} has no audit trail of group `{group}`; it has those of {there}", path.display())]
    NoGroup { path: PathBuf, group: GroupId, there: String },
    #[error("history cannot be written: {0}")]
    Stopped(String),
}

/// A cheap handle; the last one to be dropped lets the writer finish what it has taken.
#[derive(Clone)]
pub struct History {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    jobs: SyncSender<Job>,
    carried: watch::Receiver<u64>,
    written: watch::Receiver<u64>,
    /// Why the writer stopped, once it has.
    failure: Arc<Mutex<Option<String>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl History {
    /// Opens or makes `history.db` in `folder`, which must exist.
    pub fn open(folder: &Path, on_failure: OnFailure) -> Result<Self, HistoryError> {
        let path = folder.join(FILE_NAME);
        let connection = schema::open_for_writing(&path)?;
        let applied = schema::applied(&connection).map_err(|error| HistoryError::File { path: path.clone(), error })?;
        let failure = Arc::new(Mutex::new(None));
        let (jobs, taken) = sync_channel(QUEUE_LEN_MAX);
        let (told, carried) = watch::channel(0);
        let (committed, written) = watch::channel(0);
        let writer = Writer::new(connection, applied, taken, failure.clone(), on_failure, told, committed, path.display().to_string());
        let thread = std::thread::Builder::new()
            .name("history".into())
            .spawn(move || writer.run())
            .map_err(|error| HistoryError::Stopped(format!("no thread for it: {error}")))?;
        Ok(Self { inner: Arc::new(Inner { path, jobs, carried, written, failure, thread: Mutex::new(Some(thread)) }) })
    }

    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Puts in audit links that this gateway lacks because a snapshot carried it over them (`Reader::gaps` names them), neighbours in
    /// ascending order that end with the last missing one. They are taken only where the hash chain joins up, so another gateway
    /// can bring nothing false. Blocks until it is done; gives how many were new. Call off the async threads.
    pub fn backfill(&self, group: &GroupId, links: Vec<AuditRow>) -> Result<usize, HistoryError> {
        self.fill(|answer| Job::Links { group: group.clone(), links, answer })
    }

    /// Puts in traces and instances of a gap. With a page without `next` nothing more is missing of its entries. Blocks.
    pub fn backfill_rows(&self, group: &GroupId, page: GapPage) -> Result<usize, HistoryError> {
        self.fill(|answer| Job::Rows { group: group.clone(), page, answer })
    }

    /// The file as it will stand once all that was taken up to now is in it. Asks at once; the answer comes when that is so.
    pub fn cut(&self) -> std::sync::mpsc::Receiver<Result<Cut, String>> {
        let (answer, answered) = sync_channel(1);
        // After a failure nothing answers.
        let _ = self.inner.jobs.send(Job::Cut { answer });
        answered
    }

    fn fill(&self, job: impl FnOnce(SyncSender<Result<usize, String>>) -> Job) -> Result<usize, HistoryError> {
        let (answer, answered) = sync_channel(1);
        let sent = self.inner.jobs.send(job(answer));
        let stopped = || HistoryError::Stopped(self.inner.failure.lock().clone().unwrap_or_else(|| "the history thread has ended".into()));
        match sent.ok().and_then(|()| answered.recv().ok()) {
            Some(outcome) => outcome.map_err(HistoryError::Content),
            None => Err(stopped()),
        }
    }

    /// Changes when a snapshot carried this gateway over entries: then there may be a gap to fill.
    pub fn carried_over(&self) -> watch::Receiver<u64> {
        self.inner.carried.clone()
    }

    /// Reads see what is committed: a few milliseconds behind what was taken.
    pub fn reader(&self) -> Reader {
        Reader::new(self.inner.path.clone(), self.inner.written.clone())
    }
}

impl RecordSink for History {
    fn take(&self, group: &GroupId, index: u64, records: Vec<Record>) {
        // After a failure nothing is taken: the log keeps it all, for `flush` fails too.
        let _ = self.inner.jobs.send(Job::Take { group: group.clone(), index, records });
    }

    fn carried(&self, group: &GroupId, index: u64, audit: &AuditChain, fork: Option<Fork>) {
        // After a failure the gap is noted at the next start, from the snapshot's file.
        let _ = self.inner.jobs.send(Job::Carried { group: group.clone(), index, audit: audit.clone(), fork });
    }

    fn flush(&self, group: &GroupId, index: u64) -> Result<(), String> {
        let (answer, answered) = sync_channel(1);
        let sent = self.inner.jobs.send(Job::Flush { group: group.clone(), index, answer });
        match sent.ok().and_then(|()| answered.recv().ok()) {
            Some(outcome) => outcome,
            None => Err(self.inner.failure.lock().clone().unwrap_or_else(|| "the history thread has ended".into())),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = self.jobs.send(Job::Stop);
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the history thread panicked");
        }
    }
}

#[cfg(test)]
mod tests;
