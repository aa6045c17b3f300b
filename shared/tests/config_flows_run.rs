//! The flows that we give operators run to their ends, on the devices, pools and people that come with them.

use spalla_shared::engine::command::{FlowSelector, WorkItemAction};
use spalla_shared::engine::effect::Place;
use spalla_shared::engine::record::{InstanceStatus, RecordBody};
use spalla_shared::engine::{Accepted, Command, EffectClass, Entry, Outcome, Problem, Request, State, apply};
use spalla_shared::event::Event;
use spalla_shared::id::{Actor, DeviceId, GroupId, InstanceId, NodeId, SiteId, WorkItemId};
use spalla_shared::resource::{Resource, read};
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// 2026-11-23T09:00:00Z.
const START: i64 = 1_795_424_400_000;
const VISIT: &str = r#"{"visit":{"id":"v1","visitor":{"id":"p1","name":"Vera","phone":"+49301","document":"X1"},"host":{"email":"anna@example.com"},
    "room":"orion","from":"2026-11-23T09:00:00Z","until":"2026-11-23T11:00:00Z","vehicle":{"plate":"B-X 1","ev":true}}}"#;

struct Building {
    state: State,
    at: Timestamp,
    events: u32,
    /// `device command`, in order.
    commanded: Vec<String>,
    ended: BTreeMap<InstanceId, (InstanceStatus, String)>,
    /// Devices that do not answer.
    dead: BTreeSet<String>,
}

