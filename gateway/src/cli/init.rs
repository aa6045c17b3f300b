//! `spalla init`: the files with which a mesh begins, one folder per site to be copied to its machine.
//! Never overwrites a file.
//!
//! ```text
//! FOLDER/
//!   mesh-ca/ca.pem, ca.key      the authority: keep ca.key away from the gateways
//!   SITE/spalla.toml            the settings
//!   SITE/tls/ca.pem, node.pem, node.key
//!   SITE/api.token              bearer token, the same at all sites
//!   SITE/credentials.key        signs credentials, the same at all sites
//! ```

mod certificates;
pub mod join;
mod template;

use crate::config::Gateway;
use certificates::Authority;
use spalla_shared::id::{NodeId, SiteId};
use spalla_shared::topic::{NAME_WANTED, is_level, is_name};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Folder of the authority; no site may be called so.
const CA_FOLDER: &str = "mesh-ca";

#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Made when it is not there.
    pub folder: PathBuf,
    /// One gateway each; node ids are given in this order, from 1.
    pub sites: Vec<SiteSpec>,
    pub organisation: String,
    pub mesh: String,
    pub ports: BasePorts,
    /// `mqtt://host:port` or `mqtts://host:port`.
    pub cloud_url: Option<String>,
}

#[derive(Clone, Debug)]
pub struct SiteSpec {
    pub name: String,
    /// Where the other gateways reach it: a name or an IP address. A loopback host keeps all its ports on this machine.
    pub host: String,
}

/// Ports of the first gateway on a host; the next one on the same host has each plus one.
#[derive(Clone, Copy, Debug)]
pub struct BasePorts {
    pub devices: u16,
    pub mesh: u16,
    pub api: u16,
}

impl Default for BasePorts {
    fn default() -> Self {
        Self { devices: 1883, mesh: 7883, api: 8080 }
    }
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Report {
    pub sites: Vec<SiteReport>,
    pub authority: PathBuf,
    /// Every file written, in order.
    pub files: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteReport {
    pub site: SiteId,
    pub node: NodeId,
    pub config: PathBuf,
    pub token_file: PathBuf,
    /// host:port as others dial it.
    pub mesh_address: String,
    pub devices_port: u16,
    pub api_url: String,
}

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("{0} is there already; `init` overwrites nothing: choose another folder, or move it away")]
    Exists(PathBuf),
    #[error("{what}; {mend}")]
    Option { what: String, mend: &'static str },
    #[error("{}: {error}", path.display())]
    Write { path: PathBuf, error: std::io::Error },
    #[error("{}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("making certificates: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Makes the authority, and per site a certificate, the secrets and a commented configuration.
pub fn init(options: &InitOptions) -> Result<Report, InitError> {
    check(options)?;
    let places = places(options)?;
    let authority = Authority::new(&options.mesh)?;
    let token = random_hex();
    let seed = random_hex();

    let ca = options.folder.join(CA_FOLDER);
    let mut plan = vec![Planned::open(ca.join("ca.pem"), authority.pem()), Planned::secret(ca.join("ca.key"), authority.key_pem())];
    let mut sites = Vec::with_capacity(places.len());
    let gateways: Vec<Gateway> = places.iter().map(Place::gateway).collect();
    for place in &places {
        let folder = options.folder.join(place.site.as_str());
        let (certificate, key) = authority.node(place.node, &place.host)?;
        let config = folder.join("spalla.toml");
        let token_file = folder.join("api.token");
        plan.extend([
            Planned::open(config.clone(), template::config(options, place, &gateways, None)),
            Planned::open(folder.join("tls/ca.pem"), authority.pem()),
            Planned::open(folder.join("tls/node.pem"), certificate),
            Planned::secret(folder.join("tls/node.key"), key),
            Planned::secret(token_file.clone(), format!("{token}\n")),
            Planned::secret(folder.join("credentials.key"), format!("{seed}\n")),
        ]);
        sites.push(SiteReport {
            site: place.site.clone(),
            node: place.node,
            config,
            token_file,
            mesh_address: place.mesh_address(),
            devices_port: place.devices_port,
            api_url: format!("http://127.0.0.1:{}", place.api_port),
        });
    }
    // All or none, as far as can be told beforehand.
    if let Some(there) = plan.iter().find(|planned| planned.path.symlink_metadata().is_ok()) {
        return Err(InitError::Exists(there.path.clone()));
    }
    for planned in &plan {
        planned.write()?;
    }
    Ok(Report { sites, authority: ca, files: plan.into_iter().map(|planned| planned.path).collect() })
}

/// A gateway's place in the mesh.
struct Place {
    node: NodeId,
    site: SiteId,
    host: String,
    loopback: bool,
    devices_port: u16,
    mesh_port: u16,
    api_port: u16,
}

impl Place {
    fn gateway(&self) -> Gateway {
        Gateway { node: self.node, site: self.site.clone(), address: self.mesh_address() }
    }
    fn mesh_address(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.mesh_port) } else { format!("{}:{}", self.host, self.mesh_port) }
    }
    /// Where the listeners for others listen.
    fn open_address(&self, port: u16) -> String {
        if self.loopback { format!("127.0.0.1:{port}") } else { format!("0.0.0.0:{port}") }
    }
}

