//! Site summaries between gateways: each answers for its own site, the speaker collects them.

use crate::config::Config;
use crate::consensus::{GroupRef, Mesh};
use crate::effects::clock::wall_now;
use crate::telemetry::Telemetry;
use crate::uplink::{PeerSummaries, SiteView, SummaryMaker, Timings};
use async_trait::async_trait;
use bytes::Bytes;
use spalla_broker::rpc::{RpcError, Service};
use spalla_shared::codec;
use spalla_shared::id::NodeId;
use spalla_shared::summary::SiteSummary;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

pub const PREFIX: &str = "summary";
const GET: &str = "summary.get";
/// A site that does not answer by then is left out; its last summary stays retained at the cloud's broker.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

pub fn maker(config: &Config, group: &GroupRef, telemetry: &Arc<Telemetry>) -> Arc<SummaryMaker> {
    let source = Arc::new(SiteView { telemetry: telemetry.clone(), group: group.clone(), site: config.site.clone() });
    Arc::new(SummaryMaker::new(group.clone(), config.site.clone(), source, Arc::new(wall_now), Timings::default()))
}

/// Answers other gateways.
pub struct Answer(pub Arc<SummaryMaker>);

#[async_trait]
impl Service for Answer {
    async fn call(&self, _peer: NodeId, method: &str, _body: Bytes) -> Result<Bytes, RpcError> {
        if method != GET {
            return Err(RpcError::Refused(format!("no method `{method}`")));
        }
        Ok(codec::encode(&self.0.current()).into())
    }
}

/// A building's group speaks of its own site only.
pub struct Nobody;

#[async_trait]
impl PeerSummaries for Nobody {
    async fn collect(&self) -> Vec<SiteSummary> {
        Vec::new()
    }
}

/// Asks one gateway of every other site.
pub struct Peers {
    /// Weak: the mesh must be able to end while an uplink still holds this.
    pub mesh: Weak<Mesh>,
    pub config: Arc<Config>,
}

#[async_trait]
impl PeerSummaries for Peers {
    async fn collect(&self) -> Vec<SiteSummary> {
        let Some(mesh) = self.mesh.upgrade() else { return Vec::new() };
        let mut asked = BTreeSet::from([self.config.site.clone()]);
        let others: Vec<NodeId> =
            mesh.peers().into_iter().filter(|gateway| asked.insert(gateway.site.clone())).map(|gateway| gateway.node).collect();
        let calls = others.into_iter().map(|node| {
            let mesh = mesh.clone();
            async move { mesh.call(node, GET, Bytes::new(), ANSWER_TIME_MAX).await }
        });
        let answers = futures::future::join_all(calls).await;
        answers.into_iter().flatten().filter_map(|body| codec::decode(&body).ok()).collect()
    }
}