fn resources() -> Vec<Resource> {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let mut files: Vec<PathBuf> =
        ["pools.yaml", "people.yaml", "areas.yaml", "three-buildings/devices.yaml"].map(|name| config.join(name)).into();
    for folder in ["flows", "profiles"] {
        files.extend(std::fs::read_dir(config.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
    }
    files.sort();
    files.iter().flat_map(|file| read(&std::fs::read_to_string(file).unwrap()).unwrap()).collect()
}

impl Building {
    fn new() -> Self {
        let mut all = resources();
        // What others name must be there before.
        all.sort_by_key(|resource| matches!(resource, Resource::Flow(_) | Resource::Area(_)));
        let devices: Vec<DeviceId> = all
            .iter()
            .filter_map(|resource| match resource {
                Resource::Device(device) => Some(device.id.clone()),
                _ => None,
            })
            .collect();
        let mut building = Self {
            state: State::new(GroupId::mesh()),
            at: Timestamp(START),
            events: 0,
            commanded: Vec::new(),
            ended: BTreeMap::new(),
            dead: BTreeSet::new(),
        };
        for (node, site) in [(1, "hq"), (2, "plant"), (3, "depot")] {
            let up = Command::NodeUp { node: NodeId(node), site: SiteId::new(site), boot: 1, version: "1".into(), api: None };
            building.apply(up).unwrap();
        }
        building.apply(Command::Deploy { resources: all, by: Actor::system() }).unwrap();
        for device in devices {
            let node = NodeId(match device.site().as_str() {
                "hq" => 1,
                "plant" => 2,
                _ => 3,
            });
            building.apply(Command::Presence { device, node, session: 1, online: true }).unwrap();
        }
        building
    }

    fn apply(&mut self, command: Command) -> spalla_shared::engine::Reply {
        let entry = Entry { index: self.state.applied + 1, at: self.at, command };
        let applied = apply(&mut self.state, &entry);
        for record in &applied.records {
            if let RecordBody::InstanceEnded { instance, status, output, problem } = &record.body {
                let shown = problem.as_ref().map_or_else(|| output.to_json(), |problem| problem.to_json());
                self.ended.insert(instance.clone(), (*status, shown));
            }
        }
        applied.reply
    }

    /// Answers effects and goes on until nothing moves without people, devices or time.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let open = self.state.effects.values().find(|effect| match &effect.request {
                Request::Device { device, .. } => !self.dead.contains(device.as_str()),
                _ => true,
            });
            let command = match open {
                Some(effect) => {
                    let node = match effect.place(&self.state) {
                        Place::Node(node) => node,
                        Place::Leader | Place::Nowhere => NodeId(1),
                    };
                    if effect.class == EffectClass::Opening && effect.attempt.is_none() {
                        Command::EffectAttempt { effect: effect.id, node }
                    } else {
                        if let Request::Device { device, command, .. } = &effect.request {
                            self.commanded.push(format!("{device} {command}"));
                        }
                        Command::EffectDone { effect: effect.id, outcome: answer(&effect.request), node }
                    }
                }
                None if !self.state.ready.is_empty() => Command::Continue,
                None => return,
            };
            self.apply(command).unwrap();
        }
        panic!("it never settles");
    }

    fn event(&mut self, source: &str, kind: &str, data: &str) {
        self.events += 1;
        let event = Event {
            id: format!("e{}", self.events).into(),
            source: source.into(),
            kind: kind.into(),
            subject: None,
            time: self.at,
            data: Value::from_json(data).unwrap(),
            extensions: BTreeMap::new(),
        };
        self.apply(Command::Event { event, historical: false }).unwrap();
        self.settle();
    }

    fn pass(&mut self, minutes: u64) {
        self.at = self.at.plus(minutes * 60_000);
        self.apply(Command::TimersDue).unwrap();
        self.settle();
    }

    fn start(&mut self, name: &str, input: &str) -> InstanceId {
        let flow = FlowSelector { namespace: "spalla".into(), name: name.into(), version: None };
        let start =
            Command::Start { flow, input: Value::from_json(input).unwrap(), key: name.into(), by: Actor::from("user:rita@example.com") };
        match self.apply(start) {
            Ok(Accepted::Started { instance }) => {
                self.settle();
                instance
            }
            other => panic!("{other:?}"),
        }
    }

    /// The one open work item for `to`.
    fn asked(&self, to: &str) -> WorkItemId {
        let found: Vec<_> = self.state.work_items.values().filter(|item| &*item.to == to).collect();
        assert_eq!(found.len(), 1, "{to}: {:?}\n{:?}", self.state.work_items, self.ended);
        found[0].id.clone()
    }

    fn choose(&mut self, to: &str, by: &str, choice: &str) {
        let action = WorkItemAction::Choose { choice: choice.into(), comment: None };
        let command = Command::WorkItem { id: self.asked(to), action, by: format!("user:{by}").into(), key: format!("{to}{by}").into() };
        self.apply(command).unwrap();
        self.settle();
    }

    fn complete(&mut self, to: &str, by: &str, answers: &str) {
        let action = WorkItemAction::Complete { answers: Value::from_json(answers).unwrap(), comment: None };
        let command = Command::WorkItem {
            id: self.asked(to),
            action,
            by: format!("user:{by}").into(),
            key: format!("{to}{}", self.state.applied).into(),
        };
        self.apply(command).unwrap();
        self.settle();
    }

    fn running(&self) -> Vec<InstanceId> {
        self.state.instances.keys().cloned().collect()
    }

    /// Nothing that an instance owns is left.
    fn assert_released(&self) {
        assert!(self.state.instances.is_empty(), "{:?}", self.state.instances);
        assert!(self.state.work_items.is_empty() && self.state.effects.is_empty() && self.state.grants.is_empty());
        assert!(self.state.credentials.values().all(|credential| credential.revoked_at.is_some()));
        assert!(self.state.pools.values().all(|pool| pool.leases.is_empty() && pool.queue.is_empty()));
    }
}

