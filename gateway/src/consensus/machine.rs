//! The state machine: feeds committed entries to `engine::apply` on a thread of its own, with a stack deep enough for
//! any expression, and takes snapshots of the state that comes out.
//!
//! The state is volatile: a restart loads the newest snapshot and applies the log behind it again.

use super::log_store::payload_len;
use super::types::{Answer, LogId, Membership, RaftEntry, Snapshot, SnapshotMeta, Types};
use super::{Failure, RecordSink};
use crate::storage::{SnapshotError, SnapshotFolder, SnapshotImage};
use futures::{Stream, TryStreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::{Mutex, RwLock};
use spalla_broker::clock::Steady;
use spalla_shared::codec;
use spalla_shared::engine::{Applied, Command, Entry, State};
use spalla_shared::id::GroupId;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Expressions recurse to a bounded depth; this holds the deepest with room to spare.
const STACK_LEN: usize = 32 * 1024 * 1024;
/// Entries handed to the thread at once.
const BATCH_MAX: usize = 256;
/// Batches on their way to the thread. Openraft waits for each, so one would do.
const QUEUE_MAX: usize = 4;
/// A backup that does not let go must not stop the group for longer: an election takes about as long.
const HOLD_TIME_MAX: Duration = Duration::from_secs(1);

/// While the clocks of those who lead are behind the log, its time goes on at this pace, until they have caught up: an hour takes
/// ten. Deadlines are longer by a ninth in that time, at most.
const CARRIED_PACE_TENTHS: u32 = 9;

/// [`spalla_shared::engine::apply`], or a test's own.
pub type Apply = fn(&mut State, &Entry) -> Applied;

/// What everyone but the applying thread sees.
pub struct View {
    pub state: RwLock<State>,
    /// Where in the log `state` stands. Held while an entry is applied; lock it before `state`.
    position: Mutex<Position>,
    applied: watch::Sender<u64>,
    /// The state's clock, carried on between two entries.
    pub clock: Steady,
    /// Log bytes applied since the newest snapshot.
    pub log_len: AtomicU64,
    /// Weak: the thread ends with the machine.
    jobs: mpsc::WeakSender<Job>,
}

#[derive(Clone, Default)]
struct Position {
    last: Option<LogId>,
    membership: Membership,
}

impl View {
    /// Index of the newest applied entry, those without a command included.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// The state and the log index at which it stands.
    pub fn copy(&self) -> (u64, State) {
        let position = self.position.lock();
        (position.last.as_ref().map_or(0, |id| id.index), self.state.read().clone())
    }

    pub(super) fn position(&self) -> (Option<LogId>, Membership) {
        let position = self.position.lock().clone();
        (position.last, position.membership)
    }

    /// The newest applied entry, and what stands in the state then.
    pub fn last_and<T>(&self, read: impl FnOnce(&State) -> T) -> (Option<LogId>, T) {
        let position = self.position.lock();
        (position.last, read(&self.state.read()))
    }

    /// The newest applied entry.
    pub fn last(&self) -> Option<LogId> {
        self.position.lock().last
    }

    /// Lets the applying thread stand still between two entries, for a moment. None where it has ended.
    pub async fn hold(&self) -> Option<Held> {
        let (tell, told) = oneshot::channel();
        let (release, released) = std::sync::mpsc::channel();
        self.jobs.upgrade()?.send(Job::Hold(tell, released)).await.ok()?;
        let (meta, state) = told.await.ok()?;
        Some(Held { meta, state, release })
    }
}

/// A group that stands still, and a copy of it.
pub struct Held {
    meta: SnapshotMeta,
    state: State,
    release: std::sync::mpsc::Sender<()>,
}

impl Held {
    /// It goes on. None where it did already: it was held for too long.
    pub fn release(self) -> Option<(SnapshotMeta, State)> {
        self.release.send(()).ok()?;
        Some((self.meta, self.state))
    }
}

pub struct Machine {
    view: Arc<View>,
    group: GroupId,
    jobs: mpsc::Sender<Job>,
    folder: SnapshotFolder,
    sink: Arc<dyn RecordSink>,
}

type Item = (RaftEntry, Option<ApplyResponder<Types>>);

enum Job {
    Apply(Vec<Item>, oneshot::Sender<Result<(), String>>),
    Install(SnapshotMeta, SnapshotImage, oneshot::Sender<Result<(), String>>),
    Hold(oneshot::Sender<(SnapshotMeta, State)>, std::sync::mpsc::Receiver<()>),
}

impl Machine {
    /// Loads the newest snapshot of `folder`. Blocks.
    pub fn open(
        group: GroupId,
        folder: SnapshotFolder,
        apply: Apply,
        sink: Arc<dyn RecordSink>,
        failure: Failure,
    ) -> Result<(Self, Arc<View>), SnapshotError> {
        let (jobs, waiting) = mpsc::channel(QUEUE_MAX);
        let (applier, view) = Applier::new(group.clone(), apply, sink.clone(), failure, jobs.downgrade());
        let newest = folder.newest()?;
        let thread = std::thread::Builder::new().name(format!("apply {group}")).stack_size(STACK_LEN);
        let (tell, loaded) = std::sync::mpsc::channel();
        let spawned = thread.spawn(move || {
            let result = newest.map_or(Ok(()), |image| read_meta(&image).and_then(|meta| applier.install(&meta, &image)));
            let good = result.is_ok();
            drop(tell.send(result));
            if good {
                applier.run(waiting);
            }
        });
        let result = match spawned {
            Ok(_) => loaded.recv().unwrap_or_else(|_| Err("loading it panicked".into())),
            Err(error) => Err(format!("no thread to load it: {error}")),
        };
        result.map_err(|reason| folder.unusable(reason))?;
        Ok((Self { view: view.clone(), group, jobs, folder, sink }, view))
    }

    /// Applies entries that nobody waits for.
    pub async fn replay(&self, entries: Vec<RaftEntry>) -> io::Result<()> {
        let items = entries.into_iter().map(|entry| (entry, None)).collect();
        self.job(|tell| Job::Apply(items, tell)).await
    }

    async fn job(&self, job: impl FnOnce(oneshot::Sender<Result<(), String>>) -> Job) -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        let gone = || io::Error::other("the applying thread has ended");
        self.jobs.send(job(tell)).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?.map_err(io::Error::other)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotImage;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Membership)> {
        Ok(self.view.position())
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.try_chunks(BATCH_MAX);
        while let Some(batch) = batches.try_next().await.map_err(|error| error.1)? {
            self.job(|tell| Job::Apply(batch, tell)).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // Openraft asks between two applies, so that state and position belong together.
        let position = self.view.position.lock();
        self.view.log_len.store(0, Ordering::Relaxed);
        Builder {
            meta: SnapshotMeta { last_log_id: position.last, last_membership: position.membership.clone() },
            state: Some(self.view.state.read().clone()),
            group: self.group.clone(),
            folder: self.folder.clone(),
            sink: self.sink.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, image: SnapshotImage) -> io::Result<()> {
        let (folder, kept, index) = (self.folder.clone(), image.clone(), index_of(meta));
        let written = tokio::task::spawn_blocking(move || folder.write(index, &kept)).await;
        written.map_err(io::Error::other)?.map_err(io::Error::other)?;
        self.job(|tell| Job::Install(meta.clone(), image, tell)).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let folder = self.folder.clone();
        let newest = tokio::task::spawn_blocking(move || folder.newest()).await.map_err(io::Error::other)?;
        let Some(image) = newest.map_err(io::Error::other)? else { return Ok(None) };
        let meta = read_meta(&image).map_err(io::Error::other)?;
        Ok(Some(Snapshot { meta, snapshot: image }))
    }
}

/// Writes one snapshot, on a thread that nothing waits for.
pub struct Builder {
    meta: SnapshotMeta,
    state: Option<State>,
    group: GroupId,
    folder: SnapshotFolder,
    sink: Arc<dyn RecordSink>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotImage;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let state = self.state.take().ok_or_else(|| io::Error::other("a builder builds once"))?;
        let (meta, group, folder, sink) = (self.meta.clone(), self.group.clone(), self.folder.clone(), self.sink.clone());
        let (tell, told) = oneshot::channel();
        let build = move || {
            let index = index_of(&meta);
            // Behind a snapshot the log may be purged: what history derives from it must be safe first.
            let result = sink.flush(&group, index).map_err(|reason| format!("history cannot be made durable: {reason}")).and_then(|()| {
                let image = SnapshotImage::new(&codec::encode(&meta), &codec::encode(&state));
                folder.write(index, &image).map_err(|error| error.to_string())?;
                Ok(Snapshot { meta, snapshot: image })
            });
            drop(tell.send(result));
        };
        std::thread::Builder::new().name(format!("snapshot {}", self.group)).stack_size(STACK_LEN).spawn(build)?;
        told.await.map_err(|_| io::Error::other("writing the snapshot panicked"))?.map_err(io::Error::other)
    }
}

pub(super) struct Applier {
    view: Arc<View>,
    group: GroupId,
    apply: Apply,
    sink: Arc<dyn RecordSink>,
    failure: Failure,
}

impl Applier {
    fn new(group: GroupId, apply: Apply, sink: Arc<dyn RecordSink>, failure: Failure, jobs: mpsc::WeakSender<Job>) -> (Self, Arc<View>) {
        let view = Arc::new(View {
            state: RwLock::new(State::new(group.clone())),
            position: Mutex::default(),
            applied: watch::Sender::new(0),
            clock: Steady::new(CARRIED_PACE_TENTHS),
            log_len: AtomicU64::new(0),
            jobs,
        });
        (Self { view: view.clone(), group, apply, sink, failure }, view)
    }

    /// Without a thread: whoever holds it applies.
    #[cfg(feature = "simulation")]
    pub(super) fn apart(group: GroupId, apply: Apply, sink: Arc<dyn RecordSink>, failure: Failure) -> (Self, Arc<View>) {
        Self::new(group, apply, sink, failure, mpsc::channel(QUEUE_MAX).0.downgrade())
    }

    fn run(self, mut waiting: mpsc::Receiver<Job>) {
        while let Some(job) = waiting.blocking_recv() {
            let (result, tell) = match job {
                Job::Apply(items, tell) => (
                    items.into_iter().try_for_each(|(entry, responder)| {
                        self.apply(entry, |answer| {
                            if let Some(responder) = responder {
                                responder.send(answer);
                            }
                        })
                    }),
                    tell,
                ),
                Job::Install(meta, image, tell) => (self.install(&meta, &image), tell),
                Job::Hold(tell, released) => {
                    self.hold(tell, &released);
                    continue;
                }
            };
            let failed = result.is_err();
            if let Err(reason) = &result {
                self.failure.set(format!("group `{}`: {reason}", self.group));
            }
            drop(tell.send(result));
            if failed {
                return;
            }
        }
    }

    /// `tell` hears the answer once everyone can see what it speaks of.
    pub(super) fn apply(&self, entry: RaftEntry, tell: impl FnOnce(Answer)) -> Result<(), String> {
        let (index, len) = (entry.log_id.index, payload_len(&entry) as u64);
        let mut position = self.view.position.lock();
        let (answer, records) = match entry.payload {
            EntryPayload::Blank => Default::default(),
            EntryPayload::Membership(membership) => {
                position.membership = Membership::new(Some(entry.log_id), membership);
                Default::default()
            }
            EntryPayload::Normal(proposal) => {
                let command: Command =
                    codec::decode(&proposal.command.0).map_err(|error| format!("log entry {index} cannot be read: {error}"))?;
                let entry = Entry { index, at: proposal.at, command };
                let mut state = self.view.state.write();
                // It must not panic; if it does, the state is half changed and nobody may see more of it.
                let applied = catch_unwind(AssertUnwindSafe(|| (self.apply)(&mut state, &entry)));
                self.view.clock.see(state.clock, Instant::now());
                let applied = applied.map_err(|_| format!("log entry {index} made the engine panic"))?;
                state.known_semantics().map_err(|reason| format!("log entry {index}: {reason}"))?;
                (Answer(Some((proposal.at, applied.reply))), applied.records)
            }
        };
        position.last = Some(entry.log_id);
        drop(position);
        self.view.log_len.fetch_add(len, Ordering::Relaxed);
        self.view.applied.send_replace(index);
        tell(answer);
        // Also where there are none: history tells how far it reaches.
        self.sink.take(&self.group, index, records);
        Ok(())
    }

    fn hold(&self, tell: oneshot::Sender<(SnapshotMeta, State)>, released: &std::sync::mpsc::Receiver<()>) {
        let position = self.view.position.lock().clone();
        let meta = SnapshotMeta { last_log_id: position.last, last_membership: position.membership };
        let state = self.view.state.read().clone();
        if tell.send((meta, state)).is_ok() {
            // Also ends when the other end is dropped.
            let _ = released.recv_timeout(HOLD_TIME_MAX);
        }
    }

    pub(super) fn install(&self, meta: &SnapshotMeta, image: &SnapshotImage) -> Result<(), String> {
        let mut state: State = codec::decode(&image.state()).map_err(|error| format!("the state in it cannot be read: {error}"))?;
        if state.group != self.group {
            return Err(format!("it is of group `{}`, not `{}`", state.group, self.group));
        }
        state.rebuild_plans()?;
        // Before anyone sees the state, and so before any record of what comes next.
        self.sink.carried(&self.group, index_of(meta), &state.audit, state.fork);
        let mut position = self.view.position.lock();
        self.view.clock.see(state.clock, Instant::now());
        *self.view.state.write() = state;
        *position = Position { last: meta.last_log_id, membership: meta.last_membership.clone() };
        drop(position);
        self.view.log_len.store(0, Ordering::Relaxed);
        self.view.applied.send_replace(index_of(meta));
        Ok(())
    }
}

pub(super) fn index_of(meta: &SnapshotMeta) -> u64 {
    meta.last_log_id.as_ref().map_or(0, |id| id.index)
}

pub fn read_meta(image: &SnapshotImage) -> Result<SnapshotMeta, String> {
    codec::decode(&image.meta()).map_err(|error| format!("its head cannot be read: {error}"))
}
