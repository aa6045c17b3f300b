//! `spalla task list|complete`: work items.

use super::super::TaskCommand;
use super::super::client::{Client, encoded};
use super::super::output::{self, cell, outln};
use super::json_argument;
use anyhow::Result;
use serde_json::json;
use std::process::ExitCode;

pub async fn dispatch(client: &Client, command: TaskCommand, json: bool) -> Result<ExitCode> {
    match command {
        TaskCommand::List { to } => {
            let path = to.map_or_else(|| "/tasks".into(), |to| format!("/tasks?to={}", encoded(&to)));
            let body = client.get(&path).await?;
            output::warn_if_stale(&body);
            if json {
                output::json(&body);
                return Ok(ExitCode::SUCCESS);
            }
            let rows: Vec<Vec<String>> = body["data"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|item| {
                    let answers = match &item["choices"] {
                        serde_json::Value::Array(choices) => choices.iter().map(cell).collect::<Vec<_>>().join("|"),
                        _ => item["checklist"].as_array().into_iter().flatten().map(cell).collect::<Vec<_>>().join(", "),
                    };
                    vec![
                        cell(&item["id"]),
                        cell(&item["to"]),
                        cell(&item["kind"]),
                        cell(&item["title"]),
                        answers,
                        cell(&item["created_at"]),
                    ]
                })
                .collect();
            output::table(&["TASK", "FOR", "KIND", "WHAT", "CHOICES OR CHECKLIST", "SINCE"], &rows, "no open work items");
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
