//! What must hold for any sequence of commands, weird ones among them. A broken rule is a panic.
//!
//! Each command takes three bytes: what, and two numbers. After 0xFF the rest is taken as one command as the log carries it.

use spalla_shared::codec;
use spalla_shared::engine::command::{FlowSelector, OperatorAction, UplinkCommand, WorkItemAction};
use spalla_shared::engine::state::SEMANTICS_VERSION;
use spalla_shared::engine::{Applied, Command, Entry, Outcome, Problem, State, apply};
use spalla_shared::event::Event;
use spalla_shared::flow;
use spalla_shared::id::{Actor, EffectId, GroupId, InstanceId, NodeId};
use spalla_shared::resource::{FlowDocument, Pool, Resource, Unit};
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::sync::OnceLock;

/// Commands of one input; more would only repeat.
const COMMANDS_MAX: usize = 64;
const START: i64 = 1_795_424_400_000;
const FLOW: &str = r#"document: { dsl: '1.0.3', namespace: fuzz, name: flow, version: '1.0.0', metadata: { spalla/singleton: '${ .key }' } }
schedule: { on: { any: [ { with: { type: begin } } ] } }
timeout: { after: PT1H }
use: { extensions: [ { all: { extend: call, after: [ { a: { set: '${ . }' } } ] } } ] }
do:
  - around:
      try:
        - park: { call: resource.allocate, with: { pool: spots, holder: '${ $workflow.id }' }, timeout: { after: PT20S } }
        - ask: { call: human.approval, timeout: { after: PT30S }, with: { to: 'user:anna', question: q, choices: [ yes, no ] } }
        - both:
            timeout: { after: PT30S }
            fork:
              compete: true
              branches:
                - calls: { try: [ { inner: { call: http, with: { method: get, endpoint: 'http://x/{key}' } } } ], catch: { retry: { delay: PT3S, jitter: { from: PT0S, to: PT2S }, limit: { attempt: { count: 2 } } } } }
                - sleeps: { do: [ { nap: { wait: PT20S } }, { sends: { emit: { event: { with: { type: tick, source: /fuzz } } } } } ] }
                - hears: { listen: { to: { any: [ { with: { type: tick } } ], until: '${ length >= 3 }' } }, foreach: { do: [ { rest: { wait: PT1S } } ] } }
        - child: { run: { workflow: { namespace: fuzz, name: child, version: latest } } }
      catch: { when: '${ $error.status != 408 }', do: [ { each: { for: { in: '${ [1, 2, 3] }' }, do: [ { count: { set: { n: '${ (.n // 0) + $item }' } } } ] } } ] }
  - bad: { set: { a: '${ .n + {} }' }, if: '${ .n == 6 }' }
  - again: { switch: [ { more: { when: '${ $context.rounds != 2 }', then: around } }, { stop: { then: end } } ] }
"#;
const CHILD: &str = "document: { dsl: '1.0.3', namespace: fuzz, name: child, version: '1.0.0' }
schedule: { every: PT30S }
do:
  - note: { call: audit.note, with: { subject: s, text: t } }
  - calls: { call: http, timeout: { after: PT10S }, with: { method: get, endpoint: 'http://x/y' } }
";
const LATER: &str = "document: { dsl: '1.0.3', namespace: fuzz, name: child, version: '1.1.0' }
do:
  - again: { set: { a: 1 }, then: again }
";

