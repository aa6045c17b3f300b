//! What one group owes another: events that its flows emitted or that it took in another's place, flows that it wants run, answers.
//! Numbered by the group that owes, kept until the other has it, taken once and in order.
//!
//! ```text
//! emit, run.workflow, Alone -> owe -> state.crossings.owed -> (carried by a gateway) -> Deliver, in the other group's log
//!                                            ^----------------- Taken, once that is committed ----'
//! ```
//! Nothing that crosses decides at a door; what crosses late starts no flow by its schedule, and what it starts opens nothing.

use super::command::{Accepted, CrossingCommand, FlowSelector, Rejection, Reply};
use super::context::Context;
use super::door::Doors;
use super::effect::Owner;
use super::interest::Interests;
use super::interpreter::{Begin, Budgets, Interpreter};
use super::problem::Problem;
use super::semantics::APART_IS_LATE;
use super::state::State;
use super::{rollout, task};
use crate::event::Event;
use crate::flow::plan::Scope;
use crate::id::{Actor, GroupId, SiteId};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Items owed to one group, and their size in bytes: weeks of a quiet building without a link. Past either the oldest events go,
/// counted as lapsed; flows to run are refused, answers are never dropped.
pub const OWED_LEN_MAX: usize = 10_000;
pub const OWED_SIZE_MAX: usize = 16 << 20;
/// Items of one delivery: it is one log entry.
pub const DELIVERY_LEN_MAX: usize = 32;
/// Between the numbers of two lives of a mesh: more than are ever owed in one.
const NEW_LIFE_APART: u64 = 1 << 32;
/// What is older than this when it is taken is late, as it is for events of devices.
pub const FRESH_MS: u64 = 10_000;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Crossings {
    pub owed: BTreeMap<GroupId, Owed>,
    /// The newest that was taken from each group.
    pub taken: BTreeMap<GroupId, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Owed {
    /// The first item is 1.
    pub newest_seq: u64,
    /// The other group has everything up to here.
    pub taken_seq: u64,
    pub items: VecDeque<CrossingItem>,
    /// Of all items together.
    pub size: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrossingItem {
    pub seq: u64,
    pub at: Timestamp,
    pub what: Crossed,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Crossed {
    /// A flow emitted it, or a door decision.
    Emitted { event: Event },
    /// A device said it while the mesh could not be told. Doors are decided already.
    Heard { event: Event, historical: bool },
    /// A flow of the other group, run for one of this group; `parent` awaits it.
    Start { flow: FlowSelector, input: Value, by: Actor, parent: Option<Owner>, depth: u32 },
    /// What became of an awaited flow.
    Answer { owner: Owner, result: Result<Value, Problem> },
}

/// A flow that lives elsewhere, and what it listens to.
#[derive(Clone, Debug)]
pub struct Abroad {
    sites: Vec<Arc<str>>,
    interests: Interests,
}

impl Crossings {
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty() && self.taken.is_empty()
    }
}

impl Owed {
    pub(super) fn drop_first(&mut self) {
        if let Some(gone) = self.items.pop_front() {
            self.size = self.size.saturating_sub(gone.what.size());
        }
    }
}

impl Crossed {
    /// About what it takes in an entry, bytes.
    fn size(&self) -> usize {
        128 + match self {
            Self::Emitted { event } | Self::Heard { event, .. } => event.data.size() + event.source.len() + event.kind.len(),
            Self::Start { input, .. } => input.size(),
            Self::Answer { result: Ok(value), .. } => value.size(),
            Self::Answer { result: Err(_), .. } => 512,
        }
    }

    fn may_lapse(&self) -> bool {
        matches!(self, Self::Emitted { .. } | Self::Heard { .. })
    }
}

/// Keeps `what` for `to`. False where there is no room for it.
pub(super) fn owe(context: &mut Context, to: &GroupId, what: Crossed) -> bool {
    let (now, size) = (context.now, what.size());
    let owed = context.state.crossings.owed.entry(to.clone()).or_default();
    let mut lapsed = 0;
    while owed.items.len() >= OWED_LEN_MAX || owed.size + size > OWED_SIZE_MAX {
        let Some(place) = owed.items.iter().position(|item| item.what.may_lapse()) else { break };
        if let Some(gone) = owed.items.remove(place) {
            owed.size = owed.size.saturating_sub(gone.what.size());
            lapsed += 1;
        }
    }
    let full = owed.items.len() >= OWED_LEN_MAX || owed.size + size > OWED_SIZE_MAX;
    let kept = !full || matches!(what, Crossed::Answer { .. });
    if kept {
        owed.newest_seq += 1;
        owed.size += size;
        owed.items.push_back(CrossingItem { seq: owed.newest_seq, at: now, what });
    }
    context.state.counters.lapsed_events += lapsed;
    kept
}

/// The mesh begins again from what one gateway had, which may be older than what buildings have taken: no number comes twice.
pub(super) fn begin_again(state: &mut State, buildings_anew: bool) {
    state.passback.split.clear();
    if buildings_anew {
        state.crossings = Crossings::default();
    }
    for owed in state.crossings.owed.values_mut() {
        owed.newest_seq += NEW_LIFE_APART;
    }
}

/// Flows of other groups, as the deployed flows are now.
pub(super) fn abroad(state: &State) -> Vec<Abroad> {
    let others =
        state.plans.iter().filter(|(_, plan)| plan.scope == Scope::Site && !plan.lives_in(&state.group) && state.group.site().is_none());
    others
        .map(|(key, plan)| Abroad { sites: plan.sites.clone(), interests: Interests::of([(&**plan, state.current.contains(key))]) })
        .collect()
}

/// An event that came about in this group. A building's group owes all of them to the mesh's: whoever carries them leaves out what
/// nobody there listens to. The mesh's owes a building's what a flow there listens to. `from`: the group that has it already.
pub(super) fn emitted(context: &mut Context, event: &Event, from: Option<&GroupId>) {
    if context.state.group.site().is_some() {
        owe(context, &GroupId::mesh(), Crossed::Emitted { event: event.clone() });
        return;
    }
    let abroad = context.state.abroad.clone();
    if abroad.is_empty() {
        return;
    }
    let mut budgets = Budgets::for_entry(context.state.semantics);
    let mut to = BTreeSet::new();
    for flow in abroad.iter().filter(|flow| flow.interests.keep_ms(&mut budgets, event).is_some()) {
        let sites = sites(context.state).into_iter();
        to.extend(sites.filter(|site| flow.sites.is_empty() || flow.sites.iter().any(|named| **named == *site.as_str())));
    }
    for group in to.iter().map(GroupId::of_site).filter(|group| Some(group) != from) {
        owe(context, &group, Crossed::Emitted { event: event.clone() });
    }
}

/// Whether an event that another group's flow emitted concerns anybody in this one, or beyond it.
pub fn concerns(state: &State, event: &Event) -> bool {
    let mut budgets = Budgets::for_entry(state.semantics);
    super::interest::flows_want(state, event) || state.abroad.iter().any(|flow| flow.interests.keep_ms(&mut budgets, event).is_some())
}

/// Buildings with a gateway that was up once.
fn sites(state: &State) -> BTreeSet<SiteId> {
    state.nodes.values().map(|node| node.site.clone()).collect()
}

/// The group that runs a flow, where that is another than this one. A flow that lives in several buildings runs in the one that its
/// input names in `site`.
pub(super) fn home_of(
    state: &State,
    namespace: &str,
    name: &str,
    version: Option<&str>,
    input: &Value,
) -> Result<Option<GroupId>, Problem> {
    let named = state.plans.iter().filter(|(key, _)| *key.namespace == *namespace && *key.name == *name);
    let mut found = named.filter(|(key, _)| version.is_none_or(|version| *key.version == *version));
    let plan = found.clone().find(|(key, _)| state.current.contains(*key)).or_else(|| found.next()).map(|(_, plan)| plan);
    match plan {
        None if state.group.site().is_some() => Ok(Some(GroupId::mesh())),
        None => Ok(None),
        Some(plan) if plan.lives_in(&state.group) => Ok(None),
        Some(plan) => {
            let told = input.get("site").and_then(Value::as_str).map(SiteId::new);
            let only = match plan.sites.as_slice() {
                [only] => Some(SiteId::new(only)),
                _ => None,
            };
            let site = told.or(only).filter(|site| plan.is_for(site) && sites(state).contains(site));
            let detail = format!("`{namespace}/{name}` runs in a building: name one that it lives in as `site` in its input");
            site.map(|site| Some(GroupId::of_site(&site))).ok_or_else(|| Problem::standard("configuration", 400, detail))
        }
    }
}

/// Wakes the task of another group that awaits a flow here.
pub(super) fn answer(context: &mut Context, owner: Owner, result: Result<Value, Problem>) {
    let Owner::Elsewhere { group, instance, token, generation } = owner else { return };
    owe(context, &group, Crossed::Answer { owner: Owner::Token { instance, token, generation }, result });
}

pub(super) fn act(interpreter: &mut Interpreter, command: &CrossingCommand) -> Reply {
    match command {
        CrossingCommand::Deliver { from, items, upto_seq } => deliver(interpreter, from, items, *upto_seq),
        CrossingCommand::Taken { by, upto_seq } => {
            let Some(owed) = interpreter.context.state.crossings.owed.get_mut(by) else { return Ok(Accepted::Duplicate) };
            if *upto_seq > owed.newest_seq {
                return Err(Rejection::new("invalid", format!("group `{by}` took {upto_seq}, but the newest item is {}", owed.newest_seq)));
            }
            if *upto_seq <= owed.taken_seq {
                return Ok(Accepted::Duplicate);
            }
            owed.taken_seq = *upto_seq;
            while owed.items.front().is_some_and(|item| item.seq <= *upto_seq) {
                owed.drop_first();
            }
            Ok(Accepted::Nothing)
        }
    }
}

fn deliver(interpreter: &mut Interpreter, from: &GroupId, items: &[CrossingItem], upto_seq: u64) -> Reply {
    if items.len() > DELIVERY_LEN_MAX {
        return Err(Rejection::new("limit", format!("more than {DELIVERY_LEN_MAX} items in one delivery")));
    }
    let taken = interpreter.context.state.crossings.taken.get(from).copied().unwrap_or(0);
    if upto_seq <= taken {
        return Ok(Accepted::Duplicate);
    }
    let mut newest = taken;
    for item in items.iter().filter(|item| item.seq <= upto_seq) {
        if item.seq > newest {
            newest = item.seq;
            take(interpreter, from, item);
            interpreter.settle();
        }
    }
    interpreter.context.state.crossings.taken.insert(from.clone(), upto_seq);
    Ok(Accepted::Nothing)
}

/// Two logs do not count time alike: where the other's is ahead, what looks new may be as old as that.
fn is_late(context: &Context, item: &CrossingItem) -> bool {
    let ahead = item.at.since(context.now) > FRESH_MS && context.state.semantics >= APART_IS_LATE;
    ahead || context.now.since(item.at) > FRESH_MS
}

fn take(interpreter: &mut Interpreter, from: &GroupId, item: &CrossingItem) {
    let late = is_late(interpreter.context, item);
    match &item.what {
        Crossed::Emitted { event } => {
            // What is refused is refused for ever: it is too large, or was here before.
            if !matches!(interpreter.event(&told(event, late), late, Doors::Elsewhere), Ok(Accepted::Duplicate) | Err(_)) {
                emitted_further(interpreter, event, from);
            }
        }
        Crossed::Heard { event, historical } => {
            drop(interpreter.event(&told(event, late), late || *historical, Doors::Late));
        }
        Crossed::Start { flow, input, by, parent, depth } => start(interpreter, from, item, (flow, input, by, parent.as_ref(), *depth)),
        Crossed::Answer { owner, result } => interpreter.context.wake(owner.clone(), result.clone()),
    }
}

/// Flows see that it is late.
fn told(event: &Event, late: bool) -> Event {
    let mut event = event.clone();
    if late {
        event.extensions.insert("historical".into(), Value::Bool(true));
    }
    event
}

/// From one building over the mesh to the others.
fn emitted_further(interpreter: &mut Interpreter, event: &Event, from: &GroupId) {
    if interpreter.context.state.group.site().is_none() {
        emitted(interpreter.context, event, Some(from));
    }
}

type Wanted<'a> = (&'a FlowSelector, &'a Value, &'a Actor, Option<&'a Owner>, u32);

fn start(interpreter: &mut Interpreter, from: &GroupId, item: &CrossingItem, (flow, input, by, parent, depth): Wanted) {
    let late = is_late(interpreter.context, item);
    let parent = parent.and_then(|owner| match owner {
        Owner::Token { instance, token, generation } => {
            Some(Owner::Elsewhere { group: from.clone(), instance: instance.clone(), token: *token, generation: *generation })
        }
        _ => None,
    });
    let found = rollout::find(interpreter.context.state, &flow.namespace, &flow.name, flow.version.as_deref());
    let begun = found.and_then(|found| {
        let begin = Begin { flow: found, input: input.clone(), by: by.clone(), parent: parent.clone(), depth, events_from: None, late };
        interpreter.begin(begin)
    });
    let Err(rejection) = begun else { return };
    let context = &mut *interpreter.context;
    let data = Value::object([("from", Value::from(from.as_str())), ("code", Value::String(rejection.code.clone()))]);
    context.audit(Actor::new(format!("group:{from}")), "crossing.refused", format!("{}/{}", flow.namespace, flow.name), data);
    if let Some(owner) = parent {
        answer(context, owner, Err(task::refused(&flow.name, &rejection)));
    }
}

#[cfg(test)]
mod tests;
