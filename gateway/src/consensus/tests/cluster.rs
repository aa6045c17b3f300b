//! The gateways of one test, in one process, each with its own folder and port.

use crate::consensus::mesh::Mesh;
use crate::consensus::{Gateway, GroupPlan, GroupRef, MeshConfig, ProposeError, Receipt, RecordSink, StartError, Tuning};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use spalla_broker::rpc::Tls;
use spalla_shared::engine::audit::AuditChain;
use spalla_shared::engine::life::Fork;
use spalla_shared::engine::record::RecordBody;
use spalla_shared::engine::state::Node;
use spalla_shared::engine::{Accepted, Applied, Command, Entry, Record, State};
use spalla_shared::id::{Actor, GroupId, NodeId, SiteId};
use spalla_shared::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub const LONG: Duration = Duration::from_secs(60);

/// Small enough to compare, and it changes the state with each command. `poison` breaks it.
pub fn apply(state: &mut State, entry: &Entry) -> Applied {
    state.applied = entry.index;
    let mut records = Vec::new();
    if let Command::NodeUp { node, site, boot, version, api } = &entry.command {
        assert_ne!(&**version, "poison", "as asked");
        state.nodes.insert(*node, Node { site: site.clone(), boot: *boot, version: version.clone(), api: api.clone(), up_at: entry.at });
        let link = state.audit.link(entry.at, Actor::system(), "node.up", &node.to_string(), Value::Null);
        records.push(Record { index: entry.index, ordinal: 0, at: entry.at, body: RecordBody::Audit(link) });
    }
    Applied { reply: Ok(Accepted::Nothing), effects: Vec::new(), records }
}

pub fn command(number: u64) -> Command {
    named(number, "1")
}

pub fn named(number: u64, version: &str) -> Command {
    Command::NodeUp { node: NodeId(number), site: SiteId::new("hq"), boot: number, version: version.into(), api: None }
}

#[derive(Default)]
pub struct Sink {
    /// How many records of each entry.
    pub taken: Mutex<BTreeMap<(GroupId, u64), usize>>,
    pub flushed: Mutex<u64>,
}

impl RecordSink for Sink {
    fn take(&self, group: &GroupId, index: u64, records: Vec<Record>) {
        self.taken.lock().insert((group.clone(), index), records.len());
    }
    fn carried(&self, group: &GroupId, index: u64, _audit: &AuditChain, _fork: Option<Fork>) {
        self.taken.lock().insert((group.clone(), index), 0);
    }
    fn flush(&self, group: &GroupId, index: u64) -> Result<(), String> {
        // As history does: it vouches for nothing that it was not told of.
        let taken = self.taken.lock().keys().filter(|(of, _)| of == group).map(|(_, index)| *index).max().unwrap_or(0);
        if taken < index {
            return Err(format!("entry {index} was never taken"));
        }
        *self.flushed.lock() = index;
        Ok(())
    }
}

pub struct Cluster {
    pub root: TempDir,
    pub gateways: Vec<Gateway>,
    certificates: BTreeMap<NodeId, Tls>,
    tuning: Tuning,
    pub running: BTreeMap<NodeId, Mesh>,
    pub sinks: BTreeMap<NodeId, Arc<Sink>>,
}

