//! All groups of this gateway, with what they share: the log, the connections, the mesh listener, and runtime threads of
//! their own, so that a flood of device messages cannot hold up a heartbeat.

#[cfg(test)]
use super::group::RaftGroup;
use super::host::{Host, WANTED_MAX};
use super::links::{Gateway, Links};
use super::log_store::LogStore;
use super::machine::Apply;
use super::place::{groups_in, region_of};
use super::plan::GroupPlan;
use super::registry::Registry;
use super::tuning::Tuning;
use super::wire::{self, Digest, To};
use super::{Failure, GroupRef, RecordSink};
use crate::storage::{Log, LogError, Meta, MetaError, SnapshotError};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use spalla_broker::rpc::{BindError, RpcError, Server, Service, Tls, TlsError};
use spalla_shared::id::{GroupId, NodeId};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

const WORKERS: usize = 2;
/// For the others to say whether they know this node, at its first start. Spent only where one of them is not there: who is slow to
/// answer may be the only one that knows.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// For tasks of the mesh to end when it stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

pub struct MeshConfig {
    pub node: NodeId,
    pub data: PathBuf,
    pub gateways: Vec<Gateway>,
    /// This gateway is among those with which the mesh began; one that joined later begins nothing.
    pub founds: bool,
    pub listen: SocketAddr,
    pub tls: Tls,
    pub tuning: Tuning,
    pub groups: Vec<GroupPlan>,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the mesh certificate is of node {found}, the config says node {expected}")]
    OtherCertificate { found: NodeId, expected: NodeId },
    #[error(
        "node {node} has been in this mesh before (node {peer} knows of its start number {boot}), but its folder is new: \
         what it once confirmed is lost, so it must rejoin under a node id that was never used: \
         `spalla mesh remove {node}` at another gateway, then `spalla mesh join` with an invitation"
    )]
    Wiped { node: NodeId, peer: NodeId, boot: u64 },
    #[error("group `{group}`: {reason}")]
    Group { group: GroupId, reason: String },
    #[error("runtime of the mesh: {0}")]
    Runtime(String),
}

pub struct Mesh {
    boot: u64,
    address: SocketAddr,
    pub(super) host: Arc<Host>,
    server: Mutex<Option<Server>>,
    runtime: Mutex<Option<Runtime>>,
    /// Keeps the folder for this process; the last to go.
    _meta: Meta,
}

impl Mesh {
    /// Opens the data folder, listens, and takes part in every group that has this node as a member. Records of applied
    /// entries go to `sink`. From any runtime.
    pub async fn start(config: MeshConfig, sink: Arc<dyn RecordSink>) -> Result<Self, StartError> {
        Self::start_with(config, spalla_shared::engine::apply, sink).await
    }

    pub(super) async fn start_with(config: MeshConfig, apply: Apply, sink: Arc<dyn RecordSink>) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("mesh")
            .enable_all()
            .build()
            .map_err(|error| StartError::Runtime(error.to_string()))?;
        let runtime = Guard(Some(runtime));
        let started = runtime.handle()?.spawn(start(config, apply, sink)).await;
        let (meta, host, server) = started.map_err(|error| StartError::Runtime(error.to_string()))??;
        Ok(Self {
            boot: meta.boot(),
            address: server.address(),
            host,
            server: Mutex::new(Some(server)),
            runtime: Mutex::new(runtime.keep()),
            _meta: meta,
        })
    }

    pub fn node(&self) -> NodeId {
        self.host.registry.node
    }

    /// Grows by one with each start of this gateway.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Where the mesh listener listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn group(&self, id: &GroupId) -> Option<GroupRef> {
        self.host.registry.group(id).map(|group| group as GroupRef)
    }

    #[cfg(test)]
    pub(super) fn raft_group(&self, id: &GroupId) -> Option<Arc<RaftGroup>> {
        self.host.registry.group(id)
    }

    pub fn groups(&self) -> Vec<GroupRef> {
        self.host.registry.groups.read().values().map(|group| group.clone() as GroupRef).collect()
    }

    /// Changes when a group was begun here: then [`groups`](Self::groups) has one more.
    pub fn begun(&self) -> watch::Receiver<u64> {
        self.host.begun.subscribe()
    }

    /// Becomes the reason for which this gateway must stop: its main then ends the process with it.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.host.failure.watch()
    }

    /// Answers calls whose method begins with `prefix`.
    pub fn register(&self, prefix: &str, service: Arc<dyn Service>) {
        self.host.registry.register(prefix, service);
    }

    /// Calls `method` at `node`, which may be this one.
    pub async fn call(&self, node: NodeId, method: &str, body: Bytes, timeout: Duration) -> Result<Bytes, RpcError> {
        if node == self.node() {
            let call = self.host.registry.call(node, method, body);
            return tokio::time::timeout(timeout, call).await.unwrap_or(Err(RpcError::Timeout));
        }
        let link = self.host.registry.links.to(node)?;
        self.host.registry.links.heed(link.calls.call(method, body, timeout).await)
    }

    /// The digest of a group's state at `node`, and the log index at which it stands there.
    pub async fn digest(&self, node: NodeId, group: &GroupId, timeout: Duration) -> Result<Digest, RpcError> {
        let body = wire::encode(&To { group: group.clone(), node, body: () });
        wire::decode(&self.call(node, wire::DIGEST, body, timeout).await?)
    }

    /// Stops taking part and closes the files. What is committed stays.
    pub async fn stop(self) {
        let groups: Vec<_> = self.host.registry.groups.read().values().cloned().collect();
        for group in groups {
            // It only says that the task had ended before.
            drop(group.core.raft.shutdown().await);
        }
        drop(tokio::task::spawn_blocking(move || drop(self)).await);
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.server.lock().take();
        end(self.runtime.lock().take());
        self.host.log.close();
    }
}

