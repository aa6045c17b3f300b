//! Whatever comes in whatever order: no panic, equal replicas (the bench sees to it), and nothing left once all is cancelled.
//! A log means one thing: on replicas that share nothing, on one that was restored in its middle, and written down and read.

use super::harness::{Bench, named};
use crate::codec;
use crate::engine::apply;
use crate::engine::command::{Command, Entry, OperatorAction};
use crate::engine::effect::Outcome;
use crate::engine::problem::Problem;
use crate::id::InstanceId;
use proptest::prelude::*;

const TOUR: &str = r#"
schedule: { on: { any: [ { with: { type: begin } } ] } }
timeout: { after: PT1H }
do:
  - around:
      try:
        - both:
            timeout: { after: PT30S }
            fork:
              compete: true
              branches:
                - calls:
                    try: [ { inner: { call: http, with: { method: get, endpoint: 'http://localhost/y' } } } ]
                    catch: { retry: { delay: PT3S, jitter: { from: PT0S, to: PT2S }, backoff: { exponential: {} }, limit: { attempt: { count: 2 } } } }
                - sleeps:
                    do:
                      - nap: { wait: PT20S }
                      - sends: { emit: { event: { with: { type: tick, source: /tour } } } }
                - hears: { listen: { to: { any: [ { with: { type: tick } } ], until: '${ length >= 3 }' } }, foreach: { do: [ { rest: { wait: PT1S } } ] } }
        - child: { run: { workflow: { namespace: test, name: child, version: '1.0.0' } } }
      catch:
        when: '${ $error.status != 408 }'
        do:
          - each: { for: { in: '${ [1, 2, 3] }' }, do: [ { count: { set: { n: '${ (.n // 0) + $item }' } } } ] }
  - bad: { set: { a: '${ .n + {} }' }, if: '${ .n == 6 }' }
  - again: { switch: [ { more: { when: '${ $context.rounds != 2 }', then: around } }, { stop: { then: end } } ] }
"#;
const CHILD: &str =
    "do:\n  - childCalls: { call: http, timeout: { after: PT10S }, with: { method: get, endpoint: 'http://localhost/z' } }\n";

fn any_instance(bench: &Bench, pick: usize) -> Option<InstanceId> {
    let count = bench.state.instances.len();
    bench.state.instances.keys().nth(pick.checked_rem(count)?).cloned()
}

fn step(bench: &mut Bench, action: u8, pick: usize) {
    let open: Vec<_> = bench.state.effects.keys().copied().collect();
    let effect = pick.checked_rem(open.len()).map(|at| open[at]);
    let operator = [
        OperatorAction::Suspend,
        OperatorAction::Resume,
        OperatorAction::Retry,
        OperatorAction::Skip { output: crate::value::Value::Null },
        OperatorAction::Cancel { reason: "test".into() },
        OperatorAction::SetContext { context: crate::value::Value::object([("rounds", crate::value::Value::Int(2))]) },
    ];
    match (action, effect, any_instance(bench, pick)) {
        (0, ..) => drop(bench.start("{}")),
        (1, ..) => drop(bench.event(&format!("e{}", bench.state.applied), "tick", "{}")),
        (2, ..) => drop(bench.event(&format!("e{}", bench.state.applied), "begin", "{}")),
        (3..=5, ..) => drop(bench.pass(700 * (pick as u64 % 40))),
        (6, Some(effect), _) => drop(bench.answer(effect, Outcome::Done { output: crate::value::Value::empty_object() })),
        (7, Some(effect), _) => {
            drop(bench.answer(effect, Outcome::Failed { problem: Problem::standard("communication", 503, "no") }));
        }
        (8, Some(effect), _) => drop(bench.answer(effect, Outcome::Unknown { detail: "?".into() })),
        (9..=14, _, Some(instance)) => drop(bench.operate(&instance, operator[usize::from(action - 9)].clone())),
        _ => drop(bench.apply(Command::Continue)),
    }
}

/// The state as it was before the log, built again from nothing.
fn founded() -> crate::engine::State {
    Bench::new(&[&named("flow", TOUR), &named("child", CHILD)]).state
}

/// What each entry gave, and the state in the end; restored from a snapshot before entry `restored_at`.
fn replay(log: &[Entry], restored_at: Option<usize>) -> (Vec<String>, String) {
    let mut state = founded();
    let mut given = Vec::new();
    for (place, entry) in log.iter().enumerate() {
        if restored_at == Some(place) {
            state = codec::decode(&codec::encode(&state)).unwrap();
            state.rebuild_plans().unwrap();
        }
        // As the log carries it.
        let entry: Entry = codec::decode(&codec::encode(entry)).unwrap();
        let applied = apply(&mut state, &entry);
        given.push(format!("{:?} {:?} {:?}", applied.reply, applied.effects, applied.records));
    }
    (given, state.digest())
}

/// Answers for all open effects in the order that `picks` draws, until nothing waits for one.
fn answer_all(bench: &mut Bench, picks: &mut impl Iterator<Item = usize>) {
    for _ in 0..200 {
        let open: Vec<_> = bench.state.effects.keys().copied().collect();
        let Some(pick) = picks.next().and_then(|pick| pick.checked_rem(open.len())) else { return };
        drop(bench.answer(open[pick], Outcome::Done { output: crate::value::Value::empty_object() }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn any_order_of_commands_is_survived(actions in proptest::collection::vec((0u8..16, 0usize..1000), 1..40)) {
        let mut bench = Bench::new(&[&named("flow", TOUR), &named("child", CHILD)]);
        for (action, pick) in actions {
            step(&mut bench, action, pick);
        }
        while let Some(instance) = any_instance(&bench, 0) {
            bench.operate(&instance, OperatorAction::Cancel { reason: "end".into() }).reply.unwrap();
        }
        bench.assert_empty();
        prop_assert_eq!(bench.state.counters.started, bench.state.counters.completed + bench.state.counters.faulted + bench.state.counters.cancelled);
    }

    /// Completions in any order: equal on two replicas built apart, and on one that was restored anywhere in between.
    #[test]
    fn any_interleaving_of_completions_means_one_thing(
        starts in 1usize..6,
        picks in proptest::collection::vec((0usize..1000, 0u64..5_000), 1..40),
        restored in 0usize..60,
    ) {
        let mut bench = Bench::new(&[&named("flow", TOUR), &named("child", CHILD)]);
        bench.mirrored = false;
        let before = bench.log.len();
        for _ in 0..starts {
            bench.start("{}");
        }
        for (pick, millis) in picks {
            answer_all(&mut bench, &mut std::iter::once(pick));
            bench.pass(millis);
        }
        let log = bench.log.split_off(before);
        let first = replay(&log, None);
        prop_assert_eq!(&first, &replay(&log, None));
        prop_assert_eq!(&first, &replay(&log, Some(restored % log.len())));
        prop_assert_eq!(first.1, bench.state.digest());
    }
}
