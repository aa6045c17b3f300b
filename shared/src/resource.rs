//! What an operator declares and `spalla apply` sends: flows, profiles, devices, pools, areas, people.
//! YAML and checks live in `resource::read` (one document: `kind:` + fields; a flow is told by its `document:`).

mod read;

use crate::device::{CapabilityKind, Profile};
use crate::id::DeviceId;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) use read::told;
pub use read::{ResourceFile, read, read_with_warnings};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Resource {
    Flow(FlowDocument),
    Profile(Profile),
    Device(Device),
    Pool(Pool),
    Area(Area),
    Person(Person),
}

/// A checked flow document as canonical JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowDocument {
    pub document: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    pub id: DeviceId,
    /// Name of a profile.
    pub profile: Arc<str>,
    #[serde(default)]
    pub title: Arc<str>,
    #[serde(default)]
    pub zone: Option<Arc<str>>,
    /// `group:<name>` in `device.command` targets these.
    #[serde(default)]
    pub groups: Vec<Arc<str>>,
    /// For a credential reader: the device whose opening command it asks for.
    #[serde(default)]
    pub opens: Option<DeviceId>,
    /// argon2 PHC string of the device's MQTT password. Never the password. A declaration without it keeps the one there is.
    #[serde(default)]
    pub password_hash: Option<Arc<str>>,
    /// What its profile's convention asks of each device, e.g. `prefix`.
    #[serde(default)]
    pub parameters: BTreeMap<Arc<str>, Arc<str>>,
    /// The device whose login speaks for this one; this one has no login then.
    #[serde(default)]
    pub bridge: Option<DeviceId>,
    /// For a bridge: devices that it proposes and that have only capabilities of these kinds are admitted without a person.
    #[serde(default)]
    pub admits: Vec<CapabilityKind>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    pub name: Arc<str>,
    pub units: Vec<Unit>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    pub name: Arc<str>,
    /// What `prefer` is matched against, e.g. `{ev: true}`.
    #[serde(default)]
    pub attributes: BTreeMap<Arc<str>, Value>,
}

/// A named set of doors, which `access.grant` opens together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Area {
    pub name: Arc<str>,
    /// Door or barrier devices (what is opened, not the reader).
    pub doors: Vec<DeviceId>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// What `user:` names: usually an e-mail address.
    pub id: Arc<str>,
    #[serde(default)]
    pub name: Arc<str>,
    #[serde(default)]
    pub roles: Vec<Arc<str>>,
    #[serde(default)]
    pub contact: BTreeMap<Arc<str>, Arc<str>>,
}

impl Device {
    /// Nothing but an id.
    pub fn new(id: DeviceId) -> Self {
        Self {
            id,
            profile: "".into(),
            title: "".into(),
            zone: None,
            groups: Vec::new(),
            opens: None,
            password_hash: None,
            parameters: BTreeMap::new(),
            bridge: None,
            admits: Vec::new(),
        }
    }

    /// Stands where a password's hash would: no password fits it, and a file that declares the device again leaves it.
    pub const REVOKED: &str = "!";

    pub fn is_revoked(&self) -> bool {
        self.password_hash.as_deref() == Some(Self::REVOKED)
    }

    pub fn has_password(&self) -> bool {
        self.password_hash.is_some() && !self.is_revoked()
    }
}

impl Resource {
    /// `(kind, name)` as messages show it.
    pub fn title(&self) -> (&'static str, String) {
        match self {
            Self::Flow(flow) => {
                let part = |key| flow.document.get("document").and_then(|d| d.get(key)).and_then(Value::as_str).unwrap_or("?");
                ("flow", format!("{}/{}:{}", part("namespace"), part("name"), part("version")))
            }
            Self::Profile(profile) => ("profile", profile.name.to_string()),
            Self::Device(device) => ("device", device.id.to_string()),
            Self::Pool(pool) => ("pool", pool.name.to_string()),
            Self::Area(area) => ("area", area.name.to_string()),
            Self::Person(person) => ("person", person.id.to_string()),
        }
    }
}
