//! `spalla flow list|check`.

use super::super::client::Client;
use super::super::output::{self, cell, outln};
use anyhow::Result;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

pub async fn list(client: &Client, json: bool) -> Result<ExitCode> {
    let body = client.get("/flows").await?;
    output::warn_if_stale(&body);
    if json {
        output::json(&body);
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<Vec<String>> = body["data"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|flow| {
            vec![cell(&flow["flow"]), cell(&flow["running"]), cell(&flow["enabled"]), cell(&flow["deployed_at"]), cell(&flow["title"])]
        })
        .collect();
    output::table(&["FLOW", "RUNNING", "ENABLED", "DEPLOYED", "TITLE"], &rows, "no flows; declare some with `spalla apply -f FILE`");
    Ok(ExitCode::SUCCESS)
}

/// Exit code 2 when any file has an error.
pub fn check(files: &[PathBuf], json: bool) -> Result<ExitCode> {
    let mut all = Vec::new();
    let mut invalid = false;
    for file in files {
        let name = file.display().to_string();
        let found = match std::fs::read_to_string(file) {
            Err(error) => {
                invalid = true;
                all.push(json!({ "file": name, "ok": false, "error": error.to_string() }));
                if !json {
                    outln!("{name}: {error}");
                }
                continue;
            }
            Ok(text) => spalla_shared::flow::check(&text),
        };
        let (ok, diagnostics) = match found {
            Ok(checked) => (true, checked.warnings),
            Err(diagnostics) => (false, diagnostics),
        };
        invalid |= !ok;
        if !json {
            for diagnostic in &diagnostics {
                outln!("{name}:{diagnostic}");
            }
            if ok {
                outln!("{name}: ok");
            }
        }
        all.push(json!({ "file": name, "ok": ok, "diagnostics": diagnostics }));
    }
    if json {
        output::json(&json!(all));
    }
    Ok(if invalid { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

/// The default catalog, or one function with its schemas.
pub fn functions(name: Option<&str>, json: bool) -> Result<ExitCode> {
    use spalla_shared::flow::catalog;
    let Some(name) = name else {
        if json {
            let all: Vec<_> = catalog::functions()
                .iter()
                .map(|function| json!({ "name": function.name, "version": function.version, "title": function.title }))
                .collect();
            output::json(&json!(all));
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<Vec<String>> =
            catalog::functions().iter().map(|function| vec![function.full_name(), function.title.clone()]).collect();
        output::table(&["FUNCTION", "WHAT IT DOES"], &rows, "no functions");
        return Ok(ExitCode::SUCCESS);
    };
    let function = catalog::resolve(name).map_err(|unknown| match unknown.hint() {
        Some(hint) => anyhow::anyhow!("{unknown}; {hint}"),
        None => anyhow::anyhow!("{unknown}"),
    })?;
    output::json(
        &json!({ "name": function.name, "version": function.version, "title": function.title, "with": function.with_schema, "output": function.output_schema }),
    );
    Ok(ExitCode::SUCCESS)
}
