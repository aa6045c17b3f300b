//! CloudEvents 1.0: what happened.

use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Largest `data` of an event, in [`Value::size`] bytes. An event is a message, not a file.
pub const DATA_SIZE_MAX: usize = 64 * 1024;

/// A CloudEvent. (`source`, `id`) is unique and is the dedupe key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub id: Arc<str>,
    /// URI reference. Devices: `/sites/<site>/devices/<name>`. Flows: `/flows/<namespace>/<name>/<instance>` unless the flow says another.
    pub source: Arc<str>,
    /// Reverse-DNS. Native devices: `spalla.device.<name of the event>`, readings `spalla.telemetry.<property>`.
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Arc<str>>,
    pub time: Timestamp,
    #[serde(default)]
    pub data: Value,
    /// Extension attributes, lower case letters and digits.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub extensions: std::collections::BTreeMap<Arc<str>, Value>,
}

impl Event {
    /// `{id, source, type, subject, time (RFC 3339), data, specversion, …extensions}`: what expressions see.
    pub fn to_value(&self) -> Value {
        let mut fields = vec![
            ("specversion", Value::from("1.0")),
            ("id", Value::String(self.id.clone())),
            ("source", Value::String(self.source.clone())),
            ("type", Value::String(self.kind.clone())),
            ("time", Value::from(self.time.to_rfc3339())),
            ("data", self.data.clone()),
        ];
        if let Some(subject) = &self.subject {
            fields.push(("subject", Value::String(subject.clone())));
        }
        fields.extend(self.extensions.iter().map(|(name, value)| (&**name, value.clone())));
        Value::object(fields)
    }
}
