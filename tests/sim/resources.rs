//! What the mesh of a run is there for: visits that take a parking spot, open a door, and stay for a moment.

use spalla_shared::device::{AckSpec, Bound, Capability, CapabilityKind, CommandClass, CommandSpec, FailMode, Profile};
use spalla_shared::engine::Command;
use spalla_shared::event::Event;
use spalla_shared::flow;
use spalla_shared::id::{Actor, DeviceId, NodeId, SiteId};
use spalla_shared::resource::{Device, FlowDocument, Pool, Resource, Unit};
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;

const FLOW: &str = r#"document: { dsl: '1.0.3', namespace: sim, name: visit, version: '1.0.0' }
schedule: { on: { any: [ { with: { type: sim.arrived } } ] } }
timeout: { after: PT30S }
do:
  - arrival: { set: { door: '${ .[0].data.door }' } }
  - park:
      call: resource.allocate
      with: { pool: spots, holder: '${ $workflow.id }', queue: fifo }
      timeout: { after: PT10S }
      output: { as: '${ { door: $input.door } }' }
  - open:
      try: [ { unlock: { call: device.command, with: { target: '${ .door }', command: unlock, ack: { within: PT3S } } } } ]
      catch: { do: [ { note: { set: { opened: false } } } ] }
  - stay: { wait: PT0.3S }
"#;

/// Fewer than visits at a time, so that some wait.
const SPOTS: usize = 3;

pub fn deploy(nodes: &[NodeId]) -> Command {
    let checked = flow::check(FLOW).expect("the flow of the simulation");
    let units = (1..=SPOTS).map(|spot| Unit { name: format!("spot-{spot}").into(), attributes: Default::default() }).collect();
    let mut resources = vec![
        Resource::Profile(door()),
        Resource::Flow(FlowDocument { document: checked.document }),
        Resource::Pool(Pool { name: "spots".into(), units }),
    ];
    resources.extend(nodes.iter().map(|node| Resource::Device(Device { profile: "door".into(), ..Device::new(device(*node)) })));
    Command::Deploy { resources, by: Actor::system() }
}

fn door() -> Profile {
    let unlock = CommandSpec {
        class: CommandClass::Opening,
        expiry_ms: None,
        bound: Some(Bound::Device { pulse_ms: 3000 }),
        ack: AckSpec::Done,
        confirm: None,
    };
    let capability = Capability {
        id: "it".into(),
        kind: CapabilityKind::Lock,
        fail_mode: Some(FailMode::Safe),
        state: Default::default(),
        events: Default::default(),
        commands: [("unlock".into(), unlock)].into(),
    };
    Profile { name: "door".into(), version: 1, title: "".into(), convention: None, capabilities: vec![capability] }
}

fn site(node: NodeId) -> SiteId {
    SiteId::new(format!("site-{}", node.0))
}

/// The door at a gateway's building.
pub fn device(node: NodeId) -> DeviceId {
    DeviceId::new(format!("{}/door", site(node)))
}

pub fn node_up(node: NodeId, boot: u64) -> Command {
    Command::NodeUp { node, site: site(node), boot, version: "1".into(), api: None }
}

pub fn door_came(node: NodeId, session: u64) -> Command {
    Command::Presence { device: device(node), node, session, online: true }
}

pub fn arrived(id: &str, at: NodeId) -> Command {
    let event = Event {
        id: id.into(),
        source: "/sim".into(),
        kind: "sim.arrived".into(),
        subject: None,
        time: Timestamp(0),
        data: Value::object([("door", Value::from(device(at).as_str()))]),
        extensions: Default::default(),
    };
    Command::Event { event, historical: false }
}
