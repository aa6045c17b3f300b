//! Everything that can be known to be wrong before a port opens, told at once: what, where, how to mend it.

use super::{Bound, Cloud, Config, Devices, Peers, pem};
use rustls_pki_types::UnixTime;
use spalla_shared::topic::{NAME_WANTED, is_name};
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// Gateways of one mesh. Heartbeats go to each; more wants a mesh of meshes.
pub const GATEWAYS_MAX: usize = 64;
/// Shorter tokens can be guessed.
const TOKEN_LEN_MIN: usize = 32;
/// Fewer entries and a gateway writes snapshots all the time; more and a restart replays for minutes.
const SNAPSHOT_ENTRIES: std::ops::RangeInclusive<u64> = 100..=1_000_000;

/// Thirty days.
const OFFLINE_LEASE_H_MAX: u32 = 720;

/// One mistake in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The setting, e.g. `peers.gateways[2].address`.
    pub place: String,
    pub what: String,
    pub mend: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.what, self.mend)
    }
}

impl Config {
    /// Looks at every setting and at the files that they name. Opens no port and writes nothing.
    pub fn check(&self) -> Result<(), Vec<Problem>> {
        let mut found = Found::default();
        found.names(self);
        found.listeners(self);
        found.devices(&self.devices);
        found.gateways(self);
        found.mesh_certificates(self);
        found.api(self);
        found.files(self);
        if self.doors.offline_lease_h > OFFLINE_LEASE_H_MAX {
            let what = format!("{} hours: a revocation must reach every door some time", self.doors.offline_lease_h);
            found.add("doors.offline_lease_h", what, format!("write 0 to {OFFLINE_LEASE_H_MAX}"));
        }
        if let Some(cloud) = &self.cloud {
            found.cloud(cloud);
        }
        if found.0.is_empty() { Ok(()) } else { Err(found.0) }
    }
}

/// Where an MQTT broker is, from `mqtt://host[:port]` or `mqtts://host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    pub host: String,
    pub port: u16,
    pub tls: bool,
}

