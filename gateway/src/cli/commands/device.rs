//! `spalla device …`: declared, proposed, watched.

use super::super::client::{Client, encoded};
use super::super::output::{self, Column, cell, outln};
use super::look;
use crate::cli::DeviceCommand;
use crate::cli::failure::usage;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::process::ExitCode;

pub async fn dispatch(client: &Client, command: DeviceCommand, json: bool) -> Result<ExitCode> {
    match command {
        DeviceCommand::List => look::devices(client, json).await,
        DeviceCommand::Add { id, profile, title, groups, zone, opens, parameters, bridge } => {
            let body = json!({ "id": id, "profile": profile, "title": title, "groups": groups, "zone": zone, "opens": opens,
                "parameters": pairs(parameters)?, "bridge": bridge });
            look::added(&client.post("/devices", &body).await?, json)
        }
        DeviceCommand::Show { id } => show(&client.get(&path(&id, "")?).await?, json),
        DeviceCommand::Rotate { id } => look::added(&client.post(&path(&id, "/rotate")?, &json!({})).await?, json),
        DeviceCommand::Revoke { id } => {
            let body = client.post(&path(&id, "/revoke")?, &json!({})).await?;
            if json {
                output::json(&body["data"]);
            } else {
                outln!("{id} has no login any more; its sessions end within a second");
            }
            Ok(ExitCode::SUCCESS)
        }
        DeviceCommand::Watch { id } => watch(client, id.as_deref(), json).await,
        DeviceCommand::Proposals => proposals(&client.get("/devices/proposals").await?, json),
        DeviceCommand::Admit { id, with_id, profile, title, groups, zone, opens, fail_mode } => {
            let (site, name) = site_and_name(&id)?;
            let body = json!({ "id": with_id, "profile": profile, "title": title, "groups": groups, "zone": zone, "opens": opens,
                "fail_mode": fail_mode });
            let path = format!("/devices/proposals/{}/{}/admit", encoded(site), encoded(name));
            let answer = client.post(&path, &body).await?;
            let data = &answer["data"];
            if data["password"].is_string() {
                return look::added(&answer, json);
            }
            if json {
                output::json(data);
            } else {
                outln!("{} is declared as {}, behind {}", cell(&data["id"]), cell(&data["profile"]), cell(&data["bridge"]));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn site_and_name(id: &str) -> Result<(&str, &str)> {
    match id.split_once('/') {
        Some((site, name)) if !site.is_empty() && !name.is_empty() => Ok((site, name)),
        _ => bail!(usage(format!("device `{id}`: write SITE/NAME, e.g. hq/reader-1"))),
    }
}

fn path(id: &str, action: &str) -> Result<String> {
    let (site, name) = site_and_name(id)?;
    Ok(format!("/devices/{}/{}{action}", encoded(site), encoded(name)))
}

fn pairs(parameters: Option<Vec<String>>) -> Result<Option<BTreeMap<String, String>>> {
    let Some(parameters) = parameters else { return Ok(None) };
    let mut out = BTreeMap::new();
    for pair in parameters {
        match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => out.insert(name.to_owned(), value.to_owned()),
            _ => bail!(usage(format!("--parameter {pair}: write NAME=VALUE, e.g. prefix=shellies/door-1"))),
        };
    }
    Ok(Some(out))
}

fn show(body: &Value, json: bool) -> Result<ExitCode> {
    output::warn_if_stale(body);
    if json {
        output::json(body);
        return Ok(ExitCode::SUCCESS);
    }
    let data = &body["data"];
    for (title, key) in
        [("device", "id"), ("profile", "profile"), ("title", "title"), ("opens", "opens"), ("bridge", "bridge"), ("login", "login")]
    {
        outln!("{title:<10}{}", cell(&data[key]));
    }
    if let Some(at) = data["attached"].as_object() {
        outln!("connected at gateway {} since {}", cell(&at["node"]), cell(&at["since"]));
    } else {
        outln!("not connected");
    }
    for (name, value) in data["parameters"].as_object().into_iter().flatten() {
        outln!("parameter {name} = {}", cell(value));
    }
    for (title, key) in [("publishes", "publishes"), ("subscribes", "subscribes")] {
        for topic in data[key].as_array().into_iter().flatten() {
            outln!("{title:<11}{}", cell(topic));
        }
    }
    if data["told_by"].is_null() {
        outln!("the gateway that it is connected to does not answer; what follows is older");
    }
    for (name, reading) in data["here"]["properties"].as_object().into_iter().flatten() {
        outln!("{name} = {} ({})", reading["value"], cell(&reading["quality"]));
    }
    Ok(ExitCode::SUCCESS)
}

fn proposals(body: &Value, json: bool) -> Result<ExitCode> {
    if !json {
        for node in body["unreachable"].as_array().into_iter().flatten() {
            outln!("gateway {node} did not answer; what its bridges propose is not here");
        }
    }
    let columns: [Column; 5] = [
        ("PROPOSED", |one| cell(&one["id"])),
        ("PROFILE", |one| cell(&one["profile"])),
        ("BY", |one| cell(&one["bridge"])),
        ("TITLE", |one| cell(&one["title"])),
        ("PARAMETERS", |one| {
            let parameters = one["parameters"].as_object().into_iter().flatten();
            parameters.map(|(name, value)| format!("{name}={}", cell(value))).collect::<Vec<_>>().join(" ")
        }),
    ];
    output::list(body, json, &columns, "no bridge knows of a device that is not declared");
    Ok(ExitCode::SUCCESS)
}

/// Until it is interrupted, or the gateway ends.
async fn watch(client: &Client, id: Option<&str>, json: bool) -> Result<ExitCode> {
    let path = id.map_or_else(|| "/devices/watch".to_owned(), |id| format!("/devices/watch?device={}", encoded(id)));
    client
        .stream(&path, |kind, data| {
            if json {
                let line = json!({ "event": kind, "data": data });
                outln!("{line}");
            } else if kind == "lost" {
                outln!("… {} messages at gateway {} were too fast to show", data["count"], data["node"]);
            } else if kind == "unreachable" {
                outln!("… gateway {} does not answer; what its devices say is not shown", data["node"]);
            } else if kind == "reachable" {
                outln!("… gateway {} answers again", data["node"]);
            } else {
                heard(data);
            }
            if output::is_closed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .await?;
    Ok(ExitCode::SUCCESS)
}

fn heard(data: &Value) {
    let retained = if data["retained"] == true { " retained" } else { "" };
    outln!("{}  {}  {}{retained}", cell(&data["at"]), cell(&data["login"]), cell(&data["topic"]));
    outln!("    {}", cell(&data["payload"]));
    for what in data["understood"].as_array().into_iter().flatten() {
        let mut fields = what.as_object().cloned().unwrap_or_default();
        let (device, is) = (fields.remove("device").unwrap_or_default(), fields.remove("is").unwrap_or_default());
        fields.retain(|_, value| !value.is_null());
        outln!("    -> {} {} {}", cell(&device), cell(&is), Value::Object(fields));
    }
    for problem in data["problems"].as_array().into_iter().flatten() {
        outln!("    !  {}", cell(problem));
    }
    if data["verdict"] != "taken" {
        outln!("    !  {}", cell(&data["verdict"]));
    }
}
