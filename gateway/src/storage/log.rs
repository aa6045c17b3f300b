//! The log of all groups in one `raft-engine`, written by one thread: what waits together is fsynced together.
//!
//! The first failed write ends all writing: after it nobody knows what the disk holds.
//!
//! raft-engine takes damage in the newest file for a torn tail and cuts the file off there. Whether writes that were reported
//! done went with it shows a number that each write carries, and that stands in a small file beside the log as well.

use crate::storage::watched_files::WatchedFiles;
use parking_lot::{Mutex, RwLock};
use protobuf::well_known_types::Any;
use raft_engine::{Command, Config, Engine, LogBatch, MessageExt, ReadableSize, RecoveryMode};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, watch};

/// Writes that wait while one fsync goes on.
const JOBS_MAX: usize = 1024;
/// Bytes that are written with one fsync.
const BATCH_LEN_MAX: usize = 4 * 1024 * 1024;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("raft log {path}: {reason}")]
    Open { path: PathBuf, reason: String },
    #[error("raft log: {0}")]
    Failed(String),
    #[error("the raft log is closed")]
    Closed,
}

/// One change to one group's log. Those handed over together become durable together.
pub enum Change {
    /// Consecutive; whatever was at or behind the first index is replaced.
    Append(Vec<(u64, Vec<u8>)>),
    Put(&'static [u8], Vec<u8>),
    Delete(&'static [u8]),
    /// Drops everything before this index.
    Compact(u64),
}

pub type Done = Box<dyn FnOnce(Result<(), LogError>) + Send>;

/// What one group's log lies on: a [`LogFile`], or what a simulation puts in its place.
pub trait LogMedium: Clone + Send + Sync + 'static {
    /// Hands `changes` over and returns; `done` is called once they are on disk (with `sync`) or written (without).
    /// Changes reach the disk in the order of these calls.
    fn submit(&self, changes: Vec<Change>, sync: bool, done: Done) -> impl Future<Output = Result<(), LogError>> + Send;

    /// Like [`submit`](Self::submit), and waits until it is on disk.
    fn write(&self, changes: Vec<Change>) -> impl Future<Output = Result<(), LogError>> + Send {
        async move {
            let (tell, told) = tokio::sync::oneshot::channel();
            self.submit(changes, true, Box::new(move |result| drop(tell.send(result)))).await?;
            told.await.unwrap_or(Err(LogError::Closed))
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LogError>;

    /// First and last index; `None` where there is no entry.
    fn span(&self) -> Result<Option<(u64, u64)>, LogError>;

    /// Entries `from..to`, at least one and then up to about `len_max` bytes. All of them must be there. Reads the disk: blocks.
    fn read(&self, from: u64, to: u64, len_max: usize) -> Result<Vec<Vec<u8>>, LogError>;

    /// Runs a read of this disk where it may block.
    fn off_thread<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, LogError> + Send + 'static,
    ) -> impl Future<Output = Result<T, LogError>> + Send;
}

struct Job {
    region: u64,
    changes: Vec<Change>,
    sync: bool,
    done: Done,
}

enum Message {
    Job(Job),
    Close,
}

/// Emptied when the log is closed, so that the files can be opened again.
type Files = Arc<RwLock<Option<Engine<WatchedFiles>>>>;

pub struct Log {
    files: Files,
    jobs: mpsc::Sender<Message>,
    failure: watch::Receiver<Option<String>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    /// Opens or begins the log in `folder`. A torn tail (a write that was never reported done) is cut off; damage before it is an error.
    pub fn open(folder: &Path) -> Result<Self, LogError> {
        let fail = |reason: String| LogError::Open { path: folder.to_owned(), reason };
        let config = Config {
            dir: folder.to_str().ok_or_else(|| fail("its name is not UTF-8".into()))?.to_owned(),
            recovery_mode: RecoveryMode::TolerateTailCorruption,
            recovery_threads: 2,
            target_file_size: ReadableSize::mb(32),
            purge_threshold: ReadableSize::mb(256),
            ..Config::default()
        };
        std::fs::create_dir_all(folder).map_err(|error| fail(error.to_string()))?;
        let watched = Arc::new(WatchedFiles::new());
        let engine = catch_unwind(AssertUnwindSafe(|| Engine::open_with_file_system(config, watched.clone())))
            .map_err(|_| fail("it is damaged in a way that its reader did not expect".into()))?
            .map_err(|error| fail(error.to_string()))?;
        durable(&watched).map_err(fail)?;
        let written = Written::open(&engine, folder).map_err(fail)?;
        let files: Files = Arc::new(RwLock::new(Some(engine)));
        let (jobs, waiting) = mpsc::channel(JOBS_MAX);
        let (failed, failure) = watch::channel(None);
        let writer = std::thread::Builder::new()
            .name("raft-log".into())
            .spawn({
                let files = files.clone();
                move || write_all(&Disk { files, watched }, waiting, written, &failed)
            })
            .map_err(|error| fail(error.to_string()))?;
        Ok(Self { files, jobs, failure, writer: Mutex::new(Some(writer)) })
    }

    /// The part of the group that has number `region`.
    pub fn file(&self, region: u64) -> LogFile {
        LogFile { region, files: self.files.clone(), jobs: self.jobs.clone() }
    }

    /// Becomes the reason when writing failed; the process should then end.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.clone()
    }

    /// Writes what waits and closes the files. Blocks.
    pub fn close(&self) {
        let Some(writer) = self.writer.lock().take() else { return };
        let mut message = Message::Close;
        // The channel is bounded; the writer makes room.
        while let Err(mpsc::error::TrySendError::Full(back)) = self.jobs.try_send(message) {
            message = back;
            std::thread::yield_now();
        }
        drop(writer.join());
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

/// One group's log.
#[derive(Clone)]
pub struct LogFile {
    region: u64,
    files: Files,
    jobs: mpsc::Sender<Message>,
}

impl LogMedium for LogFile {
    async fn submit(&self, changes: Vec<Change>, sync: bool, done: Done) -> Result<(), LogError> {
        let job = Job { region: self.region, changes, sync, done };
        self.jobs.send(Message::Job(job)).await.map_err(|_| LogError::Closed)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LogError> {
        Ok(self.files.read().as_ref().ok_or(LogError::Closed)?.get(self.region, key))
    }

    fn span(&self) -> Result<Option<(u64, u64)>, LogError> {
        let files = self.files.read();
        let engine = files.as_ref().ok_or(LogError::Closed)?;
        Ok(engine.first_index(self.region).zip(engine.last_index(self.region)))
    }

    fn read(&self, from: u64, to: u64, len_max: usize) -> Result<Vec<Vec<u8>>, LogError> {
        let files = self.files.read();
        let engine = files.as_ref().ok_or(LogError::Closed)?;
        let mut found = Vec::new();
        engine.fetch_entries_to::<Indexed>(self.region, from, to, Some(len_max), &mut found).map_err(|error| {
            let mend = "restore the folder, or let this gateway rejoin with an empty one under a new node id";
            LogError::Failed(format!("entries {from}..{to} are damaged ({error}); {mend}"))
        })?;
        Ok(found
            .into_iter()
            .map(|mut any| {
                let mut value = any.take_value();
                value.drain(..value.len().min(INDEX_LEN));
                value
            })
            .collect())
    }

    async fn off_thread<T: Send + 'static>(&self, read: impl FnOnce() -> Result<T, LogError> + Send + 'static) -> Result<T, LogError> {
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(LogError::Closed))
    }
}

/// An entry on disk: its index, u64 BE, then its bytes.
struct Indexed;

const INDEX_LEN: usize = 8;

impl MessageExt for Indexed {
    type Entry = Any;

    fn index(entry: &Any) -> u64 {
        entry.value.first_chunk::<INDEX_LEN>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

/// What the writer writes to.
struct Disk {
    files: Files,
    watched: Arc<WatchedFiles>,
}

fn write_all(disk: &Disk, mut waiting: mpsc::Receiver<Message>, mut written: Written, failed: &watch::Sender<Option<String>>) {
    let mut closing = false;
    while !closing {
        let Some(Message::Job(first)) = waiting.blocking_recv() else { break };
        let mut jobs = vec![first];
        let mut len = job_len(&jobs[0]);
        while len < BATCH_LEN_MAX {
            match waiting.try_recv() {
                Ok(Message::Job(job)) => {
                    len += job_len(&job);
                    jobs.push(job);
                }
                Ok(Message::Close) => {
                    closing = true;
                    break;
                }
                Err(_) => break,
            }
        }
        write_batch(disk, jobs, &mut written, failed);
    }
    waiting.close();
    disk.files.write().take();
}

fn job_len(job: &Job) -> usize {
    let entries = job.changes.iter().map(|change| match change {
        Change::Append(entries) => entries.iter().map(|(_, bytes)| bytes.len()).sum(),
        _ => 64,
    });
    entries.sum()
}

fn write_batch(disk: &Disk, jobs: Vec<Job>, written: &mut Written, failed: &watch::Sender<Option<String>>) {
    let mut dones = Vec::with_capacity(jobs.len());
    let before = failed.borrow().clone();
    let result = match before {
        Some(reason) => {
            dones.extend(jobs.into_iter().map(|job| job.done));
            Err(reason)
        }
        None => catch_unwind(AssertUnwindSafe(|| write_jobs(disk, jobs, written, &mut dones)))
            .unwrap_or_else(|_| Err("it could not be written: its writer broke (disk full or broken?)".into())),
    };
    if let Err(reason) = &result {
        failed.send_if_modified(|failure| failure.is_none().then(|| *failure = Some(format!("raft log: {reason}"))).is_some());
    }
    for done in dones {
        done(result.clone().map_err(LogError::Failed));
    }
}

fn write_jobs(disk: &Disk, jobs: Vec<Job>, written: &mut Written, dones: &mut Vec<Done>) -> Result<(), String> {
    let mut batch = LogBatch::default();
    let (mut sync, mut compacted) = (false, false);
    let mut changes = Vec::with_capacity(jobs.len());
    // All of them are answered, whatever becomes of the batch.
    for job in jobs {
        dones.push(job.done);
        sync |= job.sync;
        changes.push((job.region, job.changes));
    }
    for (region, changes) in changes {
        for change in changes {
            match change {
                Change::Append(entries) => {
                    let entries: Vec<Any> = entries.into_iter().map(indexed).collect();
                    batch.add_entries::<Indexed>(region, &entries).map_err(|error| error.to_string())?;
                }
                Change::Put(key, value) => batch.put(region, key.to_vec(), value).map_err(|error| error.to_string())?,
                Change::Delete(key) => batch.delete(region, key.to_vec()),
                Change::Compact(index) => {
                    compacted = true;
                    batch.add_command(region, Command::Compact { index });
                }
            }
        }
    }
    let number = written.number + 1;
    batch.put(OWN_REGION, WRITTEN.to_vec(), number.to_be_bytes().to_vec()).map_err(|error| error.to_string())?;
    let files = disk.files.read();
    let engine = files.as_ref().ok_or("closed")?;
    engine.write(&mut batch, sync).map_err(not_written)?;
    durable(&disk.watched)?;
    written.number = number;
    if sync {
        written.note().map_err(|error| error.to_string())?;
    }
    if compacted {
        engine.purge_expired_files().map_err(|error| error.to_string())?;
        durable(&disk.watched)?;
    }
    Ok(())
}

fn durable(watched: &WatchedFiles) -> Result<(), String> {
    watched.failure().map_or(Ok(()), |reason| Err(format!("it could not be written: {reason}")))
}

/// For an operator: what happened, and where to look.
fn not_written(error: raft_engine::Error) -> String {
    match error {
        raft_engine::Error::Io(error) => format!("it could not be written: {} (disk full or broken?)", error.kind()),
        error => error.to_string(),
    }
}

/// Numbers of this file's own; groups have hashes, which are never this small.
const OWN_REGION: u64 = 1;
const WRITTEN: &[u8] = b"written";

/// The number of the newest write, noted beside the log after each fsync. The note itself is not fsynced: it may be older than
/// the log after a power cut, never newer.
struct Written {
    number: u64,
    file: File,
}

impl Written {
    fn open(engine: &Engine<WatchedFiles>, folder: &Path) -> Result<Self, String> {
        let in_log = engine.get(OWN_REGION, WRITTEN).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
        let path = folder.join("written");
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(|error| error.to_string())?;
        let mut noted = Vec::new();
        (&file).read_to_end(&mut noted).map_err(|error| error.to_string())?;
        let noted = match noted.split_first_chunk::<8>() {
            // A power cut just after the folder was made.
            None => 0,
            Some((number, checksum)) if crc32fast::hash(number).to_be_bytes() == *checksum => u64::from_be_bytes(*number),
            Some(_) => return Err(format!("{} is damaged", path.display())),
        };
        if noted > in_log {
            return Err(format!(
                "damaged: writes up to number {noted} were confirmed, the log ends with number {in_log}; \
                 this gateway would break its word to the others: let it rejoin with an empty folder under a new node id"
            ));
        }
        Ok(Self { number: in_log, file })
    }

    fn note(&mut self) -> io::Result<()> {
        let number = self.number.to_be_bytes();
        let mut note = number.to_vec();
        note.extend_from_slice(&crc32fast::hash(&number).to_be_bytes());
        self.file.write_all_at(&note, 0)
    }
}

fn indexed((index, bytes): (u64, Vec<u8>)) -> Any {
    let mut value = Vec::with_capacity(INDEX_LEN + bytes.len());
    value.extend_from_slice(&index.to_be_bytes());
    value.extend_from_slice(&bytes);
    let mut any = Any::new();
    any.set_value(value);
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(range: std::ops::Range<u64>) -> Change {
        Change::Append(range.map(|index| (index, format!("entry {index}").into_bytes())).collect())
    }

    #[tokio::test]
    async fn what_is_reported_done_is_there_after_reopening_and_a_torn_tail_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path()).unwrap();
        let file = log.file(7);
        file.write(vec![entries(0..10), Change::Put(b"vote", b"v1".to_vec())]).await.unwrap();
        // Replaces 5..10.
        file.write(vec![entries(5..7)]).await.unwrap();
        log.file(8).write(vec![entries(3..4)]).await.unwrap();
        log.close();
        assert_eq!(file.write(vec![entries(7..8)]).await, Err(LogError::Closed));

        // A crash in the middle of a write leaves some bytes of it.
        let torn = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|extension| extension == "raftlog"))
            .unwrap();
        let mut bytes = std::fs::read(&torn).unwrap();
        bytes.extend_from_slice(&[0x5a; 37]);
        std::fs::write(&torn, &bytes).unwrap();

        let log = Log::open(folder.path()).unwrap();
        let file = log.file(7);
        assert_eq!(file.span().unwrap(), Some((0, 6)));
        assert_eq!(file.get(b"vote").unwrap(), Some(b"v1".to_vec()));
        assert_eq!(file.read(4, 7, usize::MAX).unwrap(), vec![b"entry 4".to_vec(), b"entry 5".to_vec(), b"entry 6".to_vec()]);
        assert_eq!(log.file(8).span().unwrap(), Some((3, 3)));
        file.write(vec![entries(7..8), Change::Compact(6)]).await.unwrap();
        assert_eq!(file.span().unwrap(), Some((6, 7)));
        log.close();

        // Damage in an entry is met by whoever reads it.
        let whole = std::fs::read(&torn).unwrap();
        let damaged = |text: &[u8]| {
            let mut bytes = whole.clone();
            let at = bytes.windows(text.len()).rposition(|window| window == text).unwrap();
            bytes[at] ^= 0xff;
            std::fs::write(&torn, &bytes).unwrap();
            Log::open(folder.path())
        };
        let log = damaged(b"entry 6").unwrap();
        let file = log.file(7);
        // raft-engine remembers per thread what it read last; this one has read nothing.
        let read = std::thread::spawn(move || file.read(6, 8, usize::MAX)).join().unwrap();
        assert!(matches!(read, Err(LogError::Failed(_))), "{read:?}");
        log.close();
        // Damage in what ties entries together cuts confirmed writes off: that is no torn tail.
        let error = damaged(b"vote").err().unwrap();
        assert!(error.to_string().contains("confirmed"), "{error}");
    }
}
