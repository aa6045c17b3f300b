//! For tests: a state with a building in it, and short ways to ask for things.

use super::context::Context;
use super::effect::Owner;
use super::function::{self, CallInfo, Started};
use super::problem::Problem;
use super::state::{Attachment, DeviceState, Node, State};
use crate::device::{AckSpec, Bound, Capability, CapabilityKind, CommandClass, CommandSpec, EventSpec, FailMode, Profile};
use crate::event::Event;
use crate::flow::plan::{FlowKey, InputSpec, OutputSpec, Plan, Scope};
use crate::id::{DeviceId, GroupId, NodeId};
use crate::resource::{Area, Device, Person};
use crate::time::Timestamp;
use crate::value::Value;
use std::sync::Arc;

/// Node 1 at site `hq`, boot 1. Doors `hq/door-1`, `hq/door-2` (group `doors`), connected to it; `hq/door-3` (group `doors`) is away.
/// Reader `hq/reader` opens `hq/door-1`. Area `main` holds door-1. Anna and Ben are guards, Cem is not.
pub fn building() -> State {
    let mut state = State::new(GroupId::mesh());
    state.nodes.insert(NodeId(1), Node { site: "hq".into(), boot: 1, version: "1".into(), api: None, up_at: Timestamp(0) });
    for profile in [door_profile(), reader_profile()] {
        assert_eq!(profile.check(), Ok(()));
        state.profiles.insert(profile.name.clone(), Arc::new(profile));
    }
    for (name, profile, group, opens, online) in [
        ("door-1", "door", Some("doors"), None, true),
        ("door-2", "door", Some("doors"), None, true),
        ("door-3", "door", Some("doors"), None, false),
        ("reader", "reader", None, Some("hq/door-1"), true),
    ] {
        let device = Device {
            profile: profile.into(),
            zone: Some("lobby".into()),
            groups: group.into_iter().map(Into::into).collect(),
            opens: opens.map(DeviceId::new),
            ..Device::new(DeviceId::new(format!("hq/{name}")))
        };
        let attached = online.then_some(Attachment { node: NodeId(1), session: 1, since: Timestamp(0) });
        state.devices.insert(device.id.clone(), DeviceState { device, attached, changed_at: Timestamp(0) });
    }
    state.areas.insert("main".into(), Area { name: "main".into(), doors: vec!["hq/door-1".into()], anti_passback: None });
    for (id, role) in [("anna", Some("guard")), ("ben", Some("guard")), ("cem", None)] {
        let roles = role.into_iter().map(Into::into).collect();
        state.people.insert(id.into(), Person { id: id.into(), name: "".into(), roles, contact: Default::default() });
    }
    state.plans.insert(key("visit"), Arc::new(plan("visit", false)));
    state.plans.insert(key("keeper"), Arc::new(plan("keeper", false)));
    state.plans.insert(key("fire"), Arc::new(plan("fire", true)));
    state
}

fn command(class: CommandClass, bound: Option<Bound>) -> CommandSpec {
    CommandSpec { class, expiry_ms: None, bound, ack: AckSpec::Done, confirm: None }
}

fn door_profile() -> Profile {
    let commands = [
        ("unlock", command(CommandClass::Opening, Some(Bound::Device { pulse_ms: 3000 }))),
        ("stayOpen", command(CommandClass::Opening, Some(Bound::Mode { ended_by: "resume".into() }))),
        ("lock", command(CommandClass::Securing, None)),
        ("lockdown", command(CommandClass::Securing, None)),
        ("endLockdown", command(CommandClass::Neutral, None)),
        ("resume", command(CommandClass::Securing, None)),
        ("blink", command(CommandClass::Neutral, None)),
    ];
    profile("door", CapabilityKind::Lock, commands.map(|(name, spec)| (name.into(), spec)).into(), Default::default())
}

fn reader_profile() -> Profile {
    let events = [("presented", false), ("tamper", true)].map(|(name, alarm)| (name.into(), EventSpec { title: None, alarm }));
    profile("reader", CapabilityKind::Reader, Default::default(), events.into())
}

fn profile(
    name: &str,
    kind: CapabilityKind,
    commands: std::collections::BTreeMap<Arc<str>, CommandSpec>,
    events: std::collections::BTreeMap<Arc<str>, EventSpec>,
) -> Profile {
    let fail_mode = Some(FailMode::Safe);
    let capability = Capability { id: "it".into(), kind, fail_mode, state: Default::default(), events, commands };
    Profile { name: name.into(), version: 1, title: "".into(), convention: None, capabilities: vec![capability] }
}

pub fn key(name: &str) -> FlowKey {
    FlowKey { namespace: "test".into(), name: name.into(), version: "1.0.0".into() }
}

fn plan(name: &str, life_safety: bool) -> Plan {
    Plan {
        key: key(name),
        title: name.into(),
        hash: "".into(),
        scope: Scope::Mesh,
        sites: Vec::new(),
        life_safety,
        singleton: None,
        business_key: None,
        event_ttl_ms: 0,
        input: InputSpec::default(),
        output: OutputSpec::default(),
        timeout: None,
        schedule: None,
        secrets: Vec::new(),
        tasks: Vec::new(),
        root: Vec::new(),
        extensions: Vec::new(),
        unattended: false,
    }
}

pub fn owner(instance: &str) -> Owner {
    Owner::Token { instance: instance.into(), token: 0, generation: 1 }
}

pub fn json(text: &str) -> Value {
    Value::from_json(text).unwrap()
}

/// A call by `instance` of flow `visit` (others: `keeper`, and `fire`, a life-safety flow).
pub fn call(context: &mut Context, instance: &str, function: &str, with: &str) -> Started {
    call_of(context, "visit", instance, function, with)
}

pub fn call_of(context: &mut Context, flow: &str, instance: &str, function: &str, with: &str) -> Started {
    let info = CallInfo { instance: instance.into(), flow: key(flow), reference: "/do/0/it".into(), deadline: None };
    function::start(context, owner(instance), &info, function, &json(with))
}

/// Title of the problem, or the output as JSON.
pub fn short(result: Result<Value, Problem>) -> String {
    match result {
        Ok(output) => output.to_json(),
        Err(problem) => problem.title.to_string(),
    }
}

pub fn done(started: Started) -> String {
    match started {
        Started::Done(result) => short(result),
        Started::Waiting(what) => format!("waits for {what}"),
    }
}

/// Who was woken with what; empties the list.
pub fn woken(context: &mut Context) -> Vec<(String, String)> {
    std::mem::take(&mut context.wakes)
        .into_iter()
        .map(|(owner, result)| (owner.instance().map(ToString::to_string).unwrap_or_default(), short(result)))
        .collect()
}

/// Actions of the audit records so far.
pub fn audited(context: &Context) -> Vec<String> {
    let actions = context.records.iter().filter_map(|record| match &record.body {
        super::record::RecordBody::Audit(link) => Some(format!("{} {}", link.action, link.subject)),
        _ => None,
    });
    actions.collect()
}

pub fn event(kind: &str, source: &str, time: Timestamp, data: &str) -> Event {
    Event {
        id: "e1".into(),
        source: source.into(),
        kind: kind.into(),
        subject: None,
        time,
        data: json(data),
        extensions: Default::default(),
    }
}
