//! One group's Raft log as openraft wants it, over a [`LogMedium`]: in a gateway a [`LogFile`].
//!
//! Entries are readable at once, from memory, and reported flushed when the writer thread has fsynced them. The newest stay
//! in memory, so that replication to a follower that keeps up reads no disk.

use super::types::{LogId, RaftEntry, RaftVote, Types};
use crate::storage::{Change, LogError, LogFile, LogMedium};
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use spalla_shared::codec;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// Newest entries kept in memory, in bytes. What is not flushed yet is kept whatever its size.
const TAIL_LEN_MAX: usize = 8 * 1024 * 1024;
/// Entries that go out in one append, in bytes: well below [`spalla_broker::rpc::BODY_LEN_MAX`] with one of the largest commands on top.
pub(super) const READ_LEN_MAX: usize = 192 * 1024;
/// How often a read starts again because the log was purged under it.
const READ_ATTEMPTS: usize = 3;

const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
const PURGED: &[u8] = b"purged";
/// Index behind the last entry that counts: entries from it on were truncated and wait to be overwritten.
const END: &[u8] = b"end";

#[derive(Clone)]
pub struct LogStore<F = LogFile> {
    file: F,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Default)]
struct Memory {
    vote: Option<RaftVote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// Index of the oldest entry that is there; a log need not begin at 0.
    first: u64,
    /// Whether [`END`] stands in the file.
    truncated: bool,
    /// Consecutive newest entries with their encoded lengths.
    tail: VecDeque<(RaftEntry, usize)>,
    tail_len: usize,
    /// Everything before this index is on disk.
    flushed_to: u64,
}

impl<F: LogMedium> LogStore<F> {
    pub fn open(file: F) -> Result<Self, LogError> {
        let vote = load(&file, VOTE)?;
        let committed = load(&file, COMMITTED)?;
        let purged: Option<LogId> = load(&file, PURGED)?;
        let end: Option<u64> = load(&file, END)?;
        let past = |id: &Option<LogId>| id.as_ref().map_or(0, |id| id.index + 1);
        let (first, stored_to) = file.span()?.map_or((0, 0), |(first, last)| (first, last + 1));
        let to = end.map_or(stored_to, |end| end.min(stored_to));
        let last = if to > past(&purged) {
            let bytes = file.read(to - 1, to, usize::MAX)?.pop().ok_or_else(|| LogError::Failed(format!("entry {} is missing", to - 1)))?;
            Some(decode_entry(&bytes)?.log_id)
        } else {
            purged
        };
        let memory =
            Memory { vote, committed, purged, last, first, truncated: end.is_some(), flushed_to: past(&last), ..Memory::default() };
        Ok(Self { file, memory: Arc::new(Mutex::new(memory)) })
    }

    /// Nothing was ever voted or written: the group is new to this folder.
    pub fn is_pristine(&self) -> bool {
        let memory = self.memory.lock();
        memory.vote.is_none() && memory.last.is_none()
    }

