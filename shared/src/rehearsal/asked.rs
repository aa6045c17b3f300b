//! What an open effect asks, in the words of the catalog: the function, its arguments, and the task that asks.

use crate::engine::State;
use crate::engine::effect::{Effect, HttpRequest, Owner, Request};
use crate::flow::plan::{Call, TaskKind};
use crate::value::Value;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// `device.command`, …; `http` for HTTP calls.
    pub function: Arc<str>,
    /// JSON pointer and name of the task; empty where no task waits (a door's own decision, clean-up).
    pub reference: Arc<str>,
    pub task: Arc<str>,
    /// The arguments. Of a group call: those of one member.
    pub with: Value,
}

impl Asked {
    pub fn by(state: &State, effect: &Effect) -> Self {
        let (function, with) = request(&effect.request);
        let mut asked = Self { function: function.into(), reference: "".into(), task: "".into(), with };
        let (Owner::Token { instance, token, .. } | Owner::Member { instance, token, .. }) = &effect.owner else { return asked };
        let Some(instance) = state.instances.get(instance) else { return asked };
        let Some(frame) = instance.tokens.get(token).and_then(|token| token.top_task()) else { return asked };
        asked.reference = frame.reference.clone();
        asked.task = frame.name.clone();
        let task = state.plans.get(&instance.flow).and_then(|plan| plan.tasks.get(frame.task as usize));
        // Two functions may ask the same of the world (`notify.send`, `notify.broadcast`).
        if let Some(TaskKind::Call(Call::Function { function, .. })) = task.map(|task| &task.kind) {
            asked.function = function.clone();
        }
        asked
    }
}

fn request(request: &Request) -> (&str, Value) {
    let text = |text: &Arc<str>| Value::String(text.clone());
    match request {
        Request::Device { device, command, args, .. } => (
            "device.command",
            Value::object([("target", Value::from(device.as_str())), ("command", text(command)), ("args", args.clone())]),
        ),
        Request::ReadDevice { device, property, .. } => {
            ("device.read", Value::object([("target", Value::from(device.as_str())), ("property", text(property))]))
        }
        Request::Http(http) => ("http", of_http(http)),
        Request::Notify { to, template, data } => {
            ("notify.send", Value::object([("to", text(to)), ("template", text(template)), ("data", data.clone())]))
        }
        Request::SignCredential { credential, holder, kind, valid_from, valid_until, claims } => (
            "credential.issue",
            Value::object([
                ("credential", Value::from(credential.as_str())),
                ("holder", text(holder)),
                ("kind", text(kind)),
                ("validFrom", Value::from(valid_from.to_rfc3339())),
                ("validUntil", Value::from(valid_until.to_rfc3339())),
                ("claims", claims.clone()),
            ]),
        ),
        Request::AppendRow { workbook, sheet, values } => {
            ("sheet.appendRow", Value::object([("workbook", text(workbook)), ("sheet", text(sheet)), ("values", values.clone())]))
        }
        Request::FindRow { workbook, sheet, conditions } => (
            "sheet.findRow",
            Value::object([
                ("workbook", text(workbook)),
                ("sheet", sheet.as_ref().map(text).unwrap_or_default()),
                ("where", conditions.clone()),
            ]),
        ),
        Request::Function { function, with } => (function, with.clone()),
    }
}

/// Without its authentication: that is nobody's to see.
fn of_http(http: &HttpRequest) -> Value {
    let pairs = |pairs: &[(Arc<str>, Arc<str>)]| Value::object(pairs.iter().map(|(name, value)| (name, Value::String(value.clone()))));
    Value::object([
        ("method", Value::String(http.method.clone())),
        ("endpoint", Value::String(http.uri.clone())),
        ("headers", pairs(&http.headers)),
        ("query", pairs(&http.query)),
        ("body", http.body.clone().unwrap_or_default()),
    ])
}