/// Any commands: applying returns; a replica that was restored from a snapshot in between agrees; and once all is cancelled nothing is
/// owned or waited for.
pub fn run(data: &[u8]) {
    let mut state = founded().clone();
    let mut replica = state.clone();
    let mut at = START;
    for (place, bytes) in data.chunks(3).take(COMMANDS_MAX).enumerate() {
        let (what, first, second) = (bytes[0], bytes.get(1).copied().unwrap_or(0), bytes.get(2).copied().unwrap_or(0));
        let command = if what == 0xFF {
            let rest = data.get(place * 3 + 1..).unwrap_or_default();
            codec::decode::<Command>(rest).ok()
        } else {
            command(&state, what, first, second)
        };
        // A leader's clock may go back, and may leap.
        at = if what & 0x40 == 0 { at.saturating_add(i64::from(second) * 300) } else { at.saturating_sub(i64::from(first) * 1000) };
        let Some(command) = command else { continue };
        let entry = Entry { index: state.applied + 1 + u64::from(first & 1), at: Timestamp(at), command };
        if second & 1 == 1 {
            replica = codec::decode(&codec::encode(&replica)).expect("a snapshot is read");
            replica.rebuild_plans().expect("its flows compile");
        }
        let (one, other) = (apply(&mut state, &entry), apply(&mut replica, &entry));
        same(&one, &other);
        if what == 0xFF || state.known_semantics().is_err() {
            break;
        }
    }
    assert_eq!(state.digest(), replica.digest(), "a restored replica went another way");
    while let Some(instance) = state.instances.keys().next().cloned() {
        let cancel =
            Command::Operator { instance: instance.clone(), action: OperatorAction::Cancel { reason: "end".into() }, by: Actor::system() };
        let entry = Entry { index: state.applied + 1, at: Timestamp(at), command: cancel };
        apply(&mut state, &entry).reply.expect("a running instance can be cancelled");
        assert!(!state.instances.contains_key(&instance));
    }
    assert!(state.effects.values().all(|effect| effect.owner.instance().is_none()), "{:?}", state.effects);
    assert!(state.listeners.is_empty() && state.work_items.is_empty(), "{:?}", state.listeners);
    assert!(state.pools.values().all(|pool| pool.leases.is_empty() && pool.queue.is_empty()), "{:?}", state.pools);
    let counters = &state.counters;
    assert_eq!(counters.started, counters.completed + counters.faulted + counters.cancelled);
}

fn same(one: &Applied, other: &Applied) {
    assert_eq!((&one.reply, &one.effects, &one.records), (&other.reply, &other.effects, &other.records));
}

fn document(text: &str) -> Resource {
    Resource::Flow(FlowDocument { document: flow::check(text).expect("a good flow").document })
}

fn founded() -> &'static State {
    static FOUNDED: OnceLock<State> = OnceLock::new();
    FOUNDED.get_or_init(|| {
        let mut state = State::new(GroupId::mesh());
        let unit = |name: &str| Unit { name: name.into(), attributes: Default::default() };
        let pool = Resource::Pool(Pool { name: "spots".into(), units: vec![unit("a"), unit("b")] });
        let resources = vec![document(FLOW), document(CHILD), pool];
        let up = Command::NodeUp { node: NodeId(1), site: "hq".into(), boot: 1, version: "1".into(), api: None };
        for (index, command) in (1..).zip([up, Command::Deploy { resources, by: Actor::system() }]) {
            apply(&mut state, &Entry { index, at: Timestamp(START), command }).reply.expect("a founded group");
        }
        state
    })
}

fn picked<T: Clone>(mut all: impl ExactSizeIterator<Item = T>, pick: u8) -> Option<T> {
    let count = all.len();
    all.nth(usize::from(pick).checked_rem(count)?)
}

fn value(first: u8, second: u8) -> Value {
    match first % 6 {
        0 => Value::Null,
        1 => Value::object([("key", Value::from(u32::from(second)))]),
        2 => Value::object([("key", Value::Null), ("n", Value::Int(6)), ("rounds", Value::Int(2))]),
        3 => Value::array(vec![Value::Int(i64::MAX), Value::from("é\u{0}"), Value::Bool(false)]),
        4 => Value::from("x".repeat(usize::from(second) * 300)),
        _ => Value::object([("rounds", Value::Int(2))]),
    }
}