    /// Entries of `from..to` that the log holds, all of them or as many as fit into `len_max` bytes.
    pub(super) async fn entries(&self, from: u64, to: u64, len_max: usize) -> Result<Vec<RaftEntry>, LogError> {
        let mut failure = LogError::Closed;
        for _ in 0..READ_ATTEMPTS {
            let (from, on_disk_to, mut cached) = self.memory.lock().window(from, to, len_max);
            if from >= on_disk_to {
                return Ok(cached);
            }
            let file = self.file.clone();
            let read = move || -> Result<Vec<RaftEntry>, LogError> {
                file.read(from, on_disk_to, len_max)?.iter().map(|bytes| decode_entry(bytes)).collect()
            };
            match self.file.off_thread(read).await {
                Ok(mut entries) => {
                    if (entries.len() as u64) == on_disk_to - from {
                        entries.append(&mut cached);
                    }
                    return Ok(entries);
                }
                // Purged between looking and reading: look again.
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Readable when this returns, on disk when `done` is called.
    pub(super) async fn append_then(
        &self,
        entries: Vec<RaftEntry>,
        done: impl FnOnce(Result<(), LogError>) + Send + 'static,
    ) -> Result<(), LogError> {
        let encoded: Vec<(u64, Vec<u8>)> = entries.iter().map(|entry| (entry.log_id.index, codec::encode(entry))).collect();
        let to = encoded.last().map_or(0, |(index, _)| index + 1);
        let mut changes = Vec::with_capacity(2);
        {
            let mut memory = self.memory.lock();
            for (entry, (_, bytes)) in entries.into_iter().zip(&encoded) {
                memory.push(entry, bytes.len());
            }
            if std::mem::take(&mut memory.truncated) {
                changes.push(Change::Delete(END));
            }
        }
        changes.push(Change::Append(encoded));
        let memory = self.memory.clone();
        let flushed = move |result: Result<(), LogError>| {
            if result.is_ok() {
                memory.lock().flushed(to);
            }
            done(result);
        };
        self.file.submit(changes, true, Box::new(flushed)).await
    }
}

impl Memory {
    fn first_index(&self) -> u64 {
        self.purged.as_ref().map_or(0, |id| id.index + 1).max(self.first)
    }
    fn end_index(&self) -> u64 {
        self.last.as_ref().map_or(0, |id| id.index + 1)
    }

    /// Splits a wish into what must be read from disk, `.0 .. .1`, and what is at hand behind it.
    fn window(&self, from: u64, to: u64, len_max: usize) -> (u64, u64, Vec<RaftEntry>) {
        let (from, to) = (from.max(self.first_index()), to.min(self.end_index()));
        if from >= to {
            return (from, from, Vec::new());
        }
        let tail_from = self.tail.front().map_or(to, |(entry, _)| entry.log_id.index).min(to);
        if from < tail_from {
            // A bounded read begins with the disk part; the rest comes with the next one.
            let cached = if len_max == usize::MAX { self.cached(tail_from, to, len_max) } else { Vec::new() };
            return (from, tail_from, cached);
        }
        (from, from, self.cached(from, to, len_max))
    }

    fn cached(&self, from: u64, to: u64, len_max: usize) -> Vec<RaftEntry> {
        let mut len: usize = 0;
        self.tail
            .iter()
            .skip_while(|(entry, _)| entry.log_id.index < from)
            .take_while(|(entry, size)| {
                let fits = len == 0 || len.saturating_add(*size) <= len_max;
                len = len.saturating_add(*size);
                fits && entry.log_id.index < to
            })
            .map(|(entry, _)| entry.clone())
            .collect()
    }

    fn push(&mut self, entry: RaftEntry, len: usize) {
        self.drop_from(entry.log_id.index);
        if self.end_index() <= self.first_index() {
            self.first = entry.log_id.index;
        }
        if self.tail.back().is_some_and(|(last, _)| last.log_id.index + 1 != entry.log_id.index) {
            self.tail.clear();
            self.tail_len = 0;
        }
        self.last = Some(entry.log_id);
        self.tail.push_back((entry, len));
        self.tail_len += len;
    }

    fn drop_from(&mut self, index: u64) {
        while self.tail.back().is_some_and(|(entry, _)| entry.log_id.index >= index) {
            self.tail_len -= self.tail.pop_back().map_or(0, |(_, len)| len);
        }
    }

    fn drop_before(&mut self, index: u64) {
        while self.tail.front().is_some_and(|(entry, _)| entry.log_id.index < index) {
            self.tail_len -= self.tail.pop_front().map_or(0, |(_, len)| len);
        }
    }

    fn flushed(&mut self, to: u64) {
        self.flushed_to = self.flushed_to.max(to);
        while self.tail_len > TAIL_LEN_MAX && self.tail.front().is_some_and(|(entry, _)| entry.log_id.index < self.flushed_to) {
            self.tail_len -= self.tail.pop_front().map_or(0, |(_, len)| len);
        }
    }
}

impl<F: LogMedium> RaftLogReader<Types> for LogStore<F> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(&mut self, range: RB) -> io::Result<Vec<RaftEntry>> {
        let (from, to) = bounds(&range);
        Ok(self.entries(from, to, usize::MAX).await?)
    }

    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> io::Result<Vec<RaftEntry>> {
        Ok(self.entries(from, to, READ_LEN_MAX).await?)
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(self.memory.lock().vote)
    }
}

impl<F: LogMedium> RaftLogStorage<Types> for LogStore<F> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let memory = self.memory.lock();
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: memory.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        self.file.write(vec![Change::Put(VOTE, codec::encode(vote))]).await?;
        self.memory.lock().vote = Some(*vote);
        Ok(())
    }

    /// Not waited for: it only spares a restarted gateway the wait for the leader's word, and is never ahead of the entries.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.memory.lock().committed = committed;
        let change = match committed {
            Some(committed) => Change::Put(COMMITTED, codec::encode(&committed)),
            None => Change::Delete(COMMITTED),
        };
        Ok(self.file.submit(vec![change], false, Box::new(|_| {})).await?)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.memory.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let flushed = move |result: Result<(), LogError>| callback.io_completed(result.map_err(io::Error::from));
        Ok(self.append_then(entries.into_iter().collect(), flushed).await?)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let end = last.as_ref().map_or(0, |id| id.index + 1);
        {
            let mut memory = self.memory.lock();
            if end >= memory.end_index() {
                return Ok(());
            }
            memory.drop_from(end);
            memory.last = last.max(memory.purged);
            memory.flushed_to = memory.flushed_to.min(end);
            memory.truncated = true;
        }
        Ok(self.file.write(vec![Change::Put(END, codec::encode(&end))]).await?)
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        let first = upto.index + 1;
        {
            let mut memory = self.memory.lock();
            memory.purged = memory.purged.max(Some(upto));
            memory.last = memory.last.max(Some(upto));
            memory.flushed_to = memory.flushed_to.max(first);
            memory.drop_before(first);
        }
        Ok(self.file.write(vec![Change::Put(PURGED, codec::encode(&upto)), Change::Compact(first)]).await?)
    }
}

impl From<LogError> for io::Error {
    fn from(error: LogError) -> Self {
        io::Error::other(error.to_string())
    }
}

/// The size that an entry counts for where it is not encoded yet.
pub fn payload_len(entry: &RaftEntry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(proposal) => proposal.command.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

pub(super) fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(to) => *to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

fn load<T: DeserializeOwned + Serialize>(file: &impl LogMedium, key: &'static [u8]) -> Result<Option<T>, LogError> {
    let Some(bytes) = file.get(key)? else { return Ok(None) };
    codec::decode(&bytes).map(Some).map_err(|error| LogError::Failed(format!("{}: {error}", String::from_utf8_lossy(key))))
}

fn decode_entry(bytes: &[u8]) -> Result<RaftEntry, LogError> {
    let entry: RaftEntry = codec::decode(bytes).map_err(|error| LogError::Failed(format!("an entry cannot be read: {error}")))?;
    debug_assert_eq!(entry.log_id(), entry.log_id);
    Ok(entry)
}
