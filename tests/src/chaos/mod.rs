//! Three real gateways under load while everything that can go wrong does, drawn from a seed; in the end the mesh is left alone, and what
//! was seen from outside is held against what Spalla promises.
//!
//! ```text
//! Plan (seed) -> faults -> processes (kill -9, SIGSTOP), links between them (cut, half-open, deaf, slow, lossy)
//! Load        -> events, turns           Witness <- acknowledgements, what devices were told
//! Verdict     <- Witness, state digests, audit chains, the cloud's numbers
//! ```

pub mod fault;
pub mod link;
pub mod load;
mod verdict;
pub mod witness;

use crate::device::Login;
use crate::mesh::{Mesh, config_folder};
use crate::wait::until;
use fault::{Fault, Plan, Step};
use link::{Link, Weather};
use load::Load;
use nix::sys::signal::Signal;
use spalla::config::{Cloud as CloudSettings, Config, Encoding, MqttVersion};
use spalla::demo::cloud::Cloud;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
pub use verdict::Verdict;
use witness::Witness;

const SITES: [&str; 3] = ["hq", "plant", "depot"];

/// When a run has done enough.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Steps(usize),
    Instant(Instant),
}

/// `program` is the gateway's. `say` hears what is done, as it is done.
pub async fn run(program: &str, seed: u64, until: Until, say: impl Fn(&str)) -> Verdict {
    let cloud = Cloud::start("example", "campus").await.expect("a cloud");
    let mut world = World::start(program, &cloud).await;
    let witness = Arc::new(Witness::default());
    let (tellers, doors) = world.devices().await;
    let apis: Vec<_> = world.mesh.nodes.iter().map(|node| node.api.clone()).collect();
    let mut load = Load::start(&apis, &tellers, &doors, &witness);
    let mut plan = Plan::new(seed, SITES.len());
    let mut steps = 0;
    while match until {
        Until::Steps(most) => steps < most,
        Until::Instant(end) => Instant::now() < end,
    } {
        let step = plan.step();
        say(&format!("{steps}: {step}"));
        world.play(&step).await;
        steps += 1;
    }
    say("left alone; what was begun is seen through");
    world.mesh.ready().await;
    load.finish().await;
    let verdict = Verdict::of(&world.mesh, &witness, &cloud, steps).await;
    drop(load);
    cloud.stop().await;
    verdict
}

struct World {
    mesh: Mesh,
    /// From one place to another, by (from, to).
    links: BTreeMap<(usize, usize), Link>,
}

impl World {
    async fn start(program: &str, cloud: &Cloud) -> Self {
        let mut mesh = Mesh::init(program, &SITES);
        let mut configs: Vec<Config> = mesh.nodes.iter().map(|node| Config::load(&node.config).expect("a config")).collect();
        let addresses: Vec<SocketAddr> = configs.iter().map(|config| config.peers.listen).collect();
        let mut links = BTreeMap::new();
        for (from, config) in configs.iter_mut().enumerate() {
            for (to, gateway) in config.peers.gateways.iter_mut().enumerate().filter(|(to, _)| *to != from) {
                let link = Link::open(addresses[to]).await.expect("a link");
                gateway.address = link.address.to_string();
                links.insert((from, to), link);
            }
            config.cloud = Some(CloudSettings {
                url: format!("mqtt://{}", cloud.address),
                username: None,
                password_file: None,
                ca: None,
                mqtt: MqttVersion::default(),
                encoding: Encoding::Cbor,
            });
            std::fs::write(&mesh.nodes[from].config, toml::to_string(config).expect("is written")).expect("a config");
        }
        mesh.start_all();
        mesh.ready().await;
        Self { mesh, links }
    }

    /// One that tells and one door for each gateway.
    async fn devices(&self) -> (Vec<Login>, Vec<Login>) {
        let profile = |name: &str| std::fs::read_to_string(config_folder().join(format!("profiles/{name}.yaml"))).expect("a profile");
        for text in [&*profile("turnstile"), &*profile("parking-barrier"), load::RESOURCES] {
            let answer = self.mesh.nodes[0].api.apply(text).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
        let (mut tellers, mut doors) = (Vec::new(), Vec::new());
        for place in 0..SITES.len() {
            tellers.push(self.mesh.add_device(place, "turnstile", "turnstile").await);
            doors.push(self.mesh.add_device(place, "barrier", "parking-barrier").await);
        }
        (tellers, doors)
    }

    async fn play(&mut self, step: &Step) {
        for fault in &step.faults {
            self.begin(fault).await;
        }
        tokio::time::sleep(step.lasts).await;
        for fault in step.faults.iter().rev() {
            self.end(fault);
        }
        tokio::time::sleep(step.pause).await;
    }

    async fn begin(&mut self, fault: &Fault) {
        match fault {
            Fault::Kill(places) => places.iter().for_each(|place| self.mesh.nodes[*place].kill()),
            Fault::Restart(place) => {
                let node = &mut self.mesh.nodes[*place];
                node.signal(Signal::SIGTERM);
                node.ended().await;
            }
            Fault::Hold(place) => self.mesh.nodes[*place].hold(),
            Fault::Around(..) | Fault::Between { .. } | Fault::Everywhere(_) => self.weather(fault, None),
        }
    }

    fn end(&mut self, fault: &Fault) {
        match fault {
            Fault::Kill(places) => places.iter().for_each(|place| self.mesh.nodes[*place].start()),
            Fault::Restart(place) => self.mesh.nodes[*place].start(),
            Fault::Hold(place) => self.mesh.nodes[*place].go_on(),
            Fault::Around(..) | Fault::Between { .. } | Fault::Everywhere(_) => self.weather(fault, Some(Weather::Clear)),
        }
    }

    /// The fault's weather on its links, or another one in its place.
    fn weather(&self, fault: &Fault, other: Option<Weather>) {
        for ((from, to), link) in &self.links {
            let weather = match fault {
                Fault::Around(place, weather) if from == place || to == place => *weather,
                Fault::Between { from: one, to: another, weather } if (from, to) == (one, another) => *weather,
                Fault::Everywhere(weather) => *weather,
                _ => continue,
            };
            link.set(other.unwrap_or(weather));
        }
    }
}

/// Waits for what takes longer than a test's step may: a mesh that was hit in many ways.
async fn patiently<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..4 {
        let found = tokio::time::timeout(crate::wait::LONG, async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        })
        .await;
        if let Ok(found) = found {
            return found;
        }
    }
    until(what, look).await
}
