//! How an effect ends: attempted, answered, past its deadline, withdrawn, overruled. It ends once; what comes later is counted.
//!
//! An opening is attempted at most once: the attempt is in the log before anything is published.

use super::command::{Accepted, Reply};
use super::context::Context;
use super::effect::{Attempt, Effect, EffectClass, Outcome, Owner, Place, Request};
use super::function::{device, group};
use super::precedence::Priority;
use super::problem::Problem;
use super::state::State;
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
            effect.owner = recent.followers.remove(0);
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
    audit(context, by, action, &effect, result.as_ref().err());
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
    if let Request::SignCredential { credential, .. } = &effect.request {
        context.state.credentials.remove(credential);
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Context;
    use crate::engine::fixture::{audited, building, call, done, woken};
    use crate::engine::function::{node_up, presence, release_instance};
    use crate::time::Timestamp;

    const UNLOCK: &str = r#"{"target":"hq/door-1","command":"unlock"}"#;
    const LOCK: &str = r#"{"target":"hq/door-1","command":"lock"}"#;

    fn ask(context: &mut Context, instance: &str, with: &str) -> EffectId {
        assert_eq!(done(call(context, instance, "device.command", with)), "waits for effect");
        context.effects.last().unwrap().id
    }
    fn ok() -> Outcome {
        Outcome::Done { output: Value::object([("status", Value::from("done"))]) }
    }

    #[test]
    fn an_opening_is_attempted_at_most_once_by_the_gateway_of_its_device_and_in_time() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(1000));
        let opening = ask(&mut context, "i1", UNLOCK);
        assert_eq!(context.effects.last().unwrap().deadline, Timestamp(4000), "an opening lives 3 s");
        assert_eq!(effect_attempt(&mut context, opening, NodeId(2)), Ok(Accepted::AttemptRefused), "the device is at node 1");
        assert_eq!(effect_attempt(&mut context, opening, NodeId(1)), Ok(Accepted::AttemptGranted));
        assert_eq!(effect_attempt(&mut context, opening, NodeId(1)), Ok(Accepted::AttemptRefused));
        assert_eq!(context.state.counters.opening_attempts, 1);
        let late = ask(&mut context, "i2", r#"{"target":"hq/door-2","command":"unlock","ack":{"within":"PT8S"}}"#);
        assert_eq!(context.effects.last().unwrap().deadline, Timestamp(9000), "the answer may take longer than the sending");
        context.now = Timestamp(4000);
        assert_eq!(effect_attempt(&mut context, late, NodeId(1)), Ok(Accepted::AttemptRefused), "nothing is sent behind its expiry");
        assert_eq!(effect_attempt(&mut context, EffectId { index: 9, ordinal: 9 }, NodeId(1)), Ok(Accepted::AttemptRefused));
    }

    #[test]
    fn deadlines_tell_unsent_unanswered_and_offline_apart() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let unsent = ask(&mut context, "unsent", UNLOCK);
        let unanswered = ask(&mut context, "unanswered", r#"{"target":"hq/door-2","command":"unlock"}"#);
        let silent = ask(&mut context, "silent", LOCK);
        let offline = ask(&mut context, "offline", r#"{"target":"hq/door-3","command":"lock"}"#);
        effect_attempt(&mut context, unanswered, NodeId(1)).unwrap();
        effect_deadline(&mut context, unsent);
        assert!(context.wakes.is_empty(), "its deadline has not come");
        context.now = Timestamp(30_000);
        for id in [unsent, unanswered, silent, offline] {
            effect_deadline(&mut context, id);
        }
        let expected = [("unsent", "timeout"), ("unanswered", "unknown-outcome"), ("silent", "timeout"), ("offline", "device-offline")];
        assert_eq!(woken(&mut context), expected.map(|(who, what)| (who.to_owned(), what.to_owned())));
        assert_eq!(context.state.counters.opening_unknown, 1);
        assert!(context.state.effects.is_empty() && context.state.timers.is_empty());
        assert_eq!(
            audited(&context),
            ["effect.expired hq/door-1", "effect.unknown hq/door-2", "effect.expired hq/door-1", "effect.expired hq/door-3"]
        );
    }

    #[test]
    fn a_completion_counts_once_and_only_from_who_had_the_attempt() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let opening = ask(&mut context, "i1", UNLOCK);
        assert_eq!(effect_done(&mut context, opening, &ok(), NodeId(1)), Ok(Accepted::Duplicate), "nobody was let to send it");
        effect_attempt(&mut context, opening, NodeId(1)).unwrap();
        assert_eq!(effect_done(&mut context, opening, &ok(), NodeId(2)), Ok(Accepted::Duplicate));
        assert_eq!(effect_done(&mut context, opening, &ok(), NodeId(1)), Ok(Accepted::Nothing));
        assert_eq!(effect_done(&mut context, opening, &ok(), NodeId(1)), Ok(Accepted::Duplicate));
        assert_eq!(context.state.counters.late_completions, 3);
        assert_eq!(woken(&mut context), [("i1".to_owned(), r#"{"status":"done"}"#.to_owned())]);
    }

    #[test]
    fn a_device_that_moved_behind_the_attempt_answers_where_it_is() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let opening = ask(&mut context, "i1", UNLOCK);
        effect_attempt(&mut context, opening, NodeId(1)).unwrap();
        presence(&mut context, &"hq/door-1".into(), NodeId(2), 7, true).unwrap();
        assert_eq!(presence(&mut context, &"hq/door-1".into(), NodeId(1), 1, false), Ok(Accepted::Duplicate), "it is at node 2");
        assert_eq!(effect_attempt(&mut context, opening, NodeId(2)), Ok(Accepted::AttemptRefused));
        assert_eq!(effect_done(&mut context, opening, &ok(), NodeId(2)), Ok(Accepted::Nothing));
    }

    #[test]
    fn an_answer_that_is_too_large_is_a_failure() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let id = ask(&mut context, "i1", LOCK);
        let output = Value::string("x".repeat(DATA_SIZE_MAX + 1));
        effect_done(&mut context, id, &Outcome::Done { output }, NodeId(1)).unwrap();
        assert_eq!(woken(&mut context), [("i1".to_owned(), "limit".to_owned())]);
    }

    #[test]
    fn a_device_that_goes_fails_what_was_not_sent_and_a_restart_leaves_what_was_sent_unknown() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        ask(&mut context, "waits", UNLOCK);
        ask(&mut context, "locks", LOCK);
        let sent = ask(&mut context, "sent", r#"{"target":"hq/door-2","command":"unlock"}"#);
        effect_attempt(&mut context, sent, NodeId(1)).unwrap();
        assert_eq!(presence(&mut context, &"hq/door-1".into(), NodeId(1), 0, false).map_err(|error| error.code), Err("late".into()));
        assert_eq!(presence(&mut context, &"hq/door-1".into(), NodeId(1), 1, false), Ok(Accepted::Nothing));
        assert_eq!(woken(&mut context), [("waits".to_owned(), "device-offline".to_owned())]);
        assert_eq!(done(call(&mut context, "next", "device.command", UNLOCK)), "device-offline");
        node_up(&mut context, NodeId(1), &"hq".into(), 2, &"1".into(), None).unwrap();
        assert_eq!(woken(&mut context), [("sent".to_owned(), "unknown-outcome".to_owned())]);
        assert!(context.state.devices.values().all(|device| device.attached.is_none()));
        assert_eq!(context.state.effects.len(), 1, "the lock waits for the door to come back");
        assert_eq!(node_up(&mut context, NodeId(1), &"hq".into(), 1, &"1".into(), None).map_err(|error| error.code), Err("late".into()));
    }

    #[test]
    fn equal_openings_share_one_actuation() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let opening = ask(&mut context, "i1", UNLOCK);
        for instance in ["i2", "i3"] {
            assert_eq!(done(call(&mut context, instance, "device.command", UNLOCK)), "waits for effect");
        }
        assert_eq!(context.effects.len(), 1);
        release_instance(&mut context, &"i1".into());
        assert_eq!(context.state.effects.len(), 1, "i2 still wants it");
        release_instance(&mut context, &"i3".into());
        effect_attempt(&mut context, opening, NodeId(1)).unwrap();
        effect_done(&mut context, opening, &ok(), NodeId(1)).unwrap();
        assert_eq!(woken(&mut context), [("i2".to_owned(), r#"{"status":"done"}"#.to_owned())]);
        context.now = Timestamp(2999);
        assert_eq!(done(call(&mut context, "i4", "device.command", UNLOCK)), r#"{"status":"done"}"#);
        let other = r#"{"target":"hq/door-1","command":"unlock","args":{"lane":2}}"#;
        ask(&mut context, "i5", other);
        context.now = Timestamp(3000);
        ask(&mut context, "i6", UNLOCK);
        assert_eq!(context.effects.len(), 3);
    }

    #[test]
    fn a_failed_command_may_be_tried_again_under_the_same_key() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let with = r#"{"target":"hq/door-1","command":"lock","dedupe":"k"}"#;
        let first = ask(&mut context, "i1", with);
        let failed = Outcome::Failed { problem: Problem::own("refused", 409, "jammed") };
        effect_done(&mut context, first, &failed, NodeId(1)).unwrap();
        let second = ask(&mut context, "i1", with);
        assert_ne!(first, second);
        effect_done(&mut context, second, &ok(), NodeId(1)).unwrap();
        assert_eq!(done(call(&mut context, "i1", "device.command", with)), r#"{"status":"done"}"#);
    }
}
