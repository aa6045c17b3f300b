//! `spalla flow draw`: a file, or a running instance, as a picture.

use super::super::client::{Client, Connection, encoded};
use super::super::failure::{Failure, usage};
use super::super::output::outln;
use super::apply;
use crate::picture;
use anyhow::{Context, Result, bail};
use spalla_shared::flow::Diagnostic;
use spalla_shared::flow::plan::Plan;
use spalla_shared::resource::{Resource, read};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct DrawArgs {
    /// The flow's file, or `-`. Not needed with --instance: then the version is drawn on which it runs.
    #[arg(value_name = "FILE", required_unless_present = "instance", conflicts_with = "instance")]
    file: Option<PathBuf>,
    #[arg(long, value_enum, default_value = "svg")]
    format: Format,
    /// Draw where this instance is: what is done, what it waits for.
    #[arg(long, value_name = "ID")]
    instance: Option<String>,
    /// Write here instead of to standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Svg,
    Mermaid,
}

pub fn draw(connection: &Connection, args: &DrawArgs) -> Result<ExitCode> {
    let drawn = match (&args.instance, &args.file) {
        (Some(id), _) => of_instance(connection, id, args.format)?,
        (None, Some(file)) => {
            let plan = plan(file)?;
            if args.format == Format::Svg { picture::svg(&plan, None) } else { picture::mermaid(&plan) }
        }
        (None, None) => bail!(usage("which flow? Give its FILE, or --instance ID")),
    };
    match &args.output {
        Some(path) => std::fs::write(path, drawn).with_context(|| path.display().to_string())?,
        None => outln!("{}", drawn.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

fn of_instance(connection: &Connection, id: &str, format: Format) -> Result<String> {
    if format == Format::Mermaid {
        bail!(usage("an instance is drawn as svg only; for Mermaid give the flow's file"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(connection)?;
    runtime.block_on(client.get_text(&format!("/instances/{}/picture", encoded(id))))
}

/// The one flow of a file.
fn plan(file: &std::path::Path) -> Result<Plan> {
    let name = file.display().to_string();
    let said = |found: &[Diagnostic]| {
        let lines: Vec<String> = found.iter().filter(|one| one.is_error()).map(|one| format!("{name}:{one}")).collect();
        Failure::new("invalid", lines.join("\n"))
    };
    let resources = read(&apply::text_of(file)?).map_err(|found| said(&found))?;
    let mut flows = resources.into_iter().filter_map(|resource| if let Resource::Flow(flow) = resource { Some(flow) } else { None });
    match (flows.next(), flows.next()) {
        (Some(flow), None) => Ok(Plan::compile(&flow.document).map_err(|found| said(&found))?),
        (None, _) => bail!(usage(format!("{name}: there is no flow in this file"))),
        (Some(_), Some(_)) => bail!(usage(format!("{name}: several flows in this file; give one with one flow"))),
    }
}
