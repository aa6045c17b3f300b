//! A group in memory, and a device link that remembers, for tests.

use super::clock::wall_now;
use super::link::{DeliverFailure, DeviceLink};
use crate::consensus::{Freshness, Group, Leadership, Member, ProposeError, Receipt};
use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use spalla_broker::message::Message;
use spalla_shared::device::{AckSpec, Bound, Capability, CapabilityKind, CommandSpec, Confirm, EventSpec, FailMode, Profile};
use spalla_shared::engine::state::{Attachment, DeviceState, Node};
use spalla_shared::engine::{self, Command, Context, EffectClass, Entry, Owner, Request, State};
use spalla_shared::id::{DeviceId, EffectId, GroupId, NodeId, SiteId};
use spalla_shared::resource::Device;
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

pub const NODE: NodeId = NodeId(1);
/// No step takes this long unless it hangs.
pub const LONG: Duration = Duration::from_secs(60);

/// One voter, no disk; commands go through the engine.
pub struct LocalGroup {
    id: GroupId,
    state: RwLock<State>,
    applied: watch::Sender<u64>,
    leadership: watch::Sender<Leadership>,
    /// Every proposal fails with it while it is set.
    pub failing: Mutex<Option<ProposeError>>,
    /// The next proposal is committed, and its answer lost.
    pub lose_answer: Mutex<bool>,
    pub log: Mutex<Vec<Command>>,
    /// What history would keep.
    pub records: Mutex<Vec<engine::Record>>,
}

impl LocalGroup {
    /// Knows `devices` of profile `test`, attached to [`NODE`], which runs with `boot`.
    pub fn new(boot: u64, devices: &[&str]) -> Arc<Self> {
        let mut state = State::new(GroupId::mesh());
        let up = Node { site: SiteId::new("hq"), boot, version: "test".into(), api: None, up_at: Timestamp(0) };
        state.nodes.insert(NODE, up);
        state.profiles.insert("test".into(), Arc::new(profile()));
        for id in devices {
            let device = Device { profile: "test".into(), ..Device::new(DeviceId::new(id)) };
            let attached = Some(Attachment { node: NODE, session: 1, since: Timestamp(0) });
            state.devices.insert(device.id.clone(), DeviceState { device, attached, changed_at: Timestamp(0) });
        }
        Arc::new(Self {
            id: GroupId::mesh(),
            state: RwLock::new(state),
            applied: watch::Sender::new(0),
            leadership: watch::Sender::new(Leadership { leader: Some(NODE), is_self: true, term: 1 }),
            failing: Mutex::default(),
            lose_answer: Mutex::default(),
            log: Mutex::default(),
            records: Mutex::default(),
        })
    }

    /// Changes the state as an applied entry would.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.write();
        state.applied += 1;
        let out = change(&mut state);
        let applied = state.applied;
        drop(state);
        self.applied.send_replace(applied);
        out
    }

    /// An open effect.
    pub fn open(&self, class: EffectClass, deadline_ms: u64, request: Request) -> EffectId {
        self.change(|state| {
            let (index, now) = (state.applied, wall_now().max(state.clock));
            Context::new(state, index, now).open_effect(Owner::Nobody, class, now.plus(deadline_ms), request)
        })
    }

    pub fn lead(&self, is_self: bool) {
        self.leadership.send_modify(|leadership| leadership.is_self = is_self);
    }

    /// Waits until a logged command satisfies `wanted`.
    pub async fn logged<T>(&self, wanted: impl Fn(&Command) -> Option<T>) -> T {
        let mut applied = self.applied.subscribe();
        let found = || self.log.lock().iter().find_map(&wanted);
        let looking = async {
            loop {
                applied.borrow_and_update();
                if let Some(found) = found() {
                    return found;
                }
                applied.changed().await.expect("the group lives");
            }
        };
        tokio::time::timeout(LONG, looking).await.expect("the command in time")
    }

    pub fn count(&self, wanted: impl Fn(&Command) -> bool) -> usize {
        self.log.lock().iter().filter(|command| wanted(command)).count()
    }
}

#[async_trait]
impl Group for LocalGroup {
    fn id(&self) -> &GroupId {
        &self.id
    }
    fn node(&self) -> NodeId {
        NODE
    }
    async fn propose(&self, command: Command) -> Result<Receipt, ProposeError> {
        if let Some(error) = self.failing.lock().clone() {
            return Err(error);
        }
        let mut state = self.state.write();
        state.applied += 1;
        let entry = Entry { index: state.applied, at: wall_now(), command };
        let engine::Applied { reply, records, .. } = engine::apply(&mut state, &entry);
        drop(state);
        self.records.lock().extend(records);
        self.log.lock().push(entry.command);
        self.applied.send_replace(entry.index);
        if std::mem::take(&mut *self.lose_answer.lock()) {
            return Err(ProposeError::Unknown);
        }
        Ok(Receipt { index: entry.index, at: entry.at, reply })
    }
    fn state(&self) -> &RwLock<State> {
        &self.state
    }
    fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }
    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }
    fn freshness(&self) -> Freshness {
        Freshness { applied: *self.applied.borrow(), leader: Some(NODE), stale: false, leader_seen_ms: Some(0) }
    }
    fn members(&self) -> Vec<Member> {
        Vec::new()
    }
}

/// A lock: `unlock` opens; `lock` secures and is seen by the property `lock`.
fn profile() -> Profile {
    let command = |class, bound, confirm| CommandSpec { class, expiry_ms: Some(10_000), bound, ack: AckSpec::Done, confirm };
    let seen = Confirm { property: "lock".into(), becomes: Value::from("locked"), within_ms: 200 };
    let opened = Confirm { property: "open".into(), becomes: Value::Bool(true), within_ms: 200 };
    let commands = BTreeMap::from([
        ("unlock".into(), command(EffectClass::Opening, Some(Bound::Device { pulse_ms: 3_000 }), None)),
        ("raise".into(), command(EffectClass::Opening, Some(Bound::Device { pulse_ms: 3_000 }), Some(opened))),
        ("blink".into(), command(EffectClass::Neutral, None, None)),
        ("lock".into(), command(EffectClass::Securing, None, Some(seen))),
    ]);
    let events = BTreeMap::from([("forced".into(), EventSpec { title: None, alarm: true })]);
    let (kind, fail_mode, state) = (CapabilityKind::Lock, Some(FailMode::Secure), BTreeMap::new());
    let capabilities = vec![Capability { id: "lock".into(), kind, fail_mode, state, events, commands }];
    Profile { name: "test".into(), version: 1, title: "".into(), convention: None, capabilities }
}

/// Passes on what is delivered; fails with what it is told to.
pub struct FakeLink {
    delivered: mpsc::UnboundedSender<(DeviceId, Message)>,
    pub failing: Mutex<Option<DeliverFailure>>,
}

impl FakeLink {
    pub fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<(DeviceId, Message)>) {
        let (delivered, receiver) = mpsc::unbounded_channel();
        (Arc::new(Self { delivered, failing: Mutex::default() }), receiver)
    }
}

#[async_trait]
impl DeviceLink for FakeLink {
    async fn deliver(&self, device: &DeviceId, message: Message) -> Result<(), DeliverFailure> {
        if let Some(failure) = *self.failing.lock() {
            return Err(failure);
        }
        let _ = self.delivered.send((device.clone(), message));
        Ok(())
    }
}

pub fn command_id(message: &Message) -> String {
    let (_, command): (_, spalla_shared::device::Command) = spalla_shared::device::Format::read(&message.payload).expect("a command");
    command.id
}

pub fn no_args() -> Value {
    Value::empty_object()
}
