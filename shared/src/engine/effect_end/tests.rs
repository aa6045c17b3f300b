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
