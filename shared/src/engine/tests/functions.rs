use super::harness::{Bench, json, named};
use crate::engine::command::{Command, OperatorAction, WorkItemAction};
use crate::engine::effect::Request;
use crate::engine::fixture;
use crate::engine::record::InstanceStatus;
use crate::id::{Actor, EffectId, NodeId};
use crate::resource::{Pool, Resource, Unit};

const VISIT: &str = r#"
do:
  - ask: { call: human.approval, timeout: { after: PT10M }, with: { to: 'role:guard', question: 'Admit?', choices: [ approve, reject ] } }
  - refuse:
      if: '${ .choice != "approve" }'
      raise: { error: { type: 'https://x/refused', status: 403, title: Refused } }
  - issue:
      call: credential.issue
      with: { holder: visitor, kind: qr, validFrom: '${ $workflow.startedAt.iso8601 }', validUntil: '2026-11-24T00:00:00Z', claims: {} }
      export: { as: '${ { credential: .credentialId } }' }
  - prepare:
      fork:
        branches:
          - grant: { call: access.grant, with: { credential: '${ $context.credential }', area: main, from: '2026-11-23T00:00:00Z', until: '2026-11-24T00:00:00Z' } }
          - park: { call: resource.allocate, with: { pool: parking, holder: '${ $workflow.id }' } }
  - unlock: { call: device.command, with: { target: hq/door-1, command: unlock } }
  - leaves:
      listen: { to: { one: { with: { type: passed }, correlate: { card: { from: '${ .data.credential }', expect: '${ $context.credential }' } } } } }
  - free: { call: resource.releaseAll, with: { holder: '${ $workflow.id }', alsoRevokeCredentials: true } }
output: { as: '${ "closed" }' }
"#;

fn bench() -> Bench {
    let mut state = fixture::building();
    state.plans.clear();
    let mut bench = Bench::of(state, &[&named("flow", VISIT)]);
    let unit = |name: &str| Unit { name: name.into(), attributes: Default::default() };
    let pool = Resource::Pool(Pool { name: "parking".into(), units: vec![unit("p1")] });
    bench.apply(Command::Deploy { resources: vec![pool], by: Actor::system() }).reply.unwrap();
    bench
}

/// The open effect whose request is like this.
fn open(bench: &Bench, like: fn(&Request) -> bool) -> EffectId {
    let found: Vec<_> = bench.state.effects.values().filter(|effect| like(&effect.request)).map(|effect| effect.id).collect();
    assert_eq!(found.len(), 1, "{:?}", bench.state.effects);
    found[0]
}

fn approve(bench: &mut Bench) {
    let id = bench.state.work_items.keys().next().unwrap().clone();
    let action = WorkItemAction::Choose { choice: "approve".into(), comment: None };
    bench.apply(Command::WorkItem { id, action, by: Actor::from("user:anna"), key: "a".into() }).reply.unwrap();
}