fn check(options: &InitOptions) -> Result<(), InitError> {
    let refuse = |what: String, mend| Err(InitError::Option { what, mend });
    for (name, text) in [("an organisation", &options.organisation), ("a mesh", &options.mesh)] {
        if !is_name(text) {
            return refuse(format!("`{text}` cannot name {name}"), NAME_WANTED);
        }
    }
    if options.sites.is_empty() || options.sites.len() > crate::config::GATEWAYS_MAX {
        return refuse(format!("{} sites", options.sites.len()), "name 1 to 64 sites, e.g. `--site hq`");
    }
    if let Some(url) = &options.cloud_url
        && let Err(what) = crate::config::BrokerAddress::parse(url)
    {
        return refuse(format!("cloud `{url}`: {what}"), "write e.g. `mqtts://cloud.example.com:8883`");
    }
    let mut names = BTreeSet::new();
    for SiteSpec { name, host } in &options.sites {
        if !is_name(name) {
            return refuse(format!("`{name}` cannot name a site"), NAME_WANTED);
        }
        if name == CA_FOLDER {
            return refuse(format!("`{name}` cannot name a site: the authority's folder is called so"), "choose another name");
        }
        if !names.insert(name) {
            return refuse(format!("site `{name}` is named twice"), "a second gateway of a site joins later");
        }
        let is_host = host.parse::<IpAddr>().is_ok() || (is_level(host) && !host.contains(':') && host.is_ascii() && !host.contains(' '));
        if !is_host {
            return refuse(format!("`{host}` is no host"), "give a name or an IP address, without a port");
        }
    }
    Ok(())
}

fn places(options: &InitOptions) -> Result<Vec<Place>, InitError> {
    let mut places: Vec<Place> = Vec::new();
    for (node, spec) in (1..).zip(&options.sites) {
        let before = places.iter().filter(|other| other.host == spec.host).count();
        let port = |base: u16| {
            u16::try_from(before).ok().and_then(|more| base.checked_add(more)).filter(|port| *port != 0).ok_or_else(|| InitError::Option {
                what: format!("port {base} + {before} does not exist"),
                mend: "choose lower base ports",
            })
        };
        let mut own = [port(options.ports.devices)?, port(options.ports.mesh)?, port(options.ports.api)?];
        own.sort_unstable();
        let others = places.iter().filter(|other| other.host == spec.host);
        let taken: Vec<u16> = others.flat_map(|other| [other.devices_port, other.mesh_port, other.api_port]).collect();
        let twice = own.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
        if let Some(port) = twice.or_else(|| own.iter().copied().find(|port| taken.contains(port))) {
            return Err(InitError::Option {
                what: format!("port {port} would be used twice on {}", spec.host),
                mend: "choose base ports further apart",
            });
        }
        places.push(Place {
            node: NodeId(node),
            site: SiteId::new(&spec.name),
            host: spec.host.clone(),
            loopback: spec.host == "localhost" || spec.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
            devices_port: port(options.ports.devices)?,
            mesh_port: port(options.ports.mesh)?,
            api_port: port(options.ports.api)?,
        });
    }
    Ok(places)
}

struct Planned {
    path: PathBuf,
    text: String,
    secret: bool,
}

impl Planned {
    fn open(path: PathBuf, text: String) -> Self {
        Self { path, text, secret: false }
    }
    fn secret(path: PathBuf, text: String) -> Self {
        Self { path, text, secret: true }
    }
    fn write(&self) -> Result<(), InitError> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => InitError::Exists(self.path.clone()),
            _ => InitError::Write { path: self.path.clone(), error },
        };
        std::fs::create_dir_all(self.path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        let mut how = std::fs::OpenOptions::new();
        how.write(true).create_new(true);
        #[cfg(unix)]
        if self.secret {
            use std::os::unix::fs::OpenOptionsExt;
            how.mode(0o600);
        }
        let mut file = how.open(&self.path).map_err(failed)?;
        file.write_all(self.text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    }
}

/// 256 random bits, 64 lower-case hex digits.
fn random_hex() -> String {
    let mut bytes = [0u8; 32];
    rand::fill(&mut bytes);
    hex::encode(bytes)
}

#[cfg(test)]
mod tests;
