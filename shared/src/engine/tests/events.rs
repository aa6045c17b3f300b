use super::harness::{Bench, named};
use crate::engine::command::Accepted;
use crate::engine::record::InstanceStatus;

const LISTEN: &str = r"
do:
  - pause: { wait: PT1S }
  - leaves:
      listen:
        to:
          one:
            with: { type: passed, data: '${ .direction == $direction }' }
            correlate: { card: { from: '${ .data.card }', expect: '${ .card }' } }
      output: { as: '${ .[0].card }' }
";

fn listen() -> String {
    named("flow", &LISTEN.replace("$direction", "\"out\""))
}

#[test]
fn an_event_finds_the_instance_that_it_is_for() {
    let mut bench = Bench::new(&[&listen()]);
    let (a, b) = (bench.start(r#"{"card": "a"}"#), bench.start(r#"{"card": "b"}"#));
    bench.pass(1000);
    let taken = |bench: &mut Bench, id: &str, data: &str| bench.event(id, "passed", data).reply;
    assert_eq!(taken(&mut bench, "1", r#"{"card": "a", "direction": "in"}"#), Ok(Accepted::Event { taken_by: 0 }));
    assert_eq!(taken(&mut bench, "2", r#"{"card": "b", "direction": "out"}"#), Ok(Accepted::Event { taken_by: 1 }));
    assert_eq!(bench.completed(&b), "\"b\"");
    assert_eq!(taken(&mut bench, "2", r#"{"card": "a", "direction": "out"}"#), Ok(Accepted::Duplicate));
    assert!(bench.ended(&a).is_none());
    assert_eq!(taken(&mut bench, "3", r#"{"card": "a", "direction": "out"}"#), Ok(Accepted::Event { taken_by: 1 }));
    assert_eq!(bench.completed(&a), "\"a\"");
    bench.assert_empty();
}

#[test]
fn an_event_that_comes_early_is_kept_for_a_while() {
    let mut bench = Bench::new(&[&listen()]);
    bench.event("0", "passed", r#"{"card": "a", "direction": "out"}"#);
    let late = bench.start(r#"{"card": "a"}"#);
    bench.pass(1000);
    assert!(bench.ended(&late).is_none(), "what came before the instance is not for it");
    let early = bench.start(r#"{"card": "b"}"#);
    bench.event("1", "passed", r#"{"card": "b", "direction": "out"}"#);
    bench.pass(1000);
    assert_eq!(bench.completed(&early), "\"b\"");
    bench.pass(5 * 60_000);
    assert!(bench.state.early_events.is_empty());
    assert!(bench.state.counters.lapsed_events > 0);
}

#[test]
fn an_instance_takes_an_event_once() {
    let mut bench = Bench::flow(
        r"
do:
  - first: { listen: { to: { one: { with: { type: weighed } } } } }
  - second: { listen: { to: { one: { with: { type: weighed } } } } }
",
    );
    let id = bench.start("{}");
    bench.event("1", "weighed", "1");
    assert!(bench.ended(&id).is_none());
    bench.event("2", "weighed", "2");
    assert_eq!(bench.completed(&id), "[2]");
}

#[test]
fn all_wants_each_and_any_collects_until() {
    let all = named("all", "do:\n  - both: { listen: { to: { all: [ { with: { type: a } }, { with: { type: b } } ] } } }\n");
    let any = named("any", "do:\n  - some: { listen: { to: { any: [ { with: { type: a } } ], until: '${ length == 2 }' } } }\n");
    let until =
        named("until", "do:\n  - some: { listen: { to: { any: [ { with: { type: a } } ], until: { one: { with: { type: b } } } } } }\n");
    let mut bench = Bench::new(&[&all, &any, &until]);
    let (all, any, until) = (bench.start_named("all", "{}"), bench.start_named("any", "{}"), bench.start_named("until", "{}"));
    bench.event("1", "a", "1");
    bench.event("2", "a", "2");
    bench.event("3", "b", "3");
    assert_eq!(bench.completed(&all), "[1,3]");
    assert_eq!(bench.completed(&any), "[1,2]");
    assert_eq!(bench.completed(&until), "[1,2]");
}

#[test]
fn foreach_runs_a_body_per_event_in_order() {
    let mut bench = Bench::flow(
        r"
do:
  - expected: { set: { missing: [a, b, c] }, export: { as: '${ . }' } }
  - collect:
      listen: { to: { any: [ { with: { type: checkin } } ], until: '${ ($context.missing | length) == 0 }' } }
      foreach:
        item: who
        at: n
        do:
          - think: { wait: PT1S }
          - strike: { set: '${ [$n, $who] }', export: { as: '${ $context + { missing: ($context.missing - [$who]) } }' } }
",
    );
    let id = bench.start("{}");
    for (event, who) in [("1", "\"b\""), ("2", "\"a\""), ("3", "\"c\"")] {
        bench.event(event, "checkin", who);
    }
    bench.pass(1000);
    bench.pass(1000);
    assert!(bench.ended(&id).is_none());
    bench.pass(1000);
    assert_eq!(bench.completed(&id), r#"[[0,"b"],[1,"a"],[2,"c"]]"#);
    bench.assert_empty();
}

#[test]
fn an_emitted_event_goes_to_the_cloud_and_round_the_group() {
    let sender = named("sender", "do:\n  - tell: { emit: { event: { with: { type: done, source: /me, data: { n: '${ .n }' } } } } }\n");
    let heard =
        named("heard", "schedule: { on: { one: { with: { type: done } } } }\ndo:\n  - got: { set: '${ $workflow.input[0].data }' }\n");
    let mut bench = Bench::new(&[&sender, &heard]);
    bench.start_named("sender", r#"{"n": 5}"#);
    assert_eq!(bench.state.counters.completed, 2);
    assert!(bench.state.outbox.items.iter().any(|item| &*item.event.kind == "done" && item.event.data.to_json() == r#"{"n":5}"#));
    assert!(bench.state.outbox.items.iter().any(|item| &*item.event.kind == "io.serverlessworkflow.workflow.completed.v1"));
}

#[test]
fn events_that_feed_each_other_cannot_hold_an_entry() {
    let echo = named(
        "echo",
        "schedule: { on: { one: { with: { type: ping } } } }\ndo:\n  - again: { emit: { event: { with: { type: ping, source: /me } } } }\n",
    );
    let mut bench = Bench::new(&[&echo]);
    let applied = bench.event("1", "ping", "{}");
    assert!(applied.reply.is_ok());
    let first = bench.state.counters.started;
    assert!(first <= 300, "{first}");
    bench.apply(crate::engine::Command::Continue);
    assert!(bench.state.counters.started > first, "it goes on, entry by entry");
}

#[test]
fn a_schedule_on_all_waits_for_a_matching_set() {
    let text = "schedule: { on: { all: [ { with: { type: a }, correlate: { k: { from: '${ .data.k }' } } }, { with: { type: b }, correlate: { k: { from: '${ .data.k }' } } } ] } }
do:
  - got: { set: '${ [ $workflow.input[].data.k ] }' }
";
    let mut bench = Bench::new(&[&named("flow", text)]);
    bench.event("1", "a", r#"{"k": 1}"#);
    bench.event("2", "b", r#"{"k": 2}"#);
    assert_eq!(bench.state.counters.started, 0);
    bench.event("3", "b", r#"{"k": 1}"#);
    assert_eq!(bench.state.counters.completed, 1);
    bench.event("4", "a", r#"{"k": 2}"#);
    assert_eq!(bench.state.counters.completed, 2);
    assert!(bench.state.gatherings.is_empty());
}

#[test]
fn ingress_asks_what_flows_want() {
    let bench = Bench::new(&[&listen()]);
    let event = |kind: &str, data: &str| crate::event::Event {
        id: "1".into(),
        source: "/test".into(),
        kind: kind.into(),
        subject: None,
        time: bench.at,
        data: super::harness::json(data),
        extensions: Default::default(),
    };
    assert!(crate::engine::correlation::wants(&bench.state, &event("passed", r#"{"direction": "out"}"#)));
    assert!(!crate::engine::correlation::wants(&bench.state, &event("passed", r#"{"direction": "in"}"#)));
    assert!(!crate::engine::correlation::wants(&bench.state, &event("other", r#"{"direction": "out"}"#)));
}

#[test]
fn an_oversize_event_is_refused() {
    let mut bench = Bench::new(&[&listen()]);
    let id = bench.start(r#"{"card": "a"}"#);
    let large = format!("\"{}\"", "x".repeat(70_000));
    assert_eq!(bench.event("1", "passed", &large).reply.map_err(|refused| refused.code), Err("limit".into()));
    assert_ne!(bench.ended(&id).map(|ended| ended.0), Some(InstanceStatus::Faulted));
}
