//! What a log entry carries. Everything that could differ between replicas (time, chance, text parsing) rides inside.

use super::access::{Credential, Grant};
use super::crossing::CrossingItem;
use super::effect::Outcome;
use super::passback::{KnownArea, PassbackCommand};
use super::precedence::Holds;
use super::problem::Problem;
use super::roster::MemberCommand;
use crate::event::Event;
use crate::flow::plan::FlowKey;
use crate::id::{Actor, DeviceId, EffectId, GroupId, InstanceId, NodeId, SiteId, WorkItemId};
use crate::resource::Resource;
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Raft log index.
    pub index: u64,
    /// Stamped by the leader as it proposes; `apply` clamps it to never go back.
    pub at: Timestamp,
    pub command: Command,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Declare resources; all or none.
    Deploy {
        resources: Vec<Resource>,
        by: Actor,
    },
    Start {
        flow: FlowSelector,
        input: Value,
        /** Dedupe key: an equal key gives the first call's instance. */
        key: Arc<str>,
        by: Actor,
    },
    /// Deduplicated by (source, id). `historical`: it is late (spooled, resent): recorded, correlated, but opens nothing.
    Event {
        event: Event,
        historical: bool,
    },
    /// A device came or went at `node`. `session` grows with each connection at that node, so a late "gone" cannot undo a newer "came".
    Presence {
        device: DeviceId,
        node: NodeId,
        session: u64,
        online: bool,
    },
    /// A gateway says who it is; proposed by each gateway after it starts. `boot` grows with each start of that gateway.
    NodeUp {
        node: NodeId,
        site: SiteId,
        boot: u64,
        version: Arc<str>,
        api: Option<Arc<str>>,
    },
    /// Before an opening command is published: at most one attempt is ever granted ([`Accepted::AttemptGranted`]).
    EffectAttempt {
        effect: EffectId,
        node: NodeId,
    },
    EffectDone {
        effect: EffectId,
        outcome: Outcome,
        node: NodeId,
    },
    /// Timers up to the entry's `at` fire.
    TimersDue,
    /// Instances that yielded after too many steps go on.
    Continue,
    WorkItem {
        id: WorkItemId,
        action: WorkItemAction,
        by: Actor,
        key: Arc<str>,
    },
    Operator {
        instance: InstanceId,
        action: OperatorAction,
        by: Actor,
    },
    /// Which versions of a flow are started, and which go.
    Flow {
        flow: FlowKey,
        action: FlowAction,
        by: Actor,
    },
    Uplink(UplinkCommand),
    /// What one group tells another.
    Crossing(CrossingCommand),
    /// What only a building's group is told.
    Site(SiteCommand),
    /// A gateway says which semantics its build knows; proposed by each gateway after it starts.
    Understands {
        node: NodeId,
        semantics: u32,
    },
    /// What clients of `node` were not let do, gathered there and told once. `key` is new for each gathering.
    Denials {
        node: NodeId,
        denials: Vec<Denial>,
        key: Arc<str>,
    },
    /// Switches changed meanings of existing commands on, from this entry. Refused: `conflict` while a gateway's build does not know them.
    EnableSemantics {
        version: u32,
    },
    /// Gateways come and go.
    Member(MemberCommand),
    /// Who is inside an area, and which buildings cannot be heard. From semantics 3 on.
    Passback(PassbackCommand),
}

