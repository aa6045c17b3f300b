//! The uplink as a gateway runs it: its settings read, its link opened, its loop started.

use super::{Names, PeerSummaries, Status, SummaryMaker, Timings, Uplink, UplinkOptions, cloud_client};
use crate::config::{BrokerAddress, Cloud, Config};
use crate::consensus::GroupRef;
use crate::effects::clock::wall_now;
use spalla_broker::client::{ClientConfig, ClientTls};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A cloud link that says nothing for so long is down.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const RECONNECT_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cloud.url: {0}")]
    Url(String),
    #[error("cloud: {}: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error("cloud: {0}")]
    Client(#[from] spalla_broker::client::ConfigError),
}

/// A running uplink.
pub struct Running {
    pub status: watch::Receiver<Status>,
    pub task: JoinHandle<()>,
}

/// Starts it; it ends when `stop` turns true.
pub fn start(
    config: &Config,
    cloud: &Cloud,
    group: GroupRef,
    maker: Arc<SummaryMaker>,
    peers: Arc<dyn PeerSummaries>,
    stop: watch::Receiver<bool>,
) -> Result<Running, StartError> {
    let names = Names { organisation: config.organisation.clone(), mesh: config.mesh.clone() };
    let address = BrokerAddress::parse(&cloud.url).map_err(StartError::Url)?;
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| StartError::File { path: path.clone(), error });
    let mut client = ClientConfig::new(address.host, address.port, format!("spalla-{}-{}-{}", config.organisation, config.mesh, config.node));
    client.username = cloud.username.clone();
    client.password = match &cloud.password_file {
        Some(path) => Some(String::from_utf8_lossy(&read(path)?).trim().to_owned()),
        None => None,
    };
    client.tls = match (&cloud.ca, address.tls) {
        (Some(ca), true) => Some(ClientTls { ca_pem: read(ca)?, identity_pem: None }),
        (None, true) => return Err(StartError::Url("mqtts needs cloud.ca, the PEM of the authority".into())),
        (_, false) => None,
    };
    client.keep_alive = KEEP_ALIVE;
    client.reconnect_max = RECONNECT_MAX;
    client.will = Uplink::will(&names, config.node, cloud.encoding, wall_now());
    let (link, events) = cloud_client::connect(client, Uplink::subscriptions(&names))?;
    let options = UplinkOptions { names, encoding: cloud.encoding, timings: Timings::default(), now: Arc::new(wall_now) };
    let uplink = Uplink::new(group, link, maker, peers, options);
    let status = uplink.status();
    Ok(Running { status, task: tokio::spawn(uplink.run(events, stop)) })
}
