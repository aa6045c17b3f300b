//! Events find who waits for them: listening tokens first, then schedules, then the store of early events.

use super::command::{Accepted, Rejection, Reply};
use super::dedupe;
use super::door::{Doors, PASSED};
use super::function;
use super::instance::{Frame, Listening, Work};
use super::interest::{filters_of, holds, is_for_all, matches_static};
use super::interpreter::{Budgets, Cursor, Interpreter, static_value};
use super::state::{EarlyEvent, State};
use super::whereabouts;
use crate::event::{DATA_SIZE_MAX, Event};
use crate::flow::plan::{AttributeMatch, Consume, EventFilter, FlowKey, Listen, TaskId, TaskKind, Until};
use crate::id::{Actor, InstanceId};
use crate::small_map::SmallMap;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use super::interest::wants;

/// Early events kept, and the size of their data together; past either the oldest go, counted as lapsed.
pub const EARLY_EVENTS_MAX: usize = 8_192;
pub const EARLY_SIZE_MAX: u64 = 16 << 20;

/// Static verdicts per filter (then those of `until`), shared by all tokens that listen with one task: a thousand visitors
/// who wait at one task cost one evaluation, and a comparison each.
type Verdicts = BTreeMap<(FlowKey, TaskId), Arc<[Verdict]>>;

/// What can be said of an event and a filter without an instance.
struct Verdict {
    matches: bool,
    /// Per correlation: its `from`, where no variable is needed for it; null where it has no value.
    from: Vec<Option<Value>>,
}

impl Interpreter<'_, '_> {
    /// `Command::Event`. Refused: `limit` (too large).
    pub fn event(&mut self, event: &Event, historical: bool, doors: Doors) -> Reply {
        if event.data.size() > DATA_SIZE_MAX {
            return Err(Rejection::new("limit", format!("event data of more than {DATA_SIZE_MAX} bytes")));
        }
        if !dedupe::first_time(self.context, dedupe::event_key(event)) {
            self.context.state.counters.duplicate_events += 1;
            return Ok(Accepted::Duplicate);
        }
        // Whatever a device was told is safe can be found again: before anything else that it causes.
        let action = if historical { "event.late" } else { "event.received" };
        let shown =
            [("id", &event.id), ("source", &event.source), ("type", &event.kind)].map(|(name, text)| (name, Value::String(text.clone())));
        self.context.audit(Actor::system(), action, &*event.source, Value::object(shown));
        match doors {
            Doors::Here(known) => function::access_event(self.context, event, historical, known),
            Doors::Late if *event.kind == *PASSED => whereabouts::passed(self.context, event, None),
            Doors::Late | Doors::Elsewhere => {}
        }
        self.taken.clear();
        self.deliver(event, !historical);
        self.settle();
        Ok(Accepted::Event { taken_by: u32::try_from(self.taken.len()).unwrap_or(u32::MAX) })
    }

    /// Hands the event round. `starts`: schedules take it as well; an event that comes late starts nothing.
    pub fn deliver(&mut self, event: &Event, starts: bool) {
        let Some(keep_ms) = self.context.state.interests.clone().keep_ms(&mut self.budgets, event) else { return };
        let mut taken_by = self.offer_all(event);
        if starts {
            taken_by.extend(self.start_scheduled(event));
        }
        self.taken.extend(taken_by.iter().cloned());
        if keep_ms > 0 {
            self.keep(event, keep_ms, taken_by);
        }
    }

    fn offer_all(&mut self, event: &Event) -> BTreeSet<InstanceId> {
        let attributes = event.to_value();
        let waiting = self.may_take(&event.kind, &attributes);
        let mut verdicts = Verdicts::new();
        let mut taken_by = BTreeSet::new();
        for (id, number, subscription) in waiting {
            if self.offer(&id, number, subscription, &attributes, &mut verdicts) {
                taken_by.insert(id);
            }
        }
        taken_by
    }

    /// Who may take an event of this type, in the order in which they are asked. Those who wait for another value are not looked at.
    fn may_take(&mut self, kind: &str, attributes: &Value) -> BTreeSet<(InstanceId, u32, u32)> {
        let waiting = &self.context.state.index.waiting;
        let mut found: BTreeSet<_> = waiting.open(kind).chain(waiting.open("")).cloned().collect();
        for from in waiting.deciding(kind) {
            if let Ok(value) = static_value(&mut self.budgets, &from, attributes, &[]) {
                found.extend(self.context.state.index.waiting.keyed(kind, &from, &value).cloned());
            }
        }
        found
    }

