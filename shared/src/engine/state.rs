//! The replicated state of one group. Ordered, in memory; serialised for snapshots.
//!
//! Plans (parsed flows) are not stored: `State::rebuild_plans` builds them again.

use super::access::{Credential, Grant};
use super::audit::AuditChain;
use super::crossing::{Abroad, Crossings};
use super::desk::Desk;
use super::effect::{Effect, Owner};
use super::index::Index;
use super::instance::Instance;
use super::interest::Interests;
use super::life::Fork;
use super::outbox::Outbox;
use super::passback::Passback;
use super::pool::PoolState;
use super::roster::Roster;
use super::schedule::Gathering;
use super::site::Beside;
use super::whereabouts::Present;
use super::work_item::WorkItem;
use crate::device::Profile;
use crate::event::Event;
use crate::flow::plan::{FlowKey, Plan};
use crate::id::{CredentialId, DeviceId, EffectId, GrantId, GroupId, InstanceId, NodeId, SiteId, WorkItemId};
use crate::resource::{Area, Client, Device, Person};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What `apply` means at the start of every log, for ever: a log is replayed as it was written.
pub const SEMANTICS_FIRST: u32 = 1;
/// The newest meaning that this build knows. `Command::EnableSemantics` switches a later one on, from its entry; what each one
/// changed stands in `super::semantics`.
pub const SEMANTICS_VERSION: u32 = 4;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    pub group: GroupId,
    pub semantics: u32,
    /// Index of the newest applied entry.
    pub applied: u64,
    /// The newest `at`, clamped.
    pub clock: Timestamp,
    pub nodes: BTreeMap<NodeId, Node>,
    /// The newest semantics that each gateway's build knows; one that never said so knows the first.
    #[serde(default)]
    pub understood: BTreeMap<NodeId, u32>,
    /// Who belongs to the mesh. Written in the group `mesh` only.
    #[serde(default, skip_serializing_if = "Roster::is_empty")]
    pub roster: Roster,
    /// Of a building's group: the life of [`Roster::lives`] that this is; 0 for one that never began again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub life: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<Fork>,

    pub flows: BTreeMap<FlowKey, Flow>,
    /// Parsed flows by key; not stored.
    #[serde(skip)]
    pub plans: BTreeMap<FlowKey, Arc<Plan>>,
    /// The newest enabled version of each flow; derived from `flows`, not stored.
    #[serde(skip)]
    pub current: BTreeSet<FlowKey>,
    /// What deployed flows listen to, by event type; derived from `plans`, not stored.
    #[serde(skip)]
    pub interests: Arc<Interests>,
    #[serde(skip)]
    pub(super) index: Index,
    pub profiles: BTreeMap<Arc<str>, Arc<Profile>>,
    pub devices: BTreeMap<DeviceId, DeviceState>,
    pub areas: BTreeMap<Arc<str>, Area>,
    pub people: BTreeMap<Arc<str>, Person>,
    /// Programs that speak MQTT here beside devices, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<Arc<str>, Client>,
    pub pools: BTreeMap<Arc<str>, PoolState>,

    pub instances: BTreeMap<InstanceId, Arc<Instance>>,
    /// Open effects: asked for, not answered, not past their deadline.
    pub effects: BTreeMap<EffectId, Effect>,
    pub timers: BTreeSet<Timer>,
    pub work_items: BTreeMap<WorkItemId, WorkItem>,
    pub credentials: BTreeMap<CredentialId, Credential>,
    pub grants: BTreeMap<GrantId, Grant>,
    /// Group calls, holds and equal commands just given to devices.
    pub desk: Desk,
    /// Where people were seen last, by the holder of the credential.
    pub presence: BTreeMap<Arc<str>, Present>,
    /// Who is inside areas with anti-passback.
    #[serde(default, skip_serializing_if = "Passback::is_empty")]
    pub passback: Passback,
    /// Instances that yielded, in order.
    pub ready: Vec<(InstanceId, u32)>,
    /// Tokens that listen, by event type (`""`: any type): (instance, token, subscription).
    pub listeners: BTreeMap<Arc<str>, BTreeSet<(InstanceId, u32, u32)>>,
    /// Events that a `schedule.on.all` has so far.
    pub gatherings: BTreeMap<FlowKey, Vec<Gathering>>,
    /// Events that came before their `listen`, with the instant at which they lapse.
    pub early_events: Vec<EarlyEvent>,
    /// Dedupe keys (`start:…`, `event:source␟id`, `work:…`) with the instant at which they lapse, and the instance a start gave.
    pub seen: BTreeMap<Arc<str>, Seen>,

    pub outbox: Outbox,
    pub audit: AuditChain,
    pub counters: Counters,

    /// Index of the newest entry that changed what is declared: resources, or which flows may be started. Not stored: 0 behind a
    /// snapshot, which is another number than before, and so who follows it looks again.
    #[serde(skip)]
    pub declared_at: u64,
    /// What groups owe each other.
    #[serde(default, skip_serializing_if = "Crossings::is_empty")]
    pub crossings: Crossings,
    /// What a building's group knows of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    /// What flows of other groups listen to; derived from `plans`, not stored.
    #[serde(skip)]
    pub abroad: Arc<Vec<Abroad>>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub site: SiteId,
    pub boot: u64,
    pub version: Arc<str>,
    /// Base URL of its API, when it listens to others.
    pub api: Option<Arc<str>>,
    pub up_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Canonical JSON.
    pub document: Value,
    pub hash: Arc<str>,
    pub deployed_at: Timestamp,
    /// May be started. Of the enabled versions the newest is the one that is started by name and by schedule ([`State::current`]).
    pub enabled: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceState {
    pub device: Device,
    pub attached: Option<Attachment>,
    pub changed_at: Timestamp,
}

