//! RFC 7807 problems, as flows raise and catch them.

use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub const TYPE_BASE: &str = "https://serverlessworkflow.io/spec/1.0.0/errors/";
/// Problems of our own functions: `device-offline`, `unknown-outcome`, `refused`, `stale`, …
pub const TYPE_BASE_OWN: &str = "https://spalla.dev/errors/";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    pub status: i64,
    pub title: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Arc<str>>,
    /// JSON pointer to the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Arc<str>>,
}

impl Problem {
    /// A problem of the specification: `timeout`, `communication`, `expression`, `validation`, `configuration`, `runtime`, `authentication`, `authorization`.
    pub fn standard(name: &str, status: i64, detail: impl AsRef<str>) -> Self {
        Self { kind: format!("{TYPE_BASE}{name}").into(), status, title: name.into(), detail: Some(detail.as_ref().into()), instance: None }
    }
    /// A problem of our own functions.
    pub fn own(name: &str, status: i64, detail: impl AsRef<str>) -> Self {
        Self {
            kind: format!("{TYPE_BASE_OWN}{name}").into(),
            status,
            title: name.into(),
            detail: Some(detail.as_ref().into()),
            instance: None,
        }
    }
    pub fn timeout(detail: impl AsRef<str>) -> Self {
        Self::standard("timeout", 408, detail)
    }
    /// The same, at this JSON pointer unless it has one.
    #[must_use]
    pub fn at(mut self, pointer: &str) -> Self {
        self.instance.get_or_insert_with(|| pointer.into());
        self
    }
    /// `{type, status, title, detail?, instance?}`.
    pub fn to_value(&self) -> Value {
        let mut fields = vec![
            ("type", Value::String(self.kind.clone())),
            ("status", Value::Int(self.status)),
            ("title", Value::String(self.title.clone())),
        ];
        if let Some(detail) = &self.detail {
            fields.push(("detail", Value::String(detail.clone())));
        }
        if let Some(instance) = &self.instance {
            fields.push(("instance", Value::String(instance.clone())));
        }
        Value::object(fields)
    }
}
