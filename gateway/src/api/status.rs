//! How this gateway and its group are: `/api/v1/status`, `/healthz`, `/readyz`, `/metrics`.

use super::{ApiError, App, fresh};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use spalla_shared::engine::record::InstanceStatus;
use std::fmt::Write;

/// One look at the gateway: leader, sites, instances, devices, work items, uplink.
#[utoipa::path(get, path = "/api/v1/status", responses((status = 200, description = "Status with freshness", body = serde_json::Value)))]
pub async fn status(State(app): State<App>) -> Json<Value> {
    let (leadership, freshness) = (app.group.leadership().borrow().clone(), app.group.freshness());
    // They take locks of their own: not under the state's.
    let groups = app.group_lines();
    let gauges: std::collections::BTreeMap<_, _> = app.gauges.read().into_iter().collect();
    let data = {
        let state = app.group.state().read();
        let count = |status| state.instances.values().filter(|instance| instance.status == status).count();
        let online = state.devices.values().filter(|device| device.attached.is_some()).count();
        json!({
            "organisation": app.config.organisation,
            "mesh": app.config.mesh,
            "node": app.config.node,
            "site": app.config.site,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": app.started.elapsed().as_secs(),
            "role": if leadership.is_self { "leader" } else { "follower" },
            "leader": freshness.leads(),
            "term": leadership.term,
            "applied": state.applied,
            "clock": state.clock.to_rfc3339(),
            "nodes": state.nodes.iter().map(|(id, node)| json!({
                "node": id, "site": node.site, "boot": node.boot, "version": node.version, "up_at": node.up_at.to_rfc3339(),
            })).collect::<Vec<_>>(),
            "flows": state.flows.len(),
            "instances": {
                "running": count(InstanceStatus::Running),
                "suspended": count(InstanceStatus::Suspended),
                "incidents": state.instances.values().filter(|instance| instance.incident.is_some()).count(),
                "started": state.counters.started,
                "completed": state.counters.completed,
                "faulted": state.counters.faulted,
                "cancelled": state.counters.cancelled,
            },
            "devices": { "known": state.devices.len(), "online": online },
            "work_items_open": state.work_items.len(),
            "effects_open": state.effects.len(),
            "outbox": {
                "newest_seq": state.outbox.newest_seq,
                "acknowledged_seq": state.outbox.acknowledged_seq,
                "backlog": state.outbox.items.len(),
                "speaker": state.outbox.speaker,
            },
            "groups": groups,
            "gateway": gauges,
        })
    };
    fresh(&app, data)
}

/// The process answers.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "The process answers", body = String)))]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// A leader is known and this gateway follows it closely.
#[utoipa::path(get, path = "/readyz", responses((status = 200, description = "Ready", body = String), (status = 503, description = "No leader is known")))]
pub async fn readyz(State(app): State<App>) -> Result<&'static str, ApiError> {
    if app.group.freshness().stale {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-quorum",
            "no leader has been heard of; reads are stale and writes are refused",
        ));
    }
    Ok("ready\n")
}

/// Prometheus text.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "Prometheus text", body = String)))]
pub async fn metrics(State(app): State<App>) -> String {
    let mut out = String::new();
    let leader = app.group.leadership().borrow().is_self;
    let mut put = |name: &str, value: u64| {
        let _ = writeln!(out, "spalla_{name} {value}");
    };
    put("is_leader", u64::from(leader));
    {
        let state = app.group.state().read();
        put("applied_index", state.applied);
        put("instances", state.instances.len() as u64);
        put("instances_started_total", state.counters.started);
        put("instances_completed_total", state.counters.completed);
        put("instances_faulted_total", state.counters.faulted);
        put("late_completions_total", state.counters.late_completions);
        put("duplicate_events_total", state.counters.duplicate_events);
        put("effects_open", state.effects.len() as u64);
        put("work_items_open", state.work_items.len() as u64);
        put("outbox_backlog", state.outbox.items.len() as u64);
        put("opening_attempts_total", state.counters.opening_attempts);
        put("opening_unknown_total", state.counters.opening_unknown);
    }
    for (name, value) in app.gauges.read() {
        put(name, value);
    }
    out
}
