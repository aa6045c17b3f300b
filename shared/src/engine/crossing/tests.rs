use super::*;
use crate::engine::command::{Command, Entry, SiteCommand};
use crate::engine::record::RecordBody;
use crate::engine::tests::harness::{Bench, json};
use crate::id::NodeId;
use std::collections::BTreeMap;

const MINUTE: u64 = 60_000;

fn flow(name: &str, metadata: &str, fields: &str) -> String {
    format!("document: {{ dsl: '1.0.3', namespace: test, name: {name}, version: '1.0.0', metadata: {{ {metadata} }} }}\n{fields}")
}

/// The mesh's group and that of `hq`, with the same flows declared.
struct Pair {
    mesh: Bench,
    site: Bench,
}

impl Pair {
    fn new(flows: &[String]) -> Self {
        let texts: Vec<&str> = flows.iter().map(String::as_str).collect();
        let mut mesh = Bench::new(&texts);
        for (node, site) in [(NodeId(1), "hq"), (NodeId(2), "plant")] {
            mesh.apply(Command::NodeUp { node, site: site.into(), boot: 1, version: "1".into(), api: None }).reply.unwrap();
        }
        let lives: Vec<&str> = texts.iter().copied().filter(|text| text.contains("spalla/scope: site")).collect();
        let site = Bench::of(State::new(GroupId::of_site(&"hq".into())), &lives);
        Self { mesh, site }
    }

    fn pass(&mut self, millis: u64) {
        self.mesh.pass(millis);
        self.site.pass(millis);
    }

    /// One load each way, as a gateway carries it; twice, as after a lost answer.
    fn carry(&mut self) {
        load(&mut self.site, &mut self.mesh);
        load(&mut self.mesh, &mut self.site);
        load(&mut self.site, &mut self.mesh);
    }
}

fn load(from: &mut Bench, to: &mut Bench) {
    let (name, by) = (from.state.group.clone(), to.state.group.clone());
    let Some(owed) = from.state.crossings.owed.get(&by).cloned() else { return };
    if owed.items.is_empty() {
        return;
    }
    let items: Vec<CrossingItem> = owed.items.iter().cloned().collect();
    let deliver = Command::Crossing(CrossingCommand::Deliver { from: name, items, upto_seq: owed.newest_seq });
    assert_eq!(to.apply(deliver.clone()).reply, Ok(Accepted::Nothing));
    assert_eq!(to.apply(deliver).reply, Ok(Accepted::Duplicate), "taken once");
    let taken = Command::Crossing(CrossingCommand::Taken { by, upto_seq: owed.newest_seq });
    assert_eq!(from.apply(taken.clone()).reply, Ok(Accepted::Nothing));
    assert_eq!(from.apply(taken).reply, Ok(Accepted::Duplicate));
}

fn events_of(bench: &Bench) -> Vec<String> {
    let seen = bench.records.iter().filter_map(|record| match record {
        RecordBody::Audit(link) if link.action.starts_with("event.") => {
            Some(format!("{} {}", link.action, link.data.get("type").and_then(Value::as_str).unwrap_or_default()))
        }
        _ => None,
    });
    seen.collect()
}

const TELL: &str = "schedule: { on: { one: { with: { type: go } } } }\ndo:\n  - a: { emit: { event: { with: { type: first } } } }\n  - b: { emit: { event: { with: { type: second } } } }\n";
const HEAR: &str =
    "schedule: { on: { one: { with: { type: first } } } }\ndo:\n  - wait: { listen: { to: { one: { with: { type: second } } } } }\n";

#[test]
fn what_a_buildings_flow_emits_reaches_the_mesh_once_and_in_order() {
    let mut pair = Pair::new(&[flow("tell", "spalla/scope: site", TELL), flow("hear", "spalla/scope: mesh", HEAR)]);
    assert_eq!(pair.mesh.event("1", "go", "{}").reply, Ok(Accepted::Event { taken_by: 0 }), "it does not live in the mesh");
    assert_eq!(pair.site.event("1", "go", "{}").reply, Ok(Accepted::Event { taken_by: 1 }));
    pair.carry();
    assert_eq!(events_of(&pair.mesh), ["event.received go", "event.received first", "event.received second"]);
    assert_eq!(pair.mesh.ends().len(), 1, "the flow of the mesh heard both");
    assert!(pair.site.state.crossings.owed.values().all(|owed| owed.items.is_empty() && owed.size == 0));
}

#[test]
fn what_crosses_late_is_marked_and_starts_no_flow_by_its_schedule() {
    let mut pair = Pair::new(&[flow("tell", "spalla/scope: site", TELL), flow("hear", "spalla/scope: mesh", HEAR)]);
    pair.site.event("1", "go", "{}");
    pair.pass(10 * MINUTE);
    pair.carry();
    assert_eq!(events_of(&pair.mesh), ["event.late first", "event.late second"]);
    assert!(pair.mesh.state.instances.is_empty() && pair.mesh.ends().is_empty());
    assert_eq!(pair.mesh.state.early_events[0].event.extensions.get("historical"), Some(&Value::Bool(true)), "flows see it");
}

