//! Old bugs put back, one for each thing that torture promises: it must find each, under the trouble that shows it.

use super::{Report, Story, Trouble, torture};
use crate::engine::command::OperatorAction;
use crate::engine::effect::Owner;
use crate::engine::pool::Lease;
use crate::engine::{Command, State};
use crate::rehearsal::building;
use crate::resource;
use crate::time::Timestamp;

const BUILDING: &str = "
kind: profile
name: gate
version: 1
title: A gate
capabilities:
  - { id: gate, type: barrier, fail_mode: secure, commands: { open: { class: opening, expiry_ms: 3000, ack: done, bound: { device: { pulse_ms: 3000 } } } } }
---
kind: device
id: hq/gate
profile: gate
title: The gate
---
kind: pool
name: spots
units: [ { name: A, attributes: {} }, { name: B, attributes: {} } ]
";

const FLOW: &str = "
document: { dsl: '1.0.3', namespace: test, name: visit, version: '1.0.0' }
input:
  schema:
    document:
      type: object
      required: [ from, until ]
      properties:
        from: { type: string, format: date-time }
        until: { type: string, format: date-time }
        car: { type: string, examples: [ AB 12 ] }
do:
  - inOrder: { if: (.until | fromdate) <= (.from | fromdate), raise: { error: { type: 'x:y', status: 400, title: order } } }
  - spot: { call: resource.allocate, with: { pool: spots, holder: '${ $workflow.id }' } }
  - open:
      try: [ { gate: { call: device.command, with: { target: hq/gate, command: open, ack: { within: PT5S } } } } ]
      catch: { do: [ { byHand: { wait: PT1M } } ] }
  - passed: { listen: { to: { one: { with: { type: spalla.device.passed } } } }, timeout: { after: PT1H }, output: { as: '{ sum: (.[0].kg + 1) }' } }
";

fn put_through(bug: Option<fn(&mut State, &Command)>, only: Option<Trouble>) -> Report {
    let mut resources = resource::read(BUILDING).unwrap();
    resources.extend(resource::read(FLOW).unwrap());
    let building = building::build(Timestamp(1_795_424_400_000), resources).unwrap();
    let plan = building.state.plans.values().next().unwrap();
    let story = Story { sabotage: bug, ..Story::of_flow(plan) };
    torture(&story, &building, only, |_, _| {})
}

/// The bug is told as `what` under the trouble that shows it; the test below says that nothing is told where there is no bug.
fn finds(bug: fn(&mut State, &Command), trouble: Trouble, what: &str) {
    let report = put_through(Some(bug), Some(trouble));
    let told: Vec<&String> = report.failures.iter().filter(|one| one.trouble == trouble).flat_map(|failure| &failure.broken).collect();
    assert!(told.iter().any(|told| told.contains(what)), "`{what}` is not among {told:?}");
}

#[test]
fn a_sound_flow_goes_all_the_way_on_what_is_invented() {
    let report = put_through(None, None);
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert_eq!(report.ends, ["completed"], "{:#?}", report.trace);
    assert_eq!(report.never, Vec::<std::sync::Arc<str>>::new(), "the gate fails in some run, and nobody comes in none");
    assert!(report.unheard.is_empty());
}

#[test]
fn a_cancel_that_does_not_release_is_found() {
    let bug: fn(&mut State, &Command) = |state, command| {
        if let Command::Operator { action: OperatorAction::Cancel { .. }, .. } = command {
            let lease = Lease { id: "kept".into(), holder: "x".into(), owner: Owner::Nobody, since: Timestamp(0) };
            state.pools.values_mut().for_each(|pool| _ = pool.leases.insert("A".into(), lease.clone()));
        }
    };
    finds(bug, Trouble::CancelledAt(2), "stays owned: 1 units held");
}

#[test]
fn an_opening_that_is_granted_again_is_found() {
    let bug: fn(&mut State, &Command) = |state, command| {
        if let Command::EffectAttempt { effect, .. } = command
            && let Some(effect) = state.effects.get_mut(effect)
        {
            effect.attempt = None;
        }
    };
    finds(bug, Trouble::Twice, "opened twice");
}

#[test]
fn an_event_that_is_taken_twice_is_found() {
    let bug: fn(&mut State, &Command) = |state, command| {
        if let Command::Event { .. } = command {
            state.seen.clear();
        }
    };
    finds(bug, Trouble::Twice, "taken twice");
}

#[test]
fn a_replica_that_is_restored_otherwise_is_found() {
    let bug: fn(&mut State, &Command) = |state, _| state.counters.late_completions += 1;
    finds(bug, Trouble::FailsOver, "went another way");
}

#[test]
fn a_timer_that_is_lost_is_found_where_nobody_answers() {
    let bug: fn(&mut State, &Command) = |state, _| state.timers.clear();
    finds(bug, Trouble::NeverAnswers(1), "stuck without an incident");
}

#[test]
fn an_instance_that_is_lost_is_missed_in_the_count() {
    let bug: fn(&mut State, &Command) = |state, command| {
        if let Command::EffectDone { .. } = command {
            state.instances.clear();
        }
    };
    finds(bug, Trouble::Nothing, "1 instances began");
}
