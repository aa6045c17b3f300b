//! Who asks the mesh for something: clients at whoever leads, the doors at each gateway, and the clock.

use crate::mesh::SimMesh;
use crate::resources;
use spalla_shared::engine::effect::{EffectClass, Place};
use spalla_shared::engine::{Accepted, Command, Outcome, Reply};
use spalla_shared::id::{EffectId, NodeId};
use spalla_shared::value::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Between two looks of a door's gateway at what it must do.
const DOORS_EVERY: Duration = Duration::from_millis(30);
const TIMERS_EVERY: Duration = Duration::from_millis(400);
/// What one client waits between two commands, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 1..80;

/// Deploys, and lets the doors connect. Comes back when all of it is told.
pub async fn prepare(mesh: &SimMesh) {
    mesh.insist("deploy", &resources::deploy(&mesh.nodes)).await;
    for node in &mesh.nodes {
        mesh.insist("node-up", &resources::node_up(*node, 1)).await;
        mesh.insist("presence", &resources::door_came(*node, 1)).await;
    }
}

pub fn start(mesh: &Arc<SimMesh>, seed: u64, clients: u64) -> Vec<JoinHandle<()>> {
    let visitors = (1..=clients).map(|number| tokio::spawn(client(mesh.clone(), number, seed)));
    let mut tasks: Vec<JoinHandle<()>> = visitors.collect();
    tasks.extend(mesh.nodes.iter().map(|node| tokio::spawn(doors(mesh.clone(), *node))));
    tasks.push(tokio::spawn(clock(mesh.clone())));
    tasks
}

async fn client(mesh: Arc<SimMesh>, number: u64, seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed ^ (number << 32));
    let mut count = 0;
    while !mesh.is_over() {
        count += 1;
        let id = format!("visit-{number}-{count}");
        let at = *dice.choice(&mesh.nodes).unwrap_or(&NodeId(1));
        mesh.insist(&id, &resources::arrived(&id, at)).await;
        tokio::time::sleep(Duration::from_millis(dice.u64(PAUSE_MS))).await;
    }
}

/// As an executor does: asks for the one attempt, opens when it is granted, and says that it is done.
async fn doors(mesh: Arc<SimMesh>, node: NodeId) {
    // An answer that did not come is asked for again; one that came is final.
    let mut answered: BTreeSet<EffectId> = BTreeSet::new();
    while !mesh.is_over() {
        tokio::time::sleep(DOORS_EVERY).await;
        for effect in openings(&mesh, node, &answered) {
            let Some(Some(reply)) = mesh.propose("attempt", &Command::EffectAttempt { effect, node }).await else { continue };
            answered.insert(effect);
            if granted(&mesh, effect, node, &reply) {
                let outcome = Outcome::Done { output: Value::object([("status", Value::from("done"))]) };
                let done = Command::EffectDone { effect, outcome, node };
                tokio::spawn({
                    let mesh = mesh.clone();
                    async move { drop(mesh.insist("done", &done).await) }
                });
            }
        }
    }
}

fn granted(mesh: &SimMesh, effect: EffectId, node: NodeId, reply: &Reply) -> bool {
    let granted = *reply == Ok(Accepted::AttemptGranted);
    if granted {
        mesh.world.note(format!("{node} opens for {effect:?}"));
        mesh.world.lock().history.granted.entry(effect).or_default().push(node);
    }
    granted
}

fn openings(mesh: &SimMesh, node: NodeId, answered: &BTreeSet<EffectId>) -> Vec<EffectId> {
    let Some(gateway) = mesh.gateway(node) else { return Vec::new() };
    let state = gateway.state().read();
    let open = state.effects.values().filter(|effect| {
        effect.class == EffectClass::Opening
            && effect.attempt.is_none()
            && effect.place(&state) == Place::Node(node)
            && !answered.contains(&effect.id)
    });
    open.map(|effect| effect.id).collect()
}

async fn clock(mesh: Arc<SimMesh>) {
    while !mesh.is_over() {
        tokio::time::sleep(TIMERS_EVERY).await;
        mesh.propose("timers", &Command::TimersDue).await;
    }
}