/// Where a device is connected now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    pub node: NodeId,
    pub session: u64,
    pub since: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timer {
    pub due: Timestamp,
    pub what: TimerWhat,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TimerWhat {
    /// `wait`, a retry's delay: the token goes on when its generation is still this one.
    Token {
        instance: InstanceId,
        token: u32,
        generation: u32,
    },
    /// A `timeout` on a task or flow: the frame it guards.
    Timeout {
        instance: InstanceId,
        guard: u32,
    },
    EffectDeadline {
        effect: EffectId,
    },
    /// cron, every, after.
    Schedule {
        /// Boxed: there are few of these, and many of the others.
        flow: Box<FlowKey>,
    },
    GrantEnds {
        grant: GrantId,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlyEvent {
    pub event: Event,
    /// Log index it came with: an instance that started later does not see it.
    pub index: u64,
    /// [`crate::value::Value::size`] of its data.
    pub size: u32,
    /// Each takes it once.
    pub taken_by: BTreeSet<InstanceId>,
    pub lapses_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub lapses_at: Timestamp,
    pub instance: Option<InstanceId>,
}

/// Counted since the group began; equal on all replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub started: u64,
    pub completed: u64,
    pub faulted: u64,
    pub cancelled: u64,
    pub late_completions: u64,
    pub duplicate_events: u64,
    pub lapsed_events: u64,
    pub rejected: u64,
    pub opening_attempts: u64,
    pub opening_unknown: u64,
}

impl State {
    pub fn new(group: GroupId) -> Self {
        Self {
            group,
            semantics: SEMANTICS_FIRST,
            applied: 0,
            clock: Timestamp::default(),
            nodes: BTreeMap::new(),
            understood: BTreeMap::new(),
            roster: Roster::default(),
            life: 0,
            fork: None,
            flows: BTreeMap::new(),
            plans: BTreeMap::new(),
            current: BTreeSet::new(),
            interests: Arc::default(),
            index: Index::default(),
            profiles: BTreeMap::new(),
            devices: BTreeMap::new(),
            areas: BTreeMap::new(),
            people: BTreeMap::new(),
            clients: BTreeMap::new(),
            pools: BTreeMap::new(),
            instances: BTreeMap::new(),
            effects: BTreeMap::new(),
            timers: BTreeSet::new(),
            work_items: BTreeMap::new(),
            credentials: BTreeMap::new(),
            grants: BTreeMap::new(),
            desk: Desk::default(),
            presence: BTreeMap::new(),
            passback: Passback::default(),
            ready: Vec::new(),
            listeners: BTreeMap::new(),
            gatherings: BTreeMap::new(),
            early_events: Vec::new(),
            seen: BTreeMap::new(),
            outbox: Outbox::default(),
            audit: AuditChain::default(),
            counters: Counters::default(),
            declared_at: 0,
            crossings: Crossings::default(),
            beside: None,
            abroad: Arc::default(),
        }
    }

    /// Builds plans and interests again from the stored flows: after a snapshot was read. The error names the flow that no longer compiles,
    /// or says that the snapshot is of a newer build.
    pub fn rebuild_plans(&mut self) -> Result<(), String> {
        self.known_semantics()?;
        let mut plans = BTreeMap::new();
        for (key, flow) in &self.flows {
            let plan = Plan::compile(&flow.document).map_err(|found| {
                let first = found.first().map(ToString::to_string).unwrap_or_default();
                format!("{key}: {first}")
            })?;
            plans.insert(key.clone(), Arc::new(plan));
        }
        self.plans = plans;
        self.index = Index::of(self);
        super::schedule::refresh_interests(self);
        Ok(())
    }

    /// Whether this build knows what entries mean from here on; a replica on which it does not must stop, or it would go its own way.
    pub fn known_semantics(&self) -> Result<(), String> {
        if self.semantics <= SEMANTICS_VERSION {
            return Ok(());
        }
        Err(format!(
            "this mesh uses semantics {}, and this build knows them up to {SEMANTICS_VERSION}: install a build that is at least as new as the other gateways'",
            self.semantics
        ))
    }

    /// When the next timer is due: what the leader's clock waits for.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|timer| timer.due)
    }

    /// SHA-256 over the canonical encoding, lower-case hex: equal on replicas that applied the same log.
    pub fn digest(&self) -> String {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        hash.update(crate::codec::encode(self));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether `owner` still waits (its token has this generation).
    pub fn waits(&self, owner: &Owner) -> bool {
        match owner {
            Owner::Token { instance, token, generation } | Owner::Member { instance, token, generation, .. } => {
                self.instances.get(instance).is_some_and(|instance| instance.token_generation(*token) == Some(*generation))
            }
            Owner::Elsewhere { .. } | Owner::Door { .. } | Owner::Nobody => true,
        }
    }
}
