//! One running execution of a flow: its data, and its tokens.
//!
//! A token is a point of control. It carries its own stack of frames (a list being walked, a task being run), so that
//! the interpreter never recurses over the document and an instance can be stored between any two steps.

use super::effect::Owner;
use super::problem::Problem;
use super::record::InstanceStatus;
use crate::flow::plan::{FlowKey, TaskId};
use crate::id::{Actor, InstanceId};
use crate::small_map::SmallMap;
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Tokens of one instance at a time: a fork cannot fan out further.
pub const TOKENS_MAX: usize = 1024;
/// Frames of one token: documents nest 128 deep at most, and a level takes two frames.
pub const FRAMES_MAX: usize = 512;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    pub flow: FlowKey,
    pub status: InstanceStatus,
    pub started_at: Timestamp,
    pub started_by: Actor,
    pub business_key: Option<Arc<str>>,
    /// Behind the flow's `input.from`: what its first task is given.
    pub input: Value,
    /// `$workflow.input`: as it came, where `input.from` made another of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw_input: Option<Value>,
    /// `$context`.
    pub context: Value,
    /// The oldest open incident; more may stand at other tokens.
    pub incident: Option<Box<Incident>>,
    /// The token of another instance that awaits this one.
    pub parent: Option<Box<Owner>>,
    /// 0 for one that no flow started; bounded by `interpreter::CHILD_DEPTH_MAX`.
    pub depth: u32,
    /// Log index from which on events concern it (a child: its parent's).
    pub events_from: u64,
    /// Value of `spalla/singleton`.
    pub singleton: Option<Arc<str>>,
    /// The flow's timeout.
    pub timeout: Option<Guard>,
    /// In a sorted vector: a node of a tree has room for eleven, and most instances have one.
    pub tokens: SmallMap<u32, Box<Token>>,
    /// Source of numbers for tokens, generations, guards and subscriptions; used once each.
    pub serial: u32,
    /// How often one of its tokens began to wait for something from outside, or a sub-flow did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waits: u32,
    /// Timeouts that came due while it was suspended.
    pub held_guards: Vec<u32>,
    /// Another group asked for it long ago, while nobody could be told: it opens nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// For serde.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// Changes with each wait: fences late timers and completions.
    pub generation: u32,
    /// The fork that it is a branch of.
    pub parent: Option<Branch>,
    pub frames: Vec<Frame>,
    pub wait: Wait,
    pub since: Timestamp,
    /// Tasks since its instance last waited for anything: bounded, or a loop without a wait would go on for ever.
    #[serde(default, skip_serializing_if = "Pace::is_fresh")]
    pub pace: Pace,
}

/// How far a token went without its instance waiting once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    pub tasks: u32,
    /// [`Instance::waits`] when the count began.
    pub waits: u32,
}

impl Pace {
    fn is_fresh(&self) -> bool {
        *self == Self::default()
    }

