//! The demo's world: three buildings as processes, links between them that can be cut, a cloud, devices, a webhook.
//!
//! ```text
//! hq ──link── plant ──link── depot      each gateway dials the others through links of its own
//!  └──link── cloud stand-in ──link──┘   devices speak to their own building's gateway directly
//! ```

use super::building::Building;
use super::cloud::Cloud;
use super::device::{Device, Setup};
use super::gateways::Gateways;
use super::ledger::Ledger;
use super::ports;
use super::proxy::Link;
use super::webhook::{self, Notification};
use crate::cli::init::{BasePorts, InitOptions, SiteSpec, init};
use crate::config;
use anyhow::{Context, Result, bail};
use serde_json::json;
use spalla_shared::device::{Command, Profile};
use spalla_shared::id::DeviceId;
use spalla_shared::resource::{self, Resource};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;

pub const SITES: [&str; 3] = ["hq", "plant", "depot"];
pub const ORGANISATION: &str = "example";
pub const MESH: &str = "campus";
/// Three listeners of each gateway.
const PORTS: u16 = 9;
/// How long three fresh gateways may take to agree on a leader and take the first resources.
const START_TIME_MAX: Duration = Duration::from_secs(60);
const DEVICE_PASSWORD: &str = "demo-device-password";
/// Moves of devices that wait to be followed.
const MOVES_LEN_MAX: usize = 10_000;

/// What the demo declares: the files of `config/`, built in.
const RESOURCES: &[&str] = &[
    include_str!("../../../config/profiles/door-contact.yaml"),
    include_str!("../../../config/profiles/fire-panel.yaml"),
    include_str!("../../../config/profiles/goods-barrier.yaml"),
    include_str!("../../../config/profiles/id-scanner.yaml"),
    include_str!("../../../config/profiles/lift.yaml"),
    include_str!("../../../config/profiles/muster-reader.yaml"),
    include_str!("../../../config/profiles/parking-barrier.yaml"),
    include_str!("../../../config/profiles/plate-camera.yaml"),
    include_str!("../../../config/profiles/qr-reader.yaml"),
    include_str!("../../../config/profiles/room-lock.yaml"),
    include_str!("../../../config/profiles/temperature-sensor.yaml"),
    include_str!("../../../config/profiles/turnstile.yaml"),
    include_str!("../../../config/profiles/weighbridge.yaml"),
    include_str!("../../../config/pools.yaml"),
    include_str!("../../../config/three-buildings/devices.yaml"),
    include_str!("../../../config/areas.yaml"),
    PEOPLE,
    include_str!("../../../config/flows/visitor.yaml"),
    include_str!("../../../config/flows/sensor-limit.yaml"),
    include_str!("../../../config/flows/goods-gate.yaml"),
    include_str!("../../../config/flows/evacuate-building.yaml"),
    include_str!("../../../config/flows/evacuation.yaml"),
];
const PEOPLE: &str = include_str!("../../../config/people.yaml");

/// The people of `config/people.yaml`.
pub fn people() -> Vec<resource::Person> {
    let read = resource::read(PEOPLE).unwrap_or_default();
    read.into_iter().filter_map(|resource| if let Resource::Person(person) = resource { Some(person) } else { None }).collect()
}

pub struct World {
    pub buildings: Mutex<Vec<Building>>,
    /// From one site to another, by (from, to).
    pub links: BTreeMap<(usize, usize), Link>,
    /// From each site to the cloud.
    pub cloud_links: Vec<Link>,
    pub cloud: Cloud,
    pub gateways: Gateways,
    pub devices: BTreeMap<DeviceId, Device>,
    pub ledger: Arc<Ledger>,
}

/// What comes out of the world for visitors and staff to react to.
pub struct Streams {
    pub notifications: mpsc::Receiver<Notification>,
    /// A device carried a command out.
    pub moves: mpsc::Receiver<(DeviceId, Command)>,
}

