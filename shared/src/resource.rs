//! What an operator declares and `spalla apply` sends: flows, profiles, devices, pools, areas, people,
//! service clients.
//! YAML and checks live in `resource::read` (one document: `kind:` + fields; a flow is told by its `document:`).

mod read;

use crate::device::{CapabilityKind, Profile};
use crate::id::DeviceId;
use crate::topic::{is_filter, is_reserved};
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
    Client(Client),
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
    /// Whether somebody who is inside may come in again; absent: nobody looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anti_passback: Option<AntiPassback>,
}

/// What is done about somebody who comes in and is inside already. Leaving is never denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AntiPassback {
    pub rule: PassbackRule,
    /// While a building with doors of the area is out of reach, and until all that happened there is known.
    #[serde(default)]
    pub when_split: WhenSplit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PassbackRule {
    /// Not let in.
    Hard,
    /// Let in, and the audit trail says so.
    Soft,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenSplit {
    /// A hard rule lets nobody in.
    #[default]
    Deny,
    /// Everybody is let in, and the audit trail says so.
    Warn,
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

/// A program that speaks MQTT to the gateways beside devices: a dashboard, Home Assistant. It may do what its rules say and
/// nothing else; what opens something is never commanded by it, whatever they say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its user name is `client:<name>`.
    pub name: Arc<str>,
    #[serde(default)]
    pub title: Arc<str>,
    /// Filters that it may subscribe to, or to parts of; `group:<name>`: all that devices of the group say.
    #[serde(default)]
    pub subscribe: Vec<Arc<str>>,
    /// Filters of topics that it may publish to. Topics of declared devices are never among them.
    #[serde(default)]
    pub publish: Vec<Arc<str>>,
    /// Devices (`site/name`, `group:<name>`) that it may command. None that can open anything.
    #[serde(default)]
    pub commands: Vec<Arc<str>>,
    /// Devices (`site/name`, `group:<name>`) that it may speak for, as though they had said it themselves.
    #[serde(default)]
    pub speaks_for: Vec<Arc<str>>,
    /// argon2 PHC string of its password. A declaration without it keeps the one there is.
    #[serde(default)]
    pub password_hash: Option<Arc<str>>,
}

impl Client {
    pub const PREFIX: &str = "client:";

    /// Whether `filter` can stand under `key` (`subscribe` or `publish`). The text says what is wrong and how to mend it.
    pub fn check_filter(&self, key: &str, filter: &str) -> Result<(), String> {
        let publish = key == "publish";
        if filter.starts_with("group:") {
            return if publish { Err("a group is spoken for or commanded: name it in `speaks_for` or `commands`".into()) } else { Ok(()) };
        }
        if filter.starts_with("$share/") {
            return Err("a rule names what is taken, not how: leave `$share/…/` out, it may be put in front by the client".into());
        }
        if publish && is_reserved(filter) {
            return Err("topics of the gateway and the server are not published to; `speaks_for` and `commands` name devices".into());
        }
        if is_filter(filter) { Ok(()) } else { Err(format!("`{filter}` is no topic filter: + and # stand alone between slashes, # last")) }
    }

    pub fn is_revoked(&self) -> bool {
        self.password_hash.as_deref() == Some(Device::REVOKED)
    }

    pub fn has_password(&self) -> bool {
        self.password_hash.is_some() && !self.is_revoked()
    }
}

/// Whether `rules` (`site/name`, `group:<name>`) name the device, by itself or by a group that it is in.
pub fn names_device(rules: &[Arc<str>], device: &Device) -> bool {
    rules.iter().any(|rule| match rule.strip_prefix("group:") {
        Some(group) => device.groups.iter().any(|own| **own == *group),
        None => **rule == *device.id.as_str(),
    })
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
            Self::Client(client) => ("client", client.name.to_string()),
        }
    }
}
