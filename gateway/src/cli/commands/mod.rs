//! One function per command.

mod apply;
mod area;
mod audit;
mod backup;
mod check;
mod device;
mod draw;
mod flow;
mod functions;
mod instance;
mod look;
mod mesh;
mod profile;
mod service_client;
mod task;

pub use area::AreaCommand;
pub use audit::TailArgs;
pub use backup::{BackupArgs, RecoverArgs, RestoreArgs};
pub use draw::DrawArgs;
pub use instance::{ListArgs, ShowArgs, Target};
pub use mesh::MeshCommand;
pub use profile::TestArgs as ProfileTestArgs;

use super::client::{Client, Connection};
use super::failure::usage;
use super::{AuditCommand, Cli, Command, FlowCommand, InitArgs, ProfileCommand};
use crate::cli::output::outln;
use anyhow::{Result, bail};
use serde_json::Value;
use spalla_shared::id::Actor;
use std::path::PathBuf;
use std::process::ExitCode;

pub fn dispatch(cli: Cli) -> Result<ExitCode> {
    let Cli { connection, json, command } = cli;
    match command {
        Command::Run => {
            return crate::run::run(&config_of(&connection));
        }
        Command::Init(args) => return init(args, json),
        Command::Restore(args) => return backup::restore(&config_of(&connection), &args, actor_of(&connection), json),
        Command::Recover(args) => return backup::recover(&config_of(&connection), &args, actor_of(&connection), json),
        Command::Demo(args) => return crate::demo::run(args),
        Command::Flow(FlowCommand::Check { explain: Some(code), .. }) => return check::explain(&code, json),
        Command::Flow(FlowCommand::Check { files, .. }) => return check::check(&files, json),
        Command::Flow(FlowCommand::Schema) => return functions::schema(),
        Command::Flow(FlowCommand::Functions { name }) => return functions::functions(name.as_deref(), json),
        Command::Flow(FlowCommand::Draw(args)) => return draw::draw(&connection, &args),
        Command::Profile(ProfileCommand::Test(args)) => return profile::test(args, json),
        Command::Flow(FlowCommand::Run(args)) => return crate::rehearsal::run(args, json),
        Command::Flow(FlowCommand::Test(args)) => return crate::rehearsal::test(args, json),
        Command::Flow(FlowCommand::Torture(args)) => return crate::rehearsal::torture(args, json),
        Command::Audit(AuditCommand::Tail(TailArgs { file: Some(file), seek })) => return audit::tail_file(&file, &seek, json),
        Command::Audit(AuditCommand::Verify { file: Some(file), group }) => return audit::verify_file(&file, group.as_deref(), json),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Command::Mesh(MeshCommand::Join(args)) = command {
        return runtime.block_on(mesh::join(&connection, args, json));
    }
    let client = Client::new(&connection)?;
    runtime.block_on(async {
        match command {
            Command::Status => look::status(&client, json).await,
            Command::Apply { file, dry_run } => apply::apply(&client, &file, dry_run, json).await,
            Command::Flow(command) => flow::dispatch(&client, command, json).await,
            Command::Instance(command) => instance::dispatch(&client, command, json).await,
            Command::Task(command) => task::dispatch(&client, command, json).await,
            Command::Device(command) => device::dispatch(&client, command, json).await,
            Command::Area(command) => area::dispatch(&client, command, json).await,
            Command::Client(command) => service_client::dispatch(&client, command, json).await,
            Command::Audit(AuditCommand::Tail(args)) => audit::tail(&client, &args, json).await,
            Command::Audit(AuditCommand::Verify { group, .. }) => audit::verify(&client, group.as_deref(), json).await,
            Command::Backup(args) => backup::backup(&client, &args, json).await,
            Command::Mesh(command) => mesh::dispatch(&client, command, json).await,
            Command::Run | Command::Init(_) | Command::Demo(_) | Command::Profile(_) | Command::Restore(_) | Command::Recover(_) => {
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

fn config_of(connection: &Connection) -> PathBuf {
    connection.config.clone().unwrap_or_else(|| "spalla.toml".into())
}

/// As the API names whom it is told.
fn actor_of(connection: &Connection) -> Actor {
    let who = connection.actor.as_deref().unwrap_or("operator");
    Actor::new(if who.contains(':') { who.to_owned() } else { format!("user:{who}") })
}

fn init(args: InitArgs, json: bool) -> Result<ExitCode> {
    use crate::cli::init::{BasePorts, InitOptions, SiteSpec};
    let [devices, mesh, api] = args.ports[..] else { bail!(usage("--ports takes three numbers: DEVICES,MESH,API")) };
    let sites = args
        .sites
        .iter()
        .map(|site| {
            let (name, host) = site.split_once('=').unwrap_or((site, "127.0.0.1"));
            SiteSpec { name: name.into(), host: host.into() }
        })
        .collect();
    let options = InitOptions {
        folder: args.folder,
        sites,
        organisation: args.organisation,
        mesh: args.mesh,
        ports: BasePorts { devices, mesh, api },
        cloud_url: args.cloud,
    };
    let report = crate::cli::init::init(&options)?;
    if json {
        let sites: Vec<Value> = report
            .sites
            .iter()
            .map(|site| {
                serde_json::json!({ "site": site.site, "node": site.node, "config": site.config, "token_file": site.token_file,
                    "mesh_address": site.mesh_address, "devices_port": site.devices_port, "api_url": site.api_url })
            })
            .collect();
        super::output::json(&serde_json::json!({ "sites": sites, "authority": report.authority, "files": report.files }));
        return Ok(ExitCode::SUCCESS);
    }
    for site in &report.sites {
        outln!("{}: gateway {}, devices on port {}, API {}", site.site, site.node, site.devices_port, site.api_url);
        outln!("  spalla run --config {}", site.config.display());
    }
    outln!("Copy each site's folder to its machine. Keep {} away from the gateways.", report.authority.display());
    Ok(ExitCode::SUCCESS)
}

/// Reads JSON from an argument: the text itself, or a file behind `@`.
pub(crate) fn json_argument(name: &str, text: &str) -> Result<Value> {
    let (text, place) = match text.strip_prefix('@') {
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => (text, path.to_owned()),
            Err(error) => bail!(usage(format!("--{name} {path}: {error}"))),
        },
        None => (text.to_owned(), format!("--{name}")),
    };
    match serde_json::from_str(&text) {
        Ok(value) => Ok(value),
        Err(error) => bail!(usage(format!("{place} is not JSON: {error}"))),
    }
}

/// Milliseconds as RFC 3339.
fn time(at: &Value) -> String {
    at.as_i64().map_or_else(|| super::output::cell(at), |at| spalla_shared::time::Timestamp(at).to_rfc3339())
}
