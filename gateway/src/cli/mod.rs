//! The command line. Everything but `run`, `init`, `demo` and the offline checks goes through the public API.

mod client;
pub(crate) mod commands;
pub(crate) mod failure;
pub mod init;
pub(crate) mod output;

use client::Connection;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Parser)]
#[command(
    name = "spalla",
    version,
    about = "Orchestration of buildings over MQTT that goes on when a building, a gateway or the cloud is gone",
    propagate_version = true
)]
pub struct Cli {
    #[command(flatten)]
    connection: Connection,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Run one gateway: `spalla run --config FILE`.
    Run,
    /// Make a mesh CA, certificates, tokens and a commented config for each site.
    Init(InitArgs),
    /// Three buildings on this machine, with devices, a cloud stand-in and faults.
    Demo(crate::demo::Args),
    /// How the gateway and its mesh are.
    Status,
    /// Declare flows, profiles, devices, pools, areas, people and service clients from YAML files or folders.
    Apply {
        /// File, folder (its *.yaml and *.yml), or `-` for standard input. May be given several times.
        #[arg(short, long = "file", required = true, value_name = "PATH")]
        file: Vec<PathBuf>,
        /// Only check.
        #[arg(long)]
        dry_run: bool,
    },
    /// Flow definitions.
    #[command(subcommand)]
    Flow(FlowCommand),
    /// Running and finished flows.
    #[command(subcommand)]
    Instance(InstanceCommand),
    /// Work items: what people must do.
    #[command(subcommand)]
    Task(TaskCommand),
    /// Devices.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Areas: sets of doors, and who is inside.
    #[command(subcommand)]
    Area(commands::AreaCommand),
    /// Service clients: programs that speak MQTT to the gateways beside devices, such as a dashboard.
    #[command(subcommand)]
    Client(ClientCommand),
    /// Device profiles.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// The audit trail.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The mesh.
    #[command(subcommand)]
    Mesh(commands::MeshCommand),
    /// Write the whole mesh into one file, through the API of one gateway.
    Backup(commands::BackupArgs),
    /// Begin a new mesh from a backup: fills the empty data folder of its first gateway.
    Restore(commands::RestoreArgs),
    /// Begin the mesh again from the data folder of one gateway, when most of the others are gone for good.
    Recover(commands::RecoverArgs),
}

#[derive(clap::Args)]
struct InitArgs {
    /// Folder to write; one subfolder per site.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// A site, `NAME` or `NAME=HOST`; once per site.
    #[arg(long = "site", required = true, value_name = "NAME[=HOST]")]
    sites: Vec<String>,
    /// Organisation: one level of the cloud topics.
    #[arg(long, default_value = "example")]
    organisation: String,
    /// Name of the mesh.
    #[arg(long, default_value = "campus")]
    mesh: String,
    /// First port of the devices' listener, the mesh listener and the API; the next gateway on the same host has each plus one.
    #[arg(long, default_value = "1883,7883,8080", value_name = "DEVICES,MESH,API", value_delimiter = ',')]
    ports: Vec<u16>,
    /// Cloud MQTT broker, e.g. mqtt://broker.example:1883.
    #[arg(long, value_name = "URL")]
    cloud: Option<String>,
}

