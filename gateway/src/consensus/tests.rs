//! Gateways in one process, with real sockets, certificates and files. Times are only bounds against hanging.

mod cluster;
mod life;

use super::log_store::LogStore;
use super::machine::Machine;
use super::types::Types;
use super::{Failure, ProposeError, StartError, Tuning};
use crate::storage::{Log, SnapshotFolder};
use cluster::{Cluster, Sink, apply, command, named, within};
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use spalla_shared::engine::Command;
use spalla_shared::id::{GroupId, NodeId};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_agree_lose_one_and_take_it_back() {
    let mut cluster = Cluster::start(3, Tuning::default()).await;
    let follower = cluster.other(cluster.leader().await);

    let receipt = cluster.propose(follower, command(101)).await;
    // What its own gateway was told is done, it sees.
    assert!(cluster.group(follower).state().read().nodes.contains_key(&NodeId(101)));
    assert_eq!(cluster.group(follower).state().read().nodes[&NodeId(101)].up_at, receipt.at);
    cluster.agree(receipt.index).await;
    let (leader, term) = within(cluster.heard_leader()).await;
    assert_eq!(cluster.group(leader).members().iter().filter(|member| member.voter).count(), 3);

    cluster.kill(leader);
    let follower = cluster.other(leader);
    let receipt = cluster.propose(follower, command(102)).await;
    let second = cluster.leader().await;
    assert_ne!(second, leader);
    assert!(cluster.group(second).leadership().borrow().term > term);
    cluster.agree(receipt.index).await;

    cluster.run(leader).await;
    assert_eq!(cluster.running[&NodeId(leader)].boot(), 2);
    let receipt = cluster.propose(leader, command(103)).await;
    cluster.agree(receipt.index).await;
    let nodes: Vec<u64> = cluster.group(leader).state().read().nodes.keys().map(|node| node.0).collect();
    assert_eq!(nodes, [101, 102, 103]);
    // The records of what it applied went to history, those before its restart once more. `propose` may have had to ask twice.
    let links = cluster.group(leader).state().read().audit.seq;
    assert_eq!(cluster.sinks[&NodeId(leader)].taken.lock().values().sum::<usize>() as u64, links);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_share_a_gateway_and_learners_follow() {
    let cluster = Cluster::start(2, Tuning::default()).await;
    let id = GroupId::new("site:hq");
    let (voter, learner) = (cluster.running[&NodeId(1)].group(&id).unwrap(), cluster.running[&NodeId(2)].group(&id).unwrap());
    within(voter.leadership().wait_for(|now| now.is_self)).await.unwrap();
    cluster.admit(&id, 1, 2).await;
    let receipt = within(voter.propose(command(101))).await.unwrap();
    within(learner.applied().wait_for(|applied| *applied >= receipt.index)).await.unwrap();
    assert!(learner.state().read().nodes.contains_key(&NodeId(101)));
    // It finds its way to the leader from where it learns, too.
    within(learner.propose(command(102))).await.unwrap();
    assert!(voter.state().read().nodes.contains_key(&NodeId(102)));
    let members: Vec<_> = voter.members().iter().map(|member| (member.node.0, member.voter)).collect();
    assert_eq!(members, [(1, true), (2, false)]);
    let receipt = cluster.propose(2, command(201)).await;
    cluster.agree(receipt.index).await;
    assert!(!cluster.group(1).state().read().nodes.contains_key(&NodeId(101)), "groups do not mix");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_at_once_lose_nothing() {
    let mut cluster = Cluster::start(3, Tuning::default()).await;
    let leader = cluster.leader().await;
    let group = cluster.group(cluster.other(leader));
    let proposals = (200..400).map(|number| {
        let group = group.clone();
        tokio::spawn(async move { (number, group.propose(command(number)).await) })
    });
    let mut acknowledged = Vec::new();
    for proposal in proposals.collect::<Vec<_>>() {
        match within(proposal).await.unwrap() {
            (number, Ok(_)) => acknowledged.push(number),
            // Over an election: it may be there or not.
            (_, Err(ProposeError::NoQuorum(_) | ProposeError::Unknown)) => {}
            (_, Err(error)) => panic!("{error}"),
        }
    }
    assert!(!acknowledged.is_empty());
    drop(group);
    for id in 1..=3 {
        cluster.kill(id);
    }
    for id in 1..=3 {
        cluster.run(id).await;
    }
    let receipt = cluster.propose(2, command(500)).await;
    cluster.agree(receipt.index).await;
    let group = cluster.group(1);
    let state = group.state().read();
    assert!(acknowledged.iter().all(|number| state.nodes.contains_key(&NodeId(*number))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nothing_is_taken_and_reads_say_that_they_are_stale() {
    let mut cluster = Cluster::start(3, Tuning::default()).await;
    let leader = cluster.leader().await;
    let receipt = cluster.propose(leader, command(101)).await;
    cluster.agree(receipt.index).await;
    let follower = cluster.other(leader);
    // The leader stays alone: the harder case, for it still believes that it leads.
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.kill(id);
    }
    let alone = cluster.group(leader);
    within(alone.leadership().wait_for(|now| !now.is_self)).await.unwrap();
    assert_eq!(within(alone.propose(command(102))).await, Err(ProposeError::NoQuorum("mesh".into())));
    assert_eq!(alone.state().read().nodes.len(), 1);
    let fresh = alone.freshness();
    assert!(fresh.leader_seen_ms.is_some_and(|age| age >= 600), "{fresh:?}");

    // With one more it goes on, and what was refused was not kept for later.
    cluster.run(follower).await;
    let receipt = cluster.propose(follower, command(103)).await;
    cluster.agree(receipt.index).await;
    assert!(!alone.state().read().nodes.contains_key(&NodeId(102)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_too_far_behind_gets_a_snapshot() {
    let tuning = Tuning { snapshot_every: 40, snapshot_keep: 5, ..Tuning::default() };
    let mut cluster = Cluster::start(3, tuning).await;
    let leader = cluster.leader().await;
    let late = cluster.other(leader);
    let receipt = cluster.propose(late, command(101)).await;
    cluster.agree(receipt.index).await;
    cluster.kill(late);

    // More than one chunk.
    let large = "v".repeat(8 * 1024);
    for number in 200..300 {
        cluster.propose(leader, named(number, &large)).await;
    }
    let purged = |cluster: &Cluster| {
        let group = cluster.running[&NodeId(leader)].raft_group(&GroupId::mesh()).unwrap();
        group.core.with_metrics(|metrics| metrics.purged.map_or(0, |id| id.index))
    };
    within(async {
        while purged(&cluster) <= receipt.index + 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // Read first: both go on.
    let gone = purged(&cluster);
    assert!(*cluster.sinks[&NodeId(leader)].flushed.lock() >= gone, "the log was purged before history was safe");

    cluster.run(late).await;
    let receipt = cluster.propose(late, command(301)).await;
    cluster.agree(receipt.index).await;
    assert_eq!(cluster.group(late).state().read().nodes.len(), 102);
    // It begins from its snapshot next time.
    cluster.kill(late);
    cluster.run(late).await;
    let receipt = cluster.propose(late, command(302)).await;
    cluster.agree(receipt.index).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_may_end_in_an_entry_that_history_keeps_nothing_of() {
    let tuning = Tuning { snapshot_every: 10, snapshot_keep: 5, ..Tuning::default() };
    let mut cluster = Cluster::start(1, tuning).await;
    for _ in 0..40 {
        cluster.propose(1, Command::TimersDue).await;
    }
    let group = cluster.running[&NodeId(1)].raft_group(&GroupId::mesh()).unwrap();
    within(async {
        while group.core.with_metrics(|metrics| metrics.purged.is_none()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(*cluster.running[&NodeId(1)].failure().borrow(), None);
    drop(group);
    cluster.kill(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_gateway_does_not_come_back_under_its_old_id() {
    let mut cluster = Cluster::start(3, Tuning::default()).await;
    let leader = cluster.leader().await;
    let wiped = cluster.other(leader);
    let receipt = cluster.propose(wiped, command(wiped)).await;
    cluster.agree(receipt.index).await;
    cluster.kill(wiped);
    std::fs::remove_dir_all(cluster.root.path().join(wiped.to_string())).unwrap();
    for _ in 0..2 {
        let error = cluster.try_run(wiped).await.unwrap_err();
        assert!(matches!(error, StartError::Wiped { node, .. } if node == NodeId(wiped)), "{error}");
    }
    let receipt = cluster.propose(leader, command(105)).await;
    cluster.agree(receipt.index).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_hears_of_commits_before_the_next_heartbeat() {
    let heartbeat = Duration::from_secs(2);
    let tuning = Tuning { heartbeat, election_min: Duration::from_secs(5), election_max: Duration::from_secs(6), ..Tuning::default() };
    let cluster = Cluster::start(3, tuning).await;
    let leader = cluster.leader().await;
    let follower = cluster.other(leader);
    cluster.propose(follower, command(100)).await;
    let began = std::time::Instant::now();
    for number in 101..121 {
        cluster.propose(follower, command(number)).await;
    }
    let each = began.elapsed() / 20;
    println!("event at a follower, committed and applied there: {each:?}");
    assert!(each < heartbeat / 2, "{each:?}: it waits for heartbeats");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_trusted_stops_the_gateway() {
    let mut cluster = Cluster::start(1, Tuning::default()).await;
    let receipt = cluster.propose(1, command(101)).await;
    assert!(receipt.index > 0);
    let mut failure = cluster.running[&NodeId(1)].failure();
    assert_eq!(*failure.borrow(), None);
    let group = cluster.group(1);
    assert_eq!(within(group.propose(named(102, "poison"))).await, Err(ProposeError::Unknown));
    let reason = within(failure.wait_for(Option::is_some)).await.unwrap().clone().unwrap();
    assert!(reason.contains("mesh") && reason.contains("panic"), "{reason}");
    assert!(matches!(
        within(group.propose(command(103))).await,
        Err(ProposeError::Stopping | ProposeError::NoQuorum(_) | ProposeError::Unknown)
    ));
    drop(group);
    cluster.kill(1);

    let folder = cluster.root.path().join("1/snapshots/mesh");
    std::fs::write(folder.join("00000000000000000009.snapshot"), b"SPALLASN broken").unwrap();
    let error = cluster.try_run(1).await.unwrap_err();
    assert!(matches!(error, StartError::Snapshot(_)) && error.to_string().contains("corrupt"), "{error}");
}

struct Stores;

impl StoreBuilder<Types, LogStore, Machine, (TempDir, Log)> for Stores {
    async fn build(&self) -> Result<((TempDir, Log), LogStore, Machine), StorageError<Types>> {
        let root = tempfile::tempdir().unwrap();
        let (log, store, machine) = stores(root.path());
        Ok(((root, log), store, machine))
    }
}

fn stores(root: &Path) -> (Log, LogStore, Machine) {
    let log = Log::open(&root.join("raft")).unwrap();
    let store = LogStore::open(log.file(7)).unwrap();
    let folder = SnapshotFolder::open(&root.join("snapshots")).unwrap();
    let (machine, _) = Machine::open(GroupId::mesh(), folder, apply, Arc::new(Sink::default()), Failure::new()).unwrap();
    (log, store, machine)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stores_pass_openrafts_own_suite() {
    Suite::<Types, LogStore, Machine, Stores, (TempDir, Log)>::test_all(Stores).await.unwrap();
}

/// Truncation is kept as a mark until the next append: it must survive a restart, and so must what came after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncated_entries_stay_away_after_a_restart() {
    use openraft::entry::RaftEntry;
    use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
    use openraft::type_config::alias::CommittedLeaderIdOf;
    use openraft::{LogId, RaftLogReader};
    let id = |term, index| LogId::new(CommittedLeaderIdOf::<Types>::new(term), index);
    let entry = |term, index| super::types::RaftEntry::new_blank(id(term, index));
    let root = tempfile::tempdir().unwrap();

    let (log, mut store, _machine) = stores(root.path());
    store.blocking_append((0..10).map(|index| entry(1, index)).collect::<Vec<_>>()).await.unwrap();
    store.truncate_after(Some(id(1, 5))).await.unwrap();
    log.close();
    let (log, mut store, _machine) = stores(root.path());
    assert_eq!(store.get_log_state().await.unwrap().last_log_id, Some(id(1, 5)));
    assert_eq!(store.try_get_log_entries(0..100).await.unwrap().len(), 6);
    store.blocking_append([entry(2, 6), entry(2, 7)]).await.unwrap();
    store.purge(id(1, 3)).await.unwrap();
    log.close();
    let (_log, mut store, _machine) = stores(root.path());
    let state = store.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(1, 3)), Some(id(2, 7))));
    let terms: Vec<_> =
        store.try_get_log_entries(..).await.unwrap().iter().map(|entry| (entry.log_id.leader_id.term, entry.log_id.index)).collect();
    assert_eq!(terms, [(1, 4), (1, 5), (2, 6), (2, 7)]);
}
