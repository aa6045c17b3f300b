//! Commands that only look: status, devices.

use super::super::client::{Client, encoded};
use super::super::output::{self, Column, cell, outln};
use anyhow::Result;
use serde_json::Value;
use std::process::ExitCode;

pub async fn status(client: &Client, json: bool) -> Result<ExitCode> {
    let body = client.get("/status").await?;
    output::warn_if_stale(&body);
    if json {
        output::json(&body);
        return Ok(ExitCode::SUCCESS);
    }
    let data = &body["data"];
    outln!(
        "gateway {} at {} ({}), mesh {}/{}, version {}, up {} s",
        cell(&data["node"]),
        cell(&data["site"]),
        cell(&data["role"]),
        cell(&data["organisation"]),
        cell(&data["mesh"]),
        cell(&data["version"]),
        data["uptime_s"]
    );
    outln!("leader {}  term {}  applied {}", cell(&data["leader"]), data["term"], data["applied"]);
    let instances = &data["instances"];
    outln!(
        "instances {} running, {} with incident; {} started, {} completed, {} faulted, {} cancelled",
        instances["running"],
        instances["incidents"],
        instances["started"],
        instances["completed"],
        instances["faulted"],
        instances["cancelled"]
    );
    outln!(
        "devices {} online of {}; {} open work items; {} open effects",
        data["devices"]["online"],
        data["devices"]["known"],
        data["work_items_open"],
        data["effects_open"]
    );
    outln!(
        "cloud: {} waiting, acknowledged {} of {}, speaker {}",
        data["outbox"]["backlog"],
        data["outbox"]["acknowledged_seq"],
        data["outbox"]["newest_seq"],
        cell(&data["outbox"]["speaker"]["node"])
    );
    groups(&data["groups"]);
    Ok(ExitCode::SUCCESS)
}

/// One row for each group that the gateway has a copy of.
fn groups(groups: &Value) {
    let row = |group: &Value| {
        let part = if group["voter"] == true { "votes" } else { "copy" };
        let heard = if group["stale"] == true { "no leader is heard of" } else { "" };
        let mut cells: Vec<String> =
            ["group", "leader", "term", "applied", "running", "owes"].iter().map(|key| cell(&group[*key])).collect();
        cells.extend([part.to_owned(), heard.to_owned()]);
        cells
    };
    let rows: Vec<Vec<String>> = groups.as_array().into_iter().flatten().map(row).collect();
    output::table(&["GROUP", "LEADER", "TERM", "APPLIED", "RUNNING", "OWES", "HERE", ""], &rows, "no groups");
}

/// `?group=…` for a path, or nothing.
pub fn of_group(path: &str, group: Option<&str>) -> String {
    let sign = if path.contains('?') { '&' } else { '?' };
    group.map_or_else(|| path.to_owned(), |group| format!("{path}{sign}group={}", encoded(group)))
}

pub async fn devices(client: &Client, json: bool) -> Result<ExitCode> {
    let columns: [Column; 5] = [
        ("DEVICE", |device| cell(&device["id"])),
        ("PROFILE", |device| cell(&device["profile"])),
        ("CONNECTED", |device| if device["online"] == true { format!("at gateway {}", cell(&device["node"])) } else { "offline".into() }),
        ("SINCE", |device| cell(&device["since"])),
        ("OPENS", |device| cell(&device["opens"])),
    ];
    output::list(&client.get("/devices").await?, json, &columns, "no devices; add one with `spalla device add`");
    Ok(ExitCode::SUCCESS)
}

pub fn added(body: &Value, json: bool) -> Result<ExitCode> {
    let data = &body["data"];
    if json {
        output::json(data);
        return Ok(ExitCode::SUCCESS);
    }
    outln!("device    {}", cell(&data["id"]));
    if let Some(bridge) = data["bridge"].as_str() {
        outln!("no login of its own: {bridge} speaks for it");
        return Ok(ExitCode::SUCCESS);
    }
    outln!("user name {}", cell(&data["username"]));
    outln!("password  {}   (shown this once)", cell(&data["password"]));
    Ok(ExitCode::SUCCESS)
}
