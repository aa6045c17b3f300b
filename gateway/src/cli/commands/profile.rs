//! `spalla profile test`: what one message of a device would be understood as, without a gateway.

use super::super::output::{self, cell, outln};
use crate::cli::failure::usage;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use spalla_shared::device::convention::{Compiled, Incoming, Meaning, Speaker};
use spalla_shared::id::DeviceId;
use spalla_shared::resource::{Device, Resource, read};
use spalla_shared::time::Timestamp;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(clap::Args)]
pub struct TestArgs {
    /// File with the profile; of several in it, the first one with a convention.
    #[arg(value_name = "PROFILE")]
    file: PathBuf,
    #[arg(long)]
    topic: String,
    /// Text, or @FILE.
    #[arg(long, allow_hyphen_values = true)]
    payload: String,
    /// Whose message it is, SITE/NAME.
    #[arg(long, default_value = "site/device")]
    device: String,
    /// A parameter of the device; may be given several times.
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// As if it came with the retain bit.
    #[arg(long)]
    retained: bool,
}

/// Exit code 1 where the message could not be read, or means nothing.
pub fn test(args: TestArgs, json: bool) -> Result<ExitCode> {
    // Expressions may nest as deep as their bound lets them, which needs this much stack.
    let thread = std::thread::Builder::new().stack_size(16 * 1024 * 1024).spawn(move || run(&args, json))?;
    match thread.join() {
        Ok(done) => done,
        Err(_) => bail!("the message could not be read"),
    }
}

fn run(args: &TestArgs, json: bool) -> Result<ExitCode> {
    let speaker = speaker(args)?;
    let payload = match args.payload.strip_prefix('@') {
        Some(path) => std::fs::read(path).with_context(|| format!("--payload @{path}"))?,
        None => args.payload.clone().into_bytes(),
    };
    let incoming = Incoming { topic: &args.topic, payload: &payload, retained: args.retained };
    let understood = speaker.understand_with(&incoming, &crate::templates::Jinja);
    let means: Vec<Value> = understood.meanings.iter().map(|meaning| told(meaning, args.retained)).collect();
    let good = understood.problems.is_empty() && !means.is_empty();
    if json {
        let may = speaker.may_publish(&args.topic);
        output::json(
            &json!({ "device": speaker.id(), "topic": args.topic, "may_publish": may, "understood": means, "problems": understood.problems }),
        );
    } else {
        for one in &means {
            let mut fields = one.as_object().cloned().unwrap_or_default();
            let is = fields.remove("is").unwrap_or_default();
            fields.retain(|_, value| !value.is_null());
            outln!("{} {}", cell(&is), Value::Object(fields));
        }
        for problem in &understood.problems {
            outln!("not understood: {problem}");
        }
        if means.is_empty() && understood.problems.is_empty() {
            let why = if speaker.reads(&args.topic) {
                "the profile reads this topic, and this message says nothing to it"
            } else if speaker.may_publish(&args.topic) {
                "the device may say it, and nothing is read of this topic"
            } else {
                "the device may not publish on this topic"
            };
            outln!("{why}; it reads and publishes");
            speaker.publishes().iter().for_each(|topic| outln!("  {topic}"));
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn speaker(args: &TestArgs) -> Result<Speaker> {
    let text = std::fs::read_to_string(&args.file).with_context(|| args.file.display().to_string())?;
    let resources = match read(&text) {
        Ok(resources) => resources,
        Err(found) => {
            let lines: Vec<String> = found.iter().map(|one| format!("{}:{one}", args.file.display())).collect();
            bail!(usage(lines.join("\n")));
        }
    };
    let of_convention = resources.iter().find_map(|one| match one {
        Resource::Profile(profile) if profile.convention.is_some() => Some(profile),
        _ => None,
    });
    let Some(profile) = of_convention else {
        bail!(usage(format!("{}: no profile with a `convention`; devices of the native contract need none", args.file.display())));
    };
    let Ok(Some(compiled)) = Compiled::of(profile) else { bail!("{}: the profile was read and does not compile", args.file.display()) };
    let mut device = Device::new(DeviceId::new(&args.device));
    for pair in &args.parameters {
        let Some((name, value)) = pair.split_once('=') else { bail!(usage(format!("--parameter {pair}: write NAME=VALUE"))) };
        device.parameters.insert(name.into(), value.into());
    }
    match Speaker::bind(Arc::new(compiled), &device) {
        Ok(speaker) => Ok(speaker),
        Err(problem) => bail!(usage(format!("{problem}; here: --parameter NAME=VALUE"))),
    }
}

fn told(meaning: &Meaning, retained: bool) -> Value {
    let at = |time: &Option<Timestamp>| time.map(Timestamp::to_rfc3339);
    match meaning {
        Meaning::Online { part, online } => json!({ "is": "availability", "part": part, "online": online }),
        Meaning::State { property, value, time } => json!({ "is": "state", "property": property, "value": value, "time": at(time) }),
        Meaning::Event { name, id, time, data } => {
            let is = if retained { "event, ignored because it is retained:" } else { "event" };
            json!({ "is": is, "event": name, "id": id, "time": at(time), "data": data })
        }
        Meaning::Answer { command, id, status, detail } => {
            json!({ "is": "answer", "command": command, "id": id, "status": status, "detail": detail })
        }
        Meaning::Proposal(proposal) => {
            json!({ "is": "proposal", "name": proposal.name, "profile": proposal.profile, "title": proposal.title, "parameters": proposal.parameters })
        }
    }
}
