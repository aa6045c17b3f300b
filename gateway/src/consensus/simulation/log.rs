//! The real log store, for openraft with the simulation's types.

use super::SimTypes;
use super::disk::SimFile;
use crate::consensus::log_store::{LogStore, READ_LEN_MAX, bounds};
use crate::consensus::types::{LogId, RaftEntry, RaftVote, Types};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;

#[derive(Clone)]
pub struct SimLog(pub LogStore<SimFile>);

impl RaftLogReader<SimTypes> for SimLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(&mut self, range: RB) -> io::Result<Vec<RaftEntry>> {
        let (from, to) = bounds(&range);
        Ok(self.0.entries(from, to, usize::MAX).await?)
    }

    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> io::Result<Vec<RaftEntry>> {
        Ok(self.0.entries(from, to, READ_LEN_MAX).await?)
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        RaftLogReader::<Types>::read_vote(&mut self.0).await
    }
}

impl RaftLogStorage<SimTypes> for SimLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<SimTypes>> {
        let state = RaftLogStorage::<Types>::get_log_state(&mut self.0).await?;
        Ok(LogState { last_purged_log_id: state.last_purged_log_id, last_log_id: state.last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        RaftLogStorage::<Types>::save_vote(&mut self.0, vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        RaftLogStorage::<Types>::save_committed(&mut self.0, committed).await
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        RaftLogStorage::<Types>::read_committed(&mut self.0).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<SimTypes>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let flushed = move |result: Result<(), crate::storage::LogError>| callback.io_completed(result.map_err(io::Error::from));
        Ok(self.0.append_then(entries.into_iter().collect(), flushed).await?)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        RaftLogStorage::<Types>::truncate_after(&mut self.0, last).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        RaftLogStorage::<Types>::purge(&mut self.0, upto).await
    }
}
