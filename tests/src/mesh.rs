//! A mesh from what `spalla init` writes, in a folder of its own.

use crate::api::Api;
use crate::device::Login;
use crate::node::Node;
use crate::wait::until;
use serde_json::{Value, json};
use spalla::cli::init::{BasePorts, InitOptions, SiteSpec, init};
use spalla::config::Config;
use spalla::demo::ports;
use spalla::demo::proxy::Link;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;
use tempfile::TempDir;

/// Between two looks at whether all gateways agree.
const AGREED_PAUSE: Duration = Duration::from_millis(40);
/// For a gateway to compute a trail of hours again.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

pub struct Mesh {
    pub nodes: Vec<Node>,
    program: PathBuf,
    pub folder: TempDir,
    /// From one gateway to another, by their places; only where it was made with links.
    pub links: BTreeMap<(usize, usize), Link>,
}

impl Mesh {
    /// Writes the folders of `sites`, one gateway each on loopback, and starts nothing. `program` is the gateway's.
    pub fn init(program: &str, sites: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("spalla-it-").tempdir().expect("a folder");
        let count = u16::try_from(sites.len()).expect("a few sites");
        let first = ports::free_block(count * 3).expect("free ports");
        let made = init(&InitOptions {
            folder: folder.path().join("mesh"),
            sites: sites.iter().map(|site| SiteSpec { name: (*site).into(), host: "127.0.0.1".into() }).collect(),
            organisation: "example".into(),
            mesh: "campus".into(),
            ports: BasePorts { devices: first, mesh: first + count, api: first + 2 * count },
            cloud_url: None,
        })
        .expect("init writes its files");
        let nodes = made
            .sites
            .into_iter()
            .map(|site| {
                let token = std::fs::read_to_string(&site.token_file).expect("a token").trim().to_owned();
                let api = Api::new(site.api_url, token);
                Node::new(Path::new(program), site.node.0, site.site.as_str(), site.config, site.devices_port, api)
            })
            .collect();
        Self { nodes, program: program.into(), folder, links: BTreeMap::new() }
    }

