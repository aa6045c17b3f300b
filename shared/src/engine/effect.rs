//! What `apply` asks the outside world for: plain data with a key, a deadline and a class.

use super::problem::Problem;
use super::state::State;
use crate::device::CommandClass;
use crate::flow::plan::HttpOutput;
use crate::id::{CredentialId, DeviceId, EffectId, GroupId, InstanceId, NodeId};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub type EffectClass = CommandClass;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    pub id: EffectId,
    /// Idempotency key, the same for every attempt and every executor: `<group>.<index>-<ordinal>`. Also the id of a device command.
    pub key: Arc<str>,
    pub owner: Owner,
    pub issued_at: Timestamp,
    /// Nothing is published at or past it; `apply` closes the effect then by itself.
    pub deadline: Timestamp,
    pub class: EffectClass,
    pub request: Request,
    /// Recorded before an opening command is published.
    pub attempt: Option<Attempt>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub node: NodeId,
    /// The boot of that node (`Command::NodeUp`): a restarted executor knows nothing of it any more.
    pub boot: u64,
    pub at: Timestamp,
}

/// Whom the completion wakes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Owner {
    /// A task of an instance: `token` waits with `generation`; a completion for another generation is late and changes nothing.
    Token { instance: InstanceId, token: u32, generation: u32 },
    /// A member of a group call of a token (`group:` targets): `member` is its place.
    Member { instance: InstanceId, token: u32, generation: u32, member: u32 },
    /// A task of an instance of another group that awaits a flow here.
    Elsewhere { group: GroupId, instance: InstanceId, token: u32, generation: u32 },
    /// A door decision of the engine's own.
    Door { device: DeviceId },
    /// Clean-up that nobody waits for (a credential revoked, a person told that a work item is gone).
    Nobody,
}

impl Owner {
    pub fn instance(&self) -> Option<&InstanceId> {
        match self {
            Self::Token { instance, .. } | Self::Member { instance, .. } => Some(instance),
            Self::Elsewhere { .. } | Self::Door { .. } | Self::Nobody => None,
        }
    }
    /// Whether this is `caller`, or a member of `caller`'s group call.
    pub fn is_of(&self, caller: &Owner) -> bool {
        match (self, caller) {
            (
                Self::Member { instance, token, generation, .. },
                Self::Token { instance: of, token: of_token, generation: of_generation },
            ) => instance == of && token == of_token && generation == of_generation,
            _ => self == caller,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// One device. Output: `{status: "done"|"accepted"|"transported", detail, at}`.
    Device {
        device: DeviceId,
        command: Arc<str>,
        args: Value,
        until: DeviceStage,
    },
    /// `device.read`. Output: `{value, observedAt, quality}`.
    ReadDevice {
        device: DeviceId,
        property: Arc<str>,
        max_age_ms: u64,
    },
    Http(HttpRequest),
    /// Output: `{delivered}`.
    Notify {
        to: Arc<str>,
        template: Arc<str>,
        data: Value,
    },
    /// Output: `{credentialId, token}`.
    SignCredential {
        credential: CredentialId,
        holder: Arc<str>,
        kind: Arc<str>,
        valid_from: Timestamp,
        valid_until: Timestamp,
        claims: Value,
    },
    /// Output: `{row}` (1-based). Values by column.
    AppendRow {
        workbook: Arc<str>,
        sheet: Arc<str>,
        values: Value,
    },
    /// Output: the row as an object by header, or null.
    FindRow {
        workbook: Arc<str>,
        sheet: Option<Arc<str>>,
        conditions: Value,
    },
    /// A catalog function as it was called, for a rehearsal without devices and people. A deployed flow never asks so.
    Function {
        function: Arc<str>,
        with: Value,
    },
}

/// How far a device command must get before it counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceStage {
    /// The device's MQTT client has acknowledged the PUBLISH (or QoS 0 left for it).
    Transported,
    /// `ack` with `accepted` or `done`.
    Accepted,
    /// `ack` with `done`.
    Done,
}

/// Everything resolved but secrets, which are looked up by name where it is sent, and never logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpRequest {
    pub method: Arc<str>,
    pub uri: Arc<str>,
    pub query: Vec<(Arc<str>, Arc<str>)>,
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    pub body: Option<Value>,
    pub authentication: Option<HttpAuthentication>,
    pub output: HttpOutput,
    pub redirect: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HttpAuthentication {
    BearerSecret(Arc<str>),
    Bearer(Arc<str>),
    BasicSecret(Arc<str>),
    Basic { username: Arc<str>, password: Arc<str> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    Done {
        output: Value,
    },
    Failed {
        problem: Problem,
    },
    /// An opening was attempted and nobody knows what came of it. Never repeated.
    Unknown {
        detail: Arc<str>,
    },
}

/// Who carries an effect out, as the state stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Leader,
    Node(NodeId),
    /// The device is at no gateway.
    Nowhere,
}

impl Effect {
    /// The device's gateway for device effects, the group's leader for all others.
    pub fn place(&self, state: &State) -> Place {
        match &self.request {
            Request::Device { device, .. } => match state.devices.get(device).and_then(|device| device.attached.as_ref()) {
                Some(attachment) => Place::Node(attachment.node),
                None => Place::Nowhere,
            },
            // Last-known state lives at the site whether or not the device is there now.
            Request::ReadDevice { device, .. } => {
                let site = device.site();
                state.nodes.iter().find(|(_, node)| node.site == site).map_or(Place::Nowhere, |(id, _)| Place::Node(*id))
            }
            _ => Place::Leader,
        }
    }
}
