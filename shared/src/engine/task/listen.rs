//! `listen`: one, all or any events, until a condition or an event says enough; a body per event with `foreach`.
//!
//! The frame collects while it stands, also while a `foreach` body runs above it. Events come through `correlation`.

use crate::engine::correlation::until_filters;
use crate::engine::instance::{List, Listening, Next, Wait, Work};
use crate::engine::interest::{filters_of, type_of};
use crate::engine::interpreter::{Cursor, Interpreter, Step, VALUE_SIZE_MAX, limit, task_of};
use crate::engine::problem::Problem;
use crate::engine::trace;
use crate::flow::plan::{Consume, EventFilter, Listen, ListenRead, Plan, TaskKind, Until};
use crate::id::InstanceId;
use crate::small_map::SmallMap;
use crate::value::Value;
use std::sync::Arc;

/// Events that one `listen` takes.
const TAKEN_MAX: usize = 4096;

impl Interpreter<'_, '_> {
    pub(in crate::engine) fn listen_begin(&mut self, mut cursor: Cursor, listen: &Listen, input: &Value) -> Step {
        let mut keys = SmallMap::default();
        let filters = || filters_of(&listen.to).iter().chain(until_filters(&listen.to));
        for correlation in filters().flat_map(|filter| &filter.correlate) {
            if let Some(expect) = &correlation.expect
                && !keys.contains_key(&correlation.key)
            {
                match self.eval(&cursor, expect, input, &[]) {
                    Ok(value) => keys.insert(correlation.key.clone(), value),
                    Err(problem) => return cursor.fail(problem),
                };
            }
        }
        let any: Arc<str> = "".into();
        let mut types: Vec<Arc<str>> = filters().map(|filter: &EventFilter| type_of(filter).unwrap_or_else(|| any.clone())).collect();
        if filters_of(&listen.to).is_empty() {
            types.push(any);
        }
        types.sort();
        types.dedup();
        let subscription = self.serial(&cursor.id);
        let listening = Listening {
            subscription,
            types,
            matched: vec![false; filters_of(&listen.to).len()],
            until_matched: vec![false; until_filters(&listen.to).len()],
            keys,
            ..Listening::default()
        };
        self.context.state.index.waiting.begin(&(cursor.id.clone(), cursor.number, subscription), listen, &listening);
        for kind in &listening.types {
            let entry = (cursor.id.clone(), cursor.number, subscription);
            self.context.state.listeners.entry(kind.clone()).or_default().insert(entry);
        }
        let (id, number) = (cursor.id.clone(), cursor.number);
        if let Some(frame) = cursor.top_mut() {
            frame.work = Work::Listen(Box::new(listening));
        }
        // A condition may hold before the first event: nobody is missing.
        if let Err(problem) = self.check_condition(&mut cursor, listen) {
            return cursor.fail(problem);
        }
        cursor.token.generation = self.serial(&id);
        self.park(cursor, Wait::Events);
        self.offer_early(&id, number, subscription);
        match self.take(&id, number) {
            Some(cursor) => Step::Go(cursor, Next::Listen),
            None => Step::Parked,
        }
    }

    /// The frame at `place` takes an event through its filter `index`.
    #[allow(clippy::too_many_arguments)]
    pub(in crate::engine) fn listen_take(
        &mut self,
        id: &InstanceId,
        number: u32,
        place: usize,
        listen: &Listen,
        index: Option<usize>,
        keys: SmallMap<Arc<str>, Value>,
        attributes: &Value,
    ) -> bool {
        let item = match listen.read {
            ListenRead::Data | ListenRead::Raw => attributes.get("data").cloned().unwrap_or_default(),
            ListenRead::Envelope => attributes.clone(),
        };
        trace::heard(self.context, id, number, place, attributes);
        let Some(listening) = self.listening_mut(id, number, place) else { return false };
        listening.keys = keys;
        if let Some(matched) = index.and_then(|index| listening.matched.get_mut(index)) {
            // Only `all` wants each filter once.
            *matched = matches!(listen.to, Consume::All(_));
        }
        listening.collected.push(item.clone());
        if listen.foreach.is_some() {
            listening.pending.push_back(item);
        }
        listening.closed = match &listen.to {
            Consume::One(_) => true,
            Consume::All(_) => listening.matched.iter().all(|matched| *matched),
            Consume::Any { until, .. } => until.is_none(),
        };
        self.resume(id, number, |token| matches!(token.wait, Wait::Events), Next::Listen);
        true
    }