/// A building whose clock is half an hour ahead said something and was cut off: when it came, it looked newer than now, and would
/// have opened what it opens half an hour late.
#[test]
fn what_crosses_from_a_log_that_is_ahead_is_late_as_well() {
    for (semantics, expected) in [(APART_IS_LATE, "event.late first"), (APART_IS_LATE - 1, "event.received first")] {
        let mut pair = Pair::new(&[flow("tell", "spalla/scope: site", TELL), flow("hear", "spalla/scope: mesh", HEAR)]);
        pair.mesh.state.semantics = semantics;
        pair.site.pass(30 * MINUTE);
        pair.site.event("1", "go", "{}");
        pair.pass(20 * MINUTE);
        pair.carry();
        assert_eq!(events_of(&pair.mesh)[0], expected);
    }
}

#[test]
fn what_the_mesh_emits_reaches_the_buildings_that_listen_and_no_others() {
    let far = flow("far", "spalla/scope: site, spalla/sites: [plant]", HEAR);
    let mut pair =
        Pair::new(&[flow("tell", "spalla/scope: mesh", TELL), flow("hear", "spalla/scope: site, spalla/sites: [hq]", HEAR), far]);
    pair.mesh.event("1", "go", "{}");
    let owed: Vec<String> = pair.mesh.state.crossings.owed.iter().map(|(group, owed)| format!("{group} {}", owed.items.len())).collect();
    assert_eq!(owed, ["site:hq 2", "site:plant 2"]);
    load(&mut pair.mesh, &mut pair.site);
    assert_eq!(pair.site.ends().len(), 1);
}

#[test]
fn a_flow_of_the_mesh_awaits_one_of_a_building_and_the_other_way_round() {
    let asks = |name: &str| {
        format!(
            "do:\n  - ask: {{ run: {{ workflow: {{ namespace: test, name: {name}, version: latest, input: {{ site: hq, n: 20 }} }} }} }}\n"
        )
    };
    let answers = "do:\n  - say: { set: { n: '${ .n + 1 }' } }\n";
    let mut pair = Pair::new(&[
        flow("down", "spalla/scope: mesh", &asks("here")),
        flow("here", "spalla/scope: site", answers),
        flow("up", "spalla/scope: site", &asks("there")),
        flow("there", "spalla/scope: mesh", answers),
        flow("astray", "spalla/scope: site", &asks("nowhere")),
    ]);
    let (down, up, astray) =
        (pair.mesh.start_named("down", "{}"), pair.site.start_named("up", "{}"), pair.site.start_named("astray", "{}"));
    for _ in 0..2 {
        load(&mut pair.mesh, &mut pair.site);
        load(&mut pair.site, &mut pair.mesh);
    }
    load(&mut pair.mesh, &mut pair.site);
    assert_eq!(pair.mesh.completed(&down), r#"{"n":21}"#);
    assert_eq!(pair.site.completed(&up), r#"{"n":21}"#);
    let (_, problem) = pair.site.state.instances.get(&astray).map(|instance| ((), instance.incident.clone())).expect("it stands");
    assert!(problem.is_some(), "no flow of that name is anywhere");
    let refused = pair.mesh.try_start("here", "{}").reply.unwrap_err();
    assert!(refused.message.contains("lives in buildings"), "{refused}");
}

#[test]
fn too_much_lets_the_oldest_events_go_and_never_an_answer() {
    let mut state = State::new(GroupId::of_site(&"hq".into()));
    let mut context = Context::new(&mut state, 1, Timestamp(0));
    let event = |number: usize| Event {
        id: number.to_string().into(),
        source: "/test".into(),
        kind: "t".into(),
        subject: None,
        time: Timestamp(0),
        data: Value::Null,
        extensions: BTreeMap::new(),
    };
    let answer = Crossed::Answer { owner: Owner::Nobody, result: Ok(json("1")) };
    assert!(owe(&mut context, &GroupId::mesh(), answer.clone()));
    for number in 0..OWED_LEN_MAX {
        assert!(owe(&mut context, &GroupId::mesh(), Crossed::Emitted { event: event(number) }));
    }
    assert!(owe(&mut context, &GroupId::mesh(), answer));
    let owed = &context.state.crossings.owed[&GroupId::mesh()];
    assert_eq!((owed.items.len(), owed.newest_seq, context.state.counters.lapsed_events), (OWED_LEN_MAX, OWED_LEN_MAX as u64 + 2, 2));
    assert!(matches!(owed.items[0].what, Crossed::Answer { .. }));
    assert_eq!(owed.size, owed.items.iter().map(|item| item.what.size()).sum::<usize>());
}

#[test]
fn only_a_building_is_told_what_buildings_are_told() {
    let mut state = State::new(GroupId::mesh());
    let command = Command::Site(SiteCommand::Heard { lease_ms: 1 });
    let entry = Entry { index: 1, at: Timestamp(0), command };
    assert!(crate::engine::apply(&mut state, &entry).reply.is_err());
}
