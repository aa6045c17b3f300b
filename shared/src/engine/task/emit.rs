//! `emit`: an event for the cloud, and for what listens in the same group. Its output is the event, as the specification's
//! conformance kit wants it.

use crate::engine::crossing;
use crate::engine::instance::{Next, Wait};
use crate::engine::interpreter::{Cursor, Interpreter, PAYLOAD_SIZE_MAX, Step, limit, text_of};
use crate::engine::lifecycle;
use crate::engine::problem::Problem;
use crate::engine::semantics::EMIT_GIVES_EVENT;
use crate::event::Event;
use crate::flow::plan::Template;
use crate::time::Timestamp;
use crate::value::Value;

impl Interpreter<'_, '_> {
    pub(in crate::engine) fn emit(&mut self, cursor: Cursor, template: &Template, input: &Value) -> Step {
        if self.events_are_spent() {
            // Events that feed each other go on in the next entry.
            self.context.state.ready.push((cursor.id.clone(), cursor.number));
            self.park(cursor, Wait::Ready(Next::Run));
            return Step::Parked;
        }
        let event = match self.fill(&cursor, template, input, &[]).and_then(|fields| self.event_of(&cursor, &fields)) {
            Ok(event) => event,
            Err(problem) => return cursor.fail(problem),
        };
        self.events_total += 1;
        let life_safety = cursor.plan.life_safety;
        lifecycle::publish(self.context, life_safety, event.clone());
        crossing::emitted(self.context, &event, None);
        let value = if self.context.state.semantics >= EMIT_GIVES_EVENT { event.to_value() } else { event.data.clone() };
        self.context.events.push_back(event);
        Step::Go(cursor, Next::Done { value })
    }

    fn event_of(&mut self, cursor: &Cursor, fields: &Value) -> Result<Event, Problem> {
        limit(fields, PAYLOAD_SIZE_MAX, "event")?;
        let text = |name: &str| fields.get(name).filter(|value| !value.is_null()).map(text_of);
        let kind = text("type").ok_or_else(|| Problem::standard("validation", 400, "an event needs a `type`"))?;
        let key = &cursor.plan.key;
        let known = ["specversion", "id", "source", "type", "subject", "time", "data"];
        let extensions = fields.as_object().into_iter().flatten();
        let time = match text("time") {
            Some(time) => Timestamp::parse_rfc3339(&time)
                .ok_or_else(|| Problem::standard("validation", 400, format!("`{time}` is not an RFC 3339 time")))?,
            None => self.context.now,
        };
        Ok(Event {
            id: text("id").unwrap_or_else(|| self.context.new_id("event").into()),
            source: text("source").unwrap_or_else(|| format!("/flows/{}/{}/{}", key.namespace, key.name, cursor.id).into()),
            kind,
            subject: text("subject"),
            time,
            data: fields.get("data").cloned().unwrap_or_default(),
            extensions: extensions
                .filter(|(name, value)| !known.contains(&&***name) && !value.is_null())
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        })
    }
}
