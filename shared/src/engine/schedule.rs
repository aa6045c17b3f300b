//! Flows that start by themselves: on events, by cron, every so often, or so long behind the end of the one before.

use super::context::Context;
use super::instance::Instance;
use super::interest::{Interests, filters_of, is_for_all, matches_static};
use super::interpreter::{Begin, Budgets, Interpreter, static_value};
use super::state::{State, Timer, TimerWhat};
use crate::event::Event;
use crate::flow::plan::{Consume, EventFilter, FlowKey, Plan, Schedule};
use crate::id::{Actor, InstanceId};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Half-complete sets of events per flow with `schedule.on.all`; past it the oldest goes.
pub const GATHERINGS_MAX: usize = 100;

/// Events that a `schedule.on.all` has so far, one per filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gathering {
    pub events: Vec<Option<Value>>,
    /// Correlation keys that the events so far fixed.
    pub keys: BTreeMap<Arc<str>, Value>,
}

/// Plans, interests and schedule timers, as the deployed flows are now. Called behind every deploy.
pub(super) fn refresh(context: &mut Context) {
    refresh_interests(context.state);
    let standing: BTreeSet<FlowKey> = context.state.timers.iter().filter_map(scheduled_flow).collect();
    let wanted: BTreeMap<FlowKey, Arc<Plan>> = current_plans(context.state).map(|(key, plan)| (key.clone(), plan.clone())).collect();
    context.state.timers.retain(|timer| scheduled_flow(timer).is_none_or(|flow| wanted.contains_key(&flow)));
    context.state.gatherings.retain(|flow, _| wanted.contains_key(flow));
    for (flow, plan) in wanted {
        if !standing.contains(&flow) && !ends_first(context.state, &flow, &plan) {
            arm(context, &flow, plan.schedule.as_ref(), None);
        }
    }
}

/// With `after`, the next start waits for the end of the instance that runs; a deploy meanwhile must not bring it forward.
fn ends_first(state: &State, flow: &FlowKey, plan: &Plan) -> bool {
    matches!(plan.schedule, Some(Schedule::After { .. }))
        && state.instances.values().any(|instance| instance.flow == *flow && instance.started_by == Actor::system())
}

pub(super) fn refresh_interests(state: &mut State) {
    state.current = super::rollout::current(state);
    let here = state.plans.iter().filter(|(_, plan)| plan.lives_in(&state.group));
    state.interests = Arc::new(Interests::of(here.map(|(key, plan)| (&**plan, state.current.contains(key)))));
    state.abroad = Arc::new(super::crossing::abroad(state));
}

fn scheduled_flow(timer: &Timer) -> Option<FlowKey> {
    match &timer.what {
        TimerWhat::Schedule { flow } => Some((**flow).clone()),
        _ => None,
    }
}

fn current_plans(state: &State) -> impl Iterator<Item = (&FlowKey, &Arc<Plan>)> {
    state.plans.iter().filter(|(key, plan)| state.current.contains(*key) && plan.lives_in(&state.group))
}

/// Sets the flow's next timer. `due`: when the one before was due.
fn arm(context: &mut Context, flow: &FlowKey, schedule: Option<&Schedule>, due: Option<Timestamp>) {
    let now = context.now;
    let next = match schedule {
        // In step with the first one; where time was lost, missed ones are not made up for.
        Some(Schedule::Every { millis }) => {
            due.map(|due| due.plus((*millis).max(1))).filter(|next| *next > now).or(Some(now.plus((*millis).max(1))))
        }
        Some(Schedule::Cron(text)) => next_of_cron(text, now),
        Some(Schedule::After { millis }) => Some(now.plus(*millis)),
        Some(Schedule::On(_)) | None => None,
    };
    if let Some(due) = next {
        context.state.timers.insert(Timer { due, what: TimerWhat::Schedule { flow: Box::new(flow.clone()) } });
    }
}

/// The next instant of a cron expression, in UTC. `None` when it is none, or never comes.
pub fn next_of_cron(text: &str, now: Timestamp) -> Option<Timestamp> {
    let cron: croner::Cron = text.parse().ok()?;
    let now = jiff::Timestamp::from_millisecond(now.millis()).ok()?.to_zoned(jiff::tz::TimeZone::UTC);
    let next = cron.find_next_occurrence(&now, false).ok()?;
    Some(Timestamp(next.timestamp().as_millisecond()))
}

/// A schedule's timer came due.
pub(super) fn due(interpreter: &mut Interpreter, flow: FlowKey, due: Timestamp) {
    let state = &interpreter.context.state;
    let current = state.current.contains(&flow);
    let plan = state.plans.get(&flow).filter(|plan| current && plan.lives_in(&state.group)).cloned();
    let Some(plan) = plan else { return };
    if !matches!(plan.schedule, Some(Schedule::After { .. })) {
        arm(interpreter.context, &flow, plan.schedule.as_ref(), Some(due));
    }
    if start(interpreter, &flow, Value::empty_object()).is_none() && matches!(plan.schedule, Some(Schedule::After { .. })) {
        // Nothing will end that could set the next one.
        arm(interpreter.context, &flow, plan.schedule.as_ref(), None);
    }
}

