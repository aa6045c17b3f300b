//! Begins a group again from one folder, with no gateway running on it: applies all that its log holds, then one command and a
//! membership of this gateway alone, and leaves a snapshot of that with a term of its own. What is left of the old members
//! cannot go on from there: the state refuses them.

use super::life::NOBODY;
use super::log_store::LogStore;
use super::machine::{Machine, View, read_meta};
use super::mesh::StartError;
use super::place::{folder_of, region_of};
use super::types::{LogId, Membership as StoredMembership, Proposal, RaftEntry, RaftVote, SnapshotMeta};
use super::{Failure, RecordSink};
use crate::storage::{Log, Meta, SnapshotFolder, SnapshotImage};
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftStateMachine};
use openraft::{BasicNode, EntryPayload, Membership, RaftSnapshotBuilder};
use spalla_shared::codec;
use spalla_shared::engine::audit::AuditChain;
use spalla_shared::engine::life::Fork;
use spalla_shared::engine::{Command, Record};
use spalla_shared::id::{GroupId, NodeId};
use spalla_shared::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Entries that are applied at once.
const BATCH_LEN: u64 = 256;

/// The gateway that goes on.
pub struct Survivor<'a> {
    pub node: NodeId,
    pub address: &'a str,
    /// Its data folder.
    pub data: &'a Path,
}

/// From where the group goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BegunAgain {
    pub index: u64,
    pub term: u64,
    /// The newest instant of the log.
    pub clock: Timestamp,
}

/// Entries between a log's end and its new life. Ids of instances, credentials and commands are made of the index: one that was given
/// behind a backup must not be given again, or a device takes a new command for one that it has done.
const NEW_LIFE_APART: u64 = 1 << 32;

/// What the folder holds of `group`; changes nothing but the count of starts. History hears nothing: what is not confirmed may
/// yet be taken back.
pub async fn look(survivor: &Survivor<'_>, group: &GroupId) -> Result<BegunAgain, StartError> {
    let opened = Opened::open(survivor, group, Arc::new(Deaf)).await?;
    let (index, state) = opened.view.copy();
    let (term, clock) = (opened.term().await?, state.clock);
    opened.log.close();
    Ok(BegunAgain { index, term, clock })
}

/// Runs `command` as the first entry of the group's new life. Refused where the folder holds nothing of the group.
pub async fn begin_again(
    survivor: &Survivor<'_>,
    group: &GroupId,
    command: Command,
    at: Timestamp,
    sink: Arc<dyn RecordSink>,
) -> Result<BegunAgain, StartError> {
    let fail = |reason: String| StartError::Group { group: group.clone(), reason };
    let mut opened = Opened::open(survivor, group, sink).await?;
    let (index, before) = opened.view.copy();
    let term = opened.term().await? + 1;
    let at = at.max(before.clock);
    let members = BTreeMap::from([(survivor.node.0, BasicNode::new(survivor.address))]);
    let membership = Membership::new(vec![BTreeSet::from([survivor.node.0])], members).map_err(|error| fail(error.to_string()))?;
    let command = EntryPayload::Normal(Proposal { at, command: super::types::Body(codec::encode(&command).into()) });
    let first = index + NEW_LIFE_APART;
    let entry = |payload, index| RaftEntry { log_id: LogId::new_term_index(term, index), payload };
    let last = LogId::new_term_index(term, first + 1);
    opened.replay(vec![entry(command, first), entry(EntryPayload::Membership(membership), first + 1)]).await?;
    let (_, after) = opened.view.copy();
    if after.roster.epoch <= before.roster.epoch {
        return Err(fail("the engine refused to begin again".into()));
    }
    let mut builder = opened.machine.get_snapshot_builder().await;
    builder.build_snapshot().await.map_err(|error| fail(error.to_string()))?;
    // Only behind the snapshot: until here a second try begins where this one did.
    opened.store.save_vote(&RaftVote::new(term, survivor.node.0)).await.map_err(|error| fail(error.to_string()))?;
    opened.store.purge(last).await.map_err(|error| fail(error.to_string()))?;
    opened.log.close();
    Ok(BegunAgain { index: first + 1, term, clock: at })
}

