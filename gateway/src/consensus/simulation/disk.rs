//! A disk that outlives its gateway: keeps what was flushed, and of what was not, what chance leaves.

use super::life::Life;
use super::{Mistake, World};
use crate::storage::log::Done;
use crate::storage::{Change, LogError, LogMedium, SnapshotImage};
use parking_lot::Mutex;
use spalla_shared::id::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// The vote's key, as `log_store.rs` writes it.
const VOTE: &[u8] = b"vote";

#[derive(Clone)]
pub struct SimDisk {
    node: NodeId,
    world: Arc<dyn World>,
    mistake: Mistake,
    platters: Arc<Mutex<Platters>>,
}

#[derive(Default)]
struct Platters {
    /// What a restart finds.
    durable: Image,
    /// Written without an fsync; the next one takes them along.
    unsynced: Vec<Change>,
    /// Handed over, and under an fsync.
    begun: Vec<Change>,
    queue: Vec<Job>,
    snapshot: Option<SnapshotImage>,
}

#[derive(Default)]
struct Image {
    values: BTreeMap<&'static [u8], Vec<u8>>,
    entries: BTreeMap<u64, Vec<u8>>,
}

struct Job {
    changes: Vec<Change>,
    sync: bool,
    done: Done,
}

impl SimDisk {
    pub fn new(node: NodeId, world: Arc<dyn World>, mistake: Mistake) -> Self {
        Self { node, world, mistake, platters: Arc::default() }
    }

    /// What the gateway of `life` writes its log to.
    pub(super) fn file(&self, life: &Life) -> SimFile {
        let file = SimFile { disk: self.clone(), work: Arc::new(Notify::new()) };
        life.spawn(file.clone().write_all());
        file
    }

    /// The power goes: only now is it known what of the unconfirmed is there.
    pub(super) fn lose_power(&self) {
        let mut platters = self.platters.lock();
        let waiting: Vec<Change> = std::mem::take(&mut platters.unsynced).into_iter().chain(std::mem::take(&mut platters.begun)).collect();
        platters.queue.clear();
        let survivors = self.world.survive(self.node, waiting.len());
        for change in waiting.into_iter().take(survivors) {
            platters.durable.change(change, self.mistake);
        }
        if self.mistake == Mistake::VoteForgotten {
            platters.durable.values.remove(VOTE);
        }
    }

    pub(super) async fn write_snapshot(&self, image: SnapshotImage) {
        tokio::time::sleep(self.world.flush_time(self.node)).await;
        self.platters.lock().snapshot = Some(image);
    }

    pub(super) fn snapshot(&self) -> Option<SnapshotImage> {
        self.platters.lock().snapshot.clone()
    }
}

impl Image {
    fn change(&mut self, change: Change, mistake: Mistake) {
        match change {
            Change::Append(entries) => {
                if let Some((first, _)) = entries.first().filter(|_| mistake != Mistake::TailKept) {
                    drop(self.entries.split_off(first));
                }
                self.entries.extend(entries);
            }
            Change::Put(key, value) => drop(self.values.insert(key, value)),
            Change::Delete(key) => drop(self.values.remove(key)),
            Change::Compact(index) => self.entries = self.entries.split_off(&index),
        }
    }
}

/// The disk under one running gateway.
#[derive(Clone)]
pub struct SimFile {
    disk: SimDisk,
    work: Arc<Notify>,
}

impl SimFile {
    /// What waits together is flushed together, as the real writer does.
    async fn write_all(self) {
        loop {
            let jobs = std::mem::take(&mut self.disk.platters.lock().queue);
            if jobs.is_empty() {
                self.work.notified().await;
                continue;
            }
            let sync = jobs.iter().any(|job| job.sync);
            let mut dones = Vec::with_capacity(jobs.len());
            {
                let mut platters = self.disk.platters.lock();
                for job in jobs {
                    platters.begun.extend(job.changes);
                    dones.push(job.done);
                }
            }
            if sync {
                tokio::time::sleep(self.disk.world.flush_time(self.disk.node)).await;
            }
            {
                let mut platters = self.disk.platters.lock();
                let begun = std::mem::take(&mut platters.begun);
                platters.unsynced.extend(begun);
                if sync {
                    for change in std::mem::take(&mut platters.unsynced) {
                        platters.durable.change(change, self.disk.mistake);
                    }
                }
            }
            for done in dones {
                done(Ok(()));
            }
        }
    }
}

impl LogMedium for SimFile {
    async fn submit(&self, changes: Vec<Change>, sync: bool, mut done: Done) -> Result<(), LogError> {
        if self.disk.mistake == Mistake::FlushedTooEarly {
            done(Ok(()));
            done = Box::new(|_| {});
        }
        self.disk.platters.lock().queue.push(Job { changes, sync, done });
        self.work.notify_one();
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LogError> {
        Ok(self.disk.platters.lock().durable.values.get(key).cloned())
    }

    fn span(&self) -> Result<Option<(u64, u64)>, LogError> {
        let platters = self.disk.platters.lock();
        let entries = &platters.durable.entries;
        Ok(entries.first_key_value().map(|(first, _)| *first).zip(entries.last_key_value().map(|(last, _)| *last)))
    }

    fn read(&self, from: u64, to: u64, len_max: usize) -> Result<Vec<Vec<u8>>, LogError> {
        let platters = self.disk.platters.lock();
        let mut len: usize = 0;
        let mut found: Vec<Vec<u8>> = Vec::new();
        for index in from..to {
            let bytes = platters.durable.entries.get(&index).ok_or_else(|| LogError::Failed(format!("entry {index} is not on disk")))?;
            len = len.saturating_add(bytes.len());
            if !found.is_empty() && len > len_max {
                break;
            }
            found.push(bytes.clone());
        }
        Ok(found)
    }

    async fn off_thread<T: Send + 'static>(&self, read: impl FnOnce() -> Result<T, LogError> + Send + 'static) -> Result<T, LogError> {
        read()
    }
}