fn sign(bench: &mut Bench) {
    let effect = open(bench, |request| matches!(request, Request::SignCredential { .. }));
    let Request::SignCredential { credential, .. } = bench.state.effects[&effect].request.clone() else { return };
    bench.answer_ok(effect, &format!(r#"{{"credentialId": "{credential}", "token": "t"}}"#)).reply.unwrap();
}

fn unlock(bench: &mut Bench) {
    let effect = open(bench, |request| matches!(request, Request::Device { .. }));
    bench.apply(Command::EffectAttempt { effect, node: NodeId(1) }).reply.unwrap();
    bench.answer_ok(effect, r#"{"status": "done"}"#).reply.unwrap();
}

fn leave(bench: &mut Bench) {
    let credential = bench.state.credentials.keys().next().unwrap().clone();
    bench.event("out", "passed", &format!(r#"{{"credential": "{credential}"}}"#)).reply.unwrap();
}

const STEPS: [fn(&mut Bench); 4] = [approve, sign, unlock, leave];

fn assert_nothing_owned(bench: &Bench) {
    let state = &bench.state;
    assert!(state.instances.is_empty());
    assert!(state.work_items.is_empty(), "{:?}", state.work_items);
    assert!(state.grants.is_empty(), "{:?}", state.grants);
    assert!(state.credentials.values().all(|credential| credential.revoked_at.is_some()), "{:?}", state.credentials);
    assert!(state.pools.values().all(|pool| pool.leases.is_empty() && pool.queue.is_empty()));
    assert!(state.effects.values().all(|effect| effect.owner.instance().is_none()), "{:?}", state.effects);
    assert!(state.listeners.is_empty());
}

#[test]
fn a_visit_from_approval_to_exit() {
    let mut bench = bench();
    let id = bench.start("{}");
    STEPS.iter().for_each(|step| step(&mut bench));
    assert_eq!(bench.completed(&id), "\"closed\"");
    assert_nothing_owned(&bench);
}

#[test]
fn a_visit_cancelled_anywhere_owns_nothing() {
    for stop in 0..STEPS.len() {
        let mut bench = bench();
        let id = bench.start("{}");
        STEPS[..stop].iter().for_each(|step| step(&mut bench));
        bench.operate(&id, OperatorAction::Cancel { reason: "test".into() }).reply.unwrap();
        assert_eq!(bench.ended(&id).map(|ended| ended.0), Some(InstanceStatus::Cancelled), "step {stop}");
        assert_nothing_owned(&bench);
    }
}

#[test]
fn a_refused_visit_faults_and_an_unanswered_one_stands() {
    let mut bench = bench();
    let (refused, unanswered) = (bench.start("{}"), bench.start("{}"));
    let id = bench.state.work_items.values().find(|item| item.owner.instance() == Some(&refused)).unwrap().id.clone();
    let action = WorkItemAction::Choose { choice: "reject".into(), comment: None };
    bench.apply(Command::WorkItem { id, action, by: Actor::from("user:anna"), key: "a".into() }).reply.unwrap();
    assert_eq!(bench.ended(&refused), Some((InstanceStatus::Faulted, "https://x/refused".into())));
    bench.pass(600_000);
    assert!(bench.instance(&unanswered).incident.as_ref().unwrap().problem.kind.ends_with("timeout"));
    assert!(bench.state.work_items.is_empty(), "nobody is asked any more");
    bench.operate(&unanswered, OperatorAction::Skip { output: json(r#"{"choice": "approve"}"#) }).reply.unwrap();
    sign(&mut bench);
    unlock(&mut bench);
    leave(&mut bench);
    assert_eq!(bench.completed(&unanswered), "\"closed\"");
}

#[test]
fn who_waits_for_a_unit_gets_it_when_the_holder_ends() {
    let park = named(
        "flow",
        "do:\n  - park: { call: resource.allocate, with: { pool: parking, holder: '${ $workflow.id }', queue: fifo } }\n  - stay: { wait: PT1H }\n",
    );
    let mut state = fixture::building();
    state.plans.clear();
    let mut bench = Bench::of(state, &[&park]);
    let pool = Pool { name: "parking".into(), units: vec![Unit { name: "p1".into(), attributes: Default::default() }] };
    bench.apply(Command::Deploy { resources: vec![Resource::Pool(pool)], by: Actor::system() }).reply.unwrap();
    let (first, second) = (bench.start("{}"), bench.start("{}"));
    assert_eq!(&*bench.instance(&second).positions()[0].waits_for, "pool");
    bench.operate(&first, OperatorAction::Cancel { reason: "test".into() }).reply.unwrap();
    assert_eq!(&*bench.instance(&second).positions()[0].name, "stay");
}

#[test]
fn an_http_request_is_built_as_the_flow_says() {
    let mut bench = Bench::flow(
        r"
do:
  - ask:
      call: http
      with:
        method: POST
        endpoint: { uri: 'http://erp/orders/{order.id}{?site}' }
        query: { tag: [ a, '${ .n }' ], none: '${ null }', n: '${ .n }' }
        headers: { x-one: '${ .n }', x-two: [ b, c ] }
        body: { order: '${ .order }' }
        output: response
        redirect: true
",
    );
    bench.start(r#"{"n": 7, "order": {"id": "o/1"}, "site": "hq"}"#);
    let Request::Http(request) = bench.state.effects[&bench.effect()].request.clone() else { panic!() };
    let texts = |pairs: &[(std::sync::Arc<str>, std::sync::Arc<str>)]| -> Vec<String> {
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect()
    };
    assert_eq!((&*request.method, &*request.uri), ("post", "http://erp/orders/o%2F1?site=hq"));
    assert_eq!(texts(&request.query), ["n=7", "tag=a", "tag=7"]);
    assert_eq!(texts(&request.headers), ["x-one=7", "x-two=b", "x-two=c"]);
    assert_eq!(request.body.map(|body| body.to_json()).as_deref(), Some(r#"{"order":{"id":"o/1"}}"#));
    assert!(request.redirect);
}