    /// The same with a link of its own for each way between two gateways. A site that is named as `hq#2` is a second gateway of `hq`.
    /// From a runtime.
    pub async fn init_linked(program: &str, sites: &[&str]) -> Self {
        let names: Vec<String> = sites.iter().map(|site| site.replace('#', "-")).collect();
        let mut mesh = Self::init(program, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let listens: Vec<SocketAddr> = mesh.nodes.iter().map(|node| mesh_address(&node.config)).collect();
        for from in 0..sites.len() {
            let mut text = std::fs::read_to_string(&mesh.nodes[from].config).expect("a config");
            for (to, address) in listens.iter().enumerate().filter(|(to, _)| *to != from) {
                let link = Link::open(*address).await.expect("a free port");
                text = text.replace(&format!("\"{address}\""), &format!("\"{}\"", link.address));
                mesh.links.insert((from, to), link);
            }
            for (site, name) in sites.iter().zip(&names) {
                let own = site.split('#').next().unwrap_or(site);
                text = text.replace(&format!("\"{name}\""), &format!("\"{own}\""));
            }
            std::fs::write(&mesh.nodes[from].config, text).expect("a config");
            mesh.nodes[from].site = sites[from].split('#').next().unwrap_or_default().to_owned();
        }
        mesh
    }

    /// Nobody reaches these gateways, and they reach nobody but each other.
    pub fn cut_off(&self, places: &[usize]) {
        let crosses = |(from, to): &(usize, usize)| places.contains(from) != places.contains(to);
        self.links.iter().filter(|(ends, _)| crosses(ends)).for_each(|(_, link)| link.cut());
    }

    pub fn heal(&self) {
        self.links.values().for_each(Link::restore);
    }

    /// `peers.timing` of all gateways, for their next start: `lan`, `metro` or `wan`.
    pub fn set_timing(&self, timing: &str) {
        for node in &self.nodes {
            let text = std::fs::read_to_string(&node.config).expect("settings");
            let line = text.lines().find(|line| line.starts_with("timing = ")).expect("init writes the timing").to_owned();
            std::fs::write(&node.config, text.replace(&line, &format!("timing = \"{timing}\""))).expect("written");
        }
    }

    /// Changes the settings of one gateway, for its next start.
    pub fn configure(&self, place: usize, change: impl FnOnce(&mut Config)) {
        let file = &self.nodes[place].config;
        let mut config = Config::load(file).expect("a config");
        change(&mut config);
        std::fs::write(file, toml::to_string(&config).expect("is written")).expect("a config");
    }

    /// The same, started, and all gateways hear of a leader.
    pub async fn start(program: &str, sites: &[&str]) -> Self {
        let mut mesh = Self::init(program, sites);
        mesh.start_all();
        mesh.ready().await;
        mesh
    }

    /// Invites a gateway at the gateway `by` and lets it join, as an operator does: with the command line, where `mesh-ca` is.
    /// Gives back its place; it is not started. `how` goes to the invitation.
    pub async fn join(&mut self, by: usize, site: &str, how: &[&str]) -> usize {
        let first = ports::free_block(3).expect("free ports");
        let node = self.joined(by, site, how, [first, first + 1, first + 2]).await;
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The same, with its ports for devices, for the mesh and for the API, and in nobody's place yet.
    pub async fn joined(&self, by: usize, site: &str, how: &[&str], ports: [u16; 3]) -> Node {
        let invited = self.nodes[by].cli_meanwhile(&[&["mesh", "invite", "--json"], how].concat()).await;
        let token = parsed(&invited)["token"].as_str().expect("a token").to_owned();
        let folder = (1..).map(|n| self.folder.path().join(format!("joined-{site}-{n}"))).find(|folder| !folder.exists());
        let folder = folder.expect("a folder that is not there").display().to_string();
        let (ports_text, ca) = (ports.map(|port| port.to_string()).join(","), self.authority().display().to_string());
        let arguments = ["mesh", "join", &folder, "--token", &token, "--site", site, "--ca", &ca, "--ports", &ports_text, "--json"];
        let joined = parsed(&self.nodes[by].cli_meanwhile(&arguments).await);
        let text = |name: &str| joined[name].as_str().expect("a text").to_owned();
        let token = std::fs::read_to_string(text("token_file")).expect("a token").trim().to_owned();
        let number = joined["node"].as_u64().expect("a number");
        let api = Api::new(text("api_url"), token);
        Node::new(&self.program, number, site, text("config").into(), ports[0], api)
    }

    /// The folder of the authority's key.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("mesh/mesh-ca")
    }

    pub fn start_all(&mut self) {
        self.nodes.iter_mut().for_each(Node::start);
    }

    pub fn kill_all(&mut self) {
        self.nodes.iter_mut().for_each(Node::kill);
    }

    pub async fn ready(&self) {
        for node in &self.nodes {
            node.ready().await;
        }
    }

    /// Place of the gateway that says that it leads.
    pub async fn leader(&self) -> usize {
        until("a gateway leads", async || {
            for (place, node) in self.nodes.iter().enumerate() {
                if node.api.try_get("/status").await.is_some_and(|answer| answer.data()["role"] == "leader") {
                    return Some(place);
                }
            }
            None
        })
        .await
    }

    /// Waits until all gateways have applied the same entries and everything of them is in their histories; gives back the
    /// digest that they have in common.
    pub async fn agreed(&self) -> Value {
        self.agreed_within("mesh", crate::wait::LONG).await
    }

    /// The same for any group that all have, and for a trail so long that to compute it again takes its time. Says what differs, where they
    /// do not come to agree.
    pub async fn agreed_within(&self, group: &str, bound: Duration) -> Value {
        let mut seen = String::from("nothing was heard of them");
        let looked = tokio::time::timeout(bound, async {
            loop {
                match self.common_digest(group).await {
                    Ok(digest) => return digest,
                    Err(differs) => seen = differs,
                }
                tokio::time::sleep(AGREED_PAUSE).await;
            }
        });
        match looked.await {
            Ok(digest) => digest,
            Err(_) => panic!("no equal state and audit of {group} at all gateways within {bound:?}: {seen}"),
        }
    }

    /// Digests are taken at once, and the trails computed again at once: a trail that grew meanwhile still holds this one's head.
    async fn common_digest(&self, group: &str) -> Result<Value, String> {
        let digests = self.ask_all(&format!("/state/digest?group={group}")).await?;
        let first = digests.first().cloned().unwrap_or_default();
        if digests.iter().any(|digest| *digest != first) {
            return Err(format!("digests {}", Value::from(digests)));
        }
        let trails = self.ask_all(&format!("/audit/verify?group={group}")).await?;
        let before = first["audit_seq"].as_u64().unwrap_or(0).saturating_sub(1);
        let heads = self.ask_all(&format!("/audit?group={group}&limit=1&after={before}")).await?;
        let whole = |(trail, head): (&Value, &Value)| trail["result"] == "verified" && head[0]["hash"] == first["audit_head"];
        if trails.iter().zip(&heads).all(whole) {
            return Ok(first);
        }
        Err(format!("digest {first}, trails {}, links at its head {}", Value::from(trails), Value::from(heads)))
    }

    /// What each gateway answers, asked at once.
    async fn ask_all(&self, path: &str) -> Result<Vec<Value>, String> {
        let asked = self.nodes.iter().map(|node| async move {
            let request = node.api.request("GET", &format!("/api/v1{path}")).timeout(ANSWER_TIME_MAX);
            node.api.send(request).await.map(|answer| answer.data().clone())
        });
        let answers: Option<Vec<Value>> = futures::future::join_all(asked).await.into_iter().collect();
        answers.ok_or_else(|| format!("a gateway gives no answer to {path}"))
    }

    /// Declares a profile and a device of it at the first gateway's site, and gives back how the device logs in.
    pub async fn add_device(&self, place: usize, name: &str, profile: &str) -> Login {
        let node = &self.nodes[place];
        let id = format!("{}/{name}", node.site);
        // Each answer has a new password; the last one counts.
        let added = node.api.post_surely("/devices", &json!({ "id": id, "profile": profile })).await;
        assert_eq!(added.status, 200, "{}", added.text);
        let password = added.data()["password"].as_str().expect("a password").to_owned();
        Login { id, password, port: node.devices_port }
    }
}

/// What the command line said as JSON.
pub fn parsed(output: &Output) -> Value {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Where the mesh listener of a gateway listens.
fn mesh_address(config: &Path) -> SocketAddr {
    let config = spalla::config::Config::read(config, []).expect("a config");
    config.peers.listen
}

/// Whether `mesh status` tells of history that a gateway lacks, or does not tell what one has.
pub fn lacks_history(status: &Value) -> bool {
    let lacks = |held: &Value| ["entries", "links"].iter().any(|what| held["missing"][what].as_array().is_none_or(|gaps| !gaps.is_empty()));
    let members = status["members"].as_array().map(Vec::as_slice).unwrap_or_default();
    members.is_empty() || members.iter().any(|member| member["vitals"]["history"].as_array().is_none_or(|held| held.iter().any(lacks)))
}

/// The folder `config/` of the repository.
pub fn config_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}
