//! What goes wrong in one run, drawn from its seed. Everything ends by itself: a crashed gateway restarts, a cut heals.

use crate::climate::{Climate, spread};
use crate::mesh::SimMesh;
use spalla_shared::id::NodeId;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Between two faults, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 10..500;
/// Until a crashed gateway is back. Short ones come before anybody else asks for votes.
const DOWN_MS: std::ops::Range<u64> = 1..1_500;
const CUT_MS: std::ops::Range<u64> = 30..1_500;
/// How much slower a slow disk is.
const SLOW_DISK: std::ops::Range<u64> = 5..60;
/// Of 1,000 messages, on bad roads.
const LOST: std::ops::Range<u64> = 20..400;

/// Comes back when all gateways run again.
pub async fn storm(mesh: &Arc<SimMesh>, seed: u64, climate: &Climate) {
    let mut dice = fastrand::Rng::with_seed(seed ^ 0x0057_0123);
    let end = Instant::now() + climate.faults_for;
    let mut repairs: Vec<JoinHandle<()>> = Vec::new();
    while Instant::now() < end && !mesh.world.lock().history.is_lost() {
        tokio::time::sleep(Duration::from_millis(spread(&mut dice, PAUSE_MS))).await;
        match dice.u8(..100) {
            0..35 => {
                let victim = victim(mesh, &mut dice);
                repairs.extend(crash(mesh, victim, &mut dice));
            }
            35..52 => {
                // All at once, each back in its own time.
                let mut nodes = mesh.nodes.clone();
                dice.shuffle(&mut nodes);
                nodes.truncate(dice.usize(2..=mesh.nodes.len()));
                repairs.extend(nodes.into_iter().filter_map(|node| crash(mesh, node, &mut dice)));
            }
            52..62 => {
                let victim = victim(mesh, &mut dice);
                let pairs = others(mesh, victim).flat_map(|other| [(victim, other), (other, victim)]).collect();
                repairs.push(cut(mesh, pairs, &mut dice));
            }
            62..70 => {
                // It hears and is not heard, or the other way round.
                let victim = victim(mesh, &mut dice);
                let deaf = dice.bool();
                let pairs = others(mesh, victim).map(|other| if deaf { (other, victim) } else { (victim, other) }).collect();
                repairs.push(cut(mesh, pairs, &mut dice));
            }
            70..78 => {
                let mut nodes = mesh.nodes.clone();
                dice.shuffle(&mut nodes);
                let (one, other) = nodes.split_at(nodes.len() / 2);
                let pairs = one.iter().flat_map(|a| other.iter().flat_map(|b| [(*a, *b), (*b, *a)])).collect();
                repairs.push(cut(mesh, pairs, &mut dice));
            }
            78..90 => slow_disk(mesh, &mut dice),
            90..96 => {
                let lost = dice.u64(LOST);
                mesh.world.note(format!("{lost} of 1,000 messages are lost"));
                mesh.world.lock().lost = lost;
            }
            _ => {
                mesh.world.note("everything heals".to_owned());
                mesh.world.heal();
            }
        }
    }
    for repair in repairs {
        drop(repair.await);
    }
}

/// Rather the leader than another.
fn victim(mesh: &SimMesh, dice: &mut fastrand::Rng) -> NodeId {
    let leader = mesh.leader().filter(|_| dice.u8(..10) < 6).map(|gateway| gateway.node);
    leader.or_else(|| dice.choice(&mesh.nodes).copied()).unwrap_or(NodeId(1))
}

fn others(mesh: &SimMesh, node: NodeId) -> impl Iterator<Item = NodeId> {
    mesh.nodes.clone().into_iter().filter(move |other| *other != node)
}

fn crash(mesh: &Arc<SimMesh>, node: NodeId, dice: &mut fastrand::Rng) -> Option<JoinHandle<()>> {
    let down = Duration::from_millis(spread(dice, DOWN_MS));
    if !mesh.crash(node) {
        return None;
    }
    let mesh = mesh.clone();
    Some(tokio::spawn(async move {
        tokio::time::sleep(down).await;
        mesh.boot(node).await;
    }))
}

fn cut(mesh: &Arc<SimMesh>, pairs: Vec<(NodeId, NodeId)>, dice: &mut fastrand::Rng) -> JoinHandle<()> {
    let named: Vec<String> = pairs.iter().map(|(from, to)| format!("{from}>{to}")).collect();
    mesh.world.note(format!("cut: {}", named.join(" ")));
    mesh.world.lock().cuts.extend(pairs.iter().copied());
    let (world, time) = (mesh.world.clone(), Duration::from_millis(spread(dice, CUT_MS)));
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        world.note(format!("healed: {}", named.join(" ")));
        let mut inner = world.lock();
        for pair in pairs {
            inner.cuts.remove(&pair);
        }
    })
}

fn slow_disk(mesh: &SimMesh, dice: &mut fastrand::Rng) {
    let (node, factor) = (victim(mesh, dice), dice.u64(SLOW_DISK));
    mesh.world.note(format!("the disk of {node} is {factor} times slower"));
    mesh.world.lock().slow_disks.insert(node, factor);
}
