//! What the deployed flows listen to, by event type: the static part of their filters, which needs no instance.

use super::interpreter::{Budgets, static_value};
use super::lifecycle;
use super::state::State;
use crate::event::Event;
use crate::flow::plan::{AttributeMatch, Consume, EventFilter, Plan, Schedule, TaskKind, Until};
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub struct Interests {
    by_type: BTreeMap<Arc<str>, Vec<Interest>>,
    any_type: Vec<Interest>,
}

#[derive(Clone, Debug)]
struct Interest {
    filter: EventFilter,
    /// Of a `listen`, not of a schedule: how long an early event is kept, milliseconds.
    keep_ms: Option<u64>,
}

impl Interests {
    /// Gathers the filters of all `plans`; `scheduled` says whose schedules are on.
    pub fn of<'a>(plans: impl IntoIterator<Item = (&'a Plan, bool)>) -> Self {
        let mut interests = Self::default();
        for (plan, scheduled) in plans {
            if let Some(Schedule::On(consume)) = &plan.schedule
                && scheduled
            {
                interests.add(consume, None);
            }
            for task in &plan.tasks {
                if let TaskKind::Listen(listen) = &task.kind {
                    interests.add(&listen.to, Some(plan.event_ttl_ms));
                }
            }
        }
        interests
    }

    fn add(&mut self, consume: &Consume, keep_ms: Option<u64>) {
        let filters = filters_of(consume);
        if filters.is_empty() {
            self.any_type.push(Interest { filter: EventFilter { with: Vec::new(), correlate: Vec::new() }, keep_ms });
        }
        for filter in filters {
            let interest = Interest { filter: filter.clone(), keep_ms };
            match type_of(filter) {
                Some(kind) => self.by_type.entry(kind).or_default().push(interest),
                None => self.any_type.push(interest),
            }
        }
        if let Consume::Any { until: Some(Until::Event(until)), .. } = consume {
            self.add(until, keep_ms);
        }
    }

    /// Whether some filter might take events of this type.
    pub(super) fn hears_type(&self, kind: &str) -> bool {
        self.by_type.contains_key(kind) || self.any_type.iter().any(|interest| !lifecycle::is(kind) || names_type(&interest.filter))
    }

    /// How long a `listen` would keep the event: `None` where no filter takes it, 0 where only schedules do.
    pub(super) fn keep_ms(&self, budgets: &mut Budgets, event: &Event) -> Option<u64> {
        let candidates = self.by_type.get(&event.kind).into_iter().flatten().chain(&self.any_type);
        let mut attributes = None;
        let mut keep_ms: Option<u64> = None;
        for interest in candidates {
            let longer = interest.keep_ms.unwrap_or(0);
            if keep_ms.is_some_and(|known| longer <= known) {
                continue;
            }
            let attributes = attributes.get_or_insert_with(|| event.to_value());
            if matches_static(budgets, &interest.filter, attributes) {
                keep_ms = Some(longer);
            }
        }
        keep_ms
    }
}

/// Whether a deployed flow's static filter takes the event, or doors and alarms do: what ingress asks before it proposes an event.
pub fn wants(state: &State, event: &Event) -> bool {
    super::door::hears(state, event) || flows_want(state, event)
}

/// Whether a deployed flow's static filter takes the event.
pub fn flows_want(state: &State, event: &Event) -> bool {
    state.interests.keep_ms(&mut Budgets::for_entry(state.semantics), event).is_some()
}

/// The filters of a strategy, without those of its `until`.
pub(super) fn filters_of(consume: &Consume) -> &[EventFilter] {
    match consume {
        Consume::One(filter) => std::slice::from_ref(filter),
        Consume::All(filters) | Consume::Any { filters, .. } => filters,
    }
}

/// The literal `type` of a filter.
pub(super) fn type_of(filter: &EventFilter) -> Option<Arc<str>> {
    filter.with.iter().find_map(|(name, expected)| match expected {
        AttributeMatch::Equal(Value::String(kind)) if &**name == "type" => Some(kind.clone()),
        _ => None,
    })
}

fn names_type(filter: &EventFilter) -> bool {
    filter.with.iter().any(|(name, _)| &**name == "type")
}

/// Whether who listens to whatever comes hears the event: not what flows and tasks do, itself among them. Who wants that says its type.
pub(super) fn is_for_all(attributes: &Value) -> bool {
    !attributes.get("type").and_then(Value::as_str).is_some_and(lifecycle::is)
}

/// The part of a filter that needs no instance. `attributes`: the event as expressions see it.
pub(super) fn matches_static(budgets: &mut Budgets, filter: &EventFilter, attributes: &Value) -> bool {
    if !names_type(filter) && !is_for_all(attributes) {
        return false;
    }
    filter.with.iter().all(|(name, expected)| {
        let actual = attributes.get(name).unwrap_or(&Value::Null);
        match expected {
            AttributeMatch::Equal(expected) => actual == expected,
            AttributeMatch::Expression { uses_instance: true, .. } => true,
            AttributeMatch::Expression { expression, .. } => {
                static_value(budgets, expression, actual, &[]).is_ok_and(|given| holds(&given, actual))
            }
        }
    })
}

/// An attribute expression either decides (a boolean) or says what the attribute must be.
pub(super) fn holds(given: &Value, actual: &Value) -> bool {
    match given {
        Value::Bool(decision) => *decision,
        other => !other.is_null() && other == actual,
    }
}