impl World {
    /// Writes the configs, starts everything, declares the resources and connects the devices. `say` tells how it goes.
    pub async fn start(folder: &Path, timing: config::Timing, say: impl Fn(&str)) -> Result<(Arc<Self>, Streams)> {
        let cloud = Cloud::start(ORGANISATION, MESH).await?;
        let (webhook, notifications) = webhook::open().await?;
        say("writing certificates and configs for hq, plant and depot");
        let sites = SITES.iter().map(|site| SiteSpec { name: (*site).into(), host: "127.0.0.1".into() }).collect();
        let made = init(&InitOptions {
            folder: folder.join("mesh"),
            sites,
            organisation: ORGANISATION.into(),
            mesh: MESH.into(),
            ports: BasePorts::default(),
            cloud_url: None,
        })?;
        let first = ports::free_block(PORTS)?;
        let ports: Vec<u16> = (first..first + PORTS).collect();
        let mesh_address = |place: usize| SocketAddr::from(([127, 0, 0, 1], ports[place * 3]));
        let mut links = BTreeMap::new();
        let mut cloud_links = Vec::new();
        for from in 0..SITES.len() {
            for to in (0..SITES.len()).filter(|to| *to != from) {
                links.insert((from, to), Link::open(mesh_address(to)).await?);
            }
            cloud_links.push(Link::open(cloud.address).await?);
        }
        let mut buildings = Vec::new();
        let mut apis = Vec::new();
        for (place, site) in made.sites.iter().enumerate() {
            let mut config = config::Config::load(&site.config)?;
            config.peers.listen = mesh_address(place);
            config.peers.timing = timing;
            config.devices.listen = SocketAddr::from(([127, 0, 0, 1], ports[place * 3 + 1]));
            config.api.listen = SocketAddr::from(([127, 0, 0, 1], ports[place * 3 + 2]));
            for (to, gateway) in config.peers.gateways.iter_mut().enumerate() {
                gateway.address = links.get(&(place, to)).map_or(mesh_address(to), |link| link.address).to_string();
            }
            config.cloud = Some(config::Cloud {
                url: format!("mqtt://{}", cloud_links[place].address),
                username: None,
                password_file: None,
                ca: None,
                mqtt: config::MqttVersion::default(),
                encoding: config::Encoding::Cbor,
            });
            config.notify.webhook = Some(format!("http://{webhook}/notify"));
            let workbooks = site.config.with_file_name("workbooks");
            std::fs::create_dir_all(&workbooks)?;
            config.workbooks = Some(workbooks);
            std::fs::write(&site.config, toml::to_string(&config)?)?;
            let token = std::fs::read_to_string(&site.token_file)?.trim().to_owned();
            apis.push((config.api.listen, token));
            let site_folder = site.config.parent().context("a config lies in a folder")?;
            buildings.push(Building::new(site.site.as_str(), site_folder, config.devices.listen, config.data));
        }
        let gateways = Gateways::new(apis)?;
        say("starting three gateways");
        for building in &mut buildings {
            building.start()?;
        }
        let deadline = Instant::now() + START_TIME_MAX;
        let (others, devices) = split_resources()?;
        declare(&gateways, &others, deadline, &mut buildings).await?;
        say("declaring devices and connecting them");
        let ledger = Arc::new(Ledger::default());
        let (moved, moves) = mpsc::channel(MOVES_LEN_MAX);
        let connected = connect_devices(&gateways, &buildings, &devices, &ledger, moved, deadline).await?;
        let world = Self { buildings: Mutex::new(buildings), links, cloud_links, cloud, gateways, devices: connected, ledger };
        world.wait_for_devices(deadline).await?;
        Ok((Arc::new(world), Streams { notifications, moves }))
    }