/// Takes no records.
struct Deaf;

impl RecordSink for Deaf {
    fn take(&self, _group: &GroupId, _index: u64, _records: Vec<Record>) {}
    fn carried(&self, _group: &GroupId, _index: u64, _audit: &AuditChain, _fork: Option<Fork>) {}
    fn flush(&self, _group: &GroupId, _index: u64) -> Result<(), String> {
        Err("nothing is kept here".into())
    }
}

struct Opened {
    group: GroupId,
    log: Log,
    store: LogStore,
    machine: Machine,
    view: Arc<View>,
    /// Keeps other processes out.
    _meta: Meta,
}

impl Opened {
    async fn open(survivor: &Survivor<'_>, group: &GroupId, sink: Arc<dyn RecordSink>) -> Result<Self, StartError> {
        let meta = Meta::open(survivor.data, survivor.node)?;
        let log = Log::open(&survivor.data.join("raft"))?;
        let store = LogStore::open(log.file(region_of(group)))?;
        let folder = SnapshotFolder::open(&folder_of(survivor.data, group))?;
        let nothing = store.is_pristine() && folder.newest()?.is_none();
        let (machine, view) = Machine::open(group.clone(), folder, spalla_shared::engine::apply, sink, Failure::new())?;
        let mut opened = Self { group: group.clone(), log, store, machine, view, _meta: meta };
        if nothing {
            return Err(opened.fail("this folder holds nothing of it".into()));
        }
        opened.catch_up().await?;
        Ok(opened)
    }

    /// Applies every entry that the log holds: whether those at its end were ever confirmed, nobody can say any more, and what
    /// was confirmed must not be lost.
    async fn catch_up(&mut self) -> Result<(), StartError> {
        let state = self.store.get_log_state().await.map_err(|error| self.fail(error.to_string()))?;
        let end = state.last_log_id.map_or(0, |id| id.index + 1);
        let (applied, _) = self.machine.applied_state().await.map_err(|error| self.fail(error.to_string()))?;
        let mut next = applied.map_or(0, |id| id.index + 1);
        while next < end {
            let entries = self.store.try_get_log_entries(next..end.min(next + BATCH_LEN)).await;
            let entries = entries.map_err(|error| self.fail(error.to_string()))?;
            if entries.first().map(|entry| entry.log_id.index) != Some(next) {
                return Err(self.fail(format!("its log does not hold entry {next}, which follows the snapshot")));
            }
            next += entries.len() as u64;
            self.replay(entries).await?;
        }
        Ok(())
    }

    async fn replay(&mut self, entries: Vec<RaftEntry>) -> Result<(), StartError> {
        self.machine.replay(entries).await.map_err(|error| self.fail(error.to_string()))
    }

    /// The newest that this folder knows of.
    async fn term(&self) -> Result<u64, StartError> {
        let mut store = self.store.clone();
        let vote = store.read_vote().await.map_err(|error| self.fail(error.to_string()))?;
        let applied = self.view.last().map_or(0, |id| id.committed_leader_id().term);
        Ok(applied.max(vote.map_or(0, |vote| vote.leader_id.term)))
    }

    fn fail(&self, reason: String) -> StartError {
        StartError::Group { group: self.group.clone(), reason }
    }
}

/// The same state, of a group in which nobody votes any more.
pub fn without_voters(image: &SnapshotImage) -> Result<SnapshotImage, String> {
    let meta = read_meta(image)?;
    let members = Membership::new(vec![BTreeSet::from([NOBODY])], BTreeMap::from([(NOBODY, BasicNode::default())]));
    let members = members.map_err(|error| error.to_string())?;
    let meta = SnapshotMeta { last_membership: StoredMembership::new(meta.last_log_id, members), last_log_id: meta.last_log_id };
    Ok(SnapshotImage::new(&codec::encode(&meta), &image.state()))
}

/// Where the snapshots of `group` lie.
pub fn folder(data: &Path, group: &GroupId) -> std::path::PathBuf {
    folder_of(data, group)
}
