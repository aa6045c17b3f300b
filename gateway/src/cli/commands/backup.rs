//! `backup`, `restore`, `recover`.

use super::super::client::Client;
use super::super::failure::usage;
use super::super::output::{self, outln};
use crate::backup::{self, BackupFile, Wish};
use crate::config::Config;
use anyhow::{Context, Result, bail};
use serde_json::json;
use spalla_shared::id::{Actor, GroupId};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct BackupArgs {
    /// File to write; nothing is overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(clap::Args)]
pub struct RestoreArgs {
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Why: it stands in the audit trail.
    #[arg(long)]
    reason: String,
}

#[derive(clap::Args)]
pub struct RecoverArgs {
    /// The mesh's name, as in the settings: says that all other gateways are gone for good.
    #[arg(long, value_name = "MESH")]
    confirm: Option<String>,
    /// Why: it stands in the audit trail.
    #[arg(long)]
    reason: Option<String>,
}

/// Fetches, and checks what came before it gets its name.
pub async fn backup(client: &Client, args: &BackupArgs, json: bool) -> Result<ExitCode> {
    if args.out.symlink_metadata().is_ok() {
        bail!(usage(format!("{} is there already; nothing is overwritten", args.out.display())));
    }
    let mut part = args.out.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let done = async {
        client.download("/backup", &part).await?;
        let file = BackupFile::open(&part)?;
        let links = backup::check_audit(&file, &GroupId::mesh())?;
        std::fs::rename(&part, &args.out).with_context(|| args.out.display().to_string())?;
        anyhow::Ok((file.head, links))
    };
    let (head, links) = match done.await {
        Ok(done) => done,
        Err(error) => {
            // What is not whole must not be taken for a backup.
            drop(std::fs::remove_file(&part));
            return Err(error);
        }
    };
    let size = std::fs::metadata(&args.out).map_or(0, |meta| meta.len());
    if json {
        output::json(&json!({ "file": args.out, "size": size, "audit_links": links, "head": head }));
        return Ok(ExitCode::SUCCESS);
    }
    outln!("{}: {}, taken {} at gateway {}", args.out.display(), crate::members::size(size), head.taken_at, head.node);
    for mark in &head.groups {
        outln!("  group {}: up to entry {}", mark.group, mark.applied);
    }
    outln!("  audit trail verified, {links} links");
    outln!("Keep the folder mesh-ca and credentials.key with it: they are not in it.");
    Ok(ExitCode::SUCCESS)
}

pub fn restore(config: &Path, args: &RestoreArgs, by: Actor, json: bool) -> Result<ExitCode> {
    let config = Config::load(config)?;
    let file = BackupFile::open(&args.file)?;
    let begun = runtime()?.block_on(backup::restore(&config, &file, Wish { reason: args.reason.clone(), by }))?;
    if json {
        output::json(&json!({ "node": config.node, "index": begun.at.index, "audit_links": begun.audit_links, "head": file.head }));
        return Ok(ExitCode::SUCCESS);
    }
    outln!(
        "gateway {} begins {} again from the backup of {}; audit trail whole, {} links",
        config.node,
        config.mesh,
        file.head.taken_at,
        begun.audit_links
    );
    outln!("Start it, then let the others join: `spalla mesh invite` there, `spalla mesh join` for each.");
    Ok(ExitCode::SUCCESS)
}

pub fn recover(config: &Path, args: &RecoverArgs, by: Actor, json: bool) -> Result<ExitCode> {
    let config = Config::load(config)?;
    let runtime = runtime()?;
    let (Some(confirm), Some(reason)) = (&args.confirm, &args.reason) else {
        let found = runtime.block_on(backup::look(&config))?;
        let at = found.clock.to_rfc3339();
        bail!(usage(format!(
            "this folder of gateway {} reaches entry {} of {at}. Beginning again from it loses whatever the others confirmed later, and \
             removes them all for good. When they are gone for good: `spalla recover --confirm {} --reason TEXT`",
            config.node, found.index, config.mesh
        )));
    };
    if *confirm != config.mesh {
        bail!(usage(format!("--confirm {confirm}: this mesh is called `{}`", config.mesh)));
    }
    let begun = runtime.block_on(backup::recover(&config, Wish { reason: reason.clone(), by }))?;
    if json {
        output::json(&json!({ "node": config.node, "index": begun.at.index, "term": begun.at.term, "audit_links": begun.audit_links }));
        return Ok(ExitCode::SUCCESS);
    }
    outln!(
        "gateway {} begins {} again, alone, at entry {}; audit trail whole, {} links",
        config.node,
        config.mesh,
        begun.at.index,
        begun.audit_links
    );
    outln!("Start it, then let others join: `spalla mesh invite`, `spalla mesh join`. The lost ones must never be started again.");
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}
