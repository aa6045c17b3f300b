//! A gateway that was cut off comes back and disturbs nobody: it asks before it asks for votes.

use crate::climate::Climate;
use crate::load;
use crate::mesh::SimMesh;
use crate::play::on_virtual_time;
use crate::world::SimWorld;
use spalla::consensus::simulation::Mistake;
use std::sync::Arc;
use std::time::Duration;

/// Many elections long.
const CUT_FOR: Duration = Duration::from_secs(6);
/// For whatever the one that returns would do.
const BACK_FOR: Duration = Duration::from_secs(3);

/// The leader's terms, before one of its followers was cut off and after it came back.
fn terms(seed: u64, mistake: Mistake) -> (Option<u64>, Option<u64>) {
    on_virtual_time(seed, async move || {
        let climate = Climate { lost: 0, ..Climate::of(seed) };
        let world = Arc::new(SimWorld::new(seed, climate.clone(), false));
        let mesh = SimMesh::start(seed, &climate, mistake, world.clone()).await;
        load::prepare(&mesh).await;
        let Some(leader) = mesh.leader() else { return (None, None) };
        let before = leader.leads();
        let Some(cut) = mesh.nodes.iter().copied().find(|node| *node != leader.node) else { return (before, None) };
        let pairs = mesh.nodes.iter().filter(|node| **node != cut).flat_map(|node| [(cut, *node), (*node, cut)]);
        world.lock().cuts.extend(pairs);
        tokio::time::sleep(CUT_FOR).await;
        world.heal();
        tokio::time::sleep(BACK_FOR).await;
        (before, mesh.leader().and_then(|leader| leader.leads()))
    })
}

#[test]
fn a_gateway_that_was_cut_off_unseats_nobody() {
    for seed in 1..=2 {
        let (before, after) = terms(seed, Mistake::None);
        assert!(before.is_some() && before == after, "seed {seed}: {before:?}, then {after:?}");
    }
}

#[test]
fn it_would_where_everybody_says_yes_before_the_vote() {
    let (before, after) = terms(1, Mistake::PreVoteGranted);
    assert!(before.is_some() && before != after, "{before:?}, then {after:?}");
}
