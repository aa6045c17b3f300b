//! `spalla flow run`: the command.

use super::files::{self, Invalid};
use super::live::{self, Options};
use super::on_deep_stack;
use crate::cli::commands::json_argument;
use crate::cli::failure::USAGE;
use crate::cli::output::{self, outln};
use crate::effects::SecretFolder;
use anyhow::Result;
use serde_json::{Value, json};
use spalla_shared::rehearsal::stub::Stub;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct RunArgs {
    /// The flow.
    file: PathBuf,
    /// Its input: JSON, or @FILE.
    #[arg(long, default_value = "{}", value_name = "JSON|@FILE")]
    input: String,
    /// YAML with `answers:` of functions and `events:` that come. Without it you are asked, where there is a terminal.
    #[arg(long, value_name = "FILE")]
    stub: Option<PathBuf>,
    /// A further flow, which this one may run. May be given several times.
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// Folder with one file per secret.
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
}

pub fn run(args: RunArgs, json: bool) -> Result<ExitCode> {
    let input = json_argument("input", &args.input)?;
    let flows = match files::flows(std::iter::once(&args.file).chain(&args.with))? {
        Ok(flows) => flows,
        Err(invalid) => return Ok(refuse(&invalid, json)),
    };
    let stub = match args.stub {
        None => Stub::default(),
        Some(file) => match Stub::read(&files::text(&file)?) {
            Ok(stub) => stub,
            Err(found) => return Ok(refuse(&[Invalid { file, found }], json)),
        },
    };
    let options = Options {
        flows,
        input: spalla_shared::value::Value::from(&input),
        stub,
        secrets: SecretFolder::new(args.secrets),
        prompt: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
    };
    let report = on_deep_stack(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(live::run(options));
        // A thread may stand in a read of the terminal for ever.
        runtime.shutdown_background();
        report
    })?;
    let report = Value::from(&report);
    if json {
        output::json(&report);
    } else {
        show(&report);
    }
    Ok(if report["status"] == "completed" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn refuse(invalid: &[Invalid], json: bool) -> ExitCode {
    if json {
        let files: Vec<Value> = invalid.iter().map(Invalid::json).collect();
        let error = json!({ "code": "invalid", "message": "nothing was run: the definition is invalid" });
        output::json(&json!({ "error": error, "files": files }));
    } else {
        invalid.iter().flat_map(Invalid::lines).for_each(|line| eprintln!("{line}"));
    }
    ExitCode::from(USAGE)
}

fn show(report: &Value) {
    let rows: Vec<Vec<String>> = report["tasks"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|task| ["reference", "status", "startedAt", "endedAt"].map(|field| output::cell(&task[field])).to_vec())
        .collect();
    output::table(&["TASK", "STATUS", "STARTED", "ENDED"], &rows, "no task ran");
    for event in report["events"].as_array().into_iter().flatten() {
        outln!("emitted {}", event);
    }
    outln!("{}", report["status"].as_str().unwrap_or_default());
    let told = if report["error"].is_null() { &report["output"] } else { &report["error"] };
    outln!("{}", serde_json::to_string_pretty(told).unwrap_or_default());
}
