//! A flow made ready to run: names resolved, expressions parsed, every task numbered.
//!
//! A plan is never stored: each replica builds it from the canonical JSON that the log carries.

use crate::expression::Expression;
use crate::id::{GroupId, SiteId};
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Index into [`Plan::tasks`].
pub type TaskId = u32;

/// `namespace`, `name`, `version` of a flow document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FlowKey {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Semantic version.
    pub version: Arc<str>,
}

impl fmt::Display for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.version)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    #[default]
    Mesh,
    Site,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub key: FlowKey,
    pub title: Arc<str>,
    /// SHA-256 of the canonical JSON, lower-case hex.
    pub hash: Arc<str>,
    pub scope: Scope,
    /// `spalla/sites`: with [`Scope::Site`], the buildings that it lives in; empty: in all.
    pub sites: Vec<Arc<str>>,
    pub life_safety: bool,
    /// `spalla/singleton`: evaluated with the flow's input; while an instance with an equal key runs, no second one starts.
    pub singleton: Option<Expression>,
    /// `spalla/business-key`: what people know the instance by (a visit id, a plate).
    pub business_key: Option<Expression>,
    /// How long an event that no task waits for yet is kept (`spalla/event-ttl`), milliseconds.
    pub event_ttl_ms: u64,
    pub input: InputSpec,
    pub output: OutputSpec,
    pub timeout: Option<DurationSpec>,
    pub schedule: Option<Schedule>,
    /// Names under `use.secrets`.
    pub secrets: Vec<Arc<str>>,
    /// All tasks of the document, in reading order. Extension tasks too.
    pub tasks: Vec<Task>,
    /// The top-level `do`.
    pub root: Vec<TaskId>,
    pub extensions: Vec<Extension>,
    /// No operator is there: an error that nobody catches ends the flow instead of standing as an incident. Only in a rehearsal.
    pub unattended: bool,
}

impl Plan {
    /// Whether `group` runs it: the mesh's group flows of the mesh, a building's group those that live in that building.
    pub fn lives_in(&self, group: &GroupId) -> bool {
        match group.site() {
            None => self.scope == Scope::Mesh || self.unattended || *group == GroupId::rehearsal(),
            Some(site) => self.scope == Scope::Site && self.is_for(&site),
        }
    }

    /// Whether a flow of buildings is one of `site`'s.
    pub fn is_for(&self, site: &SiteId) -> bool {
        self.sites.is_empty() || self.sites.iter().any(|named| **named == *site.as_str())
    }

    pub fn task(&self, id: TaskId) -> &Task {
        &self.tasks[id as usize]
    }