#[derive(clap::Subcommand)]
enum FlowCommand {
    /// Deployed flows: each version, which one is started, and how many instances run on it.
    List,
    /// Check flows and other resources here, without a gateway: all mistakes at once, and what is likely one.
    Check {
        /// File, folder (its *.yaml and *.yml), or `-` for standard input.
        #[arg(required_unless_present = "explain", value_name = "PATH")]
        files: Vec<PathBuf>,
        /// Say what a code means, with examples.
        #[arg(long, value_name = "CODE", conflicts_with = "files")]
        explain: Option<String>,
    },
    /// Print a JSON Schema of flow files, for editors that complete and check them.
    Schema,
    /// What flows may call; with a name its arguments and what it gives.
    Functions { name: Option<String> },
    /// Draw a flow for people.
    Draw(commands::DrawArgs),
    /// Let a version be started again. The newest enabled version is the one that is started by name and by schedule.
    Enable {
        /// NAMESPACE/NAME:VERSION.
        #[arg(value_name = "FLOW")]
        flow: String,
    },
    /// Let a version start nothing more; its instances go on. Disabling the newest one rolls back to the one before.
    Disable {
        /// NAMESPACE/NAME:VERSION.
        #[arg(value_name = "FLOW")]
        flow: String,
    },
    /// Forget a version; refused while instances run on it.
    Remove {
        /// NAMESPACE/NAME:VERSION.
        #[arg(value_name = "FLOW")]
        flow: String,
    },
    /// Run one flow here and now, without a mesh: real time, real HTTP; devices and people are stubs, or you.
    ///
    /// Exit code 0: completed, 1: faulted or cancelled, 2: the definition is invalid. With --json exactly one object is printed:
    /// {status, output, error, tasks, events}. Ctrl-C cancels the flow.
    Run(crate::rehearsal::RunArgs),
    /// Play scenarios: virtual time, fake devices and people; given, when, expect.
    ///
    /// Exit code 0: all hold, 1: an expectation fails, 2: a file is invalid. gateway/docs/scenarios.md has the format.
    Test(crate::rehearsal::TestArgs),
    /// Put flows through everything that can go wrong: each effect failing, silent, repeated; a cancel and a failover at each step.
    ///
    /// Exit code 0: nothing stays owned, opens twice or gets stuck; 1: something does; 2: a file is invalid.
    Torture(crate::rehearsal::TortureArgs),
}

