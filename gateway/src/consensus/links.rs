//! The connections to all other gateways: one for appends and votes, one for snapshots, one for everything else, so that
//! neither a snapshot nor a slow call stands in the way of a heartbeat.

use spalla_broker::rpc::{Peer, RpcError, Tls, TlsError};
use spalla_shared::id::{NodeId, SiteId};
use std::collections::BTreeMap;

/// A gateway of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub node: NodeId,
    pub site: SiteId,
    /// host:port of its mesh listener; its certificate carries that host.
    pub address: String,
}

pub struct Link {
    pub raft: Peer,
    pub snapshot: Peer,
    pub calls: Peer,
}

pub struct Links {
    links: BTreeMap<NodeId, Link>,
}

impl Links {
    /// On the runtime that carries them. `gateways` may hold this node: it gets no link.
    pub fn new(node: NodeId, gateways: &[Gateway], tls: &Tls) -> Result<Self, TlsError> {
        let mut links = BTreeMap::new();
        for gateway in gateways.iter().filter(|gateway| gateway.node != node) {
            let dial = |class| Peer::new(&gateway.address, tls, class);
            let link = Link { raft: dial("raft")?, snapshot: dial("snapshot")?, calls: dial("calls")? };
            links.insert(gateway.node, link);
        }
        Ok(Self { links })
    }

    pub fn to(&self, node: NodeId) -> Result<&Link, RpcError> {
        self.links.get(&node).ok_or_else(|| RpcError::Refused(format!("node {node} is not in the config")))
    }

    pub fn knows(&self, node: NodeId) -> bool {
        self.links.contains_key(&node)
    }
}
