//! `spalla flow list|enable|disable|remove`: deployed versions.

use super::super::FlowCommand;
use super::super::client::{Client, encoded};
use super::super::failure::usage;
use super::super::output::{self, cell, outln};
use anyhow::{Result, bail};
use serde_json::{Value, json};
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
    let body = client.get("/flows").await?;
    output::warn_if_stale(&body);
    if json {
        output::json(&body);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = body["data"].as_array().into_iter().flatten().map(row).collect();
    output::table(&["FLOW", "STATE", "RUNNING", "DEPLOYED", "TITLE"], &rows, "no flows; declare some with `spalla apply -f FILE`");
    Ok(ExitCode::SUCCESS)
}

fn row(flow: &Value) -> Vec<String> {
    let state = match (flow["current"] == true, flow["enabled"] == true) {
        (true, _) => "current",
        (_, true) => "enabled",
        _ => "disabled",
    };
    vec![
        // As the other commands take it.
        cell(&flow["flow"]),
        state.into(),
        cell(&flow["running"]),
        cell(&flow["deployed_at"]),
        cell(&flow["title"]),
    ]
}
