//! Several versions of one flow: who is started, who only ends, who may go.

use super::harness::{Bench, json};
use crate::engine::command::{Accepted, Command, FlowAction, FlowSelector};
use crate::engine::record::RecordBody;
use crate::flow::plan::FlowKey;
use crate::id::Actor;

fn version(number: &str, fields: &str) -> String {
    format!("document: {{ dsl: '1.0.3', namespace: test, name: flow, version: '{number}' }}\n{fields}")
}
fn two() -> Bench {
    let tasks = |what: &str| format!("do:\n  - sleep: {{ wait: PT1H }}\n  - tell: {{ set: {{ from: {what} }} }}\n");
    Bench::new(&[&version("1.9.0", &tasks("old")), &version("1.10.0", &tasks("new"))])
}
fn act(bench: &mut Bench, number: &str, action: FlowAction) -> Result<Accepted, String> {
    let flow = FlowKey { namespace: "test".into(), name: "flow".into(), version: number.into() };
    let by = Actor::from("user:operator");
    bench.apply(Command::Flow { flow, action, by }).reply.map_err(|refused| format!("{}: {}", refused.code, refused.message))
}
fn start(bench: &mut Bench, number: Option<&str>) -> Result<String, String> {
    let flow = FlowSelector { namespace: "test".into(), name: "flow".into(), version: number.map(Into::into) };
    let command = Command::Start { flow, input: json("{}"), key: "".into(), by: Actor::from("user:test") };
    match bench.apply(command).reply {
        Ok(Accepted::Started { instance }) => Ok(bench.instance(&instance).flow.version.to_string()),
        Ok(other) => panic!("{other:?}"),
        Err(refused) => Err(refused.code.to_string()),
    }
}

#[test]
fn the_newest_enabled_version_is_started_and_disabling_it_rolls_back() {
    let mut bench = two();
    assert_eq!(start(&mut bench, None), Ok("1.10.0".into()));
    assert_eq!(start(&mut bench, Some("1.9.0")), Ok("1.9.0".into()));
    assert!(act(&mut bench, "1.10.0", FlowAction::Disable).is_ok());
    assert_eq!(act(&mut bench, "1.10.0", FlowAction::Disable), Ok(Accepted::Duplicate));
    assert_eq!(start(&mut bench, None), Ok("1.9.0".into()));
    assert_eq!(start(&mut bench, Some("1.10.0")), Err("conflict".into()), "disabled is started by nobody");
    assert_eq!(start(&mut bench, Some("2.0.0")), Err("not-found".into()));
    assert!(act(&mut bench, "1.9.0", FlowAction::Disable).is_ok());
    assert_eq!(start(&mut bench, None), Err("conflict".into()));
    assert!(act(&mut bench, "1.10.0", FlowAction::Enable).is_ok());
    assert_eq!(start(&mut bench, None), Ok("1.10.0".into()));
    let audited: Vec<String> = bench
        .records
        .iter()
        .filter_map(|record| match record {
            RecordBody::Audit(link) if link.action.starts_with("flow.") => Some(format!("{} {}", link.action, link.data.to_json())),
            _ => None,
        })
        .collect();
    let wanted = [r#"flow.disabled {"current":"1.9.0"}"#, r#"flow.disabled {"current":null}"#, r#"flow.enabled {"current":"1.10.0"}"#];
    assert_eq!(audited, wanted);
}

#[test]
fn an_instance_ends_on_the_version_it_began_with_and_keeps_that_version_here() {
    let mut bench = two();
    let id = bench.start("{}");
    assert!(act(&mut bench, "1.10.0", FlowAction::Disable).is_ok());
    let refused = act(&mut bench, "1.10.0", FlowAction::Remove);
    assert!(refused.as_ref().is_err_and(|error| error.starts_with("conflict: 1 instances run on test/flow:1.10.0")), "{refused:?}");
    bench.pass(3_600_000);
    assert_eq!(bench.completed(&id), r#"{"from":"new"}"#);
    assert!(act(&mut bench, "1.10.0", FlowAction::Remove).is_ok());
    assert!(act(&mut bench, "1.10.0", FlowAction::Remove).is_err_and(|error| error.starts_with("not-found")));
    assert_eq!(start(&mut bench, None), Ok("1.9.0".into()));
}

#[test]
fn schedules_and_events_start_the_current_version_alone() {
    let scheduled = |what: &str, schedule: &str| format!("do:\n  - tell: {{ set: {{ from: {what} }} }}\nschedule: {schedule}\n");
    let mut bench = Bench::new(&[
        &version("1.0.0", &scheduled("old", "{ on: { one: { with: { type: knock } } } }")),
        &version("2.0.0", &scheduled("new", "{ every: PT1M }")),
    ]);
    let ended = |bench: &Bench| bench.ends().len();
    bench.event("1", "knock", "1");
    assert_eq!(ended(&bench), 0, "the old version hears nothing");
    bench.pass(60_000);
    assert_eq!(ended(&bench), 1);
    assert!(act(&mut bench, "2.0.0", FlowAction::Disable).is_ok());
    assert_eq!(bench.state.timers.len(), 0, "its clock stops");
    bench.event("2", "knock", "1");
    assert_eq!(ended(&bench), 2);
    assert!(act(&mut bench, "2.0.0", FlowAction::Enable).is_ok());
    bench.event("3", "knock", "1");
    bench.pass(60_000);
    assert_eq!(ended(&bench), 3, "the clock goes on, the event is for nobody");
    assert!(act(&mut bench, "2.0.0", FlowAction::Remove).is_ok());
    bench.pass(600_000);
    assert_eq!(ended(&bench), 3);
}

/// A deploy of anything at all used to start an `after` flow again while its instance still ran.
#[test]
fn a_deploy_does_not_bring_the_next_start_forward() {
    let mut bench = Bench::flow("do:\n  - sleep: { wait: PT1H }\nschedule: { after: PT10S }\n");
    bench.pass(10_000);
    assert_eq!(bench.state.instances.len(), 1);
    bench.apply(Command::Deploy { resources: Vec::new(), by: Actor::system() });
    bench.pass(60_000);
    assert_eq!(bench.state.instances.len(), 1);
    bench.pass(3_600_000);
    bench.pass(10_000);
    assert_eq!((bench.ends().len(), bench.state.instances.len()), (1, 1));
}