    /// Early events for a token that has just begun to listen, in log order.
    pub fn offer_early(&mut self, id: &InstanceId, number: u32, subscription: u32) {
        let (now, Some(from)) = (self.context.now, self.instance(id).map(|instance| instance.events_from)) else { return };
        let early = std::mem::take(&mut self.context.state.early_events);
        let mut kept = Vec::with_capacity(early.len());
        for mut candidate in early {
            let open = candidate.index >= from && now < candidate.lapses_at && !candidate.taken_by.contains(id);
            // Most stored events are for others: their type is looked at before anything is built.
            if open && self.listens_to(id, number, subscription, &candidate.event.kind) {
                let attributes = candidate.event.to_value();
                if self.offer(id, number, subscription, &attributes, &mut Verdicts::new()) {
                    candidate.taken_by.insert(id.clone());
                }
            }
            kept.push(candidate);
        }
        self.context.state.early_events = kept;
    }

    fn listens_to(&self, id: &InstanceId, number: u32, subscription: u32, kind: &str) -> bool {
        let entry = (id.clone(), number, subscription);
        [kind, ""].into_iter().any(|kind| self.context.state.listeners.get(kind).is_some_and(|set| set.contains(&entry)))
    }

    fn keep(&mut self, event: &Event, keep_ms: u64, taken_by: BTreeSet<InstanceId>) {
        let (now, index) = (self.context.now, self.context.index);
        let state = &mut *self.context.state;
        let size = u32::try_from(event.data.size()).unwrap_or(u32::MAX);
        let full = |state: &State| {
            let held: u64 = state.early_events.iter().map(|early| u64::from(early.size)).sum();
            state.early_events.len() >= EARLY_EVENTS_MAX || held + u64::from(size) > EARLY_SIZE_MAX
        };
        if full(state) {
            sweep_early(state, now);
        }
        while full(state) && !state.early_events.is_empty() {
            // A batch at a time: dropping from the front moves all that is behind.
            let gone = state.early_events.len().div_ceil(10);
            state.early_events.drain(..gone);
            state.counters.lapsed_events += gone as u64;
        }
        state.early_events.push(EarlyEvent { event: event.clone(), index, size, taken_by, lapses_at: now.plus(keep_ms) });
    }

    /// Offers an event to one listening frame; true when it takes it.
    fn offer(&mut self, id: &InstanceId, number: u32, subscription: u32, attributes: &Value, verdicts: &mut Verdicts) -> bool {
        // A handle of its own: the instance stays as it is while filters are evaluated.
        let Some(instance) = self.context.state.instances.get(id).cloned() else { return false };
        let Some(plan) = self.context.state.plans.get(&instance.flow).cloned() else { return false };
        let Some(token) = instance.tokens.get(&number) else { return false };
        let place = token.frames.iter().position(|frame| {
            frame.task().is_some_and(|frame| matches!(&frame.work, Work::Listen(listening) if listening.subscription == subscription))
        });
        let Some((place, frame)) = place.and_then(|place| Some((place, token.frames.get(place)?.task()?))) else { return false };
        let Work::Listen(listening) = &frame.work else { return false };
        let Some(TaskKind::Listen(listen)) = super::interpreter::task_of(&plan, frame.task).map(|task| &task.kind) else { return false };
        if listening.closed {
            return false;
        }
        let key = (instance.flow.clone(), frame.task);
        let (until_filters, static_matches) = (until_filters(&listen.to), verdicts.get(&key).cloned());
        let static_matches = static_matches.unwrap_or_else(|| {
            let all = filters_of(&listen.to).iter().chain(until_filters);
            all.map(|filter| verdict(&mut self.budgets, filter, attributes)).collect()
        });
        verdicts.insert(key, static_matches.clone());
        let open_ended = filters_of(&listen.to).is_empty() && is_for_all(attributes);
        let filters = filters_of(&listen.to).iter().chain(until_filters);
        let possible = |(filter, verdict): (&EventFilter, &Verdict)| verdict.may_take(filter, &listening.keys);
        if !open_ended && !filters.zip(static_matches.iter()).any(possible) {
            return false;
        }
        let listening = (**listening).clone();
        let mut scope = Cursor { id: id.clone(), number, token: (**token).clone(), plan: plan.clone() };
        scope.token.frames.truncate(place.saturating_add(1));
        // Let go before anything is written, or the write would copy it.
        drop(instance);
        let (own, of_until) = static_matches.split_at(filters_of(&listen.to).len().min(static_matches.len()));
        let candidates = Candidates { filters: until_filters, verdicts: of_until, matched: &listening.until_matched };
        let ends = self.matching(&scope, &candidates, &listening.keys, attributes);
        if let Some((index, keys)) = ends {
            return self.listen_until_event(id, number, place, &listen.to, index, keys);
        }
        let candidates = Candidates { filters: filters_of(&listen.to), verdicts: own, matched: &listening.matched };
        match self.matching(&scope, &candidates, &listening.keys, attributes) {
            Some((index, keys)) => self.listen_take(id, number, place, listen, Some(index), keys, attributes),
            None if open_ended => self.listen_take(id, number, place, listen, None, listening.keys.clone(), attributes),
            None => false,
        }
    }

