//! How a kind of device speaks where it does not speak the native contract: topics, and expressions that read and write
//! its payloads. Data, not code; what a capability *is* stays in the profile's `capabilities`, whatever the convention.
//!
//! ```text
//! Convention --compile--> Compiled --bind(device)--> Speaker
//! message  -> Speaker::understand -> online | state | event | answer | proposal
//! command  -> Speaker::encode     -> topic, payload, QoS (never retained)
//! login    -> Speaker::may_publish, may_subscribe
//! ```
//!
//! Never: opens anything, reads a clock, or takes a message for anything that its profile does not spell out.

mod compile;
mod encode;
mod rules;
mod speaker;
mod template;
mod understand;

pub use compile::Compiled;
pub use encode::{Encoded, Order};
pub use speaker::Speaker;
pub use understand::{Incoming, Meaning, Proposal, Understood};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Renders Jinja templates. This crate has no engine for them: whoever reads messages brings one.
pub trait Templates {
    /// `value`: the payload as text.
    fn render(&self, template: &str, value: &str) -> Result<String, String>;
}

/// For conventions without templates.
pub struct NoTemplates;

impl Templates for NoTemplates {
    fn render(&self, _: &str, _: &str) -> Result<String, String> {
        Err("templates are rendered by a gateway only".into())
    }
}

/// Entries of one convention, all kinds together: each may be looked at for every message.
pub const ENTRIES_MAX: usize = 256;
pub const PARAMETERS_MAX: usize = 16;

/// Expressions are jq. When reading, `.` is the payload (JSON where it is JSON, else text) and there are `$topic`, `$levels`
/// (its levels), `$retained` and `$device`; when writing, `.` is the command's arguments and there are `$command` and `$device`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Convention {
    /// What each device of the profile says of itself, e.g. its topic prefix; `{prefix}` in a topic stands for it.
    #[serde(default)]
    pub parameters: BTreeMap<Arc<str>, Parameter>,
    /// A login that speaks for other devices, each with a profile of its own and `bridge:` naming this one.
    #[serde(default)]
    pub bridge: bool,
    /// All that say something must say `true`.
    #[serde(default)]
    pub availability: Vec<AvailabilityFrom>,
    /// Property -> where its value is read.
    #[serde(default)]
    pub state: BTreeMap<Arc<str>, Vec<StateFrom>>,
    /// Event -> where it is read.
    #[serde(default)]
    pub events: BTreeMap<Arc<str>, Vec<EventFrom>>,
    #[serde(default)]
    pub commands: BTreeMap<Arc<str>, CommandTo>,
    /// Devices that this one knows of and that nobody declared yet.
    #[serde(default)]
    pub discover: Vec<DiscoverFrom>,
    /// For a bridge: devices announce themselves under this prefix as Home Assistant's MQTT discovery has it.
    #[serde(default)]
    pub home_assistant: Option<Arc<str>>,
    /// Topics that the device uses besides, of which nothing is read.
    #[serde(default)]
    pub also: Also,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    #[serde(default)]
    pub title: Arc<str>,
    /// For devices that do not say it; may use `{site}`, `{name}` and `{device}`.
    #[serde(default)]
    pub default: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AvailabilityFrom {
    pub topic: Arc<str>,
    /// A Jinja template that the payload goes through first; what it gives is read as a payload then. Rendered by gateways.
    #[serde(default)]
    pub template: Option<Arc<str>>,
    #[serde(default)]
    pub when: Option<Arc<str>>,
    /// Gives true, false, or null where the message says nothing of it.
    pub online: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateFrom {
    pub topic: Arc<str>,
    /// A Jinja template that the payload goes through first; what it gives is read as a payload then. Rendered by gateways.
    #[serde(default)]
    pub template: Option<Arc<str>>,
    #[serde(default)]
    pub when: Option<Arc<str>>,
    /// Null says nothing of the property: messages may tell a part only.
    pub value: Arc<str>,
    /// RFC 3339, or Unix milliseconds.
    #[serde(default)]
    pub time: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventFrom {
    pub topic: Arc<str>,
    /// A Jinja template that the payload goes through first; what it gives is read as a payload then. Rendered by gateways.
    #[serde(default)]
    pub template: Option<Arc<str>>,
    #[serde(default)]
    pub when: Option<Arc<str>>,
    /// An object; without it the payload, where that is one.
    #[serde(default)]
    pub data: Option<Arc<str>>,
    /// What makes a repeated message one event.
    #[serde(default)]
    pub id: Option<Arc<str>>,
    /// RFC 3339, or Unix milliseconds.
    #[serde(default)]
    pub time: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandTo {
    pub publish: Publish,
    /// Where the device's answers are read; needed unless the command says `ack: none`.
    #[serde(default)]
    pub answers: Vec<AnswerFrom>,
    /// For an opening that the device itself ends: by what.
    #[serde(default)]
    pub bounded_by: Option<BoundedBy>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    pub topic: Arc<str>,
    /// Text is sent as it is, null as an empty payload, all else as JSON.
    #[serde(default)]
    pub payload: Option<Arc<str>>,
    /// A Jinja template that what `payload` gives goes through, as `value`.
    #[serde(default)]
    pub template: Option<Arc<str>>,
    /// 0 or 1.
    #[serde(default = "at_least_once")]
    pub qos: u8,
    /// Read so that it can be refused: a retained command comes again with every subscription.
    #[serde(default)]
    pub retain: bool,
}

fn at_least_once() -> u8 {
    1
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundedBy {
    /// A word of the payload that tells the device when to end it, e.g. `toggle_after`.
    Payload(Arc<str>),
    /// A setting of the device that was made when it was put in, e.g. `PulseTime1`.
    Setting(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerFrom {
    pub topic: Arc<str>,
    #[serde(default)]
    pub when: Option<Arc<str>>,
    /// Gives the command's id back. Without it the answer belongs to the command of this name that was sent last.
    #[serde(default)]
    pub id: Option<Arc<str>>,
    /// Gives `accepted`, `done`, `failed`, or null where the message is no answer.
    pub status: Arc<str>,
    #[serde(default)]
    pub detail: Option<Arc<str>>,
    /// Takes an answer without an id also where it is retained, which might be an old one: for devices that retain all they say.
    #[serde(default)]
    pub retained: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoverFrom {
    pub topic: Arc<str>,
    #[serde(default)]
    pub when: Option<Arc<str>>,
    /// Gives `{name, profile, title?, parameters?}`, as many as there are.
    pub propose: Arc<str>,
    /// What is proposed gets a login of its own; else this one's login goes on speaking for it.
    #[serde(default)]
    pub own_login: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Also {
    #[serde(default)]
    pub publishes: Vec<Arc<str>>,
    #[serde(default)]
    pub subscribes: Vec<Arc<str>>,
}

#[cfg(test)]
mod tests;
