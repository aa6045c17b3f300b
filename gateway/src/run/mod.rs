//! One gateway: every room, opened in the order in which data moves, and closed in the opposite one.

mod backfill;
mod gauges;
mod groups;
mod lives;
mod summaries;

use crate::api;
use crate::config::{self, Config};
use crate::consensus::{Gateway, GroupPlan, Mesh, MeshConfig, RecordSink, Tuning};
use crate::effects::{Acks, ExecutorOptions, HttpClient, SecretFolder, Workbooks, clock, credential};
use crate::history::History;
use crate::ingress::{Ingress, IngressOptions};
use crate::listeners::Listeners;
use crate::members::{self, Keeper, Members, Midwife};
use crate::telemetry::Telemetry;
use crate::uplink;
use anyhow::{Context, Result, bail};
use spalla_broker::rpc::Tls;
use spalla_broker::server::{Addresses, Broker};
use spalla_shared::id::GroupId;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Ingress evaluates the flows' filters on these threads, and a hostile expression may recurse as deep as its bound lets it.
const STACK_SIZE: usize = 16 * 1024 * 1024;

/// For the log to hear, at the end, that no device is connected here any more.
const FAREWELL_TIME_MAX: Duration = Duration::from_millis(500);

/// Runs until SIGTERM, Ctrl-C, or a fault that must stop this gateway.
pub fn run(path: &Path) -> Result<ExitCode> {
    lives::end_with_parent()?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("SPALLA_LOG")
        .or_else(|_| tracing_subscriber::EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,raft_engine=warn,openraft=warn,rumqttd=warn"));
    // Colours are for a terminal: in a log file they are noise.
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    let config = Config::load(path)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_stack_size(STACK_SIZE).enable_all().build()?;
    let outcome = runtime.block_on(serve(Arc::new(config)));
    runtime.shutdown_timeout(Duration::from_secs(2));
    outcome
}

async fn serve(config: Arc<Config>) -> Result<ExitCode> {
    std::fs::create_dir_all(&config.data).with_context(|| format!("data folder {}", config.data.display()))?;
    crate::backup::sweep(&config.data);
    let token: Arc<str> = std::fs::read_to_string(&config.api.token_file).context("api.token_file")?.trim().into();
    let seed = std::fs::read_to_string(&config.credentials.key_file).context("credentials.key_file")?;
    let signing_key = credential::signing_key(seed.trim()).context("credentials.key_file: not 64 hex digits")?;

    // Storage and agreement.
    let (failed, mut history_failure) = watch::channel(None);
    let history = History::open(&config.data, Box::new(move |why| drop(failed.send(Some(why)))))?;
    let gateways: Vec<Gateway> = config.peers.gateways.iter().map(Gateway::from).collect();
    let tls = Tls { ca: read(&config.peers.ca)?, certificate: read(&config.peers.certificate)?, key: read(&config.peers.key)? };
    // One that joined later holds its building's group at first; others when their leaders want it.
    let own_groups = [GroupId::mesh(), GroupId::of_site(&config.site)];
    let mut plans = GroupPlan::all(&gateways);
    plans.retain(|plan| !config.peers.joined || own_groups.contains(&plan.id));
    let tuning = tuning(&config);
    let alone_after = tuning.alone_after();
    let mesh_config = MeshConfig {
        node: config.node,
        data: config.data.clone(),
        groups: plans,
        gateways,
        founds: !config.peers.joined,
        listen: config.peers.listen,
        tls,
        tuning,
    };
    let sink: Arc<dyn RecordSink> = Arc::new(history.clone());
    let mesh = Arc::new(Mesh::start(mesh_config, sink).await?);
    let group = mesh.group(&GroupId::mesh()).context("this gateway is not in the list peers.gateways")?;
    let own = mesh.group(&GroupId::of_site(&config.site)).context("this gateway's site is not the one in peers.gateways")?;
    let mut mesh_failure = mesh.failure();

    // From devices, and to them.
    let telemetry = Arc::new(Telemetry::default());
    let acks = Arc::new(Acks::default());
    let ingress_options = IngressOptions {
        node: config.node,
        boot: mesh.boot(),
        allow_anonymous: config.devices.allow_anonymous,
        credential_key: signing_key.verifying_key(),
        alone_after,
    };
    let ingress = Ingress::new(ingress_options, vec![group.clone(), own.clone()], telemetry.clone(), acks.clone());
    // Sessions, what waits for them and retained messages outlive a restart; device commands never do.
    let store = config.data.join("broker.db");
    let broker_config = config.devices.broker(store).map_err(|what| anyhow::anyhow!("devices.tls: {what}"))?;
    let broker = Arc::new(Broker::start(broker_config, ingress.clone()).await.context("the broker for devices ([devices])")?);
    let listeners = Arc::new(Listeners::new(config.devices.tls.clone(), broker.clone()));
    let executor_options = ExecutorOptions {
        node: config.node,
        boot: mesh.boot(),
        signing_key,
        issuer: config.mesh.clone(),
        webhook: config.notify.webhook.clone(),
        takeover_wait: ExecutorOptions::TAKEOVER_WAIT_DEFAULT,
    };
    let mut rooms = JoinSet::new();
    let members = Members {
        config: config.clone(),
        group: group.clone(),
        mesh: Arc::downgrade(&mesh),
        history: history.reader(),
        started: Instant::now(),
        removing: Arc::default(),
        one_at_a_time: Arc::default(),
        leaving: Arc::default(),
    };
    mesh.register(members::PREFIX, Arc::new(members::Answer(members.clone())));
    rooms.spawn(members.clone().heed_others());
    rooms.spawn(Keeper { members: members.clone(), group: group.clone(), alone_after }.run());
    rooms.spawn(ingress.clone().keep_presence());
    rooms.spawn(ingress.clone().keep_logins(broker.clone()));
    rooms.spawn(ingress.clone().keep_denials());
    rooms.spawn(listeners.clone().heed_hangup());
    rooms.spawn(ingress.clone().keep_births(broker.clone()));
    rooms.spawn(ingress.clone().keep_policies());
    mesh.register(backfill::PREFIX, Arc::new(backfill::Answer(history.reader())));
    let outside = groups::Outside {
        link: broker.clone(),
        telemetry: telemetry.clone(),
        acks,
        http: HttpClient::default(),
        secrets: SecretFolder::new(config.secrets.folder.clone()),
        workbooks: config.workbooks.clone().map(Workbooks::new),
    };
    let group_rooms = groups::GroupRooms {
        config: config.clone(),
        outside,
        options: executor_options,
        history: history.clone(),
        members: members.clone(),
        own: own.clone(),
        mesh: Arc::downgrade(&mesh),
    };
    let (close_groups, closing) = oneshot::channel();
    let group_rooms = tokio::spawn(group_rooms.keep(mesh.begun(), closing));
    rooms.spawn(Midwife { members: members.clone() }.run());

    // Towards the cloud.
    let maker = summaries::maker(&config, &group, &telemetry);
    mesh.register(summaries::PREFIX, Arc::new(summaries::Answer(maker.clone())));
    let peers = Arc::new(summaries::Peers { mesh: Arc::downgrade(&mesh), config: config.clone() });
    let uplink = match &config.cloud {
        Some(cloud) => Some(uplink::start(cloud, group.clone(), maker, peers, uplink_options(&config, cloud, config.mesh.clone()))?),
        None => None,
    };
    // The building's group counts for itself: to the cloud it is a mesh of its own.
    let uplink_of_building = match &config.cloud {
        Some(cloud) => {
            let options = uplink_options(&config, cloud, format!("{}~{}", config.mesh, config.site));
            let maker = summaries::maker(&config, &own, &telemetry);
            Some(uplink::start(cloud, own.clone(), maker, Arc::new(summaries::Nobody), options)?)
        }
        None => None,
    };

    // For people and programs.
    let devices = api::Devices { telemetry: telemetry.clone(), watch: ingress.watch(), proposals: ingress.proposals() };
    mesh.register(api::elsewhere::PREFIX, Arc::new(api::elsewhere::Answer { devices: devices.clone(), group: group.clone() }));
    let app = api::App {
        config: config.clone(),
        group: group.clone(),
        history: history.reader(),
        history_file: history.clone(),
        backups: Arc::new(tokio::sync::Semaphore::new(1)),
        devices,
        elsewhere: Arc::new(api::elsewhere::Elsewhere::new(Arc::downgrade(&mesh))),
        gauges: Arc::new(gauges::Rooms {
            broker: broker.clone(),
            ingress: ingress.clone(),
            uplink: uplink.as_ref().map(|uplink| uplink.status.clone()),
        }),
        listeners,
        members: members.clone(),
        token,
        started: Instant::now(),
    };
    let server = api::serve(app).await?;
    tracing::info!(node = %config.node, site = %config.site, boot = mesh.boot(), devices = %shown(broker.addresses()), mesh = %mesh.address(), api = %server.address, "gateway is up");

    let why = tokio::select! {
        why = lives::asked_to_stop() => { why?; None }
        why = told(&mut mesh_failure) => Some(why),
        why = told(&mut history_failure) => Some(why),
    };
    if let Some(why) = &why {
        tracing::error!(%why, "this gateway stops; the mesh goes on without it");
    }
    // The others need not miss a leader that goes on purpose.
    members.step_back().await;
    // All doors at once, so that a slow client at one does not hold up the others.
    let uplinks = uplink.into_iter().chain(uplink_of_building);
    let uplinks = futures::future::join_all(uplinks.map(|uplink| tokio::time::timeout(Duration::from_secs(1), uplink.stop())));
    tokio::join!(server.stop(), uplinks, broker.shutdown());
    // The others hear that the devices are gone from here; where that cannot be said now, the next start does.
    let _ = tokio::time::timeout(FAREWELL_TIME_MAX, ingress.settled()).await;
    drop(close_groups);
    rooms.shutdown().await;
    let _ = group_rooms.await;
    drop((group, own));
    if let Some(mesh) = Arc::into_inner(mesh) {
        mesh.stop().await;
    }
    drop(history);
    match why {
        Some(why) => bail!("stopped: {why}"),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn uplink_options(config: &Config, cloud: &config::Cloud, mesh: String) -> uplink::UplinkOptions {
    let names = uplink::Names { organisation: config.organisation.clone(), mesh };
    uplink::UplinkOptions { names, encoding: cloud.encoding, timings: uplink::Timings::default(), now: Arc::new(clock::wall_now) }
}

/// Every address that devices may use.
fn shown(addresses: Addresses) -> String {
    let Addresses { tcp, tls, ws, wss } = addresses;
    let all = [("tcp", tcp), ("tls", tls), ("ws", ws), ("wss", wss)];
    let parts = all.into_iter().filter_map(|(kind, address)| Some(format!("{kind} {}", address?)));
    parts.collect::<Vec<_>>().join(", ")
}

fn tuning(config: &Config) -> Tuning {
    let usual = Tuning::for_network(config.peers.timing);
    Tuning {
        snapshot_every: config.peers.snapshot_every.unwrap_or(usual.snapshot_every),
        snapshot_keep: config.peers.snapshot_keep.unwrap_or(usual.snapshot_keep),
        ..usual
    }
}

/// The reason for which this gateway must stop, once there is one.
async fn told(failure: &mut watch::Receiver<Option<String>>) -> String {
    match failure.wait_for(Option::is_some).await {
        Ok(why) => why.clone().unwrap_or_default(),
        // The room ended without a reason: that is the end of its life in `serve`, not a failure.
        Err(_) => std::future::pending().await,
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}
