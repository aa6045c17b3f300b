//! What a convention may not do, whatever it is called: the rules of safety, and that capabilities and convention say the same.

use super::{BoundedBy, CommandTo, Convention};
use crate::device::{AckSpec, Bound, CapabilityKind, CommandClass, CommandSpec, Profile, ProfileError};
use std::sync::Arc;

impl Convention {
    /// Every finding, not just the first.
    pub(in crate::device) fn check(&self, profile: &Profile) -> Vec<ProfileError> {
        let mut errors = Vec::new();
        let mut say = |pointer: String, problem: String, mend: &str| {
            errors.push(ProfileError {
                profile: profile.name.to_string(),
                place: pointer.trim_start_matches('/').replace('/', ", "),
                pointer,
                problem,
                mend: mend.into(),
            });
        };
        let capabilities = &profile.capabilities;
        for property in capabilities.iter().flat_map(|capability| capability.state.keys()) {
            if self.state.get(property).is_none_or(Vec::is_empty) {
                say("/convention/state".into(), format!("nothing says where property `{property}` is read"), "add `{topic, value}` for it");
            }
        }
        for (property, _) in self.state.iter().filter(|(name, _)| !capabilities.iter().any(|one| one.state.contains_key(*name))) {
            say(format!("/convention/state/{property}"), "no capability has this property".into(), "declare it in a capability's `state`");
        }
        for name in capabilities.iter().flat_map(|capability| capability.events.keys()) {
            if self.events.get(name).is_none_or(Vec::is_empty) {
                say(
                    "/convention/events".into(),
                    format!("nothing says where event `{name}` is read"),
                    "add `{topic, when, data, id}` for it",
                );
            }
        }
        for (name, all) in &self.events {
            let Some(capability) = capabilities.iter().find(|capability| capability.events.contains_key(name)) else {
                say(format!("/convention/events/{name}"), "no capability has this event".into(), "declare it in a capability's `events`");
                continue;
            };
            if capability.kind == CapabilityKind::Reader && all.iter().any(|from| from.id.is_none()) {
                let problem = "an event of a reader without an `id`: sent twice, it would open twice".into();
                say(
                    format!("/convention/events/{name}"),
                    problem,
                    "say `id:`, made of what tells two readings apart (a sequence, or card and time)",
                );
            }
        }
        for (name, spec) in capabilities.iter().flat_map(|capability| &capability.commands) {
            match self.commands.get(name) {
                None => say(
                    "/convention/commands".into(),
                    format!("nothing says how `{name}` is sent"),
                    "add `publish: {topic, payload}` for it",
                ),
                Some(to) => command(name, spec, to, &mut say),
            }
        }
        for (name, _) in self.commands.iter().filter(|(name, _)| profile.command(name).is_none()) {
            say(format!("/convention/commands/{name}"), "no capability has this command".into(), "declare it in a capability's `commands`");
        }
        if !self.bridge && self.home_assistant.is_some() {
            say("/convention/home_assistant".into(), "only a bridge hears of other devices".into(), "say `bridge: true`, or leave it out");
        }
        if !self.bridge && !self.discover.is_empty() {
            say(
                "/convention/discover".into(),
                "only a bridge knows of other devices".into(),
                "say `bridge: true`, or leave `discover` out",
            );
        }
        errors
    }
}

fn command(name: &Arc<str>, spec: &CommandSpec, to: &CommandTo, say: &mut impl FnMut(String, String, &str)) {
    let at = format!("/convention/commands/{name}");
    let payload = to.publish.payload.as_deref().unwrap_or_default();
    if to.publish.retain {
        let problem = "a retained command comes again with every subscription, long after it was meant";
        say(format!("{at}/publish/retain"), problem.into(), "leave `retain` out");
    }
    if to.publish.qos > 1 {
        say(format!("{at}/publish/qos"), "commands go at QoS 0 or 1".into(), "write 1: doing it once is the work of its id");
    }
    if has_word(payload, "toggle") || has_word(&to.publish.topic, "toggle") {
        say(format!("{at}/publish"), "a toggle does the opposite when it arrives twice".into(), "send the state that is wanted");
    }
    match (spec.ack, to.answers.is_empty()) {
        (AckSpec::None, false) => {
            say(format!("{at}/answers"), "the command says `ack: none` and yet reads answers".into(), "say `ack: accepted` or `done`")
        }
        (AckSpec::None, true) | (_, false) => {}
        (_, true) => {
            say(at.clone(), "nothing says where its answer is read".into(), "add `answers: [{topic, id, status}]`, or say `ack: none`")
        }
    }
    if spec.class != CommandClass::Opening || !matches!(spec.bound, Some(Bound::Device { .. })) {
        return;
    }
    match &to.bounded_by {
        None => {
            let problem = "nothing says what makes the device end this opening by itself";
            say(at, problem.into(), "say `bounded_by: {payload: WORD}` (in each command) or `{setting: NAME}` (made on the device)");
        }
        Some(BoundedBy::Payload(word)) if !has_word(payload, word) => {
            say(
                format!("{at}/bounded_by"),
                format!("`{word}` is not in the payload"),
                "name the word of the payload that ends the opening",
            );
        }
        Some(_) => {}
    }
}

/// Words are of letters, digits and `_`, so that `toggle_after` is not `toggle`.
fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|found| found.eq_ignore_ascii_case(word))
}