    /// The first filter that takes the event, with the correlation keys as they are fixed then.
    fn matching(
        &mut self,
        scope: &Cursor,
        candidates: &Candidates,
        keys: &SmallMap<Arc<str>, Value>,
        attributes: &Value,
    ) -> Option<(usize, SmallMap<Arc<str>, Value>)> {
        for (index, filter) in candidates.filters.iter().enumerate() {
            let possible = candidates.verdicts.get(index).is_some_and(|verdict| verdict.may_take(filter, keys));
            if !possible || candidates.matched.get(index).copied().unwrap_or(false) {
                continue;
            }
            if !self.matches_instance(scope, filter, attributes) {
                continue;
            }
            if let Some(fixed) = self.correlates(scope, filter, keys, attributes) {
                return Some((index, fixed));
            }
        }
        None
    }

    fn matches_instance(&mut self, scope: &Cursor, filter: &EventFilter, attributes: &Value) -> bool {
        filter.with.iter().all(|(name, expected)| match expected {
            AttributeMatch::Expression { expression, uses_instance: true } => {
                let actual = attributes.get(name).unwrap_or(&Value::Null);
                self.eval(scope, expression, actual, &[]).is_ok_and(|given| holds(&given, actual))
            }
            _ => true,
        })
    }

    fn correlates(
        &mut self,
        scope: &Cursor,
        filter: &EventFilter,
        keys: &SmallMap<Arc<str>, Value>,
        attributes: &Value,
    ) -> Option<SmallMap<Arc<str>, Value>> {
        let mut fixed = keys.clone();
        for correlation in &filter.correlate {
            let actual = self.eval(scope, &correlation.from, attributes, &[]).ok().filter(|actual| !actual.is_null())?;
            match fixed.get(&correlation.key) {
                Some(expected) if *expected == actual => {}
                Some(_) => return None,
                None => {
                    fixed.insert(correlation.key.clone(), actual);
                }
            }
        }
        Some(fixed)
    }

    /// Takes a frame's subscription out of the index.
    pub fn unsubscribe(&mut self, id: &InstanceId, number: u32, listen: &Listen, listening: &Listening) {
        let entry = (id.clone(), number, listening.subscription);
        self.context.state.index.waiting.end(&entry, listen, listening);
        for kind in &listening.types {
            if let Some(set) = self.context.state.listeners.get_mut(kind) {
                set.remove(&entry);
                if set.is_empty() {
                    self.context.state.listeners.remove(kind);
                }
            }
        }
    }

    /// The listening frame at `place` of a token that is in its instance.
    pub fn listening_mut(&mut self, id: &InstanceId, number: u32, place: usize) -> Option<&mut Listening> {
        let token = self.instance_mut(id)?.tokens.get_mut(&number)?;
        match &mut token.frames.get_mut(place).and_then(Frame::task_mut)?.work {
            Work::Listen(listening) => Some(listening),
            _ => None,
        }
    }
}

struct Candidates<'a> {
    filters: &'a [EventFilter],
    verdicts: &'a [Verdict],
    /// Filters that have their event already.
    matched: &'a [bool],
}

fn verdict(budgets: &mut Budgets, filter: &EventFilter, attributes: &Value) -> Verdict {
    if !matches_static(budgets, filter, attributes) {
        return Verdict { matches: false, from: Vec::new() };
    }
    let from = filter.correlate.iter().map(|correlation| {
        let of_event = correlation.from.variables().is_empty();
        of_event.then(|| static_value(budgets, &correlation.from, attributes, &[]).unwrap_or_default())
    });
    Verdict { matches: true, from: from.collect() }
}

impl Verdict {
    /// False where it is certain that the filter does not take the event, with the correlation keys that are fixed.
    fn may_take(&self, filter: &EventFilter, keys: &SmallMap<Arc<str>, Value>) -> bool {
        self.matches
            && filter.correlate.iter().zip(&self.from).all(|(correlation, from)| match from {
                Some(value) => !value.is_null() && keys.get(&correlation.key).is_none_or(|fixed| fixed == value),
                None => true,
            })
    }
}

pub(super) fn until_filters(consume: &Consume) -> &[EventFilter] {
    match consume {
        Consume::Any { until: Some(Until::Event(until)), .. } => filters_of(until),
        _ => &[],
    }
}

/// Forgets early events whose time is over.
pub(super) fn sweep_early(state: &mut State, now: crate::time::Timestamp) {
    let before = state.early_events.len();
    state.early_events.retain(|early| now < early.lapses_at);
    state.counters.lapsed_events += (before - state.early_events.len()) as u64;
}
