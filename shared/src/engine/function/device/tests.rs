use super::*;
use crate::engine::command::Accepted;
use crate::engine::effect::Outcome;
use crate::engine::fixture::{building, call, call_of, done, woken};
use crate::engine::function::{effect_done, withdraw};
use crate::id::NodeId;

fn to(target: &str, command: &str) -> String {
    format!(r#"{{"target":"{target}","command":"{command}"}}"#)
}
fn answer(context: &mut Context, effect: EffectId, detail: &str) {
    let output = Value::object([("status", Value::from("done")), ("detail", Value::from(detail)), ("at", Value::from(detail))]);
    assert_eq!(effect_done(context, effect, &Outcome::Done { output }, NodeId(1)), Ok(Accepted::Nothing));
}
fn ids(context: &Context) -> Vec<EffectId> {
    context.effects.iter().map(|effect| effect.id).collect()
}

#[test]
fn what_cannot_be_asked_is_said_at_once() {
    let mut state = building();
    let mut context = Context::new(&mut state, 1, Timestamp(0));
    for (with, problem) in [
        (to("hq/nobody", "lock"), "unknown-device"),
        (to("group:nobody", "lock"), "unknown-device"),
        (to("hq/door-1", "explode"), "unknown-command"),
        (to("hq/door-3", "unlock"), "device-offline"),
        (r#"{"target":"hq/door-1","command":"lock","ack":{"within":"soon"}}"#.into(), "validation"),
        (r#"{"target":"hq/door-1","command":"lock","ack":{"mode":"most"}}"#.into(), "validation"),
        (r#"{"target":"hq/door-1","command":"lock","expires":"PT0S"}"#.into(), "timeout"),
        ("{}".into(), "validation"),
    ] {
        assert_eq!(done(call(&mut context, "i", "device.command", &with)), problem, "{with}");
    }
    assert!(context.effects.is_empty());
    assert_eq!(done(call(&mut context, "i", "device.explode", "{}")), "configuration");
    assert_eq!(done(call(&mut context, "i", "device.read", r#"{"target":"hq/door-1","property":"x"}"#)), "unknown-property");
}

#[test]
fn a_group_waits_for_all_and_names_who_failed() {
    let mut state = building();
    let mut context = Context::new(&mut state, 1, Timestamp(0));
    assert_eq!(done(call(&mut context, "i", "device.command", &to("group:doors", "blink"))), "waits for effect");
    let asked = ids(&context);
    answer(&mut context, asked[0], "1");
    answer(&mut context, asked[2], "3");
    assert!(context.wakes.is_empty());
    answer(&mut context, asked[1], "2");
    let one = |number: u32| format!(r#""hq/door-{number}":{{"at":"{number}","detail":"{number}","status":"done"}}"#);
    let all = format!(r#"{{"at":"3","detail":{{{},{},{}}},"status":"done"}}"#, one(1), one(2), one(3));
    assert_eq!(woken(&mut context), [("i".to_owned(), all)]);
    // door-3 is away: an opening of the group fails, but only when the others have answered.
    assert_eq!(done(call(&mut context, "i", "device.command", &to("group:doors", "stayOpen"))), "waits for effect");
    let failed = Outcome::Failed { problem: Problem::own("refused", 409, "jammed") };
    for effect in &ids(&context)[3..] {
        assert!(context.wakes.is_empty());
        effect_done(&mut context, *effect, &failed, NodeId(1)).unwrap();
    }
    let (_, result) = context.wakes.pop_front().unwrap();
    let detail = result.unwrap_err().detail.unwrap();
    assert!(detail.starts_with("3 of 3 failed: hq/door-1: jammed; hq/door-2: jammed; hq/door-3: "), "{detail}");
    assert!(context.state.desk.group_calls.is_empty());
}

#[test]
fn a_group_with_mode_one_ends_at_the_first_success_and_the_others_go_on() {
    let mut state = building();
    let mut context = Context::new(&mut state, 1, Timestamp(0));
    let with = r#"{"target":"group:doors","command":"lock","ack":{"mode":"one"}}"#;
    assert_eq!(done(call(&mut context, "i", "device.command", with)), "waits for effect");
    let asked = ids(&context);
    let failed = Outcome::Failed { problem: Problem::own("refused", 409, "jammed") };
    effect_done(&mut context, asked[0], &failed, NodeId(1)).unwrap();
    assert!(context.wakes.is_empty());
    answer(&mut context, asked[1], "2");
    assert_eq!(woken(&mut context), [("i".to_owned(), r#"{"at":"2","detail":"2","status":"done"}"#.to_owned())]);
    assert_eq!(context.state.effects.values().map(|effect| &effect.owner).collect::<Vec<_>>(), [&Owner::Nobody]);
    answer(&mut context, asked[2], "3");
    assert!(context.wakes.is_empty());
}

#[test]
fn withdrawing_a_group_call_takes_its_members_back() {
    let mut state = building();
    let mut context = Context::new(&mut state, 1, Timestamp(0));
    call(&mut context, "i", "device.command", &to("group:doors", "lock"));
    call(&mut context, "other", "device.command", &to("hq/door-1", "lock"));
    withdraw(&mut context, &crate::engine::fixture::owner("i"));
    assert_eq!(context.state.effects.len(), 1);
    assert_eq!(context.state.timers.len(), 1);
    assert!(context.state.desk.group_calls.is_empty() && context.wakes.is_empty());
}

#[test]
fn fire_opens_against_lockdown_and_no_lock_comes_late() {
    let mut state = building();
    let mut context = Context::new(&mut state, 1, Timestamp(0));
    let ask =
        |context: &mut Context, flow: &str, command: &str| done(call_of(context, flow, flow, "device.command", &to("hq/door-1", command)));
    let waits = "waits for effect";
    assert_eq!(ask(&mut context, "keeper", "lockdown"), waits);
    assert_eq!(ask(&mut context, "visit", "unlock"), "refused");
    assert_eq!(ask(&mut context, "visit", "resume"), "refused", "another flow cannot end a lockdown by resuming");
    assert_eq!(ask(&mut context, "fire", "stayOpen"), waits);
    assert_eq!(woken(&mut context), [("keeper".to_owned(), "refused".to_owned())], "the lockdown that was not answered yet");
    assert_eq!(ask(&mut context, "visit", "lock"), "refused");
    assert_eq!(ask(&mut context, "keeper", "resume"), "refused", "nobody shuts the door while fire holds it open");
    assert_eq!(ask(&mut context, "fire", "resume"), waits);
    assert_eq!(ask(&mut context, "visit", "unlock"), "refused", "the lockdown is still there");
    assert_eq!(ask(&mut context, "keeper", "resume"), waits);
    assert_eq!(ask(&mut context, "visit", "unlock"), waits);
    assert!(context.state.desk.holds.is_empty(), "resuming leaves no hold of its own");
}
