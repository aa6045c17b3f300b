//! Every flow of `config/`, untouched: to its end, with each effect failing, unknown, never answered, answered twice, and cancelled
//! at each step. Whatever happens, nothing stays owned.

use super::harness::{Bench, START, json};
use crate::device::CommandClass;
use crate::engine::State;
use crate::engine::command::{Command, FlowSelector, OperatorAction, WorkItemAction};
use crate::engine::effect::{Effect, Outcome, Request};
use crate::engine::problem::Problem;
use crate::engine::work_item::{WorkItem, WorkItemKind};
use crate::event::Event;
use crate::id::{Actor, GroupId, NodeId};
use crate::resource::{self, Resource};
use crate::time::Timestamp;
use crate::value::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Steps of one run: a flow that needs more does not end.
const STEPS_MAX: usize = 400;
const VISIT: &str = r#"{"visit": {"id": "v1", "visitor": {"id": "p1", "name": "Vera", "phone": "+49 30 1"}, "host": {"email": "anna@example.com"},
    "room": "orion", "from": "2026-11-23T00:00:00Z", "until": "2026-11-24T20:00:00Z", "vehicle": {"plate": "B 1", "ev": true}}}"#;

/// What begins the flow, and the events that the world sends it while it listens: (type, source, data).
struct Story {
    flow: &'static str,
    start: Option<&'static str>,
    events: &'static [(&'static str, &'static str, &'static str)],
}

