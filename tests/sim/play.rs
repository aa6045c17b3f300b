//! One run, from an empty mesh to the end, where it was left alone and must be whole again.

use crate::climate::Climate;
use crate::history::History;
use crate::mesh::SimMesh;
use crate::world::SimWorld;
use crate::{faults, invariants, load, resources};
use spalla::consensus::simulation::{Mistake, throw_dice_from};
use spalla_shared::id::NodeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Applying recurses to a bounded depth; in a gateway it has a thread with such a stack.
const STACK_LEN: usize = 64 * 1024 * 1024;
/// Virtual time in which a healed mesh must do something, and then be level.
const HEALED_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub struct Played {
    pub seed: u64,
    pub mistake: Mistake,
    pub climate: Climate,
    pub history: History,
}

/// One seed gives one run.
pub fn play(seed: u64, mistake: Mistake, show: bool) -> Played {
    let climate = Climate::of(seed);
    let there = climate.clone();
    let history = on_virtual_time(seed, async move || played(seed, &there, mistake, show).await);
    Played { seed, mistake, climate, history }
}

/// In a thread of its own, where time passes only while everybody waits, and the dice fall as `seed` says.
pub fn on_virtual_time<T: Send + 'static>(seed: u64, run: impl AsyncFnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().name(format!("seed {seed}")).stack_size(STACK_LEN);
    let run = move || {
        throw_dice_from(seed.wrapping_mul(0x2545_F491_4F6C_DD1D));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        runtime.block_on(run())
    };
    thread.spawn(run).expect("a thread").join().expect("a run does not panic")
}

async fn played(seed: u64, climate: &Climate, mistake: Mistake, show: bool) -> History {
    let world = Arc::new(SimWorld::new(seed, climate.clone(), show));
    world.note(format!("{climate:?}"));
    let mesh = Arc::new(SimMesh::start(seed, climate, mistake, world.clone()).await);
    if tokio::time::timeout(HEALED_MAX, load::prepare(&mesh)).await.is_err() {
        stuck(&mesh, "it never began");
        return world.take_history();
    }
    let tasks = load::start(&mesh, seed, climate.clients);
    faults::storm(&mesh, seed, climate).await;
    world.note("left alone".to_owned());
    world.heal();
    if !world.lock().history.is_lost() {
        let healed = resources::arrived("healed", NodeId(1));
        if tokio::time::timeout(HEALED_MAX, mesh.insist("healed", &healed)).await.is_err() {
            stuck(&mesh, "it does not go on");
        }
    }
    mesh.end();
    for task in tasks {
        drop(tokio::time::timeout(HEALED_MAX, task).await);
    }
    if !world.lock().history.is_lost() {
        let last = resources::arrived("last", NodeId(1));
        let deadline = Instant::now() + HEALED_MAX;
        while mesh.propose("last", &last).await.is_none() && Instant::now() < deadline {}
        level(&mesh, deadline).await;
    }
    world.take_history()
}

/// Waits until all gateways have applied the same, and notes how they ended.
async fn level(mesh: &SimMesh, deadline: Instant) {
    loop {
        let gateways = mesh.gateways();
        let ends: Vec<_> = gateways.iter().map(|gateway| (gateway.node, gateway.stands())).collect();
        let level = ends.len() == mesh.nodes.len() && ends.iter().all(|(_, end)| end.0 == ends[0].1.0);
        if level || Instant::now() >= deadline {
            if !level {
                stuck(mesh, "it does not become level");
            }
            for (node, (index, digest)) in &ends {
                mesh.world.note(format!("{node} ends at {index} with {digest}"));
            }
            mesh.world.lock().history.ends = ends.into_iter().collect();
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn stuck(mesh: &SimMesh, what: &str) {
    let gateways: Vec<String> = mesh.gateways().iter().map(|gateway| gateway.describe()).collect();
    mesh.world.lock().history.stuck.get_or_insert(format!("{what}:\n{}", gateways.join("\n")));
}

impl Played {
    /// What does not hold, in words.
    pub fn broken(&self) -> Vec<String> {
        invariants::ALL.iter().filter_map(|(name, check)| check(&self.history).err().map(|reason| format!("{name}: {reason}"))).collect()
    }

    /// For whoever must find out why.
    pub fn report(&self) -> String {
        let newest: Vec<&str> = self.history.lines.iter().map(String::as_str).collect();
        let mistake = crate::mistakes::name(self.mistake).map(|name| format!("SIM_MISTAKE={name} ")).unwrap_or_default();
        format!(
            "{}\nseed {}: broken:\n{}\n{:?}\nagain: {mistake}SIM_SEED={} cargo test -p spalla-tests --test sim seeds::seeds -- --nocapture",
            newest.join("\n"),
            self.seed,
            self.broken().join("\n"),
            self.climate,
            self.seed
        )
    }
}
