//! `spalla area list|show|forgive`: sets of doors, and who is inside where anti-passback looks at it.

use super::super::client::{Client, encoded};
use super::super::output::{self, Column, cell, outln};
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub enum AreaCommand {
    /// All areas.
    List,
    /// One area: its doors, its rule, and the people inside as far as the rule knows.
    Show { name: String },
    /// Forget on which side of an area with anti-passback somebody is: the next passage is free.
    Forgive {
        name: String,
        #[command(flatten)]
        whom: Whom,
    },
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub struct Whom {
    /// The holder of the credential.
    #[arg(long, value_name = "HOLDER")]
    person: Option<String>,
    /// All people of the area, after an outage or an evacuation.
    #[arg(long)]
    everybody: bool,
}

pub async fn dispatch(client: &Client, command: AreaCommand, json: bool) -> Result<ExitCode> {
    match command {
        AreaCommand::List => {
            let columns: [Column; 5] = [
                ("AREA", |area| cell(&area["name"])),
                ("DOORS", |area| area["doors"].as_array().map_or(0, Vec::len).to_string()),
                ("ANTI-PASSBACK", |area| rule(&area["anti_passback"])),
                ("INSIDE", |area| cell(&area["inside"])),
                ("OUT OF REACH", |area| area["out_of_reach"].as_array().into_iter().flatten().map(cell).collect::<Vec<_>>().join(", ")),
            ];
            output::list(&client.get("/areas").await?, json, &columns, "no areas are declared");
        }
        AreaCommand::Show { name } => {
            let body = client.get(&format!("/areas/{}", encoded(&name))).await?;
            output::warn_if_stale(&body);
            if json {
                output::json(&body);
            } else {
                show(&body["data"]);
            }
        }
        AreaCommand::Forgive { name, whom: Whom { person, everybody } } => {
            let wish = json!({ "person": person, "everybody": everybody });
            let body = client.post(&format!("/areas/{}/forgive", encoded(&name)), &wish).await?;
            let data = &body["data"];
            match data["forgiven"].as_u64() {
                _ if json => output::json(data),
                Some(0) => outln!("nobody was known to be inside or outside; nothing changed"),
                _ => outln!("{} forgiven: the next passage of each is free", cell(&data["forgiven"])),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn rule(rule: &Value) -> String {
    match rule["rule"].as_str() {
        None => "-".into(),
        Some("hard") => format!("hard, when split {}", cell(&rule["when_split"])),
        Some(soft) => soft.into(),
    }
}

fn show(area: &Value) {
    outln!("area           {}", cell(&area["name"]));
    for door in area["doors"].as_array().into_iter().flatten() {
        outln!("door           {}", cell(door));
    }
    outln!("anti-passback  {}", rule(&area["anti_passback"]));
    for site in area["out_of_reach"].as_array().into_iter().flatten() {
        outln!("out of reach   {}: nobody knows who went in or out there", cell(site));
    }
    if area["inside"].is_u64() {
        outln!("inside         {}", cell(&area["inside"]));
    }
    for person in area["people"].as_array().into_iter().flatten() {
        outln!("               {}, since {}", cell(&person["person"]), cell(&person["since"]));
    }
}
