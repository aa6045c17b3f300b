//! What `apply` costs: commands per second at 1, 1,000 and 100,000 live instances, memory per instance of the visitor flow, compile time
//! of a flow, and cost per task. One thread, no log, no disk. Prints a table: `cargo bench -p spalla-shared --bench apply`.
//!
//! Asserts nothing: numbers belong to a machine.

// A bench reads the clock.
#![allow(clippy::disallowed_methods)]

use spalla_shared::codec;
use spalla_shared::engine::command::FlowSelector;
use spalla_shared::engine::{Accepted, Command, Entry, Outcome, State, apply};
use spalla_shared::event::Event;
use spalla_shared::flow;
use spalla_shared::flow::plan::Plan;
use spalla_shared::id::{Actor, GroupId, NodeId};
use spalla_shared::resource::{FlowDocument, Resource, read};
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const START: i64 = 1_795_424_400_000;
/// The most first: memory is told by how the process grows.
const LIVE: [usize; 3] = [100_000, 1_000, 1];
const COMMANDS: usize = 20_000;
/// Tasks of the flow that is run through for the cost per task.
const TASKS: usize = 2_000;

/// Waits for an answer and for nothing else, so that each command is a start, or an end and the next start.
const ASKS: &str = "do:\n  - ask: { call: http, timeout: { after: P1D }, with: { method: get, endpoint: 'http://erp/{n}' } }\n  - keep: { set: { got: '${ . }' } }\n";

struct Group {
    state: State,
}

impl Group {
    fn new(flows: &[String]) -> Self {
        let mut group = Self { state: State::new(GroupId::mesh()) };
        let flows = flows.iter().map(|text| {
            let checked = flow::check(text).unwrap_or_else(|found| panic!("{found:#?}"));
            Resource::Flow(FlowDocument { document: checked.document })
        });
        group.apply(Command::Deploy { resources: flows.collect(), by: Actor::system() });
        group
    }

    fn config() -> Self {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let mut files: Vec<PathBuf> =
            ["pools.yaml", "people.yaml", "areas.yaml", "three-buildings/devices.yaml"].map(|name| config.join(name)).into();
        for folder in ["flows", "profiles"] {
            files.extend(std::fs::read_dir(config.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
        }
        let resources: Vec<Resource> = files.iter().flat_map(|file| read(&std::fs::read_to_string(file).unwrap()).unwrap()).collect();
        let mut group = Self::new(&[]);
        group.apply(Command::Deploy { resources, by: Actor::system() });
        group
    }

    fn apply(&mut self, command: Command) -> Accepted {
        let entry = Entry { index: self.state.applied + 1, at: Timestamp(START), command };
        apply(&mut self.state, &entry).reply.unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn start(&mut self, namespace: &str, name: &str, input: Value) {
        let flow = FlowSelector { namespace: namespace.into(), name: name.into(), version: None };
        self.apply(Command::Start { flow, input, key: "".into(), by: Actor::system() });
        // The cloud takes what it is told, or the outbox would be what is measured.
        self.state.outbox.items.clear();
    }

    fn settle(&mut self) {
        while !self.state.ready.is_empty() {
            self.apply(Command::Continue);
        }
    }
}

fn named(name: &str, fields: &str) -> String {
    format!("document: {{ dsl: '1.0.3', namespace: bench, name: {name}, version: '1.0.0' }}\n{fields}")
}

fn number(n: usize) -> Value {
    Value::object([("n", Value::Int(n as i64))])
}

fn rate(what: &str, live: usize, count: usize, took: Duration) {
    let each = took.as_secs_f64() * 1e6 / count as f64;
    println!("{what:<46} {live:>8} live {:>12.0} /s {each:>10.2} µs each", count as f64 / took.as_secs_f64());
}

/// Resident memory of this process, bytes; none where it cannot be told.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: f64 = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().split(' ').next()?.parse().ok()?;
    Some(kib * 1024.0)
}

fn commands() {
    for live in LIVE {
        let mut group = Group::new(&[named("asks", ASKS)]);
        (0..live).for_each(|n| group.start("bench", "asks", number(n)));
        let count = COMMANDS;
        let begun = Instant::now();
        for n in 0..count {
            let effect = *group.state.effects.keys().next().expect("an open effect");
            group.apply(Command::EffectDone { effect, outcome: Outcome::Done { output: number(n) }, node: NodeId(1) });
            group.start("bench", "asks", number(n));
        }
        rate("a completion that ends one, a start", live, 2 * count, begun.elapsed());
        let begun = Instant::now();
        for n in 0..count {
            let event = Event {
                id: n.to_string().into(),
                source: "/bench".into(),
                kind: "nobody.listens".into(),
                subject: None,
                time: Timestamp(START),
                data: number(n),
                extensions: Default::default(),
            };
            group.apply(Command::Event { event, historical: false });
            group.state.outbox.items.clear();
        }
        rate("an event that nobody waits for", live, count, begun.elapsed());
    }
}

fn visit(n: usize) -> Value {
    let text = format!(
        r#"{{"visit":{{"id":"v{n}","visitor":{{"id":"p{n}","name":"Vera","phone":"+49301","document":"X1"}},"host":{{"email":"anna@example.com"}},
        "room":"orion","from":"2026-11-23T09:00:00Z","until":"2026-11-23T11:00:00Z","vehicle":{{"plate":"B-X {n}","ev":true}}}}}}"#
    );
    Value::from_json(&text).expect("a visit")
}

