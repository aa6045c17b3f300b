//! Cancel, suspend, resume, retry, skip, set: for one instance, or for many with a result for each.

use super::super::super::client::{Client, encoded};
use super::super::super::output::{self, cell, outln};
use super::target::Target;
use crate::cli::failure::usage;
use anyhow::{Result, bail};
use futures::StreamExt;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// Operations on their way at once: each is a commit of the mesh, and devices must not wait behind them.
const AT_ONCE_MAX: usize = 8;
/// Instances that are named before somebody is asked.
const SHOWN_MAX: usize = 20;

/// What is done to each.
pub struct Operation {
    /// The API's word: `set-context`, `retry`, …
    pub action: &'static str,
    pub body: Value,
    /// What is said of one that went well.
    pub done: &'static str,
    /// Whom it is for where no filter says.
    pub status: &'static str,
}

pub async fn operate(client: &Client, target: &Target, operation: &Operation, json: bool) -> Result<ExitCode> {
    if let Some(id) = target.single() {
        let answer = one(client, id, operation).await?;
        if json {
            output::json(&answer["data"]);
        } else {
            outln!("{}", operation.done);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let instances = target.instances(client, operation.status).await?;
    if instances.is_empty() {
        if json {
            output::json(&json!([]));
        } else {
            outln!("no instance matches");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if target.dry_run {
        if json {
            output::json(&json!(instances));
        } else {
            show(&instances, usize::MAX);
            outln!("{} would be {} (--dry-run)", count(instances.len()), operation.done);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if target.is_filter() && !target.yes {
        if !std::io::stdin().is_terminal() {
            let matching = instances.len();
            bail!(usage(format!("{matching} instances match and nobody is there to be asked; look with --dry-run, then say --yes")));
        }
        if !confirmed(&instances, operation)? {
            outln!("nothing was done");
            return Ok(ExitCode::from(1));
        }
    }
    let ids: Vec<String> = instances.iter().map(|instance| cell(&instance["id"])).collect();
    let results: Vec<(String, Result<Value>)> = futures::stream::iter(ids)
        .map(|id| async {
            let outcome = one(client, &id, operation).await;
            (id, outcome)
        })
        .buffered(AT_ONCE_MAX)
        .collect()
        .await;
    let failed = results.iter().filter(|(_, outcome)| outcome.is_err()).count();
    if json {
        let all = results.iter().map(|(id, outcome)| match outcome {
            Ok(answer) => json!({ "instance": id, "ok": true, "index": answer["data"]["index"] }),
            Err(error) => json!({ "instance": id, "ok": false, "error": super::super::super::failure::told(error).0["error"] }),
        });
        output::json(&all.collect());
    } else {
        for (id, outcome) in &results {
            match outcome {
                Ok(_) => outln!("{id}  {}", operation.done),
                Err(error) => outln!("{id}  failed: {error:#}"),
            }
        }
        outln!("{} {}, {failed} failed", count(results.len() - failed), operation.done);
    }
    Ok(if failed > 0 { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

async fn one(client: &Client, id: &str, operation: &Operation) -> Result<Value> {
    client.post(&format!("/instances/{}/{}", encoded(id), operation.action), &operation.body).await
}

fn confirmed(instances: &[Value], operation: &Operation) -> Result<bool> {
    show(instances, SHOWN_MAX);
    let mut out = std::io::stdout();
    write!(out, "{}: {}? [y/N] ", operation.action, count(instances.len()))?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn show(instances: &[Value], most: usize) {
    let rows: Vec<Vec<String>> = instances.iter().take(most).map(super::row).collect();
    output::table(&super::HEADER, &rows, "");
    if instances.len() > most {
        outln!("… and {} more", instances.len() - most);
    }
}

fn count(number: usize) -> String {
    format!("{number} instance{}", if number == 1 { "" } else { "s" })
}
