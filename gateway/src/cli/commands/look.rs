//! Commands that only look: status, devices, audit.

use super::super::client::{Client, encoded};
use super::super::output::{self, Column, cell, outln};
use super::time;
use anyhow::Result;
use serde_json::Value;
use spalla_shared::id::GroupId;
use std::path::Path;
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

pub async fn audit(client: &Client, limit: u64, group: Option<&str>, json: bool) -> Result<ExitCode> {
    let columns: [Column; 6] = [
        ("SEQ", |link| cell(&link["seq"])),
        ("AT", |link| time(&link["at"])),
        ("WHO", |link| cell(&link["actor"])),
        ("WHAT", |link| cell(&link["action"])),
        ("ON", |link| cell(&link["subject"])),
        ("DATA", |link| link["data"].to_string()),
    ];
    output::list(&client.get(&of_group(&format!("/audit?limit={limit}"), group)).await?, json, &columns, "the audit trail is empty");
    Ok(ExitCode::SUCCESS)
}

pub async fn verify(client: &Client, group: Option<&str>, json: bool) -> Result<ExitCode> {
    let body = client.get(&of_group("/audit/verify", group)).await?;
    verified(&body["data"], json)
}

pub fn verify_file(file: &Path, group: Option<&str>, json: bool) -> Result<ExitCode> {
    let group = group.map_or_else(GroupId::mesh, GroupId::new);
    let verified_file = crate::history::verify_audit(file, &group)?;
    verified(&serde_json::to_value(verified_file)?, json)
}

/// Exit code 1 when the chain is broken.
fn verified(data: &Value, json: bool) -> Result<ExitCode> {
    let whole = data["result"] == "verified";
    if json {
        output::json(data);
    } else if whole {
        outln!("the audit chain is whole: {} links, head {}", data["count"], cell(&data["head"]));
    } else {
        outln!("the audit chain is BROKEN at link {}: {}", data["seq"], cell(&data["why"]));
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
