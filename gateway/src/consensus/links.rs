//! The connections to all other gateways: one for appends and votes, one for snapshots, one for everything else, so that
//! neither a snapshot nor a slow call stands in the way of a heartbeat.
//!
//! Who they are stands in the settings at first, and in the log's roster from then on: gateways come and go while this one runs.
//! An address in the settings is this gateway's own road to that one, and wins over the log's.

use super::wire::REMOVED;
use parking_lot::RwLock;
use spalla_broker::rpc::{Peer, RpcError, Tls, TlsError};
use spalla_shared::engine::roster::Roster;
use spalla_shared::id::{NodeId, SiteId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// A gateway of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub node: NodeId,
    pub site: SiteId,
    /// host:port of its mesh listener; its certificate carries that host.
    pub address: String,
}

impl From<&crate::config::Gateway> for Gateway {
    fn from(gateway: &crate::config::Gateway) -> Self {
        Self { node: gateway.node, site: gateway.site.clone(), address: gateway.address.clone() }
    }
}

pub struct Link {
    pub raft: Peer,
    pub snapshot: Peer,
    pub calls: Peer,
}

pub struct Links {
    own: NodeId,
    tls: Tls,
    /// Carries the connections, whoever asks for one.
    runtime: Handle,
    links: RwLock<BTreeMap<NodeId, (Gateway, Arc<Link>)>>,
    /// Named by the settings.
    configured: BTreeSet<NodeId>,
    roster: RwLock<Roster>,
    /// What another gateway said when it refused this one as removed.
    cast_out: watch::Sender<Option<String>>,
}

impl Links {
    /// On the runtime that carries them. `gateways` may hold this node: it gets no link.
    pub fn new(node: NodeId, gateways: &[Gateway], tls: &Tls) -> Result<Self, TlsError> {
        let links = Self {
            own: node,
            tls: tls.clone(),
            runtime: Handle::current(),
            links: RwLock::default(),
            configured: gateways.iter().map(|gateway| gateway.node).collect(),
            roster: RwLock::default(),
            cast_out: watch::Sender::new(None),
        };
        gateways.iter().try_for_each(|gateway| links.set(gateway.clone()))?;
        Ok(links)
    }

    pub fn to(&self, node: NodeId) -> Result<Arc<Link>, RpcError> {
        let links = self.links.read();
        let link = links.get(&node).map(|(_, link)| link.clone());
        link.ok_or_else(|| RpcError::Refused(format!("node {node} is no member of this mesh")))
    }

    pub fn knows(&self, node: NodeId) -> bool {
        self.links.read().contains_key(&node)
    }

    /// Its certificate is good and counts for nothing any more.
    pub fn is_removed(&self, node: NodeId) -> bool {
        self.roster.read().is_removed(node)
    }

    /// All others that belong to the mesh.
    pub fn peers(&self) -> Vec<Gateway> {
        let roster = self.roster.read();
        self.links.read().values().map(|(gateway, _)| gateway.clone()).filter(|gateway| !roster.is_removed(gateway.node)).collect()
    }

    /// Takes over what the log says. Those who were removed keep their link while they are in `still`: they are to hear of it.
    pub fn learn(&self, roster: &Roster, still: &BTreeSet<NodeId>) -> Result<(), TlsError> {
        for (node, member) in roster.members.iter().filter(|(node, _)| !self.configured.contains(node)) {
            self.set(Gateway { node: *node, site: member.site.clone(), address: member.address.to_string() })?;
        }
        self.links.write().retain(|node, _| !roster.is_removed(*node) || still.contains(node));
        if *self.roster.read() != *roster {
            *self.roster.write() = roster.clone();
        }
        Ok(())
    }

    /// An address that the log's membership names, until the roster says more.
    pub fn ensure(&self, node: NodeId, address: &str) {
        if !self.knows(node)
            && let Err(error) = self.set(Gateway { node, site: SiteId::new(""), address: address.to_owned() })
        {
            tracing::warn!(%node, address, %error, "no connection can be made to this address");
        }
    }

    /// Notes when another gateway says that this one was removed.
    pub fn heed<T>(&self, answer: Result<T, RpcError>) -> Result<T, RpcError> {
        if let Err(RpcError::Refused(why)) = &answer
            && why.starts_with(REMOVED)
        {
            self.cast_out.send_if_modified(|known| {
                let first = known.is_none();
                known.get_or_insert_with(|| why.clone());
                first
            });
        }
        answer
    }

    pub fn cast_out(&self) -> watch::Receiver<Option<String>> {
        self.cast_out.subscribe()
    }

    fn set(&self, gateway: Gateway) -> Result<(), TlsError> {
        if gateway.node == self.own {
            return Ok(());
        }
        let mut links = self.links.write();
        if let Some((known, _)) = links.get_mut(&gateway.node)
            && known.address == gateway.address
        {
            *known = gateway;
            return Ok(());
        }
        let _here = self.runtime.enter();
        let dial = |class| Peer::new(&gateway.address, &self.tls, class);
        let link = Link { raft: dial("raft")?, snapshot: dial("snapshot")?, calls: dial("calls")? };
        links.insert(gateway.node, (gateway, Arc::new(link)));
        Ok(())
    }
}