fn answer(request: &Request) -> Outcome {
    let output = match request {
        Request::Device { .. } => r#"{"status":"done","detail":null,"at":"2026-11-23T09:00:00Z"}"#.to_owned(),
        Request::SignCredential { credential, .. } => format!(r#"{{"credentialId":"{credential}","token":"t"}}"#),
        Request::Notify { .. } => r#"{"delivered":1}"#.to_owned(),
        Request::AppendRow { .. } => r#"{"row":1}"#.to_owned(),
        Request::FindRow { .. } => "null".to_owned(),
        _ => return Outcome::Failed { problem: Problem::standard("communication", 503, "nobody is there") },
    };
    Outcome::Done { output: Value::from_json(&output).unwrap() }
}

fn admitted() -> (Building, InstanceId) {
    let mut building = Building::new();
    let visit = building.start("visitor", VISIT);
    building.event("/sites/hq/devices/id-scanner", "spalla.device.document-read", r#"{"visitId":"other"}"#);
    assert!(building.state.work_items.is_empty(), "another visitor's document is not hers");
    building.event("/sites/hq/devices/id-scanner", "spalla.device.document-read", r#"{"visitId":"v1","valid":true}"#);
    (building, visit)
}

#[test]
fn a_visitor_comes_in_and_leaves() {
    let (mut building, visit) = admitted();
    building.choose("user:anna@example.com", "anna@example.com", "approve");
    assert_eq!(
        building.commanded.iter().collect::<BTreeSet<_>>(),
        BTreeSet::from([&"hq/lock-orion unlock".into(), &"hq/parking-barrier open".into()])
    );
    assert_eq!(building.state.grants.len(), 2, "{:?}", building.ended);
    assert_eq!(building.state.pools["visitor-parking"].leases.keys().map(|unit| &**unit).collect::<Vec<_>>(), ["V1"]);
    let credential = building.state.credentials.keys().next().unwrap().clone();
    let passed = |direction: &str, id: &str| format!(r#"{{"direction":"{direction}","credentialId":"{id}"}}"#);
    building.event("/sites/hq/devices/turnstile-1", "spalla.device.passed", &passed("in", credential.as_str()));
    building.event("/sites/hq/devices/turnstile-1", "spalla.device.passed", &passed("out", "somebody"));
    assert_eq!(building.running(), std::slice::from_ref(&visit));
    building.event("/sites/hq/devices/turnstile-1", "spalla.device.passed", &passed("out", credential.as_str()));
    assert_eq!(building.ended[&visit], (InstanceStatus::Completed, r#"{"outcome":"closed","visit":"v1"}"#.into()));
    building.assert_released();
}

#[test]
fn the_visit_that_the_readme_starts_is_taken_and_waits_for_its_document() {
    let mut building = Building::new();
    let visit = building.start("visitor", include_str!("../../config/three-buildings/visit.json"));
    building.event("/sites/hq/devices/id-scanner", "spalla.device.document-read", r#"{"visitId":"visit-1","valid":true}"#);
    assert_eq!(building.running(), [visit]);
    let asked: Vec<&str> = building.state.work_items.values().map(|item| &*item.to).collect();
    assert_eq!(asked, ["user:anna@example.com"]);
}

#[test]
fn an_end_with_parts_of_a_second_is_watched_too() {
    let mut building = Building::new();
    let visit = building.start("visitor", &VISIT.replace("00Z", "00.123456789Z"));
    building.event("/sites/hq/devices/id-scanner", "spalla.device.document-read", r#"{"visitId":"v1","valid":true}"#);
    building.choose("user:anna@example.com", "anna@example.com", "approve");
    let stays = &building.state.instances[&visit];
    assert!(stays.incident.is_none(), "{:?}", stays.incident);
    assert!(stays.positions().iter().any(|position| &*position.name == "untilBookedEnd"), "{:?}", stays.positions());
}

#[test]
fn a_refused_visitor_leaves_nothing_behind() {
    let (mut building, visit) = admitted();
    building.choose("user:anna@example.com", "anna@example.com", "reject");
    let (status, problem) = &building.ended[&visit];
    assert_eq!(*status, InstanceStatus::Faulted);
    assert!(problem.contains("https://spalla.dev/errors/visitor-refused"), "{problem}");
    building.assert_released();
}

#[test]
fn people_stand_in_where_devices_and_hosts_are_silent() {
    let mut building = Building::new();
    building.dead.extend(["hq/parking-barrier".into(), "hq/lock-orion".into()]);
    let visit = building.start("visitor", VISIT);
    building.pass(10);
    building.complete("role:guard", "gus@example.com", r#"{"verified":true,"idLast4":"1234"}"#);
    building.pass(10);
    building.choose("role:reception", "rita@example.com", "approve");
    building.pass(1);
    assert!(building.commanded.is_empty() && building.ended.is_empty(), "{:?}", building.ended);
    // Booked until 11:00: at 11:31 she is looked for.
    building.pass(131);
    building.complete("role:guard", "gus@example.com", "{}");
    assert_eq!(building.ended[&visit].0, InstanceStatus::Completed, "{:?}", building.ended);
    building.assert_released();
}

#[test]
fn a_warm_sensor_starts_one_flow_that_ends_by_itself() {
    let mut building = Building::new();
    let source = "/sites/depot/devices/temperature-1";
    building.event(source, "spalla.telemetry.temperature", r#"{"value":26.5}"#);
    assert!(building.running().is_empty());
    building.event(source, "spalla.telemetry.temperature", r#"{"value":31}"#);
    building.event(source, "spalla.telemetry.temperature", r#"{"value":32}"#);
    assert_eq!(building.running().len(), 1);
    building.event("/sites/hq/devices/temperature-1", "spalla.telemetry.temperature", r#"{"value":28}"#);
    let running = building.running();
    assert_eq!(running.len(), 2, "another sensor, another instance");
    building.pass(2);
    assert!(building.state.work_items.values().all(|item| &*item.to == "role:facility-manager"));
    building.pass(5);
    building.pass(1);
    for instance in running {
        assert_eq!(building.ended[&instance].0, InstanceStatus::Completed, "{:?}", building.ended);
    }
    building.assert_released();
}

#[test]
fn a_lorry_is_weighed_in_and_out_without_the_erp_system() {
    let mut building = Building::new();
    building.event("/sites/plant/devices/goods-camera", "spalla.device.plate-seen", r#"{"plate":"B-L 7"}"#);
    let lorry = building.running().remove(0);
    building.choose("role:stores", "sam@example.com", "approve");
    building.event("/sites/plant/devices/weighbridge", "spalla.device.weight-stable", r#"{"plate":"B-L 7","kg":18000}"#);
    building.complete("role:stores", "sam@example.com", "{}");
    building.event("/sites/plant/devices/weighbridge", "spalla.device.weight-stable", r#"{"plate":"B-L 7","kg":8000}"#);
    for _ in 0..5 {
        building.pass(1);
    }
    assert_eq!(building.ended[&lorry], (InstanceStatus::Completed, r#"{"netKg":10000,"plate":"B-L 7"}"#.into()));
    assert_eq!(building.commanded, ["plant/goods-barrier-in open", "plant/goods-barrier-out open"]);
    building.assert_released();
}

#[test]
fn a_fire_releases_all_doors_and_two_chiefs_end_it() {
    let mut building = Building::new();
    building.event("/sites/plant/devices/fire-panel", "spalla.device.fire-confirmed", r#"{"zone":"hall"}"#);
    building.event("/sites/plant/devices/fire-panel", "spalla.device.fire-confirmed", r#"{"zone":"hall"}"#);
    let released = building.commanded.iter().filter(|command| command.ends_with(" release")).count();
    let doors = building.state.devices.values().filter(|device| device.device.groups.iter().any(|group| &**group == "doors")).count();
    assert!(released == doors && doors > 6, "{:?}", building.commanded);
    assert_eq!(building.commanded.iter().filter(|command| command.ends_with(" recallToGround")).count(), 3);
    building.choose("role:fire-chief", "max@example.com", "all-clear");
    building.choose("role:fire-chief", "cleo@example.com", "all-clear");
    assert_eq!(building.commanded.iter().filter(|command| command.ends_with(" resume")).count(), doors);
    assert!(
        building.ended.len() == 4 && building.ended.values().all(|(status, _)| *status == InstanceStatus::Completed),
        "{:?}",
        building.ended
    );
    building.assert_released();
}
