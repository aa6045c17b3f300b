//! Three real gateways under load while everything that can go wrong does, drawn from a seed; in the end the mesh is left alone, and what
//! was seen from outside is held against what Spalla promises.
//!
//! ```text
//! Plan (seed) -> faults -> processes (kill -9, SIGSTOP, replaced by others), links between them (cut, half-open, deaf, slow, lossy),
//!                          machines (clock leaps, disk full or failing, power cut)
//! Load        -> events, turns           Witness <- acknowledgements, what devices were told
//! Registers   -> writes and reads at all gateways, held against one order
//! Verdict     <- Witness, Registers, state digests, audit chains, the cloud's numbers
//! ```

pub mod fault;
pub mod link;
pub mod load;
pub mod machine;
pub mod register;
mod replace;
mod verdict;
pub mod witness;

use crate::device::Login;
use crate::mesh::{Mesh, config_folder};
use crate::wait::until;
use fault::{Fault, Plan, Step};
use link::{Link, Weather};
use load::Load;
use machine::Machine;
use nix::sys::signal::Signal;
use register::Registers;
use spalla::config::{Cloud as CloudSettings, Encoding, MqttVersion};
use spalla::demo::cloud::Cloud;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
pub use verdict::Verdict;
use witness::Witness;

const SITES: [&str; 3] = ["hq", "plant", "depot"];

/// A gateway under load writes within; one that is cut off may not.
const WRITES_WITHIN: Duration = Duration::from_secs(10);

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
    let mut registers = Registers::start(&apis);
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
    let found = registers.finish().await;
    // Also where it ends without one.
    world.mesh.folder.disable_cleanup(true);
    say(&format!("the gateways' folders are in {}", world.mesh.folder.path().display()));
    let mut verdict = Verdict::of(&world.mesh, &witness, found, &cloud, steps).await;
    verdict.broken.append(&mut world.broken);
    verdict.lost_bytes = world.lost_bytes;
    verdict.replaced = world.replaced;
    drop(load);
    cloud.stop().await;
    world.mesh.folder.disable_cleanup(!verdict.broken.is_empty());
    verdict
}

struct World {
    mesh: Mesh,
    /// From one place to another, by (from, to). All that lead to a gateway that has replaced another are one.
    links: BTreeMap<(usize, usize), Arc<Link>>,
    /// One under each gateway, by place.
    machines: Vec<Machine>,
    /// What gateways did that they should not.
    broken: Vec<String>,
    /// Of logs, by cuts of the power.
    lost_bytes: u64,
    /// Gateways that were removed, each with another one in its place.
    replaced: usize,
}

impl World {
    async fn start(program: &str, cloud: &Cloud) -> Self {
        let mut mesh = Mesh::init(program, &SITES);
        let links = link::between(&mesh).await.into_iter().map(|(ends, link)| (ends, Arc::new(link))).collect();
        for place in 0..SITES.len() {
            mesh.configure(place, |config| {
                config.cloud = Some(CloudSettings {
                    url: format!("mqtt://{}", cloud.address),
                    username: None,
                    password_file: None,
                    ca: None,
                    mqtt: MqttVersion::default(),
                    encoding: Encoding::Cbor,
                });
            });
        }
        let folder = mesh.folder.path();
        let library = Machine::library(folder);
        let machines: Vec<_> = SITES.iter().map(|site| Machine::new(folder, &format!("machine-of-{site}"), &library)).collect();
        for (node, machine) in mesh.nodes.iter_mut().zip(&machines) {
            node.start_with(&machine.variables());
        }
        mesh.ready().await;
        Self { mesh, links, machines, broken: Vec::new(), lost_bytes: 0, replaced: 0 }
    }

    /// One that tells and one door for each gateway.
    async fn devices(&self) -> (Vec<Login>, Vec<Login>) {
        let profile = |name: &str| std::fs::read_to_string(config_folder().join(format!("profiles/{name}.yaml"))).expect("a profile");
        for text in [&*profile("turnstile"), &*profile("parking-barrier"), load::RESOURCES, register::FLOW] {
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
            Fault::PowerCut { places, .. } => places.iter().for_each(|place| self.mesh.nodes[*place].kill()),
            Fault::Disk { place, full } => self.break_disk(*place, *full).await,
            Fault::Clock { places, ahead_s } => places.iter().for_each(|place| self.machines[*place].set_clock_ms(ahead_s * 1000)),
            Fault::Replace { place, dead } => self.replace(*place, *dead).await,
            Fault::Hold(place) => self.mesh.nodes[*place].hold(),
            Fault::Around(..) | Fault::Between { .. } | Fault::Everywhere(_) => self.weather(fault, None),
        }
    }

    fn end(&mut self, fault: &Fault) {
        match fault {
            Fault::Kill(places) => places.iter().for_each(|place| self.start_again(*place)),
            Fault::Restart(place) | Fault::Disk { place, .. } => self.start_again(*place),
            Fault::PowerCut { places, kept, truncated } => {
                for place in places {
                    let data = &self.mesh.nodes[*place].data;
                    let lost = self.machines[*place].lose_what_is_not_durable(data, *kept, *truncated);
                    self.lost_bytes += lost.expect("a folder that can be read");
                    self.start_again(*place);
                }
            }
            Fault::Clock { places, .. } => places.iter().for_each(|place| self.machines[*place].set_clock_ms(0)),
            // It is to go on under what comes next.
            Fault::Replace { .. } => {}
            Fault::Hold(place) => self.mesh.nodes[*place].go_on(),
            Fault::Around(..) | Fault::Between { .. } | Fault::Everywhere(_) => self.weather(fault, Some(Weather::Clear)),
        }
    }

    fn start_again(&mut self, place: usize) {
        self.mesh.nodes[place].start_with(&self.machines[place].variables());
    }

    /// The gateway ends by itself, with a word to its operator; one that had nothing to write until then is ended.
    async fn break_disk(&mut self, place: usize, full: bool) {
        let (node, machine) = (&mut self.mesh.nodes[place], &self.machines[place]);
        let before = node.log().len();
        if full {
            machine.set_full(true)
        } else {
            machine.set_failing(true)
        }
        let ended = tokio::time::timeout(WRITES_WITHIN, node.ended()).await;
        node.kill();
        machine.set_full(false);
        machine.set_failing(false);
        let Ok(status) = ended else { return };
        let log = node.log();
        let said = log.get(before..).unwrap_or_default();
        // One that was only about to start has but this line.
        if status.code() != Some(1) || !said.lines().any(|line| line.starts_with("error: ")) {
            self.broken.push(format!("the gateway of {} ended with {status} on a bad disk and said: {said}", node.site));
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
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        if let Ok(found) = found {
            return found;
        }
    }
    until(what, look).await
}
