//! One committed entry: every command to its handler, then tokens move until all of them wait.

use super::command::{Accepted, Command, Entry, FlowSelector, Reply};
use super::context::Context;
use super::door::Doors;
use super::interpreter::{Begin, Interpreter};
use super::state::State;
use super::{Applied, crossing, dedupe, denial, function, operator, passback, rollout, roster, schedule, semantics, site, timer};
use crate::id::Actor;
use crate::value::Value;
use std::sync::Arc;

/// Yielded tokens that one `Continue` takes up; the rest waits for the next, in order.
pub const CONTINUE_TOKENS_MAX: usize = 256;

pub(super) fn apply(state: &mut State, entry: &Entry) -> Applied {
    let now = entry.at.max(state.clock);
    state.clock = now;
    state.applied = entry.index;
    let mut context = Context::new(state, entry.index, now);
    let mut interpreter = Interpreter::new(&mut context);
    let reply = dispatch(&mut interpreter, &entry.command);
    interpreter.settle();
    if reply.is_err() {
        context.state.counters.rejected += 1;
    }
    Applied { reply, effects: context.effects, records: context.records }
}

fn dispatch(interpreter: &mut Interpreter, command: &Command) -> Reply {
    let context = &mut *interpreter.context;
    match command {
        Command::Deploy { resources, by } => {
            let reply = function::deploy(context, resources, by);
            schedule::refresh(context);
            reply
        }
        Command::Start { flow, input, key, by } => start(interpreter, flow, input, key, by),
        Command::Event { event, historical } => {
            // In a building's group the flows hear of it; doors, passages and alarms are the mesh's, as long as it can be told.
            let doors = if context.state.group.site().is_some() { Doors::Elsewhere } else { Doors::Here(None) };
            interpreter.event(event, *historical, doors)
        }
        Command::Presence { device, node, session, online } => function::presence(context, device, *node, *session, *online),
        Command::NodeUp { node, site, boot, version, api } => function::node_up(context, *node, site, *boot, version, api.as_ref()),
        Command::EffectAttempt { effect, node } => function::effect_attempt(context, *effect, *node),
        Command::EffectDone { effect, outcome, node } => function::effect_done(context, *effect, outcome, *node),
        Command::TimersDue => {
            timer::fire(interpreter);
            Ok(Accepted::Nothing)
        }
        Command::Continue => {
            let ready = &mut interpreter.context.state.ready;
            let taken: Vec<_> = ready.drain(..ready.len().min(CONTINUE_TOKENS_MAX)).collect();
            interpreter.queue.extend(taken);
            Ok(Accepted::Nothing)
        }
        Command::WorkItem { id, action, by, key } => function::work_item(context, id, action, by, key),
        Command::Operator { instance, action, by } => operator::act(interpreter, instance, action, by),
        Command::Flow { flow, action, by } => rollout::act(context, flow, *action, by),
        Command::Uplink(command) => function::uplink(context, command),
        Command::Crossing(command) => crossing::act(interpreter, command),
        Command::Site(command) => site::act(interpreter, command),
        Command::Understands { node, semantics } => semantics::understands(context, *node, *semantics),
        Command::Denials { node, denials, key } => denial::note(context, *node, denials, key),
        Command::EnableSemantics { version } => semantics::enable(context, *version),
        Command::Member(command) => roster::act(context, command),
        Command::Passback(command) => passback::act(context, command),
    }
}

fn start(interpreter: &mut Interpreter, flow: &FlowSelector, input: &Value, key: &Arc<str>, by: &Actor) -> Reply {
    let key = (!key.is_empty()).then(|| dedupe::start_key(key));
    if let Some(key) = &key
        && let Some(instance) = dedupe::seen(interpreter.context, key).and_then(|seen| seen.instance.clone())
    {
        return Ok(Accepted::Started { instance });
    }
    let found = rollout::find(interpreter.context.state, &flow.namespace, &flow.name, flow.version.as_deref())?;
    let begin = Begin { flow: found, input: input.clone(), by: by.clone(), parent: None, depth: 0, events_from: None, late: false };
    let instance = interpreter.begin(begin)?;
    if let Some(key) = key {
        dedupe::remember(interpreter.context, key, Some(instance.clone()));
    }
    Ok(Accepted::Started { instance })
}
