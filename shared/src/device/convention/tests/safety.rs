//! The rules of safety that a convention can break, each by its number in the docs for device makers.

use crate::resource::{Resource, read};

/// A strike on a relay, as it should be; tests break one thing at a time.
const GOOD: &str = r#"
kind: profile
name: relay
version: 1
capabilities:
  - id: lock
    type: lock
    fail_mode: secure
    state: { lock: {} }
    commands:
      unlock: { class: opening, bound: { device: { pulse_ms: 3000 } }, ack: accepted }
  - id: reader
    type: reader
    events: { presented: {} }
convention:
  parameters: { prefix: {} }
  state:
    lock: [{ topic: '{prefix}/lock', value: . }]
  events:
    presented: [{ topic: '{prefix}/card', id: .id }]
  commands:
    unlock:
      publish: { topic: '{prefix}/set', payload: '{ on: true, off_after: 3 }' }
      bounded_by: { payload: off_after }
      answers: [{ topic: '{prefix}/reply', id: .id, status: '"accepted"' }]
"#;

/// Reads the profile with `from` replaced by `to` and gives what is said of it.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    match read(&GOOD.replace(from, to)) {
        Ok(resources) => panic!("`{to}` was taken: {resources:?}"),
        Err(found) => found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

/// What is broken, with what, and what is said of it.
type Broken = (&'static str, &'static str, &'static str);

fn refused(cases: &[Broken]) {
    for (from, to, says) in cases {
        let told = with(from, to);
        assert!(told.contains(says), "`{to}`: `{says}` is not in: {told}");
    }
}

#[test]
fn the_profile_as_it_should_be_is_taken() {
    let resources = read(GOOD).unwrap();
    assert!(matches!(&resources[..], [Resource::Profile(profile)] if profile.convention.is_some()));
}

#[test]
fn s01_an_opening_lives_ten_seconds_at_most() {
    refused(&[("class: opening,", "class: opening, expiry_ms: 10001,", "longer than 10,000 ms")]);
}

#[test]
fn s02_a_command_is_never_retained() {
    refused(&[("off_after: 3 }' }", "off_after: 3 }', retain: true }", "a retained command comes again")]);
}

#[test]
fn s05_a_toggle_is_refused_by_name_payload_and_topic_and_a_pulse_ends_on_the_device() {
    refused(&[
        ("{prefix}/set'", "{prefix}/toggle'", "a toggle does the opposite"),
        ("on: true, off_after: 3", "method: \"Switch.Toggle\", off_after: 3", "a toggle does the opposite"),
        ("      bounded_by: { payload: off_after }\n", "", "what makes the device end this opening"),
        ("bounded_by: { payload: off_after }", "bounded_by: { payload: timer }", "`timer` is not in the payload"),
        (" bound: { device: { pulse_ms: 3000 } },", "", "the gateway closes nothing by itself"),
    ]);
    // `toggle_after` is a pulse and no toggle.
    assert!(read(&GOOD.replace("off_after", "toggle_after")).is_ok());
}

#[test]
fn s09_a_lock_says_what_it_does_without_power() {
    refused(&[("    fail_mode: secure\n", "", "without `fail_mode`")]);
}

#[test]
fn s18_a_command_says_how_it_is_answered_or_that_it_is_not() {
    refused(&[
        ("ack: accepted", "ack: none", "yet reads answers"),
        ("      answers: [{ topic: '{prefix}/reply', id: .id, status: '\"accepted\"' }]\n", "", "where its answer is read"),
        (", ack: accepted", "", "`ack` is missing"),
    ]);
}

#[test]
fn s20_an_event_of_a_reader_has_an_id() {
    refused(&[(", id: .id }]\n  commands", " }]\n  commands", "sent twice, it would open twice")]);
}

#[test]
fn a_convention_uses_neither_the_topics_of_others_nor_all_of_them() {
    refused(&[
        ("'{prefix}/lock'", "'#'", "a wildcard stands alone"),
        ("'{prefix}/lock'", "'+/lock'", "a wildcard stands alone"),
        ("'{prefix}/lock'", "spalla/v1/hq/door-1/state/lock", "belongs to the gateway"),
        ("'{prefix}/lock'", "$SYS/x", "belongs to the gateway"),
        ("'{prefix}/set'", "'{prefix}/+'", "a command goes to one topic"),
        ("'{prefix}/lock'", "'{perfix}/lock'", "there is no parameter `perfix`"),
        ("  parameters: { prefix: {} }", "  home_assistant: homeassistant\n  parameters: { prefix: {} }", "only a bridge hears"),
        (
            "  parameters: { prefix: {} }",
            "  bridge: true\n  home_assistant: 'a/#'\n  parameters: { prefix: {} }",
            "the prefix is plain text",
        ),
        (
            "  parameters: { prefix: {} }",
            "  bridge: true\n  home_assistant: spalla\n  parameters: { prefix: {} }",
            "belongs to the gateway",
        ),
    ]);
}

#[test]
fn capabilities_and_convention_say_the_same() {
    refused(&[
        ("state: { lock: {} }", "state: { lock: {}, open: {} }", "nothing says where property `open` is read"),
        ("state: { lock: {} }", "state: {}", "no capability has this property"),
        ("events: { presented: {} }", "events: { presented: {}, gone: {} }", "nothing says where event `gone` is read"),
        ("    unlock:\n      publish", "    open:\n      publish", "nothing says how `unlock` is sent"),
        ("value: . }", "value: '.[' }", "column"),
        ("value: . }", "value: $payload }", "there is no `$payload` here"),
        ("value: . }", "value: ., wehn: . }", "unknown key"),
    ]);
}
