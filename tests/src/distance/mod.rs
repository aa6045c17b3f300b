//! What commits cost where buildings lie apart: three gateways with a delay on every link between them, writes at the leader's building
//! and at another one, one after the other and many at once, in peace and while a gateway that was away is sent a snapshot.
//!
//! ```text
//! writer -> API of a gateway -> [link] -> leader -> [links] -> a second gateway's disk
//! away (kill -9) ... writes ... start -> [link] snapshot, entries -> level
//! ```
//!
//! A link delays both ways by half of the round trip, loses nothing, does not jitter and is as broad as this machine: what TCP's slow start,
//! loss and a narrow line cost comes on top. A writer stands in the building of the gateway that it asks: no delay between those.

mod absence;
mod writes;

pub use absence::Return;
pub use writes::{Both, Load};

use crate::api::Api;
use crate::chaos::link::{self, Link, Weather};
use crate::gap::{ApiDoor, FLOW, applied};
use crate::mesh::Mesh;
use crate::numbers::{Spread, millis, rounded};
use crate::wait::until_within;
use serde::Serialize;
use serde_json::json;
use spalla::config::Timing;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use writes::{PACE, Writes};

/// Of a link, for its true round trip.
const PINGS: usize = 21;
/// Input of an instance that is there to make the state large.
const FILLER_LEN: usize = 16 * 1024;
/// Writers while nothing is measured.
const HURRY: usize = 128;
/// For a gateway to have what the others have: a snapshot of 256 MiB in small pieces over 150 ms takes ten minutes.
const LEVEL_TIME_MAX: Duration = Duration::from_secs(1_200);

const FILLER: &str = "
document: { dsl: '1.0.3', namespace: distance, name: filler, version: '1.0.0' }
do:
  - rest: { wait: { hours: 240 } }
";

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// One after the other, at each of two places.
    pub writes: usize,
    pub at_once: usize,
    /// Of the load of `at_once`.
    pub time: Duration,
    /// What the state is filled up by before a gateway goes away.
    pub state_mib: usize,
    /// `peers.snapshot_every` of the gateways.
    pub snapshot_every: usize,
}

/// What was measured at one round trip.
#[derive(Debug, Serialize)]
pub struct Distance {
    pub round_trip_ms: u64,
    /// Median of a byte there and back over such a link.
    pub measured_round_trip_ms: f64,
    pub timing: Timing,
    pub small_state: Peace,
    /// With the fillers, and a snapshot of them now and then.
    pub large_state: Peace,
    /// Data of the instances that make it large. A snapshot holds it several times.
    pub filler_mib: f64,
    /// Beside one writer in the leader's building and one in that of the other gateway that stayed.
    pub returned_beside_writers: Return,
    /// Beside the load.
    pub returned_beside_load: Return,
    pub acknowledged: u64,
    /// Different writes that are there in the end: as many as were acknowledged.
    pub found: u64,
    /// Tries that were not answered with yes, and repeated under their keys.
    pub tried_again: u64,
}

/// With all three gateways there.
#[derive(Debug, Serialize)]
pub struct Peace {
    pub at_leader: Spread,
    pub at_follower: Spread,
    /// For as long as the load: what a return beside these writers is to be held against.
    pub both: Both,
    /// Spread evenly over all three buildings.
    pub load: Load,
    /// The same gateway led before and after.
    pub leader_stayed: bool,
}

/// The setting whose bound the round trip is below.
pub fn timing_of(round_trip: Duration) -> Timing {
    match round_trip.as_millis() {
        0..5 => Timing::Lan,
        5..30 => Timing::Metro,
        _ => Timing::Wan,
    }
}

pub async fn measure(program: &str, round_trip: Duration, options: Options, say: impl Fn(&str)) -> Distance {
    let mut world = World::start(program, round_trip, options).await;
    say("three gateways are there");
    let small_state = world.peace().await;
    say(&format!("small state: {small_state:?}"));
    let filler_mib = world.fill().await;
    let large_state = world.peace().await;
    say(&format!("{filler_mib:.1} MiB more of state: {large_state:?}"));
    let beside_writers = world.absence(&say, 1).await;
    let beside_load = world.absence(&say, options.at_once).await;
    let acknowledged = world.writes.acknowledged() + world.fillers;
    Distance {
        round_trip_ms: millis(round_trip),
        measured_round_trip_ms: measured(round_trip).await,
        timing: timing_of(round_trip),
        small_state,
        large_state,
        filler_mib,
        returned_beside_writers: beside_writers,
        returned_beside_load: beside_load,
        acknowledged,
        found: world.count(acknowledged).await,
        tried_again: world.writes.tried_again(),
    }
}

fn weather(round_trip: Duration) -> Weather {
    if round_trip.is_zero() { Weather::Clear } else { Weather::Far { delay: round_trip / 2 } }
}

async fn measured(round_trip: Duration) -> f64 {
    let far = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let link = Link::open(far.local_addr().expect("an address")).await.expect("a link");
    link.set(weather(round_trip));
    let mut near = TcpStream::connect(link.address).await.expect("a connection");
    near.set_nodelay(true).expect("an option");
    let (mut echo, _) = far.accept().await.expect("a connection");
    echo.set_nodelay(true).expect("an option");
    let mut times = Vec::new();
    for _ in 0..PINGS {
        let began = Instant::now();
        near.write_all(&[7]).await.expect("written");
        let byte = echo.read_u8().await.expect("there");
        echo.write_all(&[byte]).await.expect("written");
        near.read_u8().await.expect("back");
        times.push(began.elapsed());
    }
    Spread::of(times).median_ms.unwrap_or_default()
}

