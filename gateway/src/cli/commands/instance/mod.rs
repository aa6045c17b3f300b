//! `spalla instance …`: running and finished flows.

mod follow;
mod operate;
mod show;
mod target;
mod tree;

pub use show::ShowArgs;
pub use target::Target;

use super::super::InstanceCommand;
use super::super::client::{Client, encoded};
use super::super::output::{self, cell, outln};
use super::json_argument;
use super::look::of_group;
use anyhow::Result;
use operate::Operation;
use serde_json::{Value, json};
use std::process::ExitCode;

const HEADER: [&str; 7] = ["INSTANCE", "GROUP", "FLOW", "STATUS", "STARTED", "KEY", "AT"];

#[derive(clap::Args)]
pub struct ListArgs {
    /// running (all that live), suspended, incident, finished, completed, faulted, cancelled or all.
    #[arg(long, default_value = "running")]
    status: String,
    /// NAMESPACE/NAME:VERSION or a part of it.
    #[arg(long)]
    flow: Option<String>,
    /// Business key.
    #[arg(long)]
    key: Option<String>,
    /// Only those that were started before this instant.
    #[arg(long, value_name = "INSTANT")]
    started_before: Option<String>,
    /// `mesh` or `site:NAME`; else all groups that the gateway has a copy of.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
}

pub async fn dispatch(client: &Client, command: InstanceCommand, json: bool) -> Result<ExitCode> {
    let (target, operation) = match command {
        InstanceCommand::Start { flow, input, key, group } => {
            let body = json!({ "flow": flow, "input": json_argument("input", &input)?, "key": key });
            let answer = client.post(&of_group("/instances", group.as_deref()), &body).await?;
            if json {
                output::json(&answer["data"]);
            } else {
                outln!("{}", cell(&answer["data"]["instance"]));
            }
            return Ok(ExitCode::SUCCESS);
        }
        InstanceCommand::List(args) => return list(client, &args, json).await,
        InstanceCommand::Show(args) => return show::show(client, &args, json).await,
        InstanceCommand::Cancel { target, reason } => {
            (target, Operation { action: "cancel", body: json!({ "reason": reason }), done: "cancelled", status: "running" })
        }
        InstanceCommand::Suspend { target } => {
            (target, Operation { action: "suspend", body: json!({}), done: "suspended", status: "running" })
        }
        InstanceCommand::Resume { target } => {
            (target, Operation { action: "resume", body: json!({}), done: "resumed", status: "suspended" })
        }
        InstanceCommand::Retry { target } => {
            (target, Operation { action: "retry", body: json!({}), done: "tried again", status: "incident" })
        }
        InstanceCommand::Skip { target, output } => {
            let body = json!({ "output": json_argument("output", &output)? });
            (target, Operation { action: "skip", body, done: "skipped", status: "incident" })
        }
        InstanceCommand::Set { target, context } => {
            let body = json!({ "context": json_argument("context", &context)? });
            (target, Operation { action: "set-context", body, done: "changed", status: "running" })
        }
    };
    operate::operate(client, &target, &operation, json).await
}

async fn list(client: &Client, args: &ListArgs, json: bool) -> Result<ExitCode> {
    let mut path = format!("/instances?status={}&limit={}", encoded(&args.status), args.limit);
    for (name, value) in [("flow", &args.flow), ("key", &args.key), ("started_before", &args.started_before), ("group", &args.group)] {
        if let Some(value) = value {
            path += &format!("&{name}={}", encoded(value));
        }
    }
    let body = client.get(&path).await?;
    output::warn_if_stale(&body);
    if json {
        output::json(&body);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = body["data"].as_array().into_iter().flatten().map(row).collect();
    output::table(&HEADER, &rows, "no instances");
    if body["next"].is_string() {
        outln!("there are more; raise --limit or narrow the filter");
    }
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
    vec![
        cell(&instance["id"]),
        cell(&instance["group"]),
        cell(&instance["flow"]),
        status,
        cell(&instance["started_at"]),
        cell(&instance["business_key"]),
        at,
    ]
}
