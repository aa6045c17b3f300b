//! The state machine in a simulation: the real [`Applier`], in line instead of on a thread, and snapshots on the simulated disk.

use super::disk::SimDisk;
use super::life::Life;
use super::{AppliedEntry, Mistake, SimTypes, World};
use crate::consensus::machine::{Applier, View, index_of, read_meta};
use crate::consensus::types::{LogId, Membership, Snapshot, SnapshotMeta};
use crate::storage::SnapshotImage;
use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use sha2::{Digest, Sha256};
use spalla_shared::codec;
use spalla_shared::engine::State;
use spalla_shared::id::NodeId;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Until an operating system writes a file to its disk that nobody asked it to; less than in truth, as a run is short.
const WRITE_BACK: Duration = Duration::from_secs(1);

pub struct SimMachine {
    pub node: NodeId,
    pub world: Arc<dyn World>,
    pub applier: Arc<Applier>,
    pub view: Arc<View>,
    pub disk: SimDisk,
    pub mistake: Mistake,
    /// Where the state stood before the newest entry.
    pub before: Option<LogId>,
}

impl SimMachine {
    /// Loads the newest snapshot of the disk.
    pub fn load(&self) -> Result<(), String> {
        let Some(image) = self.disk.snapshot() else { return Ok(()) };
        self.install(&read_meta(&image)?, &image)
    }

    fn install(&self, meta: &SnapshotMeta, image: &SnapshotImage) -> Result<(), String> {
        self.applier.install(meta, image)?;
        self.world.installed(self.node, index_of(meta));
        Ok(())
    }
}

/// The first 8 bytes of a SHA-256: enough to tell commands of one run apart.
pub fn digest(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl RaftStateMachine<SimTypes> for SimMachine {
    type SnapshotData = SnapshotImage;
    type SnapshotBuilder = SimBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Membership)> {
        Ok(self.view.position())
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<SimTypes>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let command = match &entry.payload {
                EntryPayload::Normal(proposal) => digest(&[&proposal.command.0, &proposal.at.0.to_be_bytes()]),
                EntryPayload::Blank | EntryPayload::Membership(_) => 0,
            };
            let (index, term) = (entry.log_id.index, entry.log_id.committed_leader_id().term);
            self.before = self.view.last();
            let mut reply = 0;
            let tell = |answer| {
                reply = digest(&[&codec::encode(&answer)]);
                if let Some(responder) = responder {
                    responder.send(answer);
                }
            };
            self.applier.apply(entry, tell).map_err(io::Error::other)?;
            self.world.applied(self.node, AppliedEntry { index, term, command, reply });
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SimBuilder {
        let (mut last, membership) = self.view.position();
        if self.mistake == Mistake::SnapshotBehind {
            last = self.before;
        }
        let meta = SnapshotMeta { last_log_id: last, last_membership: membership };
        SimBuilder { meta, state: self.view.state.read().clone(), disk: self.disk.clone(), mistake: self.mistake }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, image: SnapshotImage) -> io::Result<()> {
        self.disk.write_snapshot(image.clone()).await;
        self.install(meta, &image).map_err(io::Error::other)
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let Some(image) = self.disk.snapshot() else { return Ok(None) };
        let meta = read_meta(&image).map_err(io::Error::other)?;
        Ok(Some(Snapshot { meta, snapshot: image }))
    }
}

/// Writes one snapshot.
pub struct SimBuilder {
    meta: SnapshotMeta,
    state: State,
    disk: SimDisk,
    mistake: Mistake,
}

impl RaftSnapshotBuilder<SimTypes> for SimBuilder {
    type SnapshotData = SnapshotImage;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let image = SnapshotImage::new(&codec::encode(&self.meta), &codec::encode(&self.state));
        if self.mistake == Mistake::PurgedTooEarly {
            let (disk, image) = (self.disk.clone(), image.clone());
            Life::current().spawn(async move {
                tokio::time::sleep(WRITE_BACK).await;
                disk.write_snapshot(image).await;
            });
        } else {
            self.disk.write_snapshot(image.clone()).await;
        }
        Ok(Snapshot { meta: self.meta.clone(), snapshot: image })
    }
}