/// An instance is gone: `after` counts from here.
pub(super) fn instance_ended(context: &mut Context, instance: &Instance) {
    let current = context.state.current.contains(&instance.flow);
    if let Some(plan) = context.state.plans.get(&instance.flow).cloned().filter(|_| current)
        && matches!(plan.schedule, Some(Schedule::After { .. }))
        && instance.started_by == Actor::system()
    {
        arm(context, &instance.flow, plan.schedule.as_ref(), None);
    }
}

/// Starts a flow by its schedule; any other refusal than a running singleton is counted and audited, for nobody hears it.
fn start(interpreter: &mut Interpreter, flow: &FlowKey, input: Value) -> Option<InstanceId> {
    let begin = Begin { flow: flow.clone(), input, by: Actor::system(), parent: None, depth: 0, events_from: None, late: false };
    match interpreter.begin(begin) {
        Ok(id) => Some(id),
        // A singleton that runs already is what the flow asks for, not a failure.
        Err(rejection) if &*rejection.code == "conflict" => None,
        Err(rejection) => {
            let context = &mut *interpreter.context;
            context.state.counters.rejected += 1;
            let data = Value::object([("code", Value::String(rejection.code)), ("message", Value::String(rejection.message))]);
            context.audit(Actor::system(), "instance.refused", flow.to_string(), data);
            None
        }
    }
}

impl Interpreter<'_, '_> {
    /// Starts the flows whose `schedule.on` the event completes.
    pub fn start_scheduled(&mut self, event: &Event) -> Vec<InstanceId> {
        let plans: Vec<(FlowKey, Arc<Plan>)> = current_plans(self.context.state)
            .filter(|(_, plan)| matches!(plan.schedule, Some(Schedule::On(_))))
            .map(|(key, plan)| (key.clone(), plan.clone()))
            .collect();
        let attributes = event.to_value();
        let mut started = Vec::new();
        for (flow, plan) in plans {
            let Some(Schedule::On(consume)) = &plan.schedule else { continue };
            let Some(events) = self.gather(&flow, consume, &attributes) else { continue };
            self.starts_total += 1;
            started.extend(start(self, &flow, Value::array(events)));
        }
        started
    }

    /// The events to start with, once the strategy has them all.
    fn gather(&mut self, flow: &FlowKey, consume: &Consume, attributes: &Value) -> Option<Vec<Value>> {
        let filters = filters_of(consume);
        let matching: Vec<usize> = (0..filters.len())
            .filter(|index| filters.get(*index).is_some_and(|filter| matches_static(&mut self.budgets, filter, attributes)))
            .collect();
        if !matches!(consume, Consume::All(_)) {
            return (!matching.is_empty() || (filters.is_empty() && is_for_all(attributes))).then(|| vec![attributes.clone()]);
        }
        let mut sets = self.context.state.gatherings.remove(flow).unwrap_or_default();
        let mut complete = None;
        for index in matching {
            let Some(filter) = filters.get(index) else { continue };
            let fits = |set: &Gathering| set.events.get(index).is_some_and(Option::is_none);
            let found = sets.iter().enumerate().find_map(|(place, set)| {
                if !fits(set) {
                    return None;
                }
                correlate(&mut self.budgets, filter, &set.keys, attributes).map(|keys| (place, keys))
            });
            let (place, keys) = match found {
                Some(found) => found,
                None => {
                    let Some(keys) = correlate(&mut self.budgets, filter, &BTreeMap::new(), attributes) else { continue };
                    if sets.len() >= GATHERINGS_MAX {
                        sets.remove(0);
                    }
                    sets.push(Gathering { events: vec![None; filters.len()], keys: BTreeMap::new() });
                    (sets.len() - 1, keys)
                }
            };
            if let Some(set) = sets.get_mut(place) {
                set.keys = keys;
                if let Some(slot) = set.events.get_mut(index) {
                    *slot = Some(attributes.clone());
                }
                if set.events.iter().all(Option::is_some) {
                    complete = Some(sets.remove(place).events.into_iter().flatten().collect());
                }
            }
            // One event fills one place.
            break;
        }
        if !sets.is_empty() {
            self.context.state.gatherings.insert(flow.clone(), sets);
        }
        complete
    }
}

fn correlate(
    budgets: &mut Budgets,
    filter: &EventFilter,
    keys: &BTreeMap<Arc<str>, Value>,
    attributes: &Value,
) -> Option<BTreeMap<Arc<str>, Value>> {
    let mut fixed = keys.clone();
    for correlation in &filter.correlate {
        let actual = static_value(budgets, &correlation.from, attributes, &[]).ok().filter(|actual| !actual.is_null())?;
        let expected = match &correlation.expect {
            Some(expect) => static_value(budgets, expect, attributes, &[]).ok(),
            None => fixed.get(&correlation.key).cloned(),
        };
        if expected.is_some_and(|expected| expected != actual) {
            return None;
        }
        fixed.insert(correlation.key.clone(), actual);
    }
    Some(fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cron_is_utc_and_strictly_later() {
        let at = |text: &str| Timestamp::parse_rfc3339(text).unwrap();
        assert_eq!(next_of_cron("0 7 * * 1", at("2026-11-23T07:00:00Z")), Some(at("2026-11-30T07:00:00Z")));
        assert_eq!(next_of_cron("*/5 * * * *", at("2026-11-23T09:04:59.999Z")), Some(at("2026-11-23T09:05:00Z")));
        assert_eq!(next_of_cron("nonsense", at("2026-11-23T07:00:00Z")), None);
    }
}
