//! One device that speaks a convention: its topics with the device's own parameters in them, and what its login may do.

use super::compile::{BUILT_IN, Compiled};
use super::template::{Template, check_value};
use crate::device::discovery;
use crate::id::DeviceId;
use crate::resource::Device;
use crate::topic::{filter_covers, filter_matches};
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Speaker {
    pub(super) compiled: Arc<Compiled>,
    pub(super) id: DeviceId,
    /// `$device` in expressions.
    pub(super) device: Value,
    /// Filters of the entries, in their order.
    pub(super) filters: Vec<String>,
    pub(super) commands: BTreeMap<Arc<str>, String>,
    publishes: Vec<String>,
    subscribes: Vec<String>,
}

impl Speaker {
    /// The error says what the device's declaration lacks.
    pub fn bind(compiled: Arc<Compiled>, device: &Device) -> Result<Self, String> {
        let values = values(&compiled, device)?;
        let expand = |templates: &[Template]| templates.iter().map(|template| template.expand(&values)).collect::<Result<Vec<_>, _>>();
        let filters = compiled.entries.iter().map(|entry| entry.topic.expand(&values)).collect::<Result<_, _>>()?;
        let commands =
            compiled.commands.iter().map(|(name, to)| Ok((name.clone(), to.topic.expand(&values)?))).collect::<Result<_, String>>()?;
        let mut publishes = expand(&compiled.publishes)?;
        publishes.extend(compiled.home_assistant.as_ref().map(|prefix| format!("{prefix}/#")));
        let mut subscribes = expand(&compiled.subscribes)?;
        subscribes.extend(compiled.home_assistant.as_deref().map(discovery::birth_topic));
        let parameters = Value::object(
            values
                .iter()
                .filter(|(name, _)| !BUILT_IN.contains(&&***name))
                .map(|(name, value)| (name.clone(), Value::String(value.clone()))),
        );
        let own = Value::object([
            ("id", Value::from(device.id.as_str())),
            ("site", Value::from(device.id.site().as_str())),
            ("name", Value::from(device.id.name())),
            ("parameters", parameters),
        ]);
        Ok(Self { compiled, id: device.id.clone(), device: own, filters, commands, publishes, subscribes })
    }

    pub fn id(&self) -> &DeviceId {
        &self.id
    }

    /// The prefix under which devices announce themselves to this login.
    pub fn home_assistant(&self) -> Option<&str> {
        self.compiled.home_assistant.as_deref()
    }

    /// Whether it was made from the announcement at this topic.
    pub fn is_announced_by(&self, topic: &str) -> bool {
        self.device.get("parameters").and_then(|all| all.get(discovery::PARAMETER)).and_then(Value::as_str) == Some(topic)
    }

    pub fn is_bridge(&self) -> bool {
        self.compiled.bridge
    }

    /// Whether something is read from messages of this topic.
    pub fn reads(&self, topic: &str) -> bool {
        self.filters.iter().any(|filter| filter_matches(filter, topic))
    }

    /// Whether its login may publish there. Never where its own commands go, unless the convention reads there too (a device
    /// that answers on its command's topic).
    pub fn may_publish(&self, topic: &str) -> bool {
        self.reads(topic) || self.publishes.iter().any(|filter| filter_matches(filter, topic)) && !self.is_command(topic)
    }

    pub fn may_subscribe(&self, filter: &str) -> bool {
        self.commands.values().chain(&self.subscribes).any(|own| filter_covers(own, filter))
    }

    /// Whether its commands go there: nobody else publishes on it.
    pub fn is_command(&self, topic: &str) -> bool {
        self.commands.values().any(|own| own == topic)
    }

    /// Filters of all that it publishes, for whoever sets it up.
    pub fn publishes(&self) -> Vec<String> {
        sorted(self.filters.iter().chain(&self.publishes))
    }

    pub fn subscribes(&self) -> Vec<String> {
        sorted(self.commands.values().chain(&self.subscribes))
    }
}

/// Every parameter with its value: the device's, else the default.
fn values(compiled: &Compiled, device: &Device) -> Result<BTreeMap<Arc<str>, Arc<str>>, String> {
    let mut values: BTreeMap<Arc<str>, Arc<str>> = BTreeMap::from([
        ("device".into(), device.id.as_str().into()),
        ("site".into(), device.id.site().as_str().into()),
        ("name".into(), device.id.name().into()),
    ]);
    if let Some(unknown) = device.parameters.keys().find(|name| !compiled.parameters.contains_key(*name)) {
        let known: Vec<&str> = compiled.parameters.keys().map(AsRef::as_ref).collect();
        return Err(format!("the profile has no parameter `{unknown}`; it has: {}", known.join(", ")));
    }
    for (name, default) in &compiled.parameters {
        let value: Arc<str> = match (device.parameters.get(name), default) {
            (Some(own), _) => own.clone(),
            (None, Some(default)) => default.expand(&values)?.into(),
            (None, None) => return Err(format!("parameter `{name}` is missing; say `parameters: {{ {name}: … }}`")),
        };
        check_value(name, &value)?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

fn sorted<'a>(topics: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut topics: Vec<String> = topics.cloned().collect();
    topics.sort();
    topics.dedup();
    topics
}
