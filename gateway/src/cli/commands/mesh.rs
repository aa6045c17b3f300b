//! The mesh's members: how they are, invite, join, remove, transfer.

use super::super::client::{Client, Connection, encoded};
use super::super::failure::usage;
use super::super::output::{self, cell, outln};
use crate::cli::init::join::{JoinOptions, Signer};
use crate::cli::init::{BasePorts, SiteSpec};
use crate::history::{Missing, tell_missing};
use crate::members::{Joined, size};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use spalla_shared::id::GroupId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub enum MeshCommand {
    /// Who leads what; each gateway's role, lag, last contact, disk, clock and version.
    Status,
    /// Make an invitation: one gateway may join with it, once. Prints the token once.
    Invite {
        /// Only for a gateway at this site.
        #[arg(long)]
        site: Option<String>,
        /// It votes as soon as it is level [default: one gateway of each site does, for up to five sites].
        #[arg(long, conflicts_with = "learner")]
        voter: bool,
        /// It never votes.
        #[arg(long)]
        learner: bool,
        /// How long it lasts, minutes.
        #[arg(long, default_value_t = 60, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=10_080))]
        valid: u64,
    },
    /// Join a running mesh: gives this gateway its id, makes its certificate and writes its folder. Run it where `mesh-ca` is.
    Join(JoinArgs),
    /// Take a gateway out for good. Its id never comes back.
    Remove {
        node: u64,
        /// Also where too few of those who are left are there to decide anything, or where none of them has all of the history.
        #[arg(long)]
        force: bool,
    },
    /// Hand leadership over, to the fittest or to NODE.
    Transfer { node: Option<u64> },
}

#[derive(clap::Args)]
pub struct JoinArgs {
    /// Folder to write, to be copied to the new gateway's machine.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The invitation, or @FILE.
    #[arg(long)]
    token: String,
    /// Its site, `NAME` or `NAME=HOST`.
    #[arg(long, value_name = "NAME[=HOST]")]
    site: String,
    /// The folder `mesh-ca` that `spalla init` wrote.
    #[arg(long, value_name = "FOLDER")]
    ca: PathBuf,
    /// Ports of the devices' listener, the mesh listener and the API.
    #[arg(long, default_value = "1883,7883,8080", value_name = "DEVICES,MESH,API", value_delimiter = ',')]
    ports: Vec<u16>,
}

pub async fn dispatch(client: &Client, command: MeshCommand, json: bool) -> Result<ExitCode> {
    match command {
        MeshCommand::Status => status(client, json).await,
        MeshCommand::Invite { site, voter, learner, valid } => {
            let duty = if voter {
                "voter"
            } else if learner {
                "learner"
            } else {
                "auto"
            };
            let body = client.post("/mesh/invitations", &json!({ "site": site, "duty": duty, "valid_s": valid * 60 })).await?;
            if json {
                output::json(&body["data"]);
            } else {
                outln!("token {}   (shown this once)", cell(&body["data"]["token"]));
                outln!("until {}", cell(&body["data"]["until"]));
            }
            Ok(ExitCode::SUCCESS)
        }
        MeshCommand::Remove { node, force } => {
            let query = if force { "?force=true" } else { "" };
            let body = client.delete(&format!("/mesh/members/{}{query}", encoded(&node.to_string()))).await?;
            let data = &body["data"];
            if json {
                output::json(data);
                return Ok(ExitCode::SUCCESS);
            }
            outln!("gateway {node} is removed; its id never comes back. Voters: {}", list(&data["voters"]));
            if data["done"] != true {
                outln!("the groups have not let go of it yet; that goes on by itself");
            }
            if let Some(warning) = data["warning"].as_str() {
                outln!("{warning}");
            }
            Ok(ExitCode::SUCCESS)
        }
        MeshCommand::Transfer { node } => {
            let body = client.post("/mesh/transfer", &json!({ "to": node })).await?;
            let data = &body["data"];
            if json {
                output::json(data);
            } else {
                outln!("gateway {} handed over to gateway {} in {} ms", data["from"], data["to"], data["took_ms"]);
            }
            Ok(ExitCode::SUCCESS)
        }
        MeshCommand::Join(_) => Ok(ExitCode::SUCCESS),
    }
}

