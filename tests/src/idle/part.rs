//! One gateway's share in the groups of idle buildings, as a process of its own: the parts of a gateway that agree, and nothing else.

use spalla::config::Config;
use spalla::consensus::{Gateway, GroupPlan, GroupRef, Mesh, MeshConfig, RecordSink, Tuning};
use spalla_broker::rpc::Tls;
use spalla_shared::engine::Record;
use spalla_shared::engine::audit::AuditChain;
use spalla_shared::engine::life::Fork;
use spalla_shared::id::{GroupId, NodeId, SiteId};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// The word with which the program is started to be such a part.
pub const PART: &str = "hold-idle-groups";
/// What a part says when its groups are there.
pub const LEVEL: &str = "level";
/// For all groups to be there and copied.
const LEVEL_TIME_MAX: Duration = Duration::from_secs(300);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// For a program that measures: its parts are this program as well. They end when the one that started them closes their input.
pub fn as_part() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, word, config, groups] = arguments.as_slice() else { return None };
    if word != PART {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(hold(Path::new(config), groups.parse().expect("a number of groups")));
    Some(ExitCode::SUCCESS)
}

/// History is not measured: it writes nothing where nothing happens.
struct NoHistory;

impl RecordSink for NoHistory {
    fn take(&self, _: &GroupId, _: u64, _: Vec<Record>) {}
    fn carried(&self, _: &GroupId, _: u64, _: &AuditChain, _: Option<Fork>) {}
    fn flush(&self, _: &GroupId, _: u64) -> Result<(), String> {
        Ok(())
    }
}

async fn hold(config: &Path, groups: u16) {
    let config = Config::load(config).expect("a config");
    let read = |file: &Path| std::fs::read(file).expect("a file of the mesh's certificates");
    let gateways: Vec<Gateway> = config.peers.gateways.iter().map(Gateway::from).collect();
    let plans: Vec<GroupPlan> = (1..=groups).map(|number| plan(number, &gateways)).collect();
    let ids: Vec<GroupId> = plans.iter().map(|plan| plan.id.clone()).collect();
    let mesh = Mesh::start(
        MeshConfig {
            node: config.node,
            data: config.data.clone(),
            gateways: gateways.clone(),
            founds: true,
            listen: config.peers.listen,
            tls: Tls { ca: read(&config.peers.ca), certificate: read(&config.peers.certificate), key: read(&config.peers.key) },
            tuning: Tuning::for_network(config.peers.timing),
            groups: plans,
        },
        Arc::new(NoHistory),
    )
    .await
    .expect("the part starts");
    let (voter, copies) = gateways.split_first().expect("gateways in the settings");
    let begun = async {
        for id in &ids {
            let group = mesh.group(id).expect("a group of the plan");
            if config.node == voter.node {
                lead(&mesh, &group, copies).await;
            } else {
                group.applied().wait_for(|applied| *applied > 0).await.expect("a group that runs");
            }
        }
    };
    tokio::time::timeout(LEVEL_TIME_MAX, begun).await.expect("all groups are there and copied in time");
    println!("{LEVEL}");
    let mut nothing = [0];
    while matches!(tokio::io::stdin().read(&mut nothing).await, Ok(1..)) {}
}

/// The first gateway votes alone; the others hold copies.
fn plan(number: u16, gateways: &[Gateway]) -> GroupPlan {
    let mut nodes = gateways.iter().map(|gateway| gateway.node);
    let voters: Vec<NodeId> = nodes.by_ref().take(1).collect();
    GroupPlan { id: GroupId::of_site(&SiteId::new(format!("building-{number}"))), voters, learners: nodes.collect() }
}

/// Takes the copies in, as a building's keeper does, and waits until they are level.
async fn lead(mesh: &Mesh, group: &GroupRef, copies: &[Gateway]) {
    group.leadership().wait_for(|now| now.is_self).await.expect("a group that runs");
    for copy in copies {
        while let Err(error) = mesh.admit(group.id(), copy.node, &copy.address).await {
            eprintln!("{}: {error}; again", group.id());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    while !copies.iter().all(|copy| group.members().iter().any(|member| member.node == copy.node && member.lag == Some(0))) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