/// Equal things that one client was not let do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// `device:…`, `client:…`, or `unknown` for a login that nobody stands behind.
    pub who: Actor,
    pub what: Denied,
    /// The first topic, filter or address of them.
    pub first: Arc<str>,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Denied {
    Login,
    Publish,
    Subscribe,
    /// Not denied: a device command that a service client gave by its rules, past the flows.
    Command,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowSelector {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// None: the newest enabled version.
    pub version: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WorkItemAction {
    /// Approval: one of its choices.
    Choose {
        choice: Arc<str>,
        comment: Option<Arc<str>>,
    },
    /// Task: done, with answers (checked against its form) and the checklist's ticked lines.
    Complete {
        answers: Value,
        comment: Option<Arc<str>>,
    },
    Claim,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OperatorAction {
    Cancel {
        reason: Arc<str>,
    },
    Suspend,
    Resume,
    /// Run the task with the incident again.
    Retry,
    /// Go on behind it, with this output.
    Skip {
        output: Value,
    },
    SetContext {
        context: Value,
    },
}

/// What an operator may do to a deployed version of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowAction {
    /// It may be started; the newest enabled version is started by name and by schedule.
    Enable,
    /// It ends what it began and is started by nobody.
    Disable,
    /// It is forgotten; refused while instances run on it.
    Remove,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum UplinkCommand {
    /// The cloud holds everything up to `upto_seq`.
    Acknowledged { upto_seq: u64 },
    /// `node` wants to speak until `until`. Granted when nobody does, the lease ran out, or it speaks already. A new speaker gets a new epoch.
    Speak { node: NodeId, until: Timestamp },
    /// The speaker steps back (its cloud link is down).
    Yield { node: NodeId, epoch: u64 },
}

/// Between two groups: each keeps what it owes the other, numbered, until the other has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CrossingCommand {
    /// To the group that is told: what `from` owes it up to `upto_seq`, in order. What it knows already is passed over; what is
    /// left out between its items concerns nobody there.
    Deliver { from: GroupId, items: Vec<CrossingItem>, upto_seq: u64 },
    /// To the group that told: `by` has everything up to `upto_seq`.
    Taken { by: GroupId, upto_seq: u64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SiteCommand {
    /// Resources of the mesh that this building needs, and all flows that live in it with whether they may be started. `upto`, with
    /// the last part: the mesh's [`declared_at`](super::State::declared_at) that it brings this group to.
    Mirror { resources: Vec<Resource>, flows: Option<Vec<(FlowKey, bool)>>, upto: Option<u64> },
    /// The mesh is in reach. Doors are decided alone for at most `lease_ms` behind the newest of these.
    Heard { lease_ms: u64 },
    /// An event that the mesh cannot be told of now: this group stands in for it, and owes it the event.
    Alone { event: Event, historical: bool, known: Option<Box<Known>> },
    /// Gateways that the mesh removed. Proposed only where the mesh's semantics know lives of buildings' groups.
    Forget { nodes: Vec<NodeId> },
}

/// What the mesh last said of a credential that is shown at a door, as the gateway that heard the reader knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    pub credential: Option<Credential>,
    /// The grants on it that reach this door by the mesh's areas.
    pub grants: Vec<Grant>,
    /// What the mesh holds the door in.
    pub holds: Holds,
    /// The door's areas with anti-passback.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub areas: Vec<KnownArea>,
}

/// What the proposer hears.
pub type Reply = Result<Accepted, Rejection>;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Accepted {
    #[default]
    Nothing,
    /// An equal key was there before; nothing changed.
    Duplicate,
    Started {
        instance: InstanceId,
    },
    /// How many instances it started or woke.
    Event {
        taken_by: u32,
    },
    /// How many people were known to be inside or outside, and are not any more.
    Forgiven {
        people: u64,
    },
    AttemptGranted,
    /// Someone attempted it already; do not publish.
    AttemptRefused,
    Deployed {
        changed: Vec<Arc<str>>,
    },
    Speaker {
        node: NodeId,
        epoch: u64,
        until: Timestamp,
    },
    Flow {
        key: FlowKey,
    },
    /// The gateway that came or went.
    Member {
        node: NodeId,
    },
}

/// A command that changed nothing, and why. `code` is stable: `not-found`, `conflict`, `invalid`, `forbidden`, `late`, `unknown-effect`, `limit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    pub code: Arc<str>,
    pub message: Arc<str>,
}

impl Rejection {
    pub fn new(code: &str, message: impl AsRef<str>) -> Self {
        Self { code: code.into(), message: message.as_ref().into() }
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        Problem::own(&rejection.code, 400, &*rejection.message)
    }
}
