//! `spalla apply -f PATH…`: all files as one command, all or none.

use super::super::client::Client;
use super::super::failure::{Failure, usage};
use super::super::output::{self, outln};
use anyhow::{Context, Result, bail};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Files that one call takes.
const FILES_MAX: usize = 1_000;

pub async fn apply(client: &Client, paths: &[PathBuf], dry_run: bool, json: bool) -> Result<ExitCode> {
    let mut documents = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        list(path, &mut files)?;
    }
    for path in files {
        documents.push((path.display().to_string(), text_of(&path)?));
    }
    if documents.is_empty() {
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        bail!(usage(format!("there is no *.yaml or *.yml file in {}", names.join(", "))));
    }
    // Checked here file by file, so that an error names the file; the gateway checks again.
    let mut wrong = Vec::new();
    for (name, text) in &documents {
        if let Err(diagnostics) = spalla_shared::resource::read(text) {
            wrong.extend(diagnostics.iter().map(|diagnostic| format!("{name}:{diagnostic}")));
        }
    }
    if !wrong.is_empty() {
        bail!(Failure::new("invalid", format!("nothing was applied\n{}", wrong.join("\n"))));
    }
    let all = documents.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n---\n");
    let body = client.post_text(if dry_run { "/apply?dry_run=true" } else { "/apply" }, all).await?;
    if json {
        output::json(&body["data"]);
        return Ok(ExitCode::SUCCESS);
    }
    let changed: Vec<&str> = body["data"]["changed"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    let declared = body["data"]["declared"].as_array().map_or(0, Vec::len);
    if dry_run {
        outln!("{declared} resources are in order; nothing was applied (--dry-run)");
    } else {
        outln!("{declared} resources declared, {} changed", changed.len());
        for name in changed {
            outln!("  {name}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The file itself, or the *.yaml and *.yml below a folder, in order.
pub(super) fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        let mut inside: Vec<PathBuf> = std::fs::read_dir(path)
            .with_context(|| path.display().to_string())?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect();
        inside.retain(|path| path.is_dir() || path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml"));
        inside.sort();
        return inside.iter().try_for_each(|path| list(path, files));
    }
    if files.len() >= FILES_MAX {
        bail!("more than {FILES_MAX} files at once; split it");
    }
    files.push(path.to_owned());
    Ok(())
}

/// `-` is standard input.
pub(super) fn text_of(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
