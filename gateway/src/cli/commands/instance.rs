//! `spalla instance …`.

use super::super::InstanceCommand;
use super::super::client::{Client, encoded};
use super::super::output::{self, cell, outln};
use super::{json_argument, time};
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

pub async fn dispatch(client: &Client, command: InstanceCommand, json: bool) -> Result<ExitCode> {
    let (path, body, done) = match command {
        InstanceCommand::Start { flow, input, key } => {
            let body = json!({ "flow": flow, "input": json_argument("input", &input)?, "key": key });
            let answer = client.post("/instances", &body).await?;
            if json {
                output::json(&answer["data"]);
            } else {
                outln!("{}", cell(&answer["data"]["instance"]));
            }
            return Ok(ExitCode::SUCCESS);
        }
        InstanceCommand::List { status, limit } => return list(client, &status, limit, json).await,
        InstanceCommand::Show { id } => return show(client, &id, json).await,
        InstanceCommand::Cancel { id, reason } => (format!("/instances/{}/cancel", encoded(&id)), json!({ "reason": reason }), "cancelled"),
        InstanceCommand::Suspend { id } => (format!("/instances/{}/suspend", encoded(&id)), json!({}), "suspended"),
        InstanceCommand::Resume { id } => (format!("/instances/{}/resume", encoded(&id)), json!({}), "resumed"),
        InstanceCommand::Retry { id } => (format!("/instances/{}/retry", encoded(&id)), json!({}), "trying again"),
        InstanceCommand::Skip { id, output } => {
            (format!("/instances/{}/skip", encoded(&id)), json!({ "output": json_argument("output", &output)? }), "skipped")
        }
    };
    let answer = client.post(&path, &body).await?;
    if json {
        output::json(&answer["data"]);
    } else {
        outln!("{done}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, status: &str, limit: u64, json: bool) -> Result<ExitCode> {
    let body = client.get(&format!("/instances?status={}&limit={limit}", encoded(status))).await?;
    output::warn_if_stale(&body);
    if json {
        output::json(&body);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = body["data"].as_array().into_iter().flatten().map(row).collect();
    output::table(&["INSTANCE", "FLOW", "STATUS", "STARTED", "KEY", "AT"], &rows, "no instances");
    Ok(ExitCode::SUCCESS)
}

fn row(instance: &Value) -> Vec<String> {
    let at = instance["positions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|position| format!("{} ({})", cell(&position["name"]), cell(&position["waits_for"])))
        .collect::<Vec<_>>()
        .join(", ");
    let status = if instance["incident"].is_object() { "incident".into() } else { cell(&instance["status"]) };
    vec![cell(&instance["id"]), cell(&instance["flow"]), status, cell(&instance["started_at"]), cell(&instance["business_key"]), at]
}

async fn show(client: &Client, id: &str, json: bool) -> Result<ExitCode> {
    let body = client.get(&format!("/instances/{}", encoded(id))).await?;
    output::warn_if_stale(&body);
    if json {
        output::json(&body);
        return Ok(ExitCode::SUCCESS);
    }
    let instance = &body["data"];
    outln!("{}  {}  {}", cell(&instance["id"]), cell(&instance["flow"]), cell(&instance["status"]));
    outln!("started {}  key {}", cell(&instance["started_at"]), cell(&instance["business_key"]));
    if instance["incident"].is_object() {
        outln!("incident at {}: {}", cell(&instance["incident"]["task"]), cell(&instance["incident"]["problem"]["detail"]));
        outln!("  mend it, then: spalla instance retry {id}   (or skip, cancel)");
    }
    for position in instance["positions"].as_array().into_iter().flatten() {
        outln!("at {}  waits for {}  since {}", cell(&position["reference"]), cell(&position["waits_for"]), time(&position["since"]));
    }
    outln!("input   {}", instance["input"]);
    if !instance["context"].is_null() {
        outln!("context {}", instance["context"]);
    }
    if !instance["output"].is_null() {
        outln!("output  {}", instance["output"]);
    }
    for line in instance["trace"].as_array().into_iter().flatten() {
        let depth = line["reference"].as_str().map_or(0, |reference| reference.matches("/do/").count());
        outln!(
            "{}  {}{:<10} {}  {}",
            cell(&line["at"]),
            "  ".repeat(depth),
            cell(&line["what"]),
            cell(&line["name"]),
            if line["data"].is_null() { String::new() } else { line["data"].to_string() }
        );
    }
    Ok(ExitCode::SUCCESS)
}