struct World {
    mesh: Mesh,
    writes: Arc<Writes>,
    options: Options,
    /// Instances that make the state large.
    fillers: u64,
    _links: BTreeMap<(usize, usize), Link>,
}

impl World {
    async fn start(program: &str, round_trip: Duration, options: Options) -> Self {
        let mut mesh = Mesh::init(program, &["hq", "plant", "depot"]);
        let links = link::between(&mesh).await;
        links.values().for_each(|link| link.set(weather(round_trip)));
        for place in 0..mesh.nodes.len() {
            mesh.configure(place, |config| {
                config.peers.timing = timing_of(round_trip);
                config.peers.snapshot_every = Some(options.snapshot_every as u64);
                config.peers.snapshot_keep = Some(absence::keep(options.snapshot_every) as u64);
            });
        }
        mesh.start_all();
        mesh.ready().await;
        for flow in [FLOW, FILLER] {
            let answer = mesh.nodes[0].api.apply(flow).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
        let writes = Writes::new(mesh.nodes.iter().map(|node| ApiDoor(node.api.clone())).collect());
        let world = Self { mesh, writes, options, fillers: 0, _links: links };
        for place in 0..world.mesh.nodes.len() {
            world.level(place).await;
        }
        world
    }

    async fn peace(&self) -> Peace {
        let leader = self.mesh.leader().await;
        let at_leader = self.writes.one_after_the_other(leader, self.options.writes).await;
        let follower = (leader + 1) % 3;
        let at_follower = self.writes.one_after_the_other(follower, self.options.writes).await;
        let running = self.writes.begin_both(leader, follower);
        tokio::time::sleep(self.options.time).await;
        let both = Both::end(running).await;
        let running = self.writes.begin(&[0, 1, 2], self.options.at_once);
        tokio::time::sleep(self.options.time).await;
        let load = running.end().await;
        Peace { at_leader, at_follower, both, load, leader_stayed: self.mesh.leader().await == leader }
    }

    /// MiB that were put into the state.
    async fn fill(&mut self) -> f64 {
        let count = self.options.state_mib * 1024 * 1024 / FILLER_LEN;
        let api = self.mesh.nodes[self.mesh.leader().await].api.clone();
        let mut numbers = 0..count;
        let mut under_way = tokio::task::JoinSet::new();
        loop {
            while under_way.len() < HURRY
                && let Some(n) = numbers.next()
            {
                let api = api.clone();
                under_way.spawn(async move { fill_one(&api, n).await });
            }
            match under_way.join_next().await {
                Some(ended) => ended.expect("fillers are taken"),
                None => break,
            }
        }
        self.fillers += count as u64;
        for place in 0..self.mesh.nodes.len() {
            self.level(place).await;
        }
        rounded((count * FILLER_LEN) as f64 / 1024.0 / 1024.0)
    }

    /// Waits until the gateway has what the others have now.
    async fn level(&self, place: usize) {
        let wanted = self.newest(place).await;
        until_within(LEVEL_TIME_MAX, "a gateway is level", async || (applied(&self.mesh.nodes[place].api).await? >= wanted).then_some(()))
            .await;
    }

    /// The newest entry that the others have applied.
    async fn newest(&self, but: usize) -> u64 {
        let mut newest = 0;
        for (_, node) in self.mesh.nodes.iter().enumerate().filter(|(place, _)| *place != but) {
            newest = newest.max(applied(&node.api).await.unwrap_or_default());
        }
        newest
    }

    /// Writes that are there when all gateways agree.
    async fn count(&self, wanted: u64) -> u64 {
        self.mesh.agreed_within("mesh", LEVEL_TIME_MAX).await;
        let mut found = Vec::new();
        for node in &self.mesh.nodes {
            let instances = node.api.get("/status").await.data()["instances"].clone();
            found.push(["completed", "running"].iter().filter_map(|state| instances[state].as_u64()).sum::<u64>());
        }
        // They agree; were one of them to differ, it is told.
        found.into_iter().max_by_key(|found| found.abs_diff(wanted)).unwrap_or_default()
    }
}

async fn fill_one(api: &Api, n: usize) {
    let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(FILLER_LEN).collect();
    let body = json!({ "flow": "distance/filler", "input": { "text": text }, "key": format!("filler{n}") });
    let began = Instant::now();
    while api.try_post("/instances", &body).await.is_none_or(|answer| answer.status != 200) {
        assert!(began.elapsed() < LEVEL_TIME_MAX, "filler {n} is not taken within {LEVEL_TIME_MAX:?}");
        tokio::time::sleep(PACE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_trip_is_within_what_its_timing_is_for() {
        let timings = [0, 4, 5, 29, 30, 150].map(|ms| timing_of(Duration::from_millis(ms)));
        assert_eq!(timings, [Timing::Lan, Timing::Lan, Timing::Metro, Timing::Metro, Timing::Wan, Timing::Wan]);
    }
}
