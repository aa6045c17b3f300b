//! `spalla instance show --follow`: what an instance does, line by line, until it ends.
//!
//! The stream is the followed gateway's own and does not care who leads the mesh. Where that gateway goes away it is asked again,
//! from the line that was shown last, for as long as a restart takes; then it is said how to go on at another.

use super::super::super::client::{Client, encoded};
use super::super::super::failure::Failure;
use super::super::super::output::{self, cell, outln};
use super::show::{VALUE_LEN_MAX, clock, cut, value};
use super::tree::said;
use anyhow::{Result, bail};
use serde_json::Value;
use spalla_shared::time::Timestamp;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a gateway that went away is asked again: what a restart and its replay take.
const AWAY_MAX: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Behind the lines that are known. Exit code 1 when it ends otherwise than completed.
pub async fn follow(client: &Client, id: &str, full: bool, known: &[Value], json: bool) -> Result<ExitCode> {
    let mut last = known.last().map(|line| cell(&line["seq"]));
    let mut away: Option<Instant> = None;
    loop {
        let after = last.as_ref().map(|seq| format!("?after={}", encoded(seq))).unwrap_or_default();
        let ended = client
            .stream(&format!("/instances/{}/trace/stream{after}", encoded(id)), |kind, data| {
                if away.take().is_some() {
                    eprintln!("… it is back");
                }
                if kind == "line" && data["seq"].is_string() {
                    last = Some(cell(&data["seq"]));
                }
                show(kind, data, full, json);
                match kind {
                    "end" => ControlFlow::Break(data["status"] == "completed"),
                    _ if output::is_closed() => ControlFlow::Break(true),
                    _ => ControlFlow::Continue(()),
                }
            })
            .await;
        match ended {
            Ok(Some(completed)) => return Ok(if completed { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
            // Refused: asking again would not help, unless it has just come back and has still to replay its log.
            Err(error) if away.is_none() && error.downcast_ref::<Failure>().is_some_and(|failure| !failure.is_no_gateway()) => {
                return Err(error);
            }
            Ok(None) | Err(_) => {}
        }
        let since = *away.get_or_insert_with(|| {
            eprintln!("… the gateway went away; asking it again for {} s", AWAY_MAX.as_secs());
            Instant::now()
        });
        if since.elapsed() > AWAY_MAX {
            let message = format!(
                "the gateway that was followed is gone. The flow goes on without it; follow it at another gateway: \
                 spalla instance show {id} --follow --config FILE (or --api URL)"
            );
            bail!(Failure::new("no-gateway", message));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn show(kind: &str, data: &Value, full: bool, json: bool) {
    if json {
        // One object per line: a program reads them as they come.
        outln!("{}", serde_json::json!({ "event": kind, "data": data }));
    } else if kind == "line" {
        tell(data, full);
    } else {
        let told = if data["problem"].is_null() { &data["output"] } else { &data["problem"] };
        outln!("{}: {}", cell(&data["status"]), value(told, full));
    }
}

fn tell(line: &Value, full: bool) {
    let (what, data) = (cell(&line["what"]), &line["data"]);
    let at = line["at"].as_str().and_then(Timestamp::parse_rfc3339).map(clock).unwrap_or_default();
    let more = match what.as_str() {
        "started" => format!("begins ({})", cell(&data["kind"])),
        "completed" if data.is_null() => "done".into(),
        "completed" => format!("done, gave {}", value(data, full)),
        _ => said(&what, data).map_or(what, |said| cut(&said, if full { usize::MAX } else { VALUE_LEN_MAX * 2 })),
    };
    let name = cell(&line["name"]);
    outln!("{at}  {}{more}", if name.is_empty() { String::new() } else { format!("{name}: ") });
}
