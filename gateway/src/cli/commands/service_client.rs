//! `spalla client …`: programs that speak MQTT to the gateways beside devices.

use super::super::client::{Client, encoded};
use super::super::output::{self, Column, cell, outln};
use crate::cli::ClientCommand;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

const RULES: [&str; 4] = ["subscribe", "publish", "commands", "speaks_for"];

pub async fn dispatch(client: &Client, command: ClientCommand, json: bool) -> Result<ExitCode> {
    match command {
        ClientCommand::List => list(&client.get("/clients").await?, json),
        ClientCommand::Show { name } => show(&client.get(&path(&name, "")).await?, json),
        ClientCommand::Add { name, title, subscribe, publish, commands, speaks_for } => {
            let body = json!({ "name": name, "title": title, "subscribe": subscribe, "publish": publish, "commands": commands,
                "speaks_for": speaks_for });
            done(&client.post("/clients", &body).await?, json)
        }
        ClientCommand::Rotate { name } => done(&client.post(&path(&name, "/rotate"), &json!({})).await?, json),
        ClientCommand::Revoke { name } => done(&client.post(&path(&name, "/revoke"), &json!({})).await?, json),
    }
}

fn path(name: &str, action: &str) -> String {
    format!("/clients/{}{action}", encoded(name))
}

fn list(body: &Value, json: bool) -> Result<ExitCode> {
    let columns: [Column; 6] = [
        ("CLIENT", |one| cell(&one["name"])),
        ("LOGIN", |one| cell(&one["login"])),
        ("SUBSCRIBE", |one| count(&one["subscribe"])),
        ("PUBLISH", |one| count(&one["publish"])),
        ("COMMANDS", |one| count(&one["commands"])),
        ("SPEAKS FOR", |one| count(&one["speaks_for"])),
    ];
    output::list(body, json, &columns, "no service clients; add one with `spalla client add`");
    Ok(ExitCode::SUCCESS)
}

fn count(rules: &Value) -> String {
    rules.as_array().map_or(0, Vec::len).to_string()
}

fn show(body: &Value, json: bool) -> Result<ExitCode> {
    output::warn_if_stale(body);
    if json {
        output::json(body);
        return Ok(ExitCode::SUCCESS);
    }
    rules(&body["data"]);
    Ok(ExitCode::SUCCESS)
}

fn done(body: &Value, json: bool) -> Result<ExitCode> {
    let data = &body["data"];
    if json {
        output::json(data);
        return Ok(ExitCode::SUCCESS);
    }
    rules(data);
    match data["password"].as_str() {
        Some(password) => {
            outln!("user name  {}", cell(&data["username"]));
            outln!("password   {password}   (shown this once)");
            if RULES.iter().all(|key| data[key].as_array().is_none_or(Vec::is_empty)) {
                eprintln!("note: it has no rules, so it may log in and nothing else; see `spalla client add --help`");
            }
        }
        None => outln!("it has no login any more; its sessions end within a second"),
    }
    Ok(ExitCode::SUCCESS)
}

fn rules(data: &Value) {
    for (title, key) in [("client", "name"), ("title", "title"), ("login", "login")] {
        outln!("{title:<11}{}", cell(&data[key]));
    }
    for key in RULES {
        for rule in data[key].as_array().into_iter().flatten() {
            outln!("{:<11}{}", key.replace('_', " "), cell(rule));
        }
    }
}