    async fn wait_for_devices(&self, deadline: Instant) -> Result<()> {
        loop {
            if let Ok(body) = self.gateways.anywhere(None, "/status", "user:demo", deadline).await
                && body["data"]["devices"]["online"] == json!(self.devices.len())
            {
                return Ok(());
            }
            all_run(&mut self.buildings.lock().await)?;
            if Instant::now() > deadline {
                let listed = self.gateways.anywhere(None, "/devices", "user:demo", deadline).await.unwrap_or_default();
                let away = listed["data"].as_array().into_iter().flatten().filter(|device| device["online"] == false);
                let names: Vec<&str> = away.filter_map(|device| device["id"].as_str()).collect();
                bail!("not all devices came online in time: {}", names.join(", "));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Place (in [`SITES`]) of the gateway that leads, as a running gateway says.
    pub async fn leader(&self) -> Option<usize> {
        for place in 0..SITES.len() {
            if let Ok(body) = self.gateways.at(place, None, "/status").await
                && body["freshness"]["stale"] == false
                && let Some(leader) = body["data"]["leader"].as_u64()
            {
                return usize::try_from(leader).ok().and_then(|node| node.checked_sub(1)).filter(|place| *place < SITES.len());
            }
        }
        None
    }

    pub fn cut_site(&self, place: usize) {
        self.links.iter().filter(|((from, to), _)| *from == place || *to == place).for_each(|(_, link)| link.cut());
    }

    pub fn cut_cloud(&self) {
        self.cloud_links.iter().for_each(Link::cut);
    }

    /// All links up, all gateways running.
    pub async fn restore(&self) -> Result<()> {
        self.links.values().chain(&self.cloud_links).for_each(Link::restore);
        for building in self.buildings.lock().await.iter_mut() {
            building.start()?;
        }
        Ok(())
    }

    pub async fn stop(&self) {
        for device in self.devices.values() {
            device.stop().await;
        }
        for building in self.buildings.lock().await.iter_mut() {
            building.stop().await;
        }
        self.cloud.stop().await;
    }
}

/// A device and its profile.
type Declared = (resource::Device, Arc<Profile>);

/// Devices apart from everything that they need to be there first.
fn split_resources() -> Result<(Vec<&'static str>, Vec<Declared>)> {
    let mut profiles = BTreeMap::new();
    let mut devices = Vec::new();
    let mut others = Vec::new();
    for text in RESOURCES {
        let read = resource::read(text).map_err(|problems| {
            anyhow::anyhow!("a built-in resource: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        if read.iter().any(|resource| matches!(resource, Resource::Device(_))) {
            devices
                .extend(read.into_iter().filter_map(|resource| if let Resource::Device(device) = resource { Some(device) } else { None }));
            continue;
        }
        for resource in read {
            if let Resource::Profile(profile) = resource {
                profiles.insert(profile.name.clone(), Arc::new(profile));
            }
        }
        others.push(*text);
    }
    let devices = devices
        .into_iter()
        .map(|device| {
            let profile = profiles.get(&device.profile).cloned().with_context(|| format!("profile {} of {}", device.profile, device.id))?;
            Ok((device, profile))
        })
        .collect::<Result<_>>()?;
    Ok((others, devices))
}

async fn declare(gateways: &Gateways, texts: &[&str], deadline: Instant, buildings: &mut [Building]) -> Result<()> {
    // Areas name doors: devices go first where the order matters, so areas are declared behind them.
    for text in texts.iter().filter(|text| !text.contains("kind: area")) {
        if let Err(error) = gateways.apply(text, deadline).await {
            all_run(buildings)?;
            return Err(error);
        }
    }
    all_run(buildings)
}

/// A gateway that ended says why in the last lines of its log.
fn all_run(buildings: &mut [Building]) -> Result<()> {
    match buildings.iter_mut().find_map(|building| (!building.is_running()).then_some(building)) {
        Some(building) => bail!("the gateway of {} ended: {}", building.site, building.log_tail()),
        None => Ok(()),
    }
}

async fn connect_devices(
    gateways: &Gateways,
    buildings: &[Building],
    devices: &[Declared],
    ledger: &Arc<Ledger>,
    moved: mpsc::Sender<(DeviceId, Command)>,
    deadline: Instant,
) -> Result<BTreeMap<DeviceId, Device>> {
    // What a reader opens must be known before the reader.
    let mut ordered: Vec<_> = devices.iter().collect();
    ordered.sort_by_key(|(device, _)| device.opens.is_some());
    for (device, _) in &ordered {
        let body = json!({
            "id": device.id, "profile": device.profile, "title": device.title, "groups": device.groups, "zone": device.zone,
            "opens": device.opens, "password": DEVICE_PASSWORD,
        });
        gateways.anywhere(Some(&body), "/devices", "user:demo", deadline).await?;
    }
    for text in RESOURCES.iter().filter(|text| text.contains("kind: area")) {
        gateways.apply(text, deadline).await?;
    }
    let mut connected = BTreeMap::new();
    for (device, profile) in ordered {
        let site = device.id.site();
        let building =
            buildings.iter().find(|building| building.site == site.as_str()).with_context(|| format!("no building for {}", device.id))?;
        let setup = Setup { id: device.id.clone(), password: DEVICE_PASSWORD.into(), profile: profile.clone(), gateway: building.devices };
        connected.insert(device.id.clone(), Device::start(setup, ledger.clone(), moved.clone())?);
    }
    Ok(connected)
}
