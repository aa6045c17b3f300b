//! `spalla task list|complete`: work items.

use super::super::TaskCommand;
use super::super::client::{Client, encoded};
use super::super::output::{self, Column, cell, outln};
use super::json_argument;
use super::look::of_group;
use anyhow::Result;
use serde_json::{Value, json};
use std::process::ExitCode;

pub async fn dispatch(client: &Client, command: TaskCommand, json: bool) -> Result<ExitCode> {
    match command {
        TaskCommand::List { to, group } => {
            let path = to.map_or_else(|| "/tasks".into(), |to| format!("/tasks?to={}", encoded(&to)));
            let path = of_group(&path, group.as_deref());
            let columns: [Column; 6] = [
                ("TASK", |item| cell(&item["id"])),
                ("FOR", |item| cell(&item["to"])),
                ("KIND", |item| cell(&item["kind"])),
                ("WHAT", |item| cell(&item["title"])),
                ("CHOICES OR CHECKLIST", |item| match &item["choices"] {
                    Value::Array(choices) => choices.iter().map(cell).collect::<Vec<_>>().join("|"),
                    _ => item["checklist"].as_array().into_iter().flatten().map(cell).collect::<Vec<_>>().join(", "),
                }),
                ("SINCE", |item| cell(&item["created_at"])),
            ];
            output::list(&client.get(&path).await?, json, &columns, "no open work items");
        }
        TaskCommand::Complete { id, choice, answers, comment } => {
            let answers = answers.map(|text| json_argument("answers", &text)).transpose()?;
            let mut body = json!({ "comment": comment });
            if let Some(choice) = choice {
                body["choice"] = json!(choice);
            }
            if let Some(answers) = answers {
                body["answers"] = answers;
            }
            let answer = client.post(&format!("/tasks/{}/complete", encoded(&id)), &body).await?;
            if json {
                output::json(&answer["data"]);
            } else {
                outln!("{}", if answer["data"]["duplicate"] == true { "was completed before" } else { "completed" });
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
