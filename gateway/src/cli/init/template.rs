//! The commented settings file of one gateway.

use super::{InitOptions, Place};
use crate::config::{DeviceLimits, Gateway, Timing};
use std::fmt::Write;

/// `spalla.toml` of `own`, with every gateway of the mesh in it. `joins`: the timing of the running mesh that it joins.
/// Paths count from the file's folder.
pub fn config(options: &InitOptions, own: &Place, all: &[Gateway], joins: Option<Timing>) -> String {
    let mut gateways = String::new();
    for gateway in all {
        // Writing to a String cannot fail.
        let _ = write!(
            gateways,
            "\n[[peers.gateways]]\nnode = {}\nsite = {}\naddress = {}\n",
            gateway.node,
            quoted(gateway.site.as_str()),
            quoted(&gateway.address)
        );
    }
    let cloud = match &options.cloud_url {
        Some(url) if url.starts_with("mqtts://") => {
            format!("[cloud]\nurl = {}\n# Put the authority of that broker's certificate here.\nca = \"tls/cloud-ca.pem\"\n", quoted(url))
        }
        Some(url) => format!("[cloud]\nurl = {}\n", quoted(url)),
        None => "# [cloud]\n# url = \"mqtts://cloud.example.com:8883\"\n".into(),
    };
    format!(
        r#"# Settings of gateway {node}, at {site_comment}. Relative paths count from this file's folder.
# Any setting can be given as an environment variable instead: SPALLA_API__LISTEN=127.0.0.1:9000 is `listen` of [api].

# Names of the mesh in the cloud's topics: spalla/v1/{{organisation}}/{{mesh}}/...
organisation = {organisation}
mesh = {mesh}

# Never reuse a node number, also not after a disk was wiped: the mesh would take the new gateway for the old one.
node = {node}
site = {site}

# The log, snapshots, history and telemetry. Must be on a disk that keeps what it has synced.
data = "data"

# Workbooks that flows append rows to or look rows up in live here as .xlsx files. The gateway that leads writes them:
# put the folder on shared storage for one register over all sites.
workbooks = "workbooks"

# Devices speak MQTT 3.1.1 or 5 here, each with its user name and password.
[devices]
listen = {devices}
# MQTT over WebSocket (subprotocol `mqtt`), plain.
# websocket = "0.0.0.0:8083"
# Lets clients in without a password: anyone who reaches the port may then speak as any device.
allow_anonymous = false

# The same over TLS, one identity for both addresses. With client_ca a client certificate whose common name is a device id
# (`hq/reader-1`) or `client:NAME` needs no password; client_required turns away those without one; client_crl holds revocation
# lists of that authority. `kill -HUP` or POST /api/v1/listeners/reload reads the files again without ending sessions.
# [devices.tls]
# listen = "0.0.0.0:8883"
# websocket = "0.0.0.0:8084"
# certificate = "tls/devices.pem"
# key = "tls/devices.key"
# client_ca = "tls/devices-ca.pem"
# client_required = false
# client_crl = "tls/devices-crl.pem"

# How much the listeners let in; gateway/docs/broker.md lists the other limits, and what each may be.
# [devices.limits]
{limits}

# The HTTP API. Everywhere but on loopback it wants TLS.
[api]
listen = "127.0.0.1:{api_port}"
token_file = "api.token"
# tls = {{ certificate = "tls/api.pem", key = "tls/api.key" }}

# Signs credentials (QR, card). The same file on all gateways, or they refuse each other's credentials.
[credentials]
key_file = "credentials.key"

# `secrets` of flows: one file per secret in this folder, named as the flow names it.
# [secrets]
# folder = "secrets"

# While this building reaches no other, its doors are decided from what the mesh last said: for so many hours, 0 to 720.
# [doors]
# offline_lease_h = 72

# Where notifications go: POSTed as JSON {{to, template, data, key}}. Without it they are recorded and shown only.
# [notify]
# webhook = "https://example.com/hooks/spalla"

# An MQTT broker that the cloud listens to. Buildings go on without it.
# username, password_file, ca (PEM, needed for mqtts), mqtt ("5" or "3.1.1") and encoding ("cbor" or "json") go here too.
{cloud}
# The other gateways, over mutual TLS. The list is for the first contact: who belongs, and where they are, stands in the log.
[peers]
{joined}listen = {peers}
ca = "tls/ca.pem"
certificate = "tls/node.pem"
key = "tls/node.key"
# How far the gateways are from each other, the same at every one: "lan" (below 5 ms), "metro" (below 30 ms) or "wan" (up to 150 ms).
# A nearer setting replaces a dead leader sooner.
timing = {timing}
# A snapshot every so many log entries, and entries kept behind it for gateways that come back: disk against catching up.
# snapshot_every = 20000
# snapshot_keep = 5000
{gateways}"#,
        node = own.node,
        site_comment = own.site,
        organisation = quoted(&options.organisation),
        mesh = quoted(&options.mesh),
        site = quoted(own.site.as_str()),
        limits = limits(),
        joined =
            if joins.is_some() { "# This gateway came into a running mesh and never begins one by itself.\njoined = true\n" } else { "" },
        timing = quoted(timing_word(joins.unwrap_or_default())),
        devices = quoted(&own.open_address(own.devices_port)),
        api_port = own.api_port,
        peers = quoted(&own.open_address(own.mesh_port)),
    )
}

fn timing_word(timing: Timing) -> &'static str {
    match timing {
        Timing::Lan => "lan",
        Timing::Metro => "metro",
        Timing::Wan => "wan",
    }
}

/// The limits that sites change most, at their defaults.
fn limits() -> String {
    let shown = ["connections", "connections_per_login", "packet_size", "publish_rate", "offline_queue", "session_expiry_s"];
    let bounds = DeviceLimits::default().bounds();
    let lines = bounds.iter().filter(|bound| shown.contains(&bound.name)).map(|bound| format!("# {} = {}", bound.name, bound.default));
    lines.collect::<Vec<_>>().join("\n")
}

/// A TOML basic string. Names and addresses hold no control characters, so quote and backslash are all there is to escape.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
