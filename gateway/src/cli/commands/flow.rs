//! `spalla flow list|enable|disable|remove`: deployed versions.

use super::super::FlowCommand;
use super::super::client::{Client, encoded};
use super::super::failure::usage;
use super::super::output::{self, Column, cell, outln};
use anyhow::{Result, bail};
use serde_json::json;
use std::process::ExitCode;

pub async fn dispatch(client: &Client, command: FlowCommand, json: bool) -> Result<ExitCode> {
    let (answer, done) = match command {
        FlowCommand::Enable { flow } => (client.post(&format!("{}/enable", path(&flow)?), &json!({})).await?, "enabled"),
        FlowCommand::Disable { flow } => (client.post(&format!("{}/disable", path(&flow)?), &json!({})).await?, "disabled"),
        FlowCommand::Remove { flow } => (client.delete(&path(&flow)?).await?, "removed"),
        _ => return list(client, json).await,
    };
    let data = &answer["data"];
    if json {
        output::json(data);
    } else {
        outln!("{} {}{done}", cell(&data["flow"]), if data["changed"] == true { "" } else { "was already " });
    }
    Ok(ExitCode::SUCCESS)
}

/// `NAMESPACE/NAME:VERSION` as a path of the API.
fn path(flow: &str) -> Result<String> {
    let parts = flow.split_once(':').and_then(|(path, version)| Some((path.split_once('/')?, version)));
    match parts {
        Some(((namespace, name), version)) if ![namespace, name, version].contains(&"") => {
            Ok(format!("/flows/{}/{}/{}", encoded(namespace), encoded(name), encoded(version)))
        }
        _ => bail!(usage(format!("flow `{flow}`: write NAMESPACE/NAME:VERSION, e.g. spalla/visitor:1.0.0; `spalla flow list` shows them"))),
    }
}

async fn list(client: &Client, json: bool) -> Result<ExitCode> {
    let columns: [Column; 5] = [
        // As the other commands take it.
        ("FLOW", |flow| cell(&flow["flow"])),
        ("STATE", |flow| match (flow["current"] == true, flow["enabled"] == true) {
            (true, _) => "current".into(),
            (_, true) => "enabled".into(),
            _ => "disabled".into(),
        }),
        ("RUNNING", |flow| cell(&flow["running"])),
        ("DEPLOYED", |flow| cell(&flow["deployed_at"])),
        ("TITLE", |flow| cell(&flow["title"])),
    ];
    output::list(&client.get("/flows").await?, json, &columns, "no flows; declare some with `spalla apply -f FILE`");
    Ok(ExitCode::SUCCESS)
}
