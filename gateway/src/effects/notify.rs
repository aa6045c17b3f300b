//! Notifications: handed to the operator's webhook, else only recorded (the effect and its end stand in the audit trail).

use super::executors::{done, failed};
use super::http::{HttpClient, Post};
use spalla_shared::engine::Outcome;
use spalla_shared::value::Value;
use tokio::time::Instant;

/// Output: `{delivered: true, via: "webhook"|"history"}`.
pub(super) async fn run(
    http: &HttpClient,
    webhook: Option<&str>,
    key: &str,
    to: &str,
    template: &str,
    data: &Value,
    until: Instant,
) -> Outcome {
    let Some(webhook) = webhook else {
        tracing::info!(to, template, key, "notification recorded; no webhook is configured");
        return done([("delivered", Value::Bool(true)), ("via", Value::from("history"))]);
    };
    let body =
        Value::object([("to", Value::from(to)), ("template", Value::from(template)), ("data", data.clone()), ("key", Value::from(key))]);
    match http.post(Post { uri: webhook, key, body: &body, until }).await {
        Ok(()) => done([("delivered", Value::Bool(true)), ("via", Value::from("webhook"))]),
        Err(problem) => failed(problem),
    }
}
