//! How an effect ends: attempted, answered, past its deadline, withdrawn, overruled. It ends once; what comes later is counted.
//!
//! An opening is attempted at most once: the attempt is in the log before anything is published.

use super::command::{Accepted, Reply};
use super::context::Context;
use super::crossing;
use super::effect::{Attempt, Effect, EffectClass, Outcome, Owner, Place, Request};
use super::function::{device, group};
use super::index::Owned;
use super::precedence::Priority;
use super::problem::Problem;
use super::state::State;
use super::trace;
use crate::event::DATA_SIZE_MAX;
use crate::id::{Actor, EffectId, NodeId};
use crate::value::Value;
use std::sync::Arc;

/// Grants the one attempt of an opening, to the gateway where the device is, before the opening expires.
/// Other classes may be repeated, so nothing is recorded for them.
pub fn effect_attempt(context: &mut Context, id: EffectId, node: NodeId) -> Reply {
    let now = context.now;
    let Some(effect) = context.state.effects.get(&id) else { return Ok(Accepted::AttemptRefused) };
    let Request::Device { device, command, .. } = &effect.request else { return Ok(Accepted::AttemptRefused) };
    let opening = effect.class == EffectClass::Opening;
    let expires_at = match device::spec(context, device, command) {
        Ok(spec) if opening => effect.deadline.min(effect.issued_at.plus(spec.expiry_ms())),
        Ok(_) => effect.deadline,
        Err(_) => return Ok(Accepted::AttemptRefused),
    };
    if effect.attempt.is_some() || effect.place(context.state) != Place::Node(node) || now >= expires_at {
        return Ok(Accepted::AttemptRefused);
    }
    if opening {
        let boot = context.state.nodes.get(&node).map_or(0, |node| node.boot);
        if let Some(effect) = context.state.effects.get_mut(&id) {
            effect.attempt = Some(Attempt { node, boot, at: now });
        }
        context.state.counters.opening_attempts += 1;
    }
    Ok(Accepted::AttemptGranted)
}

/// The answer of an executor. Late ones, and ones from a gateway that neither got the attempt nor has the device now, are counted
/// and change nothing. (A device that moved answers where it is.)
pub fn effect_done(context: &mut Context, id: EffectId, outcome: &Outcome, node: NodeId) -> Reply {
    let believed = context.state.effects.get(&id).is_some_and(|effect| match (&effect.attempt, outcome) {
        (Some(attempt), _) => attempt.node == node || effect.place(context.state) == Place::Node(node),
        (None, Outcome::Failed { .. }) => true,
        (None, _) => effect.class != EffectClass::Opening,
    });
    if !believed {
        context.state.counters.late_completions += 1;
        return Ok(Accepted::Duplicate);
    }
    let Some(effect) = context.close_effect(id) else { return Ok(Accepted::Duplicate) };
    let (action, result) = match outcome {
        Outcome::Done { output } if output.size() > DATA_SIZE_MAX => {
            ("effect.failed", Err(Problem::own("limit", 413, format!("the answer is larger than {DATA_SIZE_MAX} bytes"))))
        }
        Outcome::Done { output } => ("effect.done", Ok(output.clone())),
        Outcome::Failed { problem } => ("effect.failed", Err(problem.clone())),
        Outcome::Unknown { detail } => ("effect.unknown", Err(unknown(context, &effect, detail))),
    };
    finish(context, effect, action, Actor::node(node), result);
    Ok(Accepted::Nothing)
}

/// The timer of an effect's deadline.
pub fn effect_deadline(context: &mut Context, id: EffectId) {
    let now = context.now;
    if context.state.effects.get(&id).is_none_or(|effect| now < effect.deadline) {
        return;
    }
    let Some(effect) = context.close_effect(id) else { return };
    let subject = subject(&effect.request);
    let (action, problem) = match (&effect.request, &effect.attempt) {
        _ if effect.class == EffectClass::Opening && effect.attempt.is_some() => {
            ("effect.unknown", unknown(context, &effect, "it was sent and not answered before its deadline"))
        }
        (Request::Device { .. }, _) if effect.place(context.state) == Place::Nowhere => {
            ("effect.expired", Problem::own("device-offline", 503, format!("{subject} did not come back in time")))
        }
        (Request::ReadDevice { .. }, _) => ("effect.expired", Problem::own("stale", 504, format!("no gateway answered for {subject}"))),
        _ => ("effect.expired", Problem::timeout(format!("{subject} did not answer in time"))),
    };
    finish(context, effect, action, Actor::system(), Err(problem));
}

/// Ends an effect that nobody has sent and nobody may send any more.
pub fn refuse(context: &mut Context, id: EffectId, why: &str) {
    if let Some(effect) = context.close_effect(id) {
        finish(context, effect, "effect.refused", Actor::system(), Err(Problem::own("refused", 409, why)));
    }
}

/// Ends an opening that cannot be sent any more, because its device went away before the attempt.
pub fn went_offline(context: &mut Context, id: EffectId) {
    if let Some(effect) = context.close_effect(id) {
        let problem = Problem::own("device-offline", 503, format!("{} went away before it was asked", subject(&effect.request)));
        finish(context, effect, "effect.failed", Actor::system(), Err(problem));
    }
}

/// Ends an opening whose executor restarted behind the attempt: nobody is left who could hear the answer.
pub fn executor_gone(context: &mut Context, id: EffectId) {
    if let Some(effect) = context.close_effect(id) {
        let problem = unknown(context, &effect, "the gateway that sent it restarted before the answer");
        finish(context, effect, "effect.unknown", Actor::system(), Err(problem));
    }
}

