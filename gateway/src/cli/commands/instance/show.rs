//! `spalla instance show`: one instance with its trace as a tree.

use super::super::super::client::{Client, encoded};
use super::super::super::output::{self, cell, outln};
use super::super::time;
use super::follow::follow;
use super::tree::{Run, Tree};
use anyhow::Result;
use serde_json::Value;
use spalla_shared::time::Timestamp;
use std::process::ExitCode;

/// Characters of a value that are shown without `--full`.
pub(super) const VALUE_LEN_MAX: usize = 96;
/// Pages of a thousand lines that are fetched.
const PAGES_MAX: usize = 50;
/// Sub-flows below sub-flows that `--sub-flows` shows, and how many in all.
const SUB_FLOW_DEPTH_MAX: usize = 8;
const SUB_FLOWS_MAX: usize = 100;

#[derive(clap::Args)]
pub struct ShowArgs {
    pub id: String,
    /// Values in full.
    #[arg(long)]
    full: bool,
    /// Of its tasks the last N that ran only.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    last: Option<u32>,
    /// Show what it does as it does it, until it ends.
    #[arg(long, conflicts_with = "sub_flows")]
    follow: bool,
    /// The traces of the flows that it runs too.
    #[arg(long)]
    sub_flows: bool,
}

pub async fn show(client: &Client, args: &ShowArgs, json: bool) -> Result<ExitCode> {
    let mut body = client.get(&format!("/instances/{}", encoded(&args.id))).await?;
    output::warn_if_stale(&body);
    let mut lines: Vec<Value> = body["data"]["trace"].as_array().cloned().unwrap_or_default();
    if body["data"]["trace_cut"] == true {
        rest(client, &args.id, &mut lines).await?;
    }
    if json && !args.follow {
        body["data"]["trace"] = lines.into();
        output::json(&body);
        return Ok(ExitCode::SUCCESS);
    }
    if json {
        return follow(client, &args.id, args.full, &lines, true).await;
    }
    head(&body["data"], &args.id);
    let mut shown = 0;
    let mut tree = Tree::of(&lines);
    if !body["data"]["ended_at"].is_null() {
        tree = tree.ended();
    }
    print(client, args, &tree, 0, &mut shown).await?;
    for (at, said) in &tree.operators {
        outln!("{}  {said}", at.map(clock).unwrap_or_default());
    }
    for key in ["output", "problem"] {
        if !body["data"][key].is_null() {
            outln!("{key}  {}", value(&body["data"][key], args.full));
        }
    }
    if args.follow {
        return follow(client, &args.id, args.full, &lines, false).await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Further pages of a long trace.
async fn rest(client: &Client, id: &str, lines: &mut Vec<Value>) -> Result<()> {
    for _ in 0..PAGES_MAX {
        let after = lines.last().map(|line| cell(&line["seq"])).unwrap_or_else(|| "0.0".into());
        let page = client.get(&format!("/instances/{}/trace?after={}", encoded(id), encoded(&after))).await?;
        lines.extend(page["data"].as_array().into_iter().flatten().cloned());
        if page["next"].is_null() {
            return Ok(());
        }
    }
    eprintln!("warning: the trace is longer than {} lines; the first of them are shown", lines.len());
    Ok(())
}

fn head(instance: &Value, id: &str) {
    let status = if instance["incident"].is_object() { "incident".into() } else { cell(&instance["status"]) };
    outln!("{}  {}  {status}", cell(&instance["id"]), cell(&instance["flow"]));
    let ended = instance["ended_at"].as_str().map(|at| format!("  ended {at}")).unwrap_or_default();
    outln!(
        "started {} by {}  key {}{ended}",
        cell(&instance["started_at"]),
        cell(&instance["started_by"]),
        cell(&instance["business_key"])
    );
    if let Some(parent) = instance["parent"].as_str() {
        outln!("run by  {parent}: spalla instance show {parent}");
    }
    if instance["incident"].is_object() {
        let problem = super::tree::problem(&instance["incident"]["problem"]);
        outln!("incident at {}: {problem}", cell(&instance["incident"]["task"]));
        outln!("  mend it, then: spalla instance retry {id}   (or skip, set, cancel)");
    }
    for position in instance["positions"].as_array().into_iter().flatten() {
        outln!("at {}  waits for {}  since {}", cell(&position["reference"]), cell(&position["waits_for"]), time(&position["since"]));
    }
    outln!("input   {}", value(&instance["input"], true));
    if !instance["context"].is_null() {
        outln!("context {}", value(&instance["context"], true));
    }
    outln!("");
}

/// The tree; boxed, for sub-flows are trees in trees.
fn print<'a>(
    client: &'a Client,
    args: &'a ShowArgs,
    tree: &'a Tree,
    level: usize,
    shown: &'a mut usize,
) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + 'a>> {
    Box::pin(async move {
        let runs = tree.in_order();
        let hidden = args.last.map_or(0, |last| runs.len().saturating_sub(last as usize));
        if hidden > 0 {
            outln!("{}… {hidden} before (without --last: all)", "  ".repeat(level));
        }
        for run in runs.into_iter().skip(hidden) {
            let margin = "  ".repeat(run.depth + level);
            outln!("{margin}{}", title(run));
            let same = tree.parent_input(run) == Some(&run.input);
            if !run.input.is_null() && (args.full || !same) {
                outln!("{margin}    got   {}", value(&run.input, args.full));
            }
            for note in &run.notes {
                outln!("{margin}    {}", cut(note, if args.full { usize::MAX } else { VALUE_LEN_MAX * 2 }));
            }
            let silent = run.output.is_null() || (!args.full && run.output == run.input);
            if !silent {
                outln!("{margin}    gave  {}", value(&run.output, args.full));
            }
            for (_, child) in run.children.iter().filter(|_| args.sub_flows && level < SUB_FLOW_DEPTH_MAX * 2) {
                if *shown >= SUB_FLOWS_MAX {
                    outln!("{margin}    more than {SUB_FLOWS_MAX} sub-flows; show the others by themselves");
                    break;
                }
                *shown += 1;
                let body = client.get(&format!("/instances/{}/trace", encoded(child))).await?;
                let lines = body["data"].as_array().cloned().unwrap_or_default();
                print(client, args, &Tree::of(&lines), level + run.depth + 2, shown).await?;
            }
        }
        Ok(())
    })
}