fn command(state: &State, what: u8, first: u8, second: u8) -> Option<Command> {
    let effect =
        || picked(state.effects.keys().copied(), first).unwrap_or(EffectId { index: u64::from(first), ordinal: u32::from(second) });
    let instance = || picked(state.instances.keys().cloned(), first).unwrap_or_else(|| InstanceId::from("none"));
    let (node, by) = (NodeId(u64::from(second % 3)), Actor::from("user:anna"));
    let key = |text: String| -> std::sync::Arc<str> { text.into() };
    Some(match what & 0x3F {
        0..=3 => {
            let flow = FlowSelector { namespace: "fuzz".into(), name: if first & 1 == 0 { "flow" } else { "child" }.into(), version: None };
            Command::Start { flow, input: value(first >> 1, second), key: if second < 8 { key(second.to_string()) } else { "".into() }, by }
        }
        4..=7 => {
            let kind = ["tick", "begin", "", "io.serverlessworkflow.task.started.v1"][usize::from(first & 3)];
            let event = Event {
                id: key(second.to_string()),
                source: "/fuzz".into(),
                kind: kind.into(),
                subject: None,
                time: Timestamp(i64::from(second)),
                data: value(first >> 2, second),
                extensions: Default::default(),
            };
            Command::Event { event, historical: second & 1 == 1 }
        }
        8..=15 => Command::TimersDue,
        16..=19 => Command::Continue,
        20..=24 => Command::EffectDone { effect: effect(), outcome: Outcome::Done { output: value(second, first) }, node },
        25..=27 => {
            let problem = Problem::standard("communication", i64::from(second) * 3, "no");
            Command::EffectDone { effect: effect(), outcome: Outcome::Failed { problem }, node }
        }
        28 => Command::EffectDone { effect: effect(), outcome: Outcome::Unknown { detail: "?".into() }, node },
        29 => Command::EffectAttempt { effect: effect(), node },
        30 => Command::NodeUp { node, site: "hq".into(), boot: u64::from(first), version: "2".into(), api: None },
        31 => Command::Presence { device: "hq/none".into(), node, session: u64::from(first), online: second & 1 == 0 },
        32..=35 => {
            let id = picked(state.work_items.keys().cloned(), first)?;
            let action = match second % 4 {
                0 => WorkItemAction::Claim,
                1 => WorkItemAction::Complete { answers: value(first, second), comment: None },
                2 => WorkItemAction::Choose { choice: "maybe".into(), comment: None },
                _ => WorkItemAction::Choose { choice: "yes".into(), comment: Some("c".into()) },
            };
            Command::WorkItem {
                id,
                action,
                by: if second & 8 == 0 { by } else { "user:ben".into() },
                key: key(format!("{first}-{second}")),
            }
        }
        36..=47 => {
            let action = match what & 0x3F {
                36 | 37 => OperatorAction::Suspend,
                38 | 39 => OperatorAction::Resume,
                40 | 41 => OperatorAction::Retry,
                42 | 43 => OperatorAction::Skip { output: value(second, first) },
                44 | 45 => OperatorAction::SetContext { context: value(second, first) },
                _ => OperatorAction::Cancel { reason: "fuzz".into() },
            };
            Command::Operator { instance: instance(), action, by }
        }
        48 => Command::Uplink(UplinkCommand::Acknowledged { upto_seq: u64::from(first) * u64::from(second) }),
        49 => Command::Uplink(UplinkCommand::Speak { node, until: Timestamp(START + i64::from(first) * 1000) }),
        50 => Command::Uplink(UplinkCommand::Yield { node, epoch: u64::from(first) }),
        51 => Command::Understands { node, semantics: u32::from(first) },
        52 => Command::EnableSemantics { version: u32::from(first) % (SEMANTICS_VERSION + 1) },
        53 => Command::Deploy { resources: vec![document(LATER)], by },
        54 => Command::Deploy { resources: vec![document(CHILD), document(CHILD)], by },
        55 => Command::Deploy { resources: vec![Resource::Flow(FlowDocument { document: value(first, second) })], by },
        56 => Command::Deploy { resources: vec![Resource::Pool(Pool { name: "spots".into(), units: Vec::new() })], by },
        _ => Command::TimersDue,
    })
}