    /// An event of the `until` strategy: it ends the listening and is not taken itself.
    pub(in crate::engine) fn listen_until_event(
        &mut self,
        id: &InstanceId,
        number: u32,
        place: usize,
        consume: &Consume,
        index: usize,
        keys: SmallMap<Arc<str>, Value>,
    ) -> bool {
        let all = matches!(consume, Consume::Any { until: Some(Until::Event(until)), .. } if matches!(**until, Consume::All(_)));
        let Some(listening) = self.listening_mut(id, number, place) else { return false };
        listening.keys = keys;
        if let Some(matched) = listening.until_matched.get_mut(index) {
            *matched = true;
        }
        listening.closed = !all || listening.until_matched.iter().all(|matched| *matched);
        self.resume(id, number, |token| matches!(token.wait, Wait::Events), Next::Listen);
        true
    }

    /// Looks at what was taken: a body to run, an end, or more to wait for.
    pub(in crate::engine) fn listen_pump(&mut self, mut cursor: Cursor) -> Step {
        let plan = cursor.plan.clone();
        let Some((task, listen)) = listen_of(&plan, &cursor) else { return cursor.broken("no `listen` where one listens") };
        let checked = match listen.foreach {
            None => self.check_condition(&mut cursor, listen),
            Some(_) => Ok(()),
        };
        if let Err(problem) = checked {
            return cursor.fail(problem);
        }
        let Some(Work::Listen(listening)) = cursor.top_mut().map(|frame| &mut frame.work) else {
            return cursor.broken("a `listen` without what it took");
        };
        if listening.collected.len() > TAKEN_MAX {
            return cursor.fail(Problem::standard("validation", 400, format!("a listen takes at most {TAKEN_MAX} events")));
        }
        if let Some(item) = listening.pending.pop_front() {
            listening.current = item.clone();
            return self.walk(cursor, List::ForEach(task), item);
        }
        if !listening.closed {
            cursor.token.generation = self.serial(&cursor.id);
            self.park(cursor, Wait::Events);
            return Step::Parked;
        }
        let taken = if listen.foreach.is_some() { &mut listening.outputs } else { &mut listening.collected };
        let value = Value::array(std::mem::take(taken));
        Step::Go(cursor, Next::Done { value })
    }

    /// A `foreach` body ended with `value`.
    pub(in crate::engine) fn listen_body_ended(&mut self, mut cursor: Cursor, listen: &Listen, value: &Value) -> Step {
        let Some(each) = &listen.foreach else { return cursor.broken("a body without its `foreach`") };
        let output = match self.transform(&cursor, &each.output, each.export.as_ref(), value.clone()) {
            Ok(output) => output,
            Err(problem) => return cursor.fail(problem),
        };
        if let Some(Work::Listen(listening)) = cursor.top_mut().map(|frame| &mut frame.work) {
            listening.outputs.push(output);
            listening.index = listening.index.saturating_add(1);
        }
        match self.check_condition(&mut cursor, listen) {
            Ok(()) => Step::Go(cursor, Next::Listen),
            Err(problem) => cursor.fail(problem),
        }
    }

    /// An `until` condition sees what was taken so far as an array.
    fn check_condition(&mut self, cursor: &mut Cursor, listen: &Listen) -> Result<(), Problem> {
        let Some(Work::Listen(listening)) = cursor.top().map(|frame| &frame.work) else { return Ok(()) };
        let taken = Value::array(listening.collected.clone());
        limit(&taken, VALUE_SIZE_MAX, "events")?;
        let Consume::Any { until: Some(Until::Condition(condition)), .. } = &listen.to else { return Ok(()) };
        if self.truth(cursor, condition, &taken, &[])?
            && let Some(Work::Listen(listening)) = cursor.top_mut().map(|frame| &mut frame.work)
        {
            listening.closed = true;
            listening.pending.clear();
        }
        Ok(())
    }
}

fn listen_of<'a>(plan: &'a Plan, cursor: &Cursor) -> Option<(u32, &'a Listen)> {
    let task = task_of(plan, cursor.top()?.task)?;
    match &task.kind {
        TaskKind::Listen(listen) => Some((task.id, listen)),
        _ => None,
    }
}
