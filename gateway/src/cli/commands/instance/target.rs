//! Which instances an operation is for: named ones, or all that a filter takes.

use super::super::super::client::{Client, encoded};
use super::super::super::failure::usage;
use anyhow::{Result, bail};
use serde_json::Value;

/// Instances of one call: as many as a mesh runs.
const INSTANCES_MAX: usize = 50_000;
const PAGE_LEN: usize = 1_000;

#[derive(clap::Args)]
pub struct Target {
    /// Instances; or use the filters below.
    #[arg(value_name = "ID", conflicts_with_all = ["flow", "status", "key", "started_before", "all"])]
    pub ids: Vec<String>,
    /// Those of this flow: NAMESPACE/NAME:VERSION or a part of it.
    #[arg(long, value_name = "FLOW", help_heading = "Filters")]
    flow: Option<String>,
    /// Those with this status.
    #[arg(long, value_parser = ["running", "suspended", "incident"], help_heading = "Filters")]
    status: Option<String>,
    /// Those with this business key.
    #[arg(long, help_heading = "Filters")]
    key: Option<String>,
    /// Those that were started before this instant, e.g. 2026-11-23T09:00:00Z.
    #[arg(long, value_name = "INSTANT", help_heading = "Filters")]
    started_before: Option<String>,
    /// Needed where no filter is given.
    #[arg(long, help_heading = "Filters")]
    all: bool,
    /// Only show what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub yes: bool,
}

impl Target {
    /// Exactly one, by its id: what goes wrong is then told as of any other command.
    pub fn single(&self) -> Option<&str> {
        match self.ids.as_slice() {
            [one] if !self.dry_run => Some(one),
            _ => None,
        }
    }

    pub fn is_filter(&self) -> bool {
        self.ids.is_empty()
    }

    /// The instances, as the API lists them; named ones as their ids alone. `status`: what is wanted where no filter says.
    pub async fn instances(&self, client: &Client, status: &str) -> Result<Vec<Value>> {
        if !self.is_filter() {
            return Ok(self.ids.iter().map(|id| serde_json::json!({ "id": id })).collect());
        }
        let filtered = self.flow.is_some() || self.status.is_some() || self.key.is_some() || self.started_before.is_some();
        if !filtered && !self.all {
            bail!(usage("which instances? Give their IDs, a filter (--flow, --status, --key, --started-before), or --all"));
        }
        let mut query = format!("/instances?limit={PAGE_LEN}&status={}", self.status.as_deref().unwrap_or(status));
        for (name, value) in [("flow", &self.flow), ("key", &self.key), ("started_before", &self.started_before)] {
            if let Some(value) = value {
                query += &format!("&{name}={}", encoded(value));
            }
        }
        let mut found = Vec::new();
        let mut before: Option<String> = None;
        loop {
            let path = before.as_ref().map_or_else(|| query.clone(), |before| format!("{query}&before={}", encoded(before)));
            let body = client.get(&path).await?;
            found.extend(body["data"].as_array().into_iter().flatten().cloned());
            before = body["next"].as_str().map(str::to_owned);
            if before.is_none() {
                return Ok(found);
            }
            if found.len() >= INSTANCES_MAX {
                bail!(usage(format!("more than {INSTANCES_MAX} instances; narrow the filter")));
            }
        }
    }
}