/// Its owner waits no more. When others asked for the same meanwhile, it goes on for the first of them.
pub fn withdraw(context: &mut Context, id: EffectId) {
    let Some(effect) = context.state.effects.get_mut(&id) else { return };
    let attempted = effect.attempt.is_some();
    if let Request::Device { device, .. } = &effect.request
        && let Some(all) = context.state.desk.recent.get_mut(device)
        && let Some((key, recent)) = all.iter_mut().find(|(_, recent)| recent.effect == Some(id))
    {
        if !recent.followers.is_empty() {
            context.state.index.disown(&effect.owner, Owned::Effect(id));
            effect.owner = recent.followers.remove(0);
            context.state.index.own(&effect.owner, Owned::Effect(id));
            if recent.followers.is_empty() {
                context.state.index.unfollow(device, key);
            }
            return;
        }
        recent.effect = None;
        let key = key.clone();
        if !attempted {
            all.remove(&key);
        }
    }
    let Some(effect) = context.close_effect(id) else { return };
    forget_credential(context, &effect);
    let by = effect.owner.instance().map_or_else(Actor::system, Actor::flow);
    audit(context, by, "effect.withdrawn", &effect, None);
}

/// Hands an answer to whoever waits for it.
pub fn answer(context: &mut Context, owner: Owner, result: Result<Value, Problem>) {
    match owner {
        Owner::Token { .. } => context.wake(owner, result),
        Owner::Member { .. } => group::collect(context, owner, result),
        Owner::Elsewhere { .. } => crossing::answer(context, owner, result),
        Owner::Door { .. } | Owner::Nobody => {}
    }
}

/// The priority with which a device effect was asked for.
pub fn priority(state: &State, effect: &Effect) -> Priority {
    let Request::Device { command, .. } = &effect.request else { return Priority::Grant };
    let flow = effect.owner.instance().and_then(|instance| state.instances.get(instance)).map(|instance| &instance.flow);
    Priority::of(flow.and_then(|flow| state.plans.get(flow)).map(AsRef::as_ref), command)
}

fn finish(context: &mut Context, effect: Effect, action: &str, by: Actor, result: Result<Value, Problem>) {
    audit(context, by.clone(), action, &effect, result.as_ref().err());
    trace::answered(context, &effect.owner, &by, &subject(&effect.request), result.as_ref().err());
    if result.is_err() {
        forget_credential(context, &effect);
    }
    let followers = settle_recent(context, &effect, result.as_ref().ok());
    for owner in std::iter::once(effect.owner).chain(followers) {
        answer(context, owner, result.clone());
    }
}

/// Remembers a success for equal commands, forgets a failure so that it may be tried again; gives those who asked for the same.
fn settle_recent(context: &mut Context, effect: &Effect, output: Option<&Value>) -> Vec<Owner> {
    let Request::Device { device, .. } = &effect.request else { return Vec::new() };
    let Some(all) = context.state.desk.recent.get_mut(device) else { return Vec::new() };
    let Some(key) = all.iter().find(|(_, recent)| recent.effect == Some(effect.id)).map(|(key, _)| key.clone()) else {
        return Vec::new();
    };
    let Some(mut recent) = all.remove(&key) else { return Vec::new() };
    let followers = std::mem::take(&mut recent.followers);
    context.state.index.unfollow(device, &key);
    if let Some(output) = output {
        recent.effect = None;
        recent.output = Some(output.clone());
        all.insert(key, recent);
    } else if all.is_empty() {
        context.state.desk.recent.remove(device);
    }
    followers
}

/// A credential that was never signed opens nothing.
fn forget_credential(context: &mut Context, effect: &Effect) {
    if let Request::SignCredential { credential, .. } = &effect.request
        && let Some(credential) = context.state.credentials.remove(credential)
    {
        context.state.index.disown(&credential.owner, Owned::Credential(credential.id));
    }
}

fn unknown(context: &mut Context, effect: &Effect, detail: &str) -> Problem {
    context.state.counters.opening_unknown += u64::from(effect.class == EffectClass::Opening);
    Problem::own("unknown-outcome", 504, format!("nobody knows what came of it at {}: {detail}", subject(&effect.request)))
}

/// Never carries an output: it may hold a credential's token.
fn audit(context: &mut Context, by: Actor, action: &str, effect: &Effect, problem: Option<&Problem>) {
    let mut data = vec![("key", Value::String(effect.key.clone()))];
    if let Request::Device { command, .. } = &effect.request {
        data.push(("command", Value::String(command.clone())));
    }
    if let Some(instance) = effect.owner.instance() {
        data.push(("instance", Value::from(instance.as_str())));
    }
    if let Some(problem) = problem {
        data.push(("problem", Value::String(problem.title.clone())));
    }
    context.audit(by, action, subject(&effect.request), Value::object(data));
}

fn subject(request: &Request) -> Arc<str> {
    match request {
        Request::Device { device, .. } | Request::ReadDevice { device, .. } => device.as_str().into(),
        Request::Http(http) => format!("{} {}", http.method, http.uri).into(),
        Request::Notify { to, .. } => to.clone(),
        Request::SignCredential { credential, .. } => credential.as_str().into(),
        Request::AppendRow { workbook, .. } | Request::FindRow { workbook, .. } => workbook.clone(),
        Request::Function { function, .. } => function.clone(),
    }
}

#[cfg(test)]
mod tests;