const STORIES: [Story; 5] = [
    Story {
        flow: "visitor",
        start: Some(VISIT),
        events: &[
            ("spalla.device.document-read", "/sites/hq/devices/id-scanner", r#"{"visitId": "v1", "valid": true}"#),
            ("spalla.device.passed", "/sites/hq/devices/turnstile-1", r#"{"credentialId": "CREDENTIAL", "direction": "out"}"#),
        ],
    },
    Story { flow: "sensor-limit", start: None, events: &[("spalla.telemetry.temperature", "/sites/hq/devices/t", r#"{"value": 30.5}"#)] },
    Story {
        flow: "goods-gate",
        start: None,
        events: &[
            ("spalla.device.plate-seen", "/sites/plant/devices/goods-camera", r#"{"plate": "B AB 1"}"#),
            ("spalla.device.weight-stable", "/sites/plant/devices/weighbridge", r#"{"plate": "B AB 1", "kg": 9000}"#),
            ("spalla.device.weight-stable", "/sites/plant/devices/weighbridge", r#"{"plate": "B AB 1", "kg": 4000}"#),
        ],
    },
    Story {
        flow: "evacuation",
        start: None,
        events: &[("spalla.device.fire-confirmed", "/sites/hq/devices/fire-panel", r#"{"zone": "lobby"}"#)],
    },
    Story { flow: "evacuate-building", start: Some(r#"{"building": "hq", "incident": "i1"}"#), events: &[] },
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    Nothing,
    Fails(usize),
    IsUnknown(usize),
    NeverAnswers(usize),
    AnswersTwice,
    CancelledAt(usize),
}

fn config_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            config_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

/// A group with all of `config/` deployed and every device connected to node 1.
fn deployed() -> &'static State {
    static STATE: OnceLock<State> = OnceLock::new();
    STATE.get_or_init(|| {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let mut files = Vec::new();
        ["flows", "profiles", "three-buildings"].iter().for_each(|folder| config_files(&config.join(folder), &mut files));
        files.extend(["people.yaml", "pools.yaml", "areas.yaml"].map(|name| config.join(name)));
        files.retain(|file| file.file_name().is_some_and(|name| name != "asyncapi.yaml"));
        let read =
            |file: &PathBuf| resource::read(&std::fs::read_to_string(file).unwrap()).unwrap_or_else(|found| panic!("{file:?}: {found:#?}"));
        let resources: Vec<Resource> = files.iter().flat_map(read).collect();
        let devices: Vec<_> = resources
            .iter()
            .filter_map(|resource| if let Resource::Device(device) = resource { Some(device.id.clone()) } else { None })
            .collect();
        let mut bench = Bench::of(State::new(GroupId::mesh()), &[]);
        bench.apply(Command::Deploy { resources, by: Actor::system() }).reply.unwrap();
        for site in ["hq", "plant", "depot"] {
            let node = NodeId(site.len() as u64);
            bench.apply(Command::NodeUp { node, site: site.into(), boot: 1, version: "1".into(), api: None }).reply.unwrap();
        }
        for device in devices {
            let node = NodeId(device.site().as_str().len() as u64);
            bench.apply(Command::Presence { device, node, session: 1, online: true }).reply.unwrap();
        }
        bench.state
    })
}

struct Run {
    bench: Bench,
    story: &'static Story,
    trouble: Trouble,
    sent: usize,
    answered: usize,
    ignored: Vec<crate::id::EffectId>,
}

impl Run {
    fn new(story: &'static Story, trouble: Trouble) -> Self {
        let bench = Bench {
            state: deployed().clone(),
            at: Timestamp(START),
            records: Vec::new(),
            log: Vec::new(),
            mirrored: trouble == Trouble::Nothing,
        };
        Self { bench, story, trouble, sent: 0, answered: 0, ignored: Vec::new() }
    }

    /// Runs to the end; gives the number of steps.
    fn run_out(&mut self) -> usize {
        match self.story.start {
            Some(input) => {
                let flow = FlowSelector { namespace: "spalla".into(), name: self.story.flow.into(), version: None };
                let start = Command::Start { flow, input: json(input), key: "k".into(), by: Actor::system() };
                self.bench.apply(start).reply.unwrap();
            }
            None => assert!(self.send_event(), "{}: nobody takes its event", self.story.flow),
        }
        for step in 0..STEPS_MAX {
            if self.trouble == Trouble::CancelledAt(step) {
                self.cancel_all();
            }
            let state = &self.bench.state;
            if state.instances.values().all(|instance| instance.incident.is_some()) {
                self.cancel_all();
                return step;
            }
            self.step();
        }
        panic!(
            "{} with {:?} does not end: {:?}",
            self.story.flow,
            self.trouble,
            self.bench.state.instances.values().map(|i| i.positions()).collect::<Vec<_>>()
        );
    }

    fn cancel_all(&mut self) {
        while let Some(id) = self.bench.state.instances.keys().next().cloned() {
            self.bench.operate(&id, OperatorAction::Cancel { reason: "test".into() }).reply.unwrap();
        }
    }

    fn step(&mut self) {
        let state = &self.bench.state;
        let effect = state.effects.values().find(|effect| !self.ignored.contains(&effect.id)).cloned();
        if let Some(effect) = effect {
            return self.answer(&effect);
        }
        if let Some((item, by)) = state.work_items.values().find_map(|item| Some((item.clone(), self.someone(item)?))) {
            return self.act(&item, by);
        }
        // Only while a task listens: else it would be kept, and taken early.
        let next = self.story.events.get(self.sent);
        if next.is_some_and(|(kind, ..)| self.bench.state.listeners.contains_key(*kind)) && self.send_event() {
            return;
        }
        let due = self.bench.state.timers.iter().map(|timer| timer.due).find(|due| *due > self.bench.at);
        let millis = due.map_or(1000, |due| due.since(self.bench.at));
        self.bench.pass(millis);
    }

    fn answer(&mut self, effect: &Effect) {
        self.answered += 1;
        let at = self.answered;
        if self.trouble == Trouble::NeverAnswers(at) {
            self.ignored.push(effect.id);
            return;
        }
        if effect.class == CommandClass::Opening {
            let node = effect_node(effect);
            self.bench.apply(Command::EffectAttempt { effect: effect.id, node }).reply.unwrap();
        }
        let outcome = match self.trouble {
            Trouble::Fails(which) if which == at => Outcome::Failed { problem: Problem::standard("communication", 503, "no route") },
            Trouble::IsUnknown(which) if which == at => Outcome::Unknown { detail: "power failed".into() },
            _ => Outcome::Done { output: output_of(&effect.request) },
        };
        for _ in 0..if self.trouble == Trouble::AnswersTwice { 2 } else { 1 } {
            let _ = self.bench.apply(Command::EffectDone { effect: effect.id, outcome: outcome.clone(), node: effect_node(effect) });
        }
    }

    /// A person who is asked and has not answered yet.
    fn someone(&self, item: &WorkItem) -> Option<Actor> {
        let asked = |person: &&crate::resource::Person| match item.to.split_once(':') {
            Some(("user", id)) => *person.id == *id,
            Some(("role", role)) => person.roles.iter().any(|known| **known == *role),
            _ => false,
        };
        let actor = |person: &crate::resource::Person| Actor::new(format!("user:{}", person.id));
        self.bench.state.people.values().filter(asked).map(actor).find(|actor| item.votes.iter().all(|vote| vote.by != *actor))
    }

    fn act(&mut self, item: &WorkItem, by: Actor) {
        let action = match &item.kind {
            WorkItemKind::Approval { choices, .. } => WorkItemAction::Choose { choice: choices[0].clone(), comment: None },
            WorkItemKind::Task { .. } => {
                WorkItemAction::Complete { answers: Value::object([("verified", Value::Bool(true))]), comment: None }
            }
        };
        let key = format!("{}{}", item.id, by).into();
        self.bench.apply(Command::WorkItem { id: item.id.clone(), action, by, key }).reply.unwrap();
    }

    /// Sends the story's next event; false where nobody took it.
    fn send_event(&mut self) -> bool {
        let (kind, source, data) = self.story.events[self.sent];
        let credential = self.bench.state.credentials.keys().next().map(ToString::to_string).unwrap_or_default();
        let event = Event {
            id: format!("e{}", self.bench.state.applied).into(),
            source: source.into(),
            kind: kind.into(),
            subject: None,
            time: self.bench.at,
            data: json(&data.replace("CREDENTIAL", &credential)),
            extensions: Default::default(),
        };
        let reply = self.bench.apply(Command::Event { event, historical: false }).reply;
        let taken = matches!(reply, Ok(crate::engine::Accepted::Event { taken_by }) if taken_by > 0);
        self.sent += usize::from(taken);
        taken
    }

    fn assert_nothing_owned(&self) {
        let (state, about) = (&self.bench.state, format!("{} with {:?}", self.story.flow, self.trouble));
        assert!(state.instances.is_empty(), "{about}");
        assert!(state.work_items.is_empty(), "{about}");
        assert!(state.grants.is_empty(), "{about}: {:?}", state.grants);
        assert!(state.credentials.values().all(|credential| credential.revoked_at.is_some()), "{about}");
        assert!(state.pools.values().all(|pool| pool.leases.is_empty() && pool.queue.is_empty()), "{about}");
        assert!(state.effects.values().all(|effect| effect.owner.instance().is_none()), "{about}: {:?}", state.effects);
        assert!(state.listeners.is_empty(), "{about}");
        let counters = &state.counters;
        assert_eq!(counters.started, counters.completed + counters.faulted + counters.cancelled, "{about}");
    }
}

fn effect_node(effect: &Effect) -> NodeId {
    match &effect.request {
        Request::Device { device, .. } | Request::ReadDevice { device, .. } => NodeId(device.site().as_str().len() as u64),
        _ => NodeId(2),
    }
}

fn output_of(request: &Request) -> Value {
    json(&match request {
        Request::Device { .. } => r#"{"status": "done", "detail": null, "at": "2026-11-23T09:00:00Z"}"#.to_owned(),
        Request::ReadDevice { .. } => r#"{"value": 1, "observedAt": "2026-11-23T09:00:00Z", "quality": "good"}"#.to_owned(),
        Request::Notify { .. } => r#"{"delivered": true}"#.to_owned(),
        Request::SignCredential { credential, .. } => format!(r#"{{"credentialId": "{credential}", "token": "t"}}"#),
        Request::AppendRow { .. } => r#"{"row": 2}"#.to_owned(),
        Request::FindRow { .. } | Request::Http(_) | Request::Function { .. } => {
            r#"{"number": "4711", "expectedKg": 5000, "known": true}"#.to_owned()
        }
    })
}

#[test]
fn each_flow_of_config_comes_to_its_end() {
    for story in &STORIES {
        let mut run = Run::new(story, Trouble::Nothing);
        run.run_out();
        run.assert_nothing_owned();
        let counters = &run.bench.state.counters;
        assert_eq!((counters.faulted, counters.cancelled), (0, 0), "{}: {:#?}", story.flow, run.bench.ends());
        assert_eq!(run.sent, story.events.len(), "{}: an event was not taken", story.flow);
    }
}

#[test]
fn each_flow_of_config_survives_each_effect_and_a_cancel_at_each_step() {
    for story in &STORIES {
        let mut quiet = Run::new(story, Trouble::AnswersTwice);
        let steps = quiet.run_out();
        quiet.assert_nothing_owned();
        assert_eq!(quiet.bench.state.counters.faulted, 0, "{}", story.flow);
        let troubles = (1..=quiet.answered).flat_map(|at| [Trouble::Fails(at), Trouble::IsUnknown(at), Trouble::NeverAnswers(at)]);
        for trouble in troubles.chain((0..=steps).map(Trouble::CancelledAt)) {
            let mut run = Run::new(story, trouble);
            run.run_out();
            run.assert_nothing_owned();
        }
    }
}
