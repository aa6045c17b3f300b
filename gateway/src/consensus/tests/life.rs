//! A building's group that begins again at another gateway.

use super::super::Tuning;
use super::cluster::{Cluster, LONG, command, within};
use spalla_shared::id::{GroupId, NodeId};

/// Node 1 is lost, which voted alone in its building's group; node 3 has a copy.
async fn bereft() -> (Cluster, GroupId) {
    let mut cluster = Cluster::start(3, Tuning::default()).await;
    let id = GroupId::new("site:hq");
    let (voter, copy) = (cluster.running[&NodeId(1)].group(&id).unwrap(), cluster.running[&NodeId(3)].group(&id).unwrap());
    within(voter.leadership().wait_for(|now| now.is_self)).await.unwrap();
    cluster.admit(&id, 1, 3).await;
    for number in [101, 102] {
        within(voter.propose(command(number))).await.unwrap();
    }
    within(copy.applied().wait_for(|_| copy.state().read().nodes.len() == 2)).await.unwrap();
    drop((voter, copy));
    cluster.kill(1);
    cluster.running[&NodeId(2)].host.begin(&id).await.unwrap();
    (cluster, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buildings_group_goes_on_from_a_copy_with_numbers_that_were_never_given() {
    let (mut cluster, id) = bereft().await;
    let founder = cluster.gateways[1].clone();
    let begin = cluster.running[&NodeId(3)].begin_life(&id, 2, &founder, true, |known| known + (1 << 32), |state, _| state.life = 2);
    within(begin).await.unwrap();
    let group = cluster.running[&NodeId(2)].group(&id).unwrap();
    within(group.leadership().wait_for(|now| now.is_self)).await.unwrap();
    assert_eq!((group.state().read().life, group.state().read().nodes.len()), (2, 2));
    let receipt = within(group.propose(command(103))).await.unwrap();
    assert!(receipt.index > 1 << 32, "{receipt:?}");

    // What was a copy of the old life follows the new one.
    cluster.admit(&id, 2, 3).await;
    let copy = cluster.running[&NodeId(3)].group(&id).unwrap();
    within(copy.applied().wait_for(|applied| *applied >= receipt.index)).await.unwrap();
    assert_eq!((copy.state().read().life, copy.state().read().nodes.len()), (2, 3));
    drop((group, copy));

    // No settings name node 2 as one of this group's: its folder does.
    for node in [2, 3] {
        cluster.kill(node);
        cluster.run(node).await;
    }
    let group = cluster.running[&NodeId(2)].group(&id).unwrap();
    within(group.leadership().wait_for(|now| now.is_self)).await.unwrap();
    let receipt = within(group.propose(command(104))).await.unwrap();
    let copy = cluster.running[&NodeId(3)].group(&id).unwrap();
    within(copy.applied().wait_for(|applied| *applied >= receipt.index)).await.unwrap();
    let standing = within(cluster.running[&NodeId(3)].standings_at(NodeId(2), LONG)).await.unwrap();
    assert_eq!((standing[0].life, &*standing[0].voters), (2, &[std::collections::BTreeSet::from([NodeId(2)])][..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_knows_more_than_the_new_life_follows_it_all_the_same() {
    let (cluster, id) = bereft().await;
    let founder = cluster.gateways[1].clone();
    // From nothing, where the copy was out of reach when it was looked for.
    let begin = cluster.running[&NodeId(2)].begin_life(&id, 2, &founder, false, |_| 1 << 40, |state, _| state.life = 2);
    within(begin).await.unwrap();
    let group = cluster.running[&NodeId(2)].group(&id).unwrap();
    within(group.leadership().wait_for(|now| now.is_self)).await.unwrap();
    cluster.admit(&id, 2, 3).await;
    let receipt = within(group.propose(command(103))).await.unwrap();
    let copy = cluster.running[&NodeId(3)].group(&id).unwrap();
    within(copy.applied().wait_for(|applied| *applied >= receipt.index)).await.unwrap();
    assert_eq!(copy.state().read().nodes.keys().copied().collect::<Vec<_>>(), [NodeId(103)]);
    // No copy is taken back to a place that it has passed: openraft would panic.
    let known = cluster.running[&NodeId(2)].begin_life(&id, 3, &founder, false, |_| 7, |_, _| {}).await;
    assert!(known.unwrap_err().to_string().contains("another life's"));
    within(group.propose(command(104))).await.unwrap();
    let missing = cluster.running[&NodeId(2)].begin_life(&GroupId::new("site:none"), 2, &founder, true, |known| known, |_, _| {}).await;
    assert!(missing.unwrap_err().to_string().contains("no copy"));
}