impl BrokerAddress {
    /// Takes an address apart; the default ports are 1883 and 8883.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (rest, tls) = match (url.strip_prefix("mqtt://"), url.strip_prefix("mqtts://")) {
            (Some(rest), _) => (rest, false),
            (_, Some(rest)) => (rest, true),
            _ => return Err("it begins neither with `mqtt://` nor with `mqtts://`".into()),
        };
        let rest = rest.trim_end_matches('/');
        if rest.contains(['/', '@', '?', ' ']) || rest.contains(char::is_control) {
            return Err("it has more than host and port (user name and password have settings of their own)".into());
        }
        let named_port = if rest.ends_with(']') { None } else { rest.rsplit_once(':') };
        let (host, port) = match named_port {
            Some((host, port)) => (host, port.parse().map_err(|_| format!("`{port}` is no port"))?),
            None => (rest, if tls { 8883 } else { 1883 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || port == 0 {
            return Err("host or port is missing".into());
        }
        Ok(Self { host: host.into(), port, tls })
    }
}

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, place: impl Into<String>, what: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Problem { place: place.into(), what: what.into(), mend: mend.into() });
    }

    fn names(&mut self, config: &Config) {
        let names = [
            ("organisation", "an organisation", config.organisation.as_str()),
            ("mesh", "a mesh", &config.mesh),
            ("site", "a site", config.site.as_str()),
        ];
        for (place, what, name) in names {
            if !is_name(name) {
                self.add(place, format!("`{name}` cannot name {what}"), NAME_WANTED);
            }
        }
        if config.node.0 == 0 {
            self.add("node", "0 is no node id", "number gateways from 1 and never reuse a number");
        }
    }

    fn listeners(&mut self, config: &Config) {
        let mut listeners = config.devices.addresses();
        listeners.extend([("peers.listen", config.peers.listen), ("api.listen", config.api.listen)]);
        for (at, (place, address)) in listeners.iter().enumerate() {
            // Port 0 lets the system choose: tests use it.
            let taken = listeners.iter().take(at).find(|(_, other)| address.port() != 0 && collide(address, other));
            if let Some((other, _)) = taken {
                self.add(*place, format!("{address} is the port of {other} too"), "give each listener a port of its own");
            }
        }
    }

    fn devices(&mut self, devices: &Devices) {
        if devices.addresses().is_empty() {
            self.add("devices", "no listener: no device could connect", "set devices.listen, or devices.tls.listen with a certificate");
        }
        if let Some(tls) = &devices.tls {
            if tls.listen.is_none() && tls.websocket.is_none() {
                self.add("devices.tls", "a certificate without a listener", "set devices.tls.listen or devices.tls.websocket");
            }
            self.secret_mode("devices.tls.key", &tls.files.key);
            // The address is of no importance to what the files hold.
            if let Err(what) = tls.files.listener(SocketAddr::from(([0, 0, 0, 0], 0))) {
                self.add(
                    "devices.tls",
                    what,
                    "give PEM files: the certificate chain and its key; client_ca, and client_crl of that authority",
                );
            }
        }
        for Bound { name, wanted, min, max, .. } in devices.limits.bounds() {
            if let Some(wanted) = wanted.filter(|wanted| !(min..=max).contains(wanted)) {
                self.add(format!("devices.limits.{name}"), format!("{wanted}"), format!("give {min} to {max}, or leave it out"));
            }
        }
    }

    fn gateways(&mut self, config: &Config) {
        let gateways = &config.peers.gateways;
        if gateways.len() > GATEWAYS_MAX {
            self.add("peers.gateways", format!("{} gateways", gateways.len()), format!("at most {GATEWAYS_MAX} make one mesh"));
        }
        match gateways.iter().find(|gateway| gateway.node == config.node) {
            None => self.add(
                "node",
                format!("gateway {} is not among peers.gateways", config.node),
                "add it there, on every gateway of the mesh",
            ),
            Some(own) if own.site != config.site => self.add(
                "site",
                format!("this gateway is at `{}` here, but at `{}` in peers.gateways", config.site, own.site),
                "make both the same",
            ),
            Some(_) => {}
        }
        let snapshots = [("peers.snapshot_every", config.peers.snapshot_every), ("peers.snapshot_keep", config.peers.snapshot_keep)];
        for (place, entries) in snapshots {
            if let Some(entries) = entries
                && !SNAPSHOT_ENTRIES.contains(&entries)
            {
                let (min, max) = (SNAPSHOT_ENTRIES.start(), SNAPSHOT_ENTRIES.end());
                self.add(place, format!("{entries} entries"), format!("give {min} to {max}, or leave it out"));
            }
        }
        let (mut nodes, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for (at, gateway) in gateways.iter().enumerate() {
            let place = |field: &str| format!("peers.gateways[{at}].{field}");
            if gateway.node.0 == 0 || !nodes.insert(gateway.node) {
                self.add(place("node"), format!("{} is 0 or there twice", gateway.node), "give each gateway a number of its own, from 1");
            }
            if !is_name(gateway.site.as_str()) {
                self.add(place("site"), format!("`{}` cannot name a site", gateway.site), NAME_WANTED);
            }
            if !is_host_port(&gateway.address) {
                self.add(place("address"), format!("`{}` is not host:port", gateway.address), "write e.g. `10.0.0.2:7883`");
            } else if !addresses.insert(&gateway.address) {
                self.add(place("address"), format!("{} is there twice", gateway.address), "each gateway listens at an address of its own");
            }
        }
    }

    fn mesh_certificates(&mut self, config: &Config) {
        let Peers { ca, certificate, key, .. } = &config.peers;
        let mend = "`spalla init` makes them; copy this site's files here";
        let roots = pem::roots(ca).map_err(|what| self.add("peers.ca", what, mend)).ok();
        self.secret_mode("peers.key", key);
        let chain = match pem::certified_key(certificate, key) {
            Ok(certified) => certified.cert,
            Err(what) => return self.add("peers.certificate", what, mend),
        };
        let wanted = format!("node-{}", config.node);
        match pem::common_name(certificate) {
            Ok(name) if name == wanted => {}
            Ok(name) => {
                self.add("peers.certificate", format!("it is of `{name}`, not of `{wanted}`"), "use the certificate made for this gateway")
            }
            Err(what) => self.add("peers.certificate", what, mend),
        }
        let verifier = roots.and_then(|roots| {
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), pem::provider())
                .build()
                .map_err(|error| self.add("peers.ca", error.to_string(), mend))
                .ok()
        });
        if let (Some(verifier), Some((own, rest))) = (verifier, chain.split_first())
            && let Err(error) = verifier.verify_client_cert(own, rest, UnixTime::now())
        {
            self.add(
                "peers.certificate",
                format!("peers will refuse it: {error}"),
                "use a certificate signed by peers.ca, within its dates (and check this machine's clock)",
            );
        }
    }

    fn api(&mut self, config: &Config) {
        match &config.api.tls {
            None if !config.api.listen.ip().is_loopback() => self.add(
                "api.listen",
                format!("{} is open to others, without TLS", config.api.listen),
                "set api.tls.certificate and api.tls.key, or listen on 127.0.0.1",
            ),
            None => {}
            Some(tls) => {
                if let Err(what) = pem::certified_key(&tls.certificate, &tls.key) {
                    self.add("api.tls", what, "give a PEM certificate chain and its key");
                }
                self.secret_mode("api.tls.key", &tls.key);
            }
        }
        match std::fs::read_to_string(&config.api.token_file) {
            Ok(token) if token.trim().len() < TOKEN_LEN_MIN => {
                self.add("api.token_file", "the token is too short", format!("write at least {TOKEN_LEN_MIN} random characters into it"));
            }
            Ok(_) => self.secret_mode("api.token_file", &config.api.token_file),
            Err(error) => self.add("api.token_file", format!("{}: {error}", config.api.token_file.display()), "`spalla init` makes one"),
        }
    }

    fn files(&mut self, config: &Config) {
        if config.data.exists() && !config.data.is_dir() {
            self.add("data", format!("{} is not a folder", config.data.display()), "name a folder; it is made when it is not there");
        }
        let seed = &config.credentials.key_file;
        match std::fs::read_to_string(seed) {
            Ok(text) if hex::decode(text.trim()).is_ok_and(|seed| seed.len() == 32) => self.secret_mode("credentials.key_file", seed),
            Ok(_) => self.add(
                "credentials.key_file",
                format!("{} does not hold 64 hex digits", seed.display()),
                "use the file that `spalla init` made, the same on all gateways",
            ),
            Err(error) => self.add(
                "credentials.key_file",
                format!("{}: {error}", seed.display()),
                "`spalla init` makes it; it is the same on all gateways",
            ),
        }
        if let Some(folder) = &config.secrets.folder
            && !folder.is_dir()
        {
            self.add("secrets.folder", format!("{} is no folder", folder.display()), "make it, or take the setting away");
        }
        // The first row that a flow appends makes it.
        if let Some(folder) = &config.workbooks
            && folder.exists()
            && !folder.is_dir()
        {
            self.add("workbooks", format!("{} is no folder", folder.display()), "name a folder, or take the setting away");
        }
        if let Some(webhook) = &config.notify.webhook
            && !webhook.starts_with("https://")
            && !webhook.starts_with("http://")
        {
            self.add("notify.webhook", format!("`{webhook}` is no web address"), "begin with https:// (or http://)");
        }
    }

    fn cloud(&mut self, cloud: &Cloud) {
        match BrokerAddress::parse(&cloud.url) {
            Err(what) => self.add("cloud.url", format!("`{}`: {what}", cloud.url), "write e.g. `mqtts://cloud.example.com:8883`"),
            Ok(address) if address.tls && cloud.ca.is_none() => {
                self.add(
                    "cloud.ca",
                    "mqtts without an authority to check the broker by",
                    "name the PEM file of the authority that signed its certificate",
                );
            }
            Ok(_) => {}
        }
        if let Some(ca) = &cloud.ca
            && let Err(what) = pem::roots(ca)
        {
            self.add("cloud.ca", what, "give a PEM file");
        }
        match (&cloud.username, &cloud.password_file) {
            (None, Some(_)) => self.add("cloud.password_file", "a password without a user name", "set cloud.username"),
            (_, Some(file)) => {
                if let Err(error) = std::fs::read_to_string(file) {
                    self.add("cloud.password_file", format!("{}: {error}", file.display()), "write the password into it");
                }
                self.secret_mode("cloud.password_file", file);
            }
            _ => {}
        }
    }

    /// A secret that every user of the machine may read is none.
    #[cfg(unix)]
    fn secret_mode(&mut self, place: &str, file: &Path) {
        use std::os::unix::fs::PermissionsExt;
        if let Ok(about) = std::fs::metadata(file)
            && about.permissions().mode() & 0o007 != 0
        {
            self.add(place, format!("{} is open to every user of this machine", file.display()), format!("chmod 600 {}", file.display()));
        }
    }
    #[cfg(not(unix))]
    fn secret_mode(&mut self, _place: &str, _file: &Path) {}
}

fn is_host_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
}

/// Two listeners want one port: equal addresses, or one of them takes all of the machine's.
fn collide(one: &SocketAddr, other: &SocketAddr) -> bool {
    one.port() == other.port() && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}