fn title(run: &Run) -> String {
    let sign = match run.status {
        "completed" => "✓",
        "skipped" => "↷",
        "faulted" => "✗",
        "cancelled" => "⊘",
        _ => "▶",
    };
    let kind = if run.kind.is_empty() { String::new() } else { format!("  {}", run.kind) };
    let took = match (run.status, run.took_ms()) {
        ("skipped", _) => "  skipped".to_owned(),
        (_, Some(millis)) => format!("  {}", duration(millis)),
        ("cancelled", None) => "  cut short".to_owned(),
        _ => run.started_at.map(|at| format!("  since {}", clock(at))).unwrap_or_default(),
    };
    format!("{sign} {}{kind}{took}", run.name)
}

fn duration(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{:.1} s", millis as f64 / 1_000.0),
        60_000..3_600_000 => format!("{} min {} s", millis / 60_000, millis % 60_000 / 1_000),
        _ => format!("{} h {} min", millis / 3_600_000, millis % 3_600_000 / 60_000),
    }
}

/// The time of day.
pub(super) fn clock(at: Timestamp) -> String {
    at.to_rfc3339().get(11..19).unwrap_or_default().to_owned()
}

pub(super) fn value(value: &Value, full: bool) -> String {
    if let Some(size) = value["spalla/leftOut"].as_u64() {
        return format!("… {size} bytes, not kept in the trace");
    }
    cut(&value.to_string(), if full { usize::MAX } else { VALUE_LEN_MAX })
}

pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most).collect();
    format!("{kept}… (--full)")
}
