//! Settings of one gateway: a TOML file, then `SPALLA_*` environment variables. All of it is checked before any port opens.
//!
//! ```text
//! file -> SPALLA_* -> paths made absolute (load) -> every problem at once (check)
//! ```

mod check;
mod devices;
mod load;
pub mod pem;

pub use check::{BrokerAddress, GATEWAYS_MAX, Problem};
pub use devices::{Bound, DeviceLimits, Devices, DevicesTls, TlsFiles};
pub use load::LoadError;

use serde::{Deserialize, Serialize};
use spalla_shared::id::{NodeId, SiteId};
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub organisation: String,
    pub mesh: String,
    pub node: NodeId,
    pub site: SiteId,
    /// Holds the log, snapshots, history and telemetry of this gateway. Relative paths count from the config file.
    pub data: PathBuf,
    pub devices: Devices,
    pub peers: Peers,
    pub api: Api,
    #[serde(default)]
    pub cloud: Option<Cloud>,
    #[serde(default)]
    pub secrets: Secrets,
    pub credentials: CredentialKeys,
    /// Sheets (`workbook` names) live here as .xlsx files.
    #[serde(default)]
    pub workbooks: Option<PathBuf>,
    #[serde(default)]
    pub notify: Notify,
    #[serde(default)]
    pub doors: Doors,
}

/// Doors of a building that the mesh is out of reach of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Doors {
    /// How long they are decided from what the mesh last said, hours, 0 to 720. Behind it only credentials for emergencies open.
    pub offline_lease_h: u32,
}

impl Default for Doors {
    /// A line that fails on a Friday evening is mended on Monday.
    fn default() -> Self {
        Self { offline_lease_h: 72 }
    }
}

/// The mesh listener and the gateways of the mesh, this one included.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    pub listen: SocketAddr,
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Log entries between two snapshots, 100 to 1000000.
    #[serde(default)]
    pub snapshot_every: Option<u64>,
    /// Log entries kept behind a snapshot, 100 to 1000000: a gateway that missed more is sent the snapshot.
    #[serde(default)]
    pub snapshot_keep: Option<u64>,
    /// The same at every gateway.
    #[serde(default)]
    pub timing: Timing,
    /// This gateway joined a running mesh: it begins nothing by itself, and the log says who belongs.
    #[serde(default)]
    pub joined: bool,
    pub gateways: Vec<Gateway>,
}

/// How far the gateways are from each other: how soon a silent leader is replaced, against elections without need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Timing {
    /// One campus, round trips below 5 ms, disks that sync in a few.
    Lan,
    /// One metropolitan network, round trips below 30 ms.
    #[default]
    Metro,
    /// Round trips up to 150 ms.
    Wan,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    pub node: NodeId,
    pub site: SiteId,
    /// host:port of its mesh listener.
    pub address: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub listen: SocketAddr,
    /// File that holds the bearer token.
    pub token_file: PathBuf,
    /// Required when `listen` is not loopback.
    #[serde(default)]
    pub tls: Option<Tls>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// An MQTT broker that the cloud listens to. Credentials are wanted only by brokers that ask for them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cloud {
    /// `mqtt://host:1883` or `mqtts://host:8883`.
    pub url: String,
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// PEM of the authority that signed the broker's certificate; `mqtts` needs it.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// `"5"` or `"3.1.1"`.
    #[serde(default)]
    pub mqtt: MqttVersion,
    /// How bodies are written; the content type of each message says so.
    #[serde(default)]
    pub encoding: Encoding,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MqttVersion {
    #[serde(rename = "3.1.1")]
    V4,
    #[default]
    #[serde(rename = "5")]
    V5,
}

/// `application/cbor` or `application/json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    #[default]
    Cbor,
    Json,
}

/// `use.secrets` of flows: files named by the secret inside a folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    #[serde(default)]
    pub folder: Option<PathBuf>,
}

/// Ed25519 keys that sign and verify credentials; the same on all gateways.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialKeys {
    /// 32-byte seed, hex, in a file.
    pub key_file: PathBuf,
}

/// Where `notify.send` goes. Without a webhook, notifications are only recorded in history and shown by the API.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// POSTed as JSON `{to, template, data, key}`.
    #[serde(default)]
    pub webhook: Option<String>,
}

#[cfg(test)]
mod tests;