impl Cluster {
    pub async fn start(count: u64, tuning: Tuning) -> Self {
        let authority_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap().pem().into_bytes();
        let issuer = Issuer::new(params, authority_key);
        let (mut gateways, mut certificates, mut ports) = (Vec::new(), BTreeMap::new(), Vec::new());
        for id in 1..=count {
            let node = NodeId(id);
            // Held until all are chosen, so that no two are the same.
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = port.local_addr().unwrap().to_string();
            ports.push(port);
            gateways.push(Gateway { node, site: SiteId::new(format!("site-{id}")), address });
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, format!("node-{id}"));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            let certificate = params.signed_by(&key, &issuer).unwrap().pem().into_bytes();
            certificates.insert(node, Tls { ca: authority.clone(), certificate, key: key.serialize_pem().into_bytes() });
        }
        drop(ports);
        let root = tempfile::tempdir().unwrap();
        let mut cluster = Self { root, gateways, certificates, tuning, running: BTreeMap::new(), sinks: BTreeMap::new() };
        for id in 1..=count {
            cluster.run(id).await;
        }
        cluster
    }

    pub async fn try_run(&mut self, id: u64) -> Result<(), StartError> {
        let node = NodeId(id);
        let gateway = self.gateways.iter().find(|gateway| gateway.node == node).unwrap();
        let config = MeshConfig {
            node,
            data: self.root.path().join(id.to_string()),
            gateways: self.gateways.clone(),
            founds: true,
            listen: gateway.address.parse().unwrap(),
            tls: self.certificates[&node].clone(),
            tuning: self.tuning,
            groups: vec![GroupPlan::mesh(&self.gateways), self.second()],
        };
        let sink = Arc::new(Sink::default());
        self.sinks.insert(node, sink.clone());
        let mesh = Mesh::start_with(config, apply, sink).await?;
        self.running.insert(node, mesh);
        Ok(())
    }

    /// A group of the first gateway alone, with the last one learning.
    pub fn second(&self) -> GroupPlan {
        let (first, last) = (self.gateways[0].node, self.gateways[self.gateways.len() - 1].node);
        GroupPlan { id: GroupId::new("site:hq"), voters: vec![first], learners: [last].into_iter().filter(|last| *last != first).collect() }
    }

    pub async fn run(&mut self, id: u64) {
        self.try_run(id).await.unwrap();
    }

    /// As a crash leaves it: nothing is told to anyone.
    pub fn kill(&mut self, id: u64) {
        drop(self.running.remove(&NodeId(id)).unwrap());
    }

    pub fn group(&self, id: u64) -> GroupRef {
        self.running[&NodeId(id)].group(&GroupId::mesh()).unwrap()
    }

    pub async fn leader(&self) -> u64 {
        let any = self.running.values().next().unwrap().group(&GroupId::mesh()).unwrap();
        let mut seen = any.leadership();
        loop {
            let leader = within(seen.wait_for(|now| now.leader.is_some())).await.unwrap().leader.unwrap();
            if let Some(mesh) = self.running.get(&leader) {
                let mut its = mesh.group(&GroupId::mesh()).unwrap().leadership();
                let until = tokio::time::timeout(Duration::from_secs(5), its.wait_for(|now| now.is_self)).await;
                if let Ok(Ok(_)) = until {
                    return leader.0;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The leader and its term, once another gateway hears of it, too.
    pub async fn heard_leader(&self) -> (u64, u64) {
        loop {
            let leader = self.leader().await;
            let (its, other) = (self.group(leader).leadership().borrow().clone(), self.group(self.other(leader)));
            let (fresh, others) = (other.freshness(), other.leadership().borrow().clone());
            if its.is_self && !fresh.stale && fresh.leader == Some(NodeId(leader)) && !others.is_self {
                return (leader, its.term);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Another than `not`.
    pub fn other(&self, not: u64) -> u64 {
        self.running.keys().find(|node| node.0 != not).unwrap().0
    }

    /// Lets `node` learn, at the leader `at`.
    pub async fn admit(&self, group: &GroupId, at: u64, node: u64) {
        let gateway = self.gateways.iter().find(|gateway| gateway.node == NodeId(node)).unwrap();
        within(self.running[&NodeId(at)].admit(group, gateway.node, &gateway.address)).await.unwrap();
    }

    /// Repeats what is not known to be done, as a caller with a key does.
    pub async fn propose(&self, at: u64, command: Command) -> Receipt {
        let group = self.group(at);
        for _ in 0..20 {
            match within(group.propose(command.clone())).await {
                Ok(receipt) => return receipt,
                Err(ProposeError::NoQuorum(_) | ProposeError::Unknown) => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("no quorum came about");
    }

    /// Waits until everyone has applied `index`, and compares what came out.
    pub async fn agree(&self, index: u64) {
        let mut digests = BTreeMap::new();
        for mesh in self.running.values() {
            let group = mesh.group(&GroupId::mesh()).unwrap();
            within(group.applied().wait_for(|applied| *applied >= index)).await.unwrap();
        }
        // Entries without a command may still come in between; then the indexes differ.
        for _ in 0..100 {
            digests.clear();
            for (node, mesh) in &self.running {
                let digest = mesh.digest(*node, &GroupId::mesh(), LONG).await.unwrap();
                digests.insert(*node, digest);
            }
            let mut values = digests.values();
            let first = values.next().unwrap();
            if values.all(|digest| digest.applied == first.applied) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let first = digests.values().next().unwrap().clone();
        assert!(digests.values().all(|digest| *digest == first), "{digests:#?}");
    }
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it hangs")
}
