//! What other gateways know of their devices, asked of them: proposals, readings, and what devices say. A gateway that does not
//! answer is named, never passed over in silence. Asks nothing that changes anything but a list of proposals.

use super::Devices;
use crate::consensus::{GroupRef, Mesh};
use crate::effects::clock::wall_now;
use crate::ingress::{Page, Proposed};
use crate::telemetry::DeviceView;
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use spalla_broker::rpc::{RpcError, Service};
use spalla_shared::codec;
use spalla_shared::id::{DeviceId, NodeId};
use std::sync::Weak;
use std::time::Duration;

pub const PREFIX: &str = "devices";
const PROPOSALS: &str = "devices.proposals";
const PROPOSED: &str = "devices.proposed";
const FORGET: &str = "devices.forget";
const READINGS: &str = "devices.readings";
const HEARD: &str = "devices.heard";

/// For a gateway to answer; one that takes longer is told as not answering.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a gateway waits for something to be heard before it answers with nothing.
const HEARD_WAIT: Duration = Duration::from_millis(500);
/// Of a list of proposals in one answer, bytes: half of what a call carries.
const LIST_SIZE_MAX: usize = 512 * 1024;

#[derive(Serialize, Deserialize)]
struct AskHeard {
    from: Option<u64>,
    device: Option<String>,
}

/// Answers other gateways.
pub struct Answer {
    pub devices: Devices,
    pub group: GroupRef,
}

#[async_trait]
impl Service for Answer {
    async fn call(&self, _peer: NodeId, method: &str, body: Bytes) -> Result<Bytes, RpcError> {
        Ok(match method {
            PROPOSALS => codec::encode(&self.proposals()).into(),
            PROPOSED => codec::encode(&self.devices.proposals.get(&request::<DeviceId>(&body)?)).into(),
            FORGET => {
                self.devices.proposals.forget(&request(&body)?);
                codec::encode(&()).into()
            }
            READINGS => codec::encode(&self.devices.telemetry.device(&request(&body)?, wall_now())).into(),
            HEARD => {
                let AskHeard { from, device } = request(&body)?;
                self.devices.watch.lease();
                codec::encode(&self.devices.watch.page(from, device.as_deref(), HEARD_WAIT).await).into()
            }
            other => return Err(RpcError::Refused(format!("no method `{other}`"))),
        })
    }
}

impl Answer {
    /// Without the profiles that announcements made: those are asked for one by one.
    fn proposals(&self) -> Vec<Proposed> {
        let mut size = 0;
        let open = self.devices.proposals.open(&self.group.state().read());
        let light = open.into_iter().map(|proposed| Proposed { declares: None, ..proposed });
        light
            .take_while(|proposed| {
                let parameters: usize = proposed.parameters.iter().map(|(name, value)| name.len() + value.len()).sum();
                size += 256 + 2 * proposed.id.as_str().len() + proposed.title.len() + parameters;
                size <= LIST_SIZE_MAX
            })
            .collect()
    }
}

fn request<T: DeserializeOwned>(body: &[u8]) -> Result<T, RpcError> {
    codec::decode(body).map_err(|error| RpcError::Refused(format!("request cannot be read: {error}")))
}

/// Asks other gateways.
pub struct Elsewhere {
    /// Weak: the mesh must be able to end while a stream still holds this.
    mesh: Weak<Mesh>,
}

impl Elsewhere {
    pub fn new(mesh: Weak<Mesh>) -> Self {
        Self { mesh }
    }

    /// All others that belong to the mesh now.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.mesh.upgrade().map(|mesh| mesh.peers()).unwrap_or_default().iter().map(|gateway| gateway.node).collect()
    }

    /// Proposals of all others, and who did not answer.
    pub async fn proposals(&self) -> (Vec<Proposed>, Vec<NodeId>) {
        let mut silent = Vec::new();
        let mut all = Vec::new();
        for (node, answer) in self.ask_all::<_, Vec<Proposed>>(PROPOSALS, &()).await {
            match answer {
                Ok(proposals) => all.extend(proposals),
                Err(_) => silent.push(node),
            }
        }
        (all, silent)
    }

    /// A proposal by its id, whole, and who has it.
    pub async fn proposed(&self, id: &DeviceId) -> Option<(NodeId, Proposed)> {
        let answers = self.ask_all::<_, Option<Proposed>>(PROPOSED, id).await;
        answers.into_iter().find_map(|(node, answer)| Some((node, answer.ok()??)))
    }

    /// Where that fails, the list leaves out what is declared all the same.
    pub async fn forget(&self, node: NodeId, id: &DeviceId) {
        if let Err(error) = self.ask::<_, ()>(node, FORGET, id).await {
            tracing::debug!(%node, device = %id, %error, "a proposal could not be forgotten there");
        }
    }

    pub async fn readings(&self, node: NodeId, id: &DeviceId) -> Result<Option<DeviceView>, RpcError> {
        self.ask(node, READINGS, id).await
    }

    /// What devices say at `node`, from `from` on; without it, where that begins.
    pub async fn heard(&self, node: NodeId, from: Option<u64>, device: Option<&str>) -> Result<Page, RpcError> {
        self.ask(node, HEARD, &AskHeard { from, device: device.map(str::to_owned) }).await
    }

    async fn ask_all<B: Serialize, T: DeserializeOwned>(&self, method: &str, body: &B) -> Vec<(NodeId, Result<T, RpcError>)> {
        join_all(self.nodes().into_iter().map(|node| async move { (node, self.ask(node, method, body).await) })).await
    }

    async fn ask<B: Serialize, T: DeserializeOwned>(&self, node: NodeId, method: &str, body: &B) -> Result<T, RpcError> {
        let mesh = self.mesh.upgrade().ok_or(RpcError::Unreachable)?;
        let answer = mesh.call(node, method, codec::encode(body).into(), ANSWER_TIME_MAX).await?;
        codec::decode(&answer).map_err(|error| RpcError::Remote(format!("its answer cannot be read: {error}")))
    }
}
