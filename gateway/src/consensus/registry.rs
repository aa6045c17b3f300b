//! Who answers which call of another gateway: the groups of this one, and the rooms that registered a prefix.

use super::group::RaftGroup;
use super::links::Links;
use super::wire::{self, To};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;
use spalla_broker::rpc::{RpcError, Service};
use spalla_shared::id::{GroupId, NodeId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::mpsc;

pub struct Registry {
    pub node: NodeId,
    pub links: Arc<Links>,
    pub groups: RwLock<BTreeMap<GroupId, Arc<RaftGroup>>>,
    services: RwLock<Vec<(String, Arc<dyn Service>)>>,
    /// Groups of which a leader elsewhere wants a copy here.
    wanted: mpsc::Sender<GroupId>,
    /// All groups of this gateway have been begun: only then does it know what it has.
    pub whole: AtomicBool,
}

impl Registry {
    pub fn new(node: NodeId, links: Arc<Links>, wanted: mpsc::Sender<GroupId>) -> Self {
        Self { node, links, groups: RwLock::default(), services: RwLock::default(), wanted, whole: AtomicBool::new(false) }
    }

    /// The newest registration of a prefix counts; among several that fit, the longest.
    pub fn register(&self, prefix: &str, service: Arc<dyn Service>) {
        let mut services = self.services.write();
        services.retain(|(known, _)| known != prefix);
        services.push((prefix.to_owned(), service));
        services.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    }

    pub fn group(&self, id: &GroupId) -> Option<Arc<RaftGroup>> {
        self.groups.read().get(id).cloned()
    }

    fn open<T: DeserializeOwned>(&self, body: &[u8]) -> Result<(Arc<RaftGroup>, T), RpcError> {
        let to: To<T> = wire::request(body)?;
        if to.node != self.node {
            return Err(RpcError::Refused(format!("this is node {}, not {}", self.node, to.node)));
        }
        let group = self.group(&to.group).ok_or_else(|| RpcError::Refused(format!("group `{}` does not run here", to.group)))?;
        Ok((group, to.body))
    }

    /// The same for what only a leader sends: it wants a copy here, and asks again.
    fn open_or_begin<T: DeserializeOwned>(&self, body: &[u8]) -> Result<(Arc<RaftGroup>, T), RpcError> {
        let opened = self.open(body);
        if opened.is_err()
            && let Ok(to) = wire::request::<To<T>>(body)
            && to.node == self.node
            && self.group(&to.group).is_none()
        {
            // Full: those that wait were asked for before.
            drop(self.wanted.try_send(to.group));
        }
        opened
    }
}

#[async_trait]
impl Service for Registry {
    async fn call(&self, peer: NodeId, method: &str, body: Bytes) -> Result<Bytes, RpcError> {
        if self.links.is_removed(peer) {
            let why = format!("{} gateway {} says that gateway {peer} was removed from this mesh", wire::REMOVED, self.node);
            return Err(RpcError::Refused(why));
        }
        if peer != self.node && !self.links.knows(peer) {
            return Err(RpcError::Refused(format!("node {peer} is no member of this mesh")));
        }
        match method {
            wire::APPEND => {
                let (group, request) = self.open_or_begin(&body)?;
                group.append(request).await.map(|answer| wire::encode(&answer))
            }
            wire::VOTE => {
                let (group, request) = self.open(&body)?;
                group.vote(request).await.map(|answer| wire::encode(&answer))
            }
            wire::PRE_VOTE => {
                let (group, request) = self.open(&body)?;
                group.pre_vote(request).await.map(|answer| wire::encode(&answer))
            }
            wire::SNAPSHOT => {
                let (group, chunk) = self.open_or_begin(&body)?;
                group.chunk(chunk).await.map(|answer| wire::encode(&answer))
            }
            wire::TRANSFER => {
                let (group, request) = self.open(&body)?;
                group.transfer(request).await.map(|answer| wire::encode(&answer))
            }
            wire::PROPOSE => {
                let (group, request) = self.open(&body)?;
                Ok(wire::encode(&group.proposed(request).await))
            }
            // What is known here of how often the caller has started.
            wire::BOOT => {
                let (group, ()) = self.open(&body)?;
                let boot = group.core.view.state.read().nodes.get(&peer).map_or(0, |node| node.boot);
                Ok(wire::encode(&boot))
            }
            wire::STANDINGS => match self.standings() {
                Some(standings) => Ok(wire::encode(&standings)),
                None => Err(RpcError::Refused("this gateway is still starting".into())),
            },
            wire::DIGEST => {
                let (group, ()) = self.open(&body)?;
                group.digest().await.map(|answer| wire::encode(&answer))
            }
            other => {
                let service =
                    self.services.read().iter().find(|(prefix, _)| other.starts_with(prefix.as_str())).map(|(_, service)| service.clone());
                match service {
                    Some(service) => service.call(peer, other, body).await,
                    None => Err(RpcError::Refused(format!("no method `{other}`"))),
                }
            }
        }
    }
}