#[derive(clap::Subcommand)]
enum InstanceCommand {
    /// Start a flow.
    Start {
        /// NAMESPACE/NAME or NAMESPACE/NAME:VERSION.
        flow: String,
        /// JSON, or @FILE.
        #[arg(long, default_value = "{}")]
        input: String,
        /// Dedupe key: an equal key gives the same instance.
        #[arg(long)]
        key: Option<String>,
        /// For a flow that lives in buildings: `site:NAME`, where it is not the gateway's own building.
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
    },
    /// List instances.
    List(commands::ListArgs),
    /// One instance: where it stands, and its trace as a tree.
    Show(commands::ShowArgs),
    /// Cancel; all that it owns is released.
    Cancel {
        #[command(flatten)]
        target: commands::Target,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Pause.
    Suspend {
        #[command(flatten)]
        target: commands::Target,
    },
    /// Go on after a pause.
    Resume {
        #[command(flatten)]
        target: commands::Target,
    },
    /// Try the task with the incident again.
    Retry {
        #[command(flatten)]
        target: commands::Target,
    },
    /// Go on behind the task with the incident.
    Skip {
        #[command(flatten)]
        target: commands::Target,
        /// JSON that the task would have given, or @FILE.
        #[arg(long, default_value = "null")]
        output: String,
    },
    /// Replace what the flow remembers ($context).
    Set {
        #[command(flatten)]
        target: commands::Target,
        /// JSON, or @FILE.
        #[arg(long, value_name = "JSON")]
        context: String,
    },
}

#[derive(clap::Subcommand)]
enum TaskCommand {
    /// Open work items.
    List {
        /// `user:…` or `role:…`.
        #[arg(long)]
        to: Option<String>,
        /// `mesh` or `site:NAME`; else all groups that the gateway has a copy of.
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
    },
    /// Complete one: `--choice approve` for an approval, `--answers JSON` for a task.
    Complete {
        id: String,
        #[arg(long, conflicts_with = "answers")]
        choice: Option<String>,
        /// JSON, or @FILE.
        #[arg(long)]
        answers: Option<String>,
        #[arg(long)]
        comment: Option<String>,
    },
}

#[derive(clap::Subcommand)]
enum DeviceCommand {
    /// Devices and where they are connected.
    List,
    /// Add a device, or give one that is declared a new password; prints the password once.
    Add {
        /// SITE/NAME.
        id: String,
        /// Name of a profile; a device that is there keeps what is not given here.
        #[arg(long)]
        profile: Option<String>,
        #[arg(long)]
        title: Option<String>,
        /// May be given several times.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Option<Vec<String>>,
        #[arg(long)]
        zone: Option<String>,
        /// For a reader: the door that it asks for, SITE/NAME.
        #[arg(long, value_name = "DOOR")]
        opens: Option<String>,
        /// What the profile's convention asks of the device, e.g. prefix=shellies/door-1; may be given several times.
        #[arg(long = "parameter", value_name = "NAME=VALUE")]
        parameters: Option<Vec<String>>,
        /// The device whose login speaks for this one, SITE/NAME; this one gets no password then.
        #[arg(long, value_name = "DEVICE")]
        bridge: Option<String>,
    },
    /// One device: its login, its topics, what is known of it.
    Show { id: String },
    /// Give it a new password, printed once; the sessions of the old one end within a second.
    Rotate { id: String },
    /// Take its password back; its sessions end within a second.
    Revoke { id: String },
    /// What devices say at all gateways, raw and as understood, until Ctrl-C.
    Watch { id: Option<String> },
    /// Devices that bridges know of and nobody declared.
    Proposals,
    /// Declare a proposed device.
    Admit {
        id: String,
        /// Another id than the proposed one, SITE/NAME.
        #[arg(long = "id", value_name = "ID")]
        with_id: Option<String>,
        /// Another profile than the proposed one.
        #[arg(long)]
        profile: Option<String>,
        #[arg(long)]
        title: Option<String>,
        #[arg(long = "group", value_name = "GROUP")]
        groups: Option<Vec<String>>,
        #[arg(long)]
        zone: Option<String>,
        #[arg(long, value_name = "DOOR")]
        opens: Option<String>,
        /// For a lock or a barrier that announced itself: safe (opens without power) or secure.
        #[arg(long, value_parser = ["safe", "secure"])]
        fail_mode: Option<String>,
    },
}

#[derive(clap::Subcommand)]
enum ClientCommand {
    /// Service clients with their logins and the number of their rules.
    List,
    /// Add one, or give one that is declared a new password; prints the password once. Its user name is client:NAME.
    Add {
        /// Lower-case letters, digits and hyphens.
        name: String,
        #[arg(long)]
        title: Option<String>,
        /// A filter that it may subscribe to, or group:NAME for all that those devices say; may be given several times, as those below.
        #[arg(long, value_name = "FILTER")]
        subscribe: Option<Vec<String>>,
        /// A filter of topics that it may publish to; never those of devices.
        #[arg(long, value_name = "FILTER")]
        publish: Option<Vec<String>>,
        /// A device that it may command, SITE/NAME or group:NAME; none that can open anything.
        #[arg(long = "command", value_name = "DEVICE")]
        commands: Option<Vec<String>>,
        /// A device that it may speak for, SITE/NAME or group:NAME.
        #[arg(long, value_name = "DEVICE")]
        speaks_for: Option<Vec<String>>,
    },
    /// One client and its rules.
    Show { name: String },
    /// Give it a new password, printed once; its sessions end within a second.
    Rotate { name: String },
    /// Take its login back; its sessions end within a second.
    Revoke { name: String },
}

#[derive(clap::Subcommand)]
enum ProfileCommand {
    /// What one message would be understood as; without a gateway.
    Test(commands::ProfileTestArgs),
}

#[derive(clap::Subcommand)]
enum AuditCommand {
    /// The newest links, of the gateway or of a history file.
    Tail(commands::TailArgs),
    /// Recompute the whole chain on the gateway, or in a history file.
    Verify {
        /// A history.db, without a gateway.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// `mesh`, or `site:NAME` for a building's own group.
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
    },
}

/// Runs the command line. Exit codes: 0 done, 1 failed, 2 wrong usage or an invalid definition.
pub fn main() -> ExitCode {
    use clap::Parser;
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version come this way too, and are no errors.
        Err(error) if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            output::json(&failure::usage(line.strip_prefix("error: ").unwrap_or(line)).json());
            return ExitCode::from(failure::USAGE);
        }
        Err(error) => error.exit(),
    };
    // Both TLS stacks below us take the process's default provider; the second call is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let json = cli.json;
    match commands::dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            let (body, code) = failure::told(&error);
            if json {
                output::json(&body);
            } else {
                eprintln!("error: {error:#}");
            }
            ExitCode::from(code)
        }
    }
}