    /// One task more; false where there were `most` already.
    pub fn step(&mut self, waits: u32, most: u32) -> bool {
        if self.waits != waits {
            *self = Self { tasks: 0, waits };
        }
        self.tasks = self.tasks.saturating_add(1);
        self.tasks <= most
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    pub token: u32,
    /// Place among the fork's branches.
    pub index: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Wait {
    Ready(Next),
    /// `effect`, `pool` or `work-item`: woken through `Context::wakes`.
    External(Arc<str>),
    Timer {
        due: Timestamp,
        next: Box<Next>,
    },
    /// The listening frame on top.
    Events,
    Child(InstanceId),
    /// Branches of the fork on top.
    Join,
    /// Boxed, like that of [`Next::Fail`], so that all that wait are no larger for it.
    Incident {
        at: Timestamp,
        problem: Box<Problem>,
    },
}

/// What a ready token does next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Next {
    /// Begin a task, with its raw input.
    Enter { task: TaskId, input: Value },
    /// Run the kind of the task on top.
    Run,
    /// The task on top has this raw output.
    Done { value: Value },
    /// The list above the task on top ended with this value.
    Return { value: Value },
    /// The task on top failed. `raised`: by a `raise` task.
    Fail { problem: Box<Problem>, raised: bool },
    /// The `listen` on top looks at what it has.
    Listen,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Frame {
    List { list: List, index: u32 },
    Task(Box<TaskFrame>),
}

/// A list of tasks in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum List {
    Root,
    Do(TaskId),
    For(TaskId),
    Try(TaskId),
    Catch(TaskId),
    ForEach(TaskId),
    Branch {
        task: TaskId,
        index: u32,
    },
    /// Tasks of the extension with this index.
    Before(u32),
    After(u32),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskFrame {
    pub task: TaskId,
    pub reference: Arc<str>,
    pub name: Arc<str>,
    pub raw_input: Value,
    /// Behind `input.from`: `$input`.
    pub input: Value,
    pub started_at: Timestamp,
    pub guards: Vec<Guard>,
    /// Indexes of the extensions that apply.
    pub extensions: Vec<u32>,
    /// `$authorization` of an authenticated call: `{scheme, parameter}`. A secret stands there by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Box<Value>>,
    /// The input of a task that runs a function of the document, while that function's own is `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_input: Option<Box<Value>>,
    /// The case that a `switch` took.
    pub case: Option<u32>,
    pub work: Work,
}

/// A timeout that is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    pub id: u32,
    pub due: Timestamp,
    pub kind: GuardKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuardKind {
    /// The flow itself.
    Flow,
    Task,
    /// One attempt of a `try`.
    Attempt,
}

/// What a task frame holds while the task runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    Nothing,
    /// Place among `extensions` of the one whose `before` runs.
    Before(u32),
    After {
        at: u32,
        output: Value,
    },
    For {
        items: Arc<Vec<Value>>,
        index: u32,
    },
    /// Outputs of the branches that ended, by place.
    Fork(BTreeMap<u32, Value>),
    Listen(Box<Listening>),
    Try {
        /// Retries so far.
        retries: u32,
        first_at: Timestamp,
        /// The caught error while `catch.do` runs.
        caught: Option<Value>,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listening {
    pub subscription: u32,
    /// Keys under which it stands in `State::listeners`.
    pub types: Vec<Arc<str>>,
    /// Per filter (`all`).
    pub matched: Vec<bool>,
    /// Per filter of an `until` that is itself a strategy.
    pub until_matched: Vec<bool>,
    /// Correlation keys that are fixed.
    pub keys: SmallMap<Arc<str>, Value>,
    /// What was taken, as `read` says.
    pub collected: Vec<Value>,
    /// Taken, but their `foreach` body has not run.
    pub pending: VecDeque<Value>,
    /// The one whose `foreach` body runs, and how many ran before.
    pub current: Value,
    pub index: u32,
    /// What the `foreach` bodies gave.
    pub outputs: Vec<Value>,
    /// Takes no more.
    pub closed: bool,
}

/// Exhausted retries or a broken expression: the token pauses until an operator decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    pub at: Timestamp,
    /// Task reference.
    pub task: Arc<str>,
    pub problem: Problem,
    pub token: u32,
}

/// Where an instance is, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    pub reference: Arc<str>,
    pub name: Arc<str>,
    /// `ready`, `effect`, `timer`, `event`, `pool`, `work-item`, `child`, `join`, `incident`.
    pub waits_for: Arc<str>,
    pub since: Timestamp,
}

impl Instance {
    /// The generation of a live token; `None` when there is no such token.
    pub fn token_generation(&self, token: u32) -> Option<u32> {
        self.tokens.get(&token).map(|token| token.generation)
    }

    /// The tasks it stands at, one per token; a fork that waits for its branches comes before them.
    pub fn positions(&self) -> Vec<Position> {
        self.tokens
            .values()
            .map(|token| {
                let (reference, name) = match token.top_task() {
                    Some(frame) => (frame.reference.clone(), frame.name.clone()),
                    None => ("/do".into(), "".into()),
                };
                Position { reference, name, waits_for: token.wait.name(), since: token.since }
            })
            .collect()
    }

    /// A number that this instance has not used.
    pub fn next_serial(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        self.serial
    }

    /// Puts the oldest incident among the tokens in front.
    pub(super) fn refresh_incident(&mut self) {
        let standing = self.incident.as_ref().is_some_and(|incident| {
            self.tokens.get(&incident.token).is_some_and(
                |token| matches!(&token.wait, Wait::Incident { at, problem } if *at == incident.at && **problem == incident.problem),
            )
        });
        if standing {
            return;
        }
        self.incident = self
            .tokens
            .iter()
            .filter_map(|(number, token)| match &token.wait {
                Wait::Incident { at, problem } => Some(Incident {
                    at: *at,
                    task: token.top_task().map_or_else(|| "/do".into(), |frame| frame.reference.clone()),
                    problem: (**problem).clone(),
                    token: *number,
                }),
                _ => None,
            })
            .min_by_key(|incident| (incident.at, incident.token))
            .map(Box::new);
    }
}

impl Token {
    pub fn top_task(&self) -> Option<&TaskFrame> {
        self.frames.iter().rev().find_map(Frame::task)
    }
}

impl Wait {
    pub fn name(&self) -> Arc<str> {
        match self {
            Self::Ready(_) => "ready".into(),
            Self::External(what) => what.clone(),
            Self::Timer { .. } => "timer".into(),
            Self::Events => "event".into(),
            Self::Child(_) => "child".into(),
            Self::Join => "join".into(),
            Self::Incident { .. } => "incident".into(),
        }
    }
}

impl Frame {
    pub fn task(&self) -> Option<&TaskFrame> {
        match self {
            Self::Task(frame) => Some(frame),
            Self::List { .. } => None,
        }
    }
    pub fn task_mut(&mut self) -> Option<&mut TaskFrame> {
        match self {
            Self::Task(frame) => Some(frame),
            Self::List { .. } => None,
        }
    }
}
