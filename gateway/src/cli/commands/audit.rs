//! The audit trail: of a gateway, or of a history file with no gateway.

use super::super::client::{Client, encoded};
use super::super::output::{self, Column, cell, outln};
use super::look::of_group;
use super::time;
use crate::history::{AuditFilter, read_audit, verify_audit};
use anyhow::Result;
use serde_json::{Value, json};
use spalla_shared::id::GroupId;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct TailArgs {
    /// A history.db, without a gateway.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    #[command(flatten)]
    pub seek: Seek,
}

/// Which links. Every option narrows.
#[derive(Debug, clap::Args)]
pub struct Seek {
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// `mesh`, or `site:NAME` for a building's own group; in the file of a restored mesh also `site:NAME~1`.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// The first ones behind this number, instead of the newest.
    #[arg(long, value_name = "SEQ")]
    after: Option<u64>,
    /// `access.granted`, or `access` for all that begin so.
    #[arg(long)]
    action: Option<String>,
    /// What it was done to.
    #[arg(long)]
    subject: Option<String>,
    /// Who did it: `user:anna`, `device:hq/reader-1`, `node:2`.
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
}

impl Seek {
    fn path(&self) -> String {
        let mut path = format!("/audit?limit={}", self.limit);
        if let Some(after) = self.after {
            path.push_str(&format!("&after={after}"));
        }
        for (key, value) in [("action", &self.action), ("subject", &self.subject), ("actor", &self.by)] {
            if let Some(value) = value {
                path.push_str(&format!("&{key}={}", encoded(value)));
            }
        }
        of_group(&path, self.group.as_deref())
    }

    fn filter(&self) -> AuditFilter {
        AuditFilter {
            group: self.group.as_deref().map(GroupId::new),
            limit: self.limit,
            after_seq: self.after,
            action: self.action.clone(),
            subject: self.subject.clone(),
            actor: self.by.clone(),
            ..AuditFilter::default()
        }
    }
}

pub async fn tail(client: &Client, args: &TailArgs, json: bool) -> Result<ExitCode> {
    show(&client.get(&args.seek.path()).await?, json)
}

/// As a gateway gives it, but for how fresh it is: nobody knows of a file.
pub fn tail_file(file: &Path, seek: &Seek, json: bool) -> Result<ExitCode> {
    let filter = seek.filter();
    let mut links = read_audit(file, &filter)?.rows;
    if filter.after_seq.is_none() {
        links.reverse();
    }
    show(&json!({ "data": links }), json)
}

fn show(body: &Value, json: bool) -> Result<ExitCode> {
    let columns: [Column; 6] = [
        ("SEQ", |link| cell(&link["seq"])),
        ("AT", |link| time(&link["at"])),
        ("WHO", |link| cell(&link["actor"])),
        ("WHAT", |link| cell(&link["action"])),
        ("ON", |link| cell(&link["subject"])),
        ("DATA", |link| link["data"].to_string()),
    ];
    output::list(body, json, &columns, "the audit trail has no such links");
    Ok(ExitCode::SUCCESS)
}

pub async fn verify(client: &Client, group: Option<&str>, json: bool) -> Result<ExitCode> {
    let body = client.get(&of_group("/audit/verify", group)).await?;
    verified(&body["data"], json)
}

pub fn verify_file(file: &Path, group: Option<&str>, json: bool) -> Result<ExitCode> {
    let group = group.map_or_else(GroupId::mesh, GroupId::new);
    verified(&serde_json::to_value(verify_audit(file, &group)?)?, json)
}

/// Exit code 1 when the chain is broken.
fn verified(data: &Value, json: bool) -> Result<ExitCode> {
    let whole = data["result"] == "verified";
    if json {
        output::json(data);
    } else if whole {
        outln!("the audit chain is whole: {} links, head {}", data["count"], cell(&data["head"]));
    } else {
        outln!("the audit chain is BROKEN at link {}: {}", data["seq"], cell(&data["why"]));
    }
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