fn visitors() {
    for live in LIVE {
        let mut group = Group::config();
        let before = resident();
        let inputs: Vec<Value> = (0..live).map(visit).collect();
        let own = resident();
        let empty = codec::encode(&group.state).len();
        let begun = Instant::now();
        for input in &inputs {
            group.start("spalla", "visitor", input.clone());
        }
        rate("visitor: start, up to its first wait", live, live, begun.elapsed());
        let full = resident();
        let stored = (codec::encode(&group.state).len() - empty) / live;
        let events = if live > 1_000 { 20 } else { 200 };
        let begun = Instant::now();
        for n in 0..events {
            let event = Event {
                id: format!("e{n}").into(),
                source: "/sites/hq/devices/id-scanner".into(),
                kind: "spalla.device.document-read".into(),
                subject: None,
                time: Timestamp(START),
                data: Value::object([("visitId", Value::from("nobody's"))]),
                extensions: Default::default(),
            };
            group.apply(Command::Event { event, historical: false });
        }
        rate("visitor: an event that all wait for, none's", live, events, begun.elapsed());
        if let (Some(before), Some(own), Some(full), true) = (before, own, full, live > 1_000) {
            let per = |bytes: f64| bytes / live as f64;
            println!(
                "visitor: memory per instance {:.0} B beyond its own data of {:.0} B; {stored} B in a snapshot",
                per(full - own),
                per(own - before)
            );
        }
        black_box(&inputs);
    }
}

fn compiling() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/flows");
    for name in ["visitor.yaml", "evacuation.yaml"] {
        let text = std::fs::read_to_string(config.join(name)).expect("the flow");
        let document = flow::check(&text).expect("a good flow").document;
        let rounds = 200u32;
        let begun = Instant::now();
        for _ in 0..rounds {
            black_box(Plan::compile(&document).expect("a plan"));
        }
        println!("compile {name:<38} {:>8.3} ms from the log", begun.elapsed().as_secs_f64() * 1e3 / f64::from(rounds));
        let begun = Instant::now();
        for _ in 0..rounds {
            black_box(flow::check(&text).expect("a good flow"));
        }
        println!("check   {name:<38} {:>8.3} ms from its text", begun.elapsed().as_secs_f64() * 1e3 / f64::from(rounds));
    }
}

fn tasks() {
    let kinds = [
        ("set", "{ set: { a: 1 } }"),
        ("set with an expression", "{ set: { n: '${ .n + 1 }' } }"),
        ("switch", "{ switch: [ { a: { when: '${ .n > 5 }', then: continue } }, { b: { then: continue } } ] }"),
        ("do around one set", "{ do: [ { in: { set: { a: 1 } } } ] }"),
        ("try around one set", "{ try: [ { in: { set: { a: 1 } } } ], catch: { do: [ { no: { set: { a: 1 } } } ] } }"),
        ("fork of two sets", "{ fork: { branches: [ { a: { set: { a: 1 } } }, { b: { set: { b: 1 } } } ] } }"),
        ("emit", "{ emit: { event: { with: { type: t, source: /s } } } }"),
    ];
    for (what, task) in kinds {
        let fields = format!("do:\n  - each: {{ for: {{ in: '${{ [range({TASKS})] }}' }}, do: [ {{ body: {task} }} ] }}\n");
        let mut group = Group::new(&[named("tasks", &fields)]);
        let rounds = 5;
        let begun = Instant::now();
        for _ in 0..rounds {
            group.start("bench", "tasks", number(1));
            group.settle();
            group.state.outbox.items.clear();
        }
        let each = begun.elapsed().as_secs_f64() * 1e6 / (rounds * TASKS) as f64;
        println!("task: {what:<40} {each:>8.2} µs");
    }
}

fn main() {
    // Expressions need more stack than the main thread has.
    #[allow(clippy::disallowed_methods)]
    let bench = std::thread::Builder::new().stack_size(32 << 20).spawn(|| {
        visitors();
        commands();
        compiling();
        tasks();
    });
    bench.expect("a thread").join().expect("the bench");
}