/// A runtime that may be dropped anywhere.
struct Guard(Option<Runtime>);

impl Guard {
    fn handle(&self) -> Result<tokio::runtime::Handle, StartError> {
        self.0.as_ref().map(|runtime| runtime.handle().clone()).ok_or_else(|| StartError::Runtime("gone".into()))
    }
    fn keep(mut self) -> Option<Runtime> {
        self.0.take()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        end(self.0.take());
    }
}

/// Waits for the tasks to end, on a thread of its own: a runtime must not be dropped on another's thread.
fn end(runtime: Option<Runtime>) {
    let Some(runtime) = runtime else { return };
    drop(std::thread::spawn(move || runtime.shutdown_timeout(STOP_TIMEOUT)).join());
}

type Started = (Meta, Arc<Host>, Server);

/// On the mesh's own runtime.
async fn start(config: MeshConfig, apply: Apply, sink: Arc<dyn RecordSink>) -> Result<Started, StartError> {
    let found = config.tls.node()?;
    if found != config.node {
        return Err(StartError::OtherCertificate { found, expected: config.node });
    }
    let meta = Meta::open(&config.data, config.node)?;
    let log = Arc::new(Log::open(&config.data.join("raft"))?);
    let links = Arc::new(Links::new(config.node, &config.gateways, &config.tls)?);
    let (wanted, wishes) = mpsc::channel(WANTED_MAX);
    let registry = Arc::new(Registry::new(config.node, links.clone(), wanted));
    let failure = Failure::new();
    tokio::spawn(pass_on(log.failure(), failure.clone()));
    let server = Server::bind(config.listen, &config.tls, registry.clone()).await?;
    refuse_wiped(&config, &log, &registry.links).await?;
    let host = Arc::new(Host {
        node: config.node,
        data: config.data.clone(),
        gateways: config.gateways,
        tuning: config.tuning,
        log,
        registry,
        failure,
        apply,
        sink,
        begun: watch::Sender::new(0),
    });
    // Where the mesh is there already, its log says how a building's group begins: it may have been there before as well.
    let is_new = LogStore::open(host.log.file(region_of(&GroupId::mesh())))?.is_pristine();
    for plan in config.groups.iter().filter(|plan| plan.has(config.node)) {
        let group = host.begin(&plan.id).await?;
        if config.founds && is_new && plan.voters.contains(&config.node) {
            host.initialise(plan, &group).await?;
        }
    }
    // Copies that this gateway came to hold since.
    for group in groups_in(&config.data) {
        if host.registry.group(&group).is_none() {
            host.begin(&group).await?;
        }
    }
    host.registry.whole.store(true, Ordering::Release);
    tokio::spawn(host.clone().heed_wishes(wishes));
    Ok((meta, host, server))
}

/// A gateway whose disk was wiped has forgotten its votes and entries; under its old id it could undo what a quorum confirmed.
/// Where nobody can be asked, the operator's word counts.
async fn refuse_wiped(config: &MeshConfig, log: &Log, links: &Links) -> Result<(), StartError> {
    let begun: Vec<&GroupPlan> = config.groups.iter().filter(|plan| plan.has(config.node)).collect();
    // One that failed before it had made a copy's first entry durable is not wiped: it has its other groups.
    for plan in &begun {
        if !LogStore::open(log.file(region_of(&plan.id)))?.is_pristine() {
            return Ok(());
        }
    }
    let asked =
        begun.into_iter().flat_map(|plan| config.gateways.iter().map(move |gateway| (plan, gateway.node))).filter_map(|(plan, peer)| {
            let link = links.to(peer).ok()?;
            let body = wire::encode(&To { group: plan.id.clone(), node: peer, body: () });
            Some(async move { (peer, links.heed(link.calls.call(wire::BOOT, body, ASK_TIMEOUT).await)) })
        });
    let mut answers: FuturesUnordered<_> = asked.collect();
    while let Some((peer, answer)) = answers.next().await {
        let boot: u64 = answer.and_then(|bytes| wire::decode(&bytes)).unwrap_or(0);
        if boot > 0 {
            return Err(StartError::Wiped { node: config.node, peer, boot });
        }
    }
    Ok(())
}

async fn pass_on(mut from: watch::Receiver<Option<String>>, failure: Failure) {
    while from.changed().await.is_ok() {
        let reason = from.borrow_and_update().clone();
        if let Some(reason) = reason {
            failure.set(reason);
        }
    }
}