    /// For a run without a mesh: every catalog function is one that the outside answers ([`Call::Outside`]), and nobody mends an error.
    pub fn rehearse(&mut self) {
        self.unattended = true;
        for task in &mut self.tasks {
            if let TaskKind::Call(call) = &mut task.kind
                && let Call::Function { function, with } = call
            {
                *call = Call::Outside { function: function.clone(), with: with.clone() };
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct Task {
    pub id: TaskId,
    /// JSON pointer, e.g. `/do/1/admit/try/0/checkPerson`.
    pub reference: Arc<str>,
    pub name: Arc<str>,
    /// The task as written (canonical JSON): `$task.definition`.
    pub definition: Value,
    pub condition: Option<Expression>,
    pub input: InputSpec,
    pub output: OutputSpec,
    pub export: Option<ExportSpec>,
    pub timeout: Option<DurationSpec>,
    pub then: Then,
    /// The function of the document that it calls; its kind is that of the function then.
    pub function: Option<Box<Function>>,
    pub kind: TaskKind,
}

/// A task under `use.functions` as it is called: the caller's `with` is its input.
#[derive(Clone, Debug)]
pub struct Function {
    pub name: Arc<str>,
    /// As it stands under `use.functions`.
    pub definition: Value,
    /// The caller's `with`; without one the function gets the calling task's input.
    pub arguments: Option<Template>,
    pub input: InputSpec,
    pub output: OutputSpec,
    pub export: Option<ExportSpec>,
}

#[derive(Clone, Debug, Default)]
pub struct InputSpec {
    pub schema: Option<crate::flow::plan::Schema>,
    pub from: Option<Template>,
}

#[derive(Clone, Debug, Default)]
pub struct OutputSpec {
    pub as_: Option<Template>,
    pub schema: Option<crate::flow::plan::Schema>,
}

#[derive(Clone, Debug)]
pub struct ExportSpec {
    pub as_: Template,
    pub schema: Option<crate::flow::plan::Schema>,
}

/// A JSON Schema document, checked at deploy (see `schema`).
pub type Schema = Arc<Value>;

/// Where control goes behind a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Then {
    #[default]
    Continue,
    /// Leave the enclosing `do`.
    Exit,
    /// End the flow.
    End,
    /// A sibling in the same `do`.
    Task(TaskId),
}

/// JSON in which strings of the form `${ … }` are expressions.
#[derive(Clone, Debug)]
pub enum Template {
    Literal(Value),
    Expression(Expression),
    Array(Vec<Template>),
    Object(Vec<(Arc<str>, Template)>),
}

#[derive(Clone, Debug)]
pub enum DurationSpec {
    Millis(u64),
    /// Gives an ISO 8601 duration string.
    Expression(Expression),
}

#[derive(Clone, Debug)]
pub enum TaskKind {
    Call(Call),
    Do(Vec<TaskId>),
    Emit(Template),
    For(For),
    /// Each branch is one task. Output: array of the branches' outputs in order; with `compete` the winner's output.
    Fork {
        branches: Vec<TaskId>,
        compete: bool,
    },
    Listen(Listen),
    Raise(ErrorSpec),
    Run(RunWorkflow),
    Set(Template),
    Switch(Vec<Case>),
    Try(Try),
    Wait(DurationSpec),
}

#[derive(Clone, Debug)]
pub enum Call {
    /// A function of the default catalog, e.g. `device.command`.
    Function {
        function: crate::flow::plan::FunctionName,
        with: Template,
    },
    /// A function that whoever plays the outside answers: a rehearsal without devices and people. Never compiled from a document.
    Outside {
        function: FunctionName,
        with: Template,
    },
    Http(HttpCall),
}

/// Canonical name in the default catalog, without version: `device.command`. Known to be in the catalog.
pub type FunctionName = Arc<str>;

#[derive(Clone, Debug)]
pub struct HttpCall {
    /// Lower case: get, post, put, patch, delete, head, options.
    pub method: Arc<str>,
    /// URI template (`{plate}` takes from the task's input) or an expression.
    pub endpoint: Template,
    pub headers: Template,
    pub query: Template,
    pub body: Option<Template>,
    pub authentication: Option<Authentication>,
    pub output: HttpOutput,
    /// Follow redirects (and take 3xx as success).
    pub redirect: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpOutput {
    Raw,
    #[default]
    Content,
    Response,
}

/// Secrets stay names here; they are looked up where the request is sent.
#[derive(Clone, Debug)]
pub enum Authentication {
    BearerSecret(Arc<str>),
    BearerToken(Template),
    BasicSecret(Arc<str>),
    Basic { username: Template, password: Template },
}

#[derive(Clone, Debug)]
pub struct For {
    /// Variable name without `$`; default `item`.
    pub each: Arc<str>,
    /// Variable name without `$`; default `index`.
    pub at: Arc<str>,
    pub in_: Expression,
    pub while_: Option<Expression>,
    pub body: Vec<TaskId>,
}

#[derive(Clone, Debug)]
pub struct Listen {
    pub to: Consume,
    /// What the output array holds per event.
    pub read: ListenRead,
    pub foreach: Option<ForEach>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenRead {
    #[default]
    Data,
    Envelope,
    Raw,
}

#[derive(Clone, Debug)]
pub struct ForEach {
    pub item: Arc<str>,
    pub at: Arc<str>,
    pub body: Vec<TaskId>,
    pub output: OutputSpec,
    pub export: Option<ExportSpec>,
}

#[derive(Clone, Debug)]
pub enum Consume {
    One(EventFilter),
    All(Vec<EventFilter>),
    /// Without `until` the first match ends it (an empty list takes any event).
    Any {
        filters: Vec<EventFilter>,
        until: Option<Until>,
    },
}

#[derive(Clone, Debug)]
pub enum Until {
    Condition(Expression),
    Event(Box<Consume>),
}

#[derive(Clone, Debug)]
pub struct EventFilter {
    /// The static part: what ingress may evaluate without an instance. Expressions here see the event attribute as input.
    pub with: Vec<(Arc<str>, AttributeMatch)>,
    /// (key, from, expect): `from` sees the event; `expect` sees the waiting task's input and `$context`.
    /// Without `expect` the first event fixes the value.
    pub correlate: Vec<Correlation>,
}

#[derive(Clone, Debug)]
pub struct Correlation {
    pub key: Arc<str>,
    pub from: Expression,
    pub expect: Option<Expression>,
}

#[derive(Clone, Debug)]
pub enum AttributeMatch {
    Equal(Value),
    /// True when the expression, fed with the attribute's value, gives a truthy value. It may not use variables of an instance when `uses_instance` is false.
    Expression {
        expression: Expression,
        uses_instance: bool,
    },
}

#[derive(Clone, Debug)]
pub struct ErrorSpec {
    pub kind: Template,
    pub status: Template,
    pub title: Option<Template>,
    pub detail: Option<Template>,
    pub instance: Option<Template>,
}

#[derive(Clone, Debug)]
pub struct RunWorkflow {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// `latest` or a semantic version.
    pub version: Arc<str>,
    pub input: Option<Template>,
    pub await_: bool,
}

#[derive(Clone, Debug)]
pub struct Case {
    pub name: Arc<str>,
    /// `None`: the default case.
    pub when: Option<Expression>,
    pub then: Then,
}

#[derive(Clone, Debug)]
pub struct Try {
    pub body: Vec<TaskId>,
    pub catch: Catch,
}

#[derive(Clone, Debug)]
pub struct Catch {
    /// Attribute equality on the error (`type`, `status`, `title`, `detail`, `instance`); empty takes all.
    pub errors: Vec<(Arc<str>, Value)>,
    /// Variable name without `$`; default `error`.
    pub as_: Arc<str>,
    pub when: Option<Expression>,
    pub except_when: Option<Expression>,
    pub retry: Option<Retry>,
    pub body: Vec<TaskId>,
}

#[derive(Clone, Debug)]
pub struct Retry {
    pub when: Option<Expression>,
    pub except_when: Option<Expression>,
    pub delay: DurationSpec,
    pub backoff: Backoff,
    /// (from, to) milliseconds, drawn from a hash of the log position.
    pub jitter_ms: Option<(u64, u64)>,
    pub attempt_count_max: Option<u32>,
    /// Bound on one attempt.
    pub attempt_duration: Option<DurationSpec>,
    /// Bound on all attempts together.
    pub duration_max: Option<DurationSpec>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backoff {
    #[default]
    Constant,
    Linear {
        increment_ms: u64,
    },
    Exponential,
}

#[derive(Clone, Debug)]
pub enum Schedule {
    On(Consume),
    /// Cron expression, UTC.
    Cron(Arc<str>),
    Every {
        millis: u64,
    },
    /// This long behind the end of the one before.
    After {
        millis: u64,
    },
}

#[derive(Clone, Debug)]
pub struct Extension {
    pub name: Arc<str>,
    /// Task kind (`call`, `set`, …) or `all`.
    pub extend: Arc<str>,
    pub when: Option<Expression>,
    pub before: Vec<TaskId>,
    pub after: Vec<TaskId>,
}
