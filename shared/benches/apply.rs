//! What `apply` costs: commands per second at 1, 1,000 and 100,000 live instances, memory per instance of the visitor flow, how long its
//! snapshot takes to write and to read, compile time of a flow, and cost per task. One thread, no log, no disk. Prints a table: `cargo bench -p spalla-shared --bench apply`.
//!
//! Asserts nothing: numbers belong to a machine.

// A bench reads the clock.
#![allow(clippy::disallowed_methods)]

#[path = "group/mod.rs"]
mod group;

use group::{Group, START, visit};
use spalla_shared::codec;
use spalla_shared::engine::{Command, Outcome, Request, State};
use spalla_shared::event::Event;
use spalla_shared::flow;
use spalla_shared::flow::plan::Plan;
use spalla_shared::id::NodeId;
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

/// The most first: memory is told by how the process grows.
const LIVE: [usize; 3] = [100_000, 1_000, 1];
const COMMANDS: usize = 20_000;
/// Tasks of the flow that is run through for the cost per task.
const TASKS: usize = 2_000;

/// Waits for an answer and for nothing else, so that each command is a start, or an end and the next start.
const ASKS: &str = "do:\n  - ask: { call: http, timeout: { after: P1D }, with: { method: get, endpoint: 'http://erp/{n}' } }\n  - keep: { set: { got: '${ . }' } }\n";

/// Owns a credential and a grant for as long as it lives.
const HOLDS: &str = "do:
  - issue: { call: credential.issue, with: { holder: '${ \"p\\(.n)\" }', validUntil: '2027-11-23T11:00:00Z' }, export: { as: '${ . }' } }
  - admit: { call: access.grant, with: { credential: '${ $context.credentialId }', area: bench } }
  - stays: { listen: { to: { one: { with: { type: bench.leaves } } } } }
";
/// Below the number of credentials that a group keeps.
const HOLDERS: usize = 40_000;

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

/// Ends of instances while others own things: what one gives back must not depend on what the others hold.
fn ends() {
    for holders in [HOLDERS, 1] {
        let mut group = Group::new(&[named("asks", ASKS), named("holds", HOLDS)]);
        group.area("bench");
        for n in 0..holders {
            group.start("bench", "holds", number(n));
            let effect = *group.state.effects.keys().next_back().expect("a credential to sign");
            let Request::SignCredential { credential, .. } = &group.state.effects[&effect].request else { panic!("no credential") };
            let output = Value::object([("credentialId", Value::from(credential.as_str())), ("token", Value::from("t"))]);
            group.apply(Command::EffectDone { effect, outcome: Outcome::Done { output }, node: NodeId(1) });
        }
        assert_eq!(group.state.grants.len(), holders);
        group.start("bench", "asks", number(0));
        let count = COMMANDS / 10;
        let begun = Instant::now();
        for n in 0..count {
            let effect = *group.state.effects.keys().next().expect("an open effect");
            group.apply(Command::EffectDone { effect, outcome: Outcome::Done { output: number(n) }, node: NodeId(1) });
            group.start("bench", "asks", number(n));
        }
        rate("an end and a start beside holders of grants", holders, 2 * count, begun.elapsed());
    }
}

/// What a gateway does when it starts with this state, and when it stores it.
fn snapshot(state: &State) {
    let begun = Instant::now();
    let stored = codec::encode(state);
    let wrote = begun.elapsed();
    let begun = Instant::now();
    let mut restored: State = codec::decode(&stored).expect("a snapshot is read");
    let read = begun.elapsed();
    restored.rebuild_plans().expect("its flows compile");
    println!(
        "snapshot of {} visitors, {} MB: written in {:.2} s; read in {:.2} s, plans and indexes {:.2} s",
        state.instances.len(),
        stored.len() / 1_000_000,
        wrote.as_secs_f64(),
        read.as_secs_f64(),
        (begun.elapsed() - read).as_secs_f64()
    );
    assert_eq!(restored.digest(), state.digest(), "it is the same state");
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
        if live > 1_000 {
            snapshot(&group.state);
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
        ends();
        compiling();
        tasks();
    });
    bench.expect("a thread").join().expect("the bench");
}