async fn status(client: &Client, json: bool) -> Result<ExitCode> {
    let body = client.get("/mesh/status").await?;
    output::warn_if_stale(&body);
    if json {
        output::json(&body);
        return Ok(ExitCode::SUCCESS);
    }
    let data = &body["data"];
    for group in data["groups"].as_array().into_iter().flatten() {
        outln!(
            "group {}: {} (term {}); voters {}{}, learners {}",
            cell(&group["group"]),
            leads(group),
            group["term"],
            list(&group["voters"]),
            if group["changing"] == true { " (changing)" } else { "" },
            list(&group["learners"])
        );
        if let Some(as_of) = group["as_of"].as_str() {
            outln!("  {as_of}");
        }
    }
    let members = || data["members"].as_array().into_iter().flatten();
    for member in members() {
        outln!("  {}", cell(&member["words"]));
    }
    let rows: Vec<Vec<String>> = members().map(row).collect();
    outln!("");
    output::table(&["GATEWAY", "SITE", "ROLE", "ADDRESS", "LAG", "HEARD", "DATA", "FREE", "CLOCK", "VERSION", "UP"], &rows, "no members");
    let lost: BTreeMap<GroupId, Missing> = serde_json::from_value(data["history_lost"].clone()).unwrap_or_default();
    if !lost.is_empty() {
        outln!("history that no gateway has: {}", tell_missing(&lost));
    }
    let (invitations, epoch) = (data["invitations"].as_u64().unwrap_or(0), data["epoch"].as_u64().unwrap_or(0));
    if invitations > 0 {
        outln!("{invitations} open invitations");
    }
    if epoch > 0 {
        outln!("this mesh was begun again {epoch} times");
    }
    Ok(ExitCode::SUCCESS)
}

/// One that is not heard of any more may long have a successor: it is not said to lead.
fn leads(group: &Value) -> String {
    match (&group["leader"], &group["last_leader"]) {
        (Value::Null, Value::Null) => "nobody is heard to lead".into(),
        (Value::Null, last) => format!("nobody is heard to lead, gateway {last} did"),
        (leader, _) => format!("gateway {leader} leads"),
    }
}

fn row(member: &Value) -> Vec<String> {
    let role = match (member["leader"] == true, member["voter"] == true) {
        (true, _) => "leader",
        (_, true) => "voter",
        _ => "learner",
    };
    let vitals = &member["vitals"];
    let bytes = |value: &Value| value.as_u64().map_or("-".into(), size);
    let with = |value: &Value, unit: &str| if value.is_null() { "-".into() } else { format!("{value} {unit}") };
    let version = if vitals.is_null() { "-".into() } else { format!("{} (semantics {})", cell(&vitals["version"]), vitals["semantics"]) };
    vec![
        format!("{}{}", member["node"], if member["self"] == true { " *" } else { "" }),
        cell(&member["site"]),
        role.into(),
        cell(&member["address"]),
        cell(&member["lag"]),
        with(&member["heard_ms"], "ms"),
        bytes(&vitals["data_size"]),
        bytes(&vitals["disk_free"]),
        with(&member["clock_skew_ms"], "ms"),
        version,
        with(&vitals["uptime_s"], "s"),
    ]
}

fn list(nodes: &Value) -> String {
    let nodes: Vec<String> = nodes.as_array().into_iter().flatten().map(Value::to_string).collect();
    if nodes.is_empty() { "none".into() } else { nodes.join(", ") }
}

/// Asks the mesh only when everything here is in order: an invitation opens once.
pub async fn join(connection: &Connection, args: JoinArgs, json: bool) -> Result<ExitCode> {
    let [devices, mesh, api] = args.ports[..] else { bail!(usage("--ports takes three numbers: DEVICES,MESH,API")) };
    let token = match args.token.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("--token @{path}"))?,
        None => args.token,
    };
    let (name, host) = args.site.split_once('=').unwrap_or((&args.site, "127.0.0.1"));
    let options = JoinOptions {
        folder: args.folder,
        site: SiteSpec { name: name.into(), host: host.into() },
        ports: BasePorts { devices, mesh, api },
    };
    let address = options.address()?;
    let signer = Signer::read(&args.ca).context("--ca")?;
    let client = Client::with_token(connection, token.trim())?;
    let request = json!({ "site": options.site.name, "address": address, "ca": signer.pem });
    let body = client.post("/mesh/join", &request).await?;
    let joined: Joined = serde_json::from_value(body["data"].clone()).context("the gateway's answer")?;
    let report = options.write(&signer, &joined)?;
    if json {
        output::json(&json!({ "site": report.site, "node": report.node, "config": report.config, "token_file": report.token_file,
            "mesh_address": report.mesh_address, "devices_port": report.devices_port, "api_url": report.api_url }));
        return Ok(ExitCode::SUCCESS);
    }
    outln!("{}: gateway {}, devices on port {}, API {}", report.site, report.node, report.devices_port, report.api_url);
    outln!("  spalla run --config {}", report.config.display());
    outln!("Copy {} to the gateway's machine; the others expect it at {}.", options.folder.display(), report.mesh_address);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_heard_of_any_more_is_not_said_to_lead() {
        for (leader, last, said) in [
            (json!(2), Value::Null, "gateway 2 leads"),
            (Value::Null, json!(2), "nobody is heard to lead, gateway 2 did"),
            (Value::Null, Value::Null, "nobody is heard to lead"),
        ] {
            assert_eq!(leads(&json!({ "leader": leader, "last_leader": last })), said);
        }
    }
}
