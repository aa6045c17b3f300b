//! The gateways of one run with their disks: started, crashed, found.

use crate::climate::Climate;
use crate::history::Told;
use crate::world::SimWorld;
use spalla::consensus::simulation::{Mistake, SimDisk, SimGateway, Site, World};
use spalla_shared::engine::{Accepted, Command, Reply};
use spalla_shared::id::NodeId;
use spalla_shared::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

const START: i64 = 1_795_424_400_000;
/// As in `propose.rs`.
const TIMEOUT: Duration = Duration::from_millis(2_800);
/// Before a leader is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

pub struct SimMesh {
    pub world: Arc<SimWorld>,
    pub nodes: Vec<NodeId>,
    site: Site,
    disks: BTreeMap<NodeId, SimDisk>,
    skews_ms: BTreeMap<NodeId, i64>,
    running: Mutex<BTreeMap<NodeId, SimGateway>>,
    dice: Mutex<fastrand::Rng>,
    over: AtomicBool,
}

impl SimMesh {
    pub async fn start(seed: u64, climate: &Climate, mistake: Mistake, world: Arc<SimWorld>) -> Self {
        let nodes: Vec<NodeId> = (1..=climate.gateways).map(NodeId).collect();
        let site = Site {
            voters: nodes.clone(),
            tuning: climate.tuning,
            apply: spalla_shared::engine::apply,
            world: world.clone(),
            mistake,
            peers: Default::default(),
        };
        let mut dice = fastrand::Rng::with_seed(seed ^ 0x3E54);
        let seen: Arc<dyn World> = world.clone();
        let disks = nodes.iter().map(|node| (*node, SimDisk::new(*node, seen.clone(), mistake))).collect();
        let skews_ms = nodes.iter().map(|node| (*node, dice.i64(-climate.skew_ms..=climate.skew_ms))).collect();
        let mesh =
            Self { world, nodes, site, disks, skews_ms, running: Mutex::default(), dice: Mutex::new(dice), over: AtomicBool::new(false) };
        for node in mesh.nodes.clone() {
            mesh.boot(node).await;
        }
        mesh
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<NodeId, SimGateway>> {
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Starts a gateway that is down, from its disk.
    pub async fn boot(&self, node: NodeId) {
        self.world.note(format!("{node} starts"));
        self.world.lock().history.started(node);
        match SimGateway::start(&self.site, &self.disks[&node], node).await {
            Ok(gateway) => drop(self.running().insert(node, gateway)),
            Err(reason) => self.world.broke(node, format!("it does not start: {reason}")),
        }
    }

    /// False where it is down already, or starts just now: whoever took it down brings it back.
    pub fn crash(&self, node: NodeId) -> bool {
        let Some(gateway) = self.running().remove(&node) else { return false };
        self.world.note(format!("{node} crashes"));
        self.world.lock().history.crashes += 1;
        gateway.crash();
        true
    }

    pub fn gateway(&self, node: NodeId) -> Option<SimGateway> {
        self.running().get(&node).cloned()
    }

    pub fn gateways(&self) -> Vec<SimGateway> {
        self.running().values().cloned().collect()
    }

    /// Any of those that lead and believe that they have a quorum: there may be two for a moment.
    pub fn leader(&self) -> Option<SimGateway> {
        let leaders: Vec<SimGateway> = self.gateways().into_iter().filter(|gateway| gateway.leads().is_some()).collect();
        self.dice.lock().unwrap_or_else(std::sync::PoisonError::into_inner).choice(leaders)
    }

    /// By the clock of `node`.
    fn now(&self, node: NodeId) -> Timestamp {
        let since = i64::try_from(self.world.now_us() / 1000).unwrap_or(i64::MAX);
        Timestamp(START + since + self.skews_ms.get(&node).copied().unwrap_or(0))
    }

    /// Once, at who leads now. None: nobody knows whether it was carried out, or it was not.
    pub async fn propose(&self, what: &str, command: &Command) -> Option<Option<Reply>> {
        let Some(gateway) = self.leader() else {
            tokio::time::sleep(LOOK_AGAIN).await;
            return None;
        };
        let at = self.now(gateway.node);
        match tokio::time::timeout(TIMEOUT, gateway.propose(command, at)).await {
            Ok(Ok(wrote)) => {
                let index = wrote.receipt.as_ref().map(|receipt| receipt.index);
                self.world.note(format!("{what} was told by {} of {:?}", gateway.node, index));
                self.world.lock().history.told.push(Told { what: what.to_owned(), command: wrote.command, index });
                Some(wrote.receipt.map(|receipt| receipt.reply))
            }
            Ok(Err(_)) | Err(_) => {
                tokio::time::sleep(LOOK_AGAIN).await;
                None
            }
        }
    }

    /// Again and again, with the same key, until someone is told or the run is over.
    pub async fn insist(&self, what: &str, command: &Command) -> Option<Reply> {
        while !self.is_over() {
            if let Some(reply) = self.propose(what, command).await {
                return Some(reply.unwrap_or(Ok(Accepted::Nothing)));
            }
        }
        None
    }

    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Nobody proposes any more.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}
