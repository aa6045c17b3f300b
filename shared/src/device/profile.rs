//! A device profile: data, not code, that says what a kind of device can do and how dangerous each command is.

use super::convention::{Compiled, Convention};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An opening command may live this long at most (FIELD rule: a late *open* is worse than none).
pub const OPENING_EXPIRY_MAX_MS: u64 = 10_000;
pub const OPENING_EXPIRY_DEFAULT_MS: u64 = 3_000;
/// A door that does not show its opening within a minute did not open by it.
pub const CONFIRM_MAX_MS: u64 = 60_000;
pub const EXPIRY_DEFAULT_MS: u64 = 30_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    pub name: Arc<str>,
    pub version: u32,
    #[serde(default)]
    pub title: Arc<str>,
    /// How it speaks, where it does not speak the native contract.
    #[serde(default)]
    pub convention: Option<Arc<Convention>>,
    #[serde(default)]
    pub capabilities: Vec<Capability>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    pub id: Arc<str>,
    #[serde(rename = "type")]
    pub kind: CapabilityKind,
    /// Required for `lock` and `barrier`.
    #[serde(default)]
    pub fail_mode: Option<FailMode>,
    /// `state/{property}`.
    #[serde(default)]
    pub state: BTreeMap<Arc<str>, PropertySpec>,
    /// `event/{name}`.
    #[serde(default)]
    pub events: BTreeMap<Arc<str>, EventSpec>,
    #[serde(default)]
    pub commands: BTreeMap<Arc<str>, CommandSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CapabilityKind {
    Lock,
    Switch,
    Sensor,
    Counter,
    Reader,
    Camera,
    Barrier,
    Charger,
    Tracker,
    Alarm,
    Display,
}

impl CapabilityKind {
    /// Whether a policy may let such a thing in. What opens a way, or says who stands before it, is admitted by a person.
    pub fn is_admitted_by_policy(self) -> bool {
        !matches!(self, Self::Lock | Self::Barrier | Self::Reader)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailMode {
    /// Opens without power.
    Safe,
    /// Stays shut without power.
    Secure,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PropertySpec {
    #[serde(default)]
    pub unit: Option<Arc<str>>,
    /// After this long without a report the value is stale; default 5 minutes.
    #[serde(default)]
    pub stale_after_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSpec {
    #[serde(default)]
    pub title: Option<Arc<str>>,
    /// An alarm goes to the cloud at once and into the log always.
    #[serde(default)]
    pub alarm: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommandClass {
    /// Unlock, raise a barrier: attempted at most once, never late.
    Opening,
    /// Lock, lockdown: repeated with the same key until answered or past its deadline.
    Securing,
    Neutral,
}

/// Who ends an opening.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The device itself closes after this many milliseconds.
    Device { pulse_ms: u64 },
    /// The opening is a mode on purpose (fire release): it ends by another command.
    Mode { ended_by: Arc<str> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSpec {
    pub class: CommandClass,
    #[serde(default)]
    pub expiry_ms: Option<u64>,
    /// Required for `opening`.
    #[serde(default)]
    pub bound: Option<Bound>,
    /// `done` (the device says when it is completed), `accepted` (it only says it took it) or `none`. No default: say it.
    pub ack: AckSpec,
    #[serde(default)]
    pub confirm: Option<Confirm>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckSpec {
    Done,
    Accepted,
    None,
}

/// Physical completion seen by a sensor: `property` of this device becomes `becomes` within the time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    pub property: Arc<str>,
    pub becomes: crate::value::Value,
    pub within_ms: u64,
}

/// What is wrong with a profile, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("profile `{profile}`, {place}: {problem}; {mend}")]
pub struct ProfileError {
    pub profile: String,
    pub place: String,
    /// JSON pointer into the profile; empty where `place` says it all.
    pub pointer: String,
    pub problem: String,
    pub mend: String,
}

impl CommandSpec {
    pub fn expiry_ms(&self) -> u64 {
        self.expiry_ms.unwrap_or(match self.class {
            CommandClass::Opening => OPENING_EXPIRY_DEFAULT_MS,
            _ => EXPIRY_DEFAULT_MS,
        })
    }
}

impl CommandSpec {
    /// How long the proof of its completion may take after its answer.
    pub fn confirm_ms(&self) -> u64 {
        self.confirm.as_ref().map_or(0, |confirm| confirm.within_ms.min(CONFIRM_MAX_MS))
    }
}

impl Profile {
    /// It has a command that opens something.
    pub fn can_open(&self) -> bool {
        self.capabilities.iter().flat_map(|capability| capability.commands.values()).any(|command| command.class == CommandClass::Opening)
    }

    /// Whether an event of this name is an alarm.
    pub fn is_alarm(&self, event: &str) -> bool {
        self.capabilities.iter().any(|capability| capability.events.get(event).is_some_and(|event| event.alarm))
    }

    pub fn command(&self, name: &str) -> Option<&CommandSpec> {
        self.capabilities.iter().find_map(|capability| capability.commands.get(name))
    }

    /// Whether a bridge's policy that names `kinds` lets devices of this profile in: it can do nothing else, and opens nothing.
    pub fn is_admitted_by(&self, kinds: &[CapabilityKind]) -> bool {
        let named = |one: &Capability| kinds.contains(&one.kind) && one.kind.is_admitted_by_policy();
        let opens = |one: &Capability| one.commands.values().any(|command| command.class == CommandClass::Opening);
        !self.capabilities.is_empty() && self.capabilities.iter().all(|one| named(one) && !opens(one))
    }

    /// All the rules of safety that a profile can break: every finding, not just the first.
    pub fn check(&self) -> Result<(), Vec<ProfileError>> {
        let mut errors = Vec::new();
        let mut say = |place: String, problem: &str, mend: &str| {
            let pointer = String::new();
            errors.push(ProfileError { profile: self.name.to_string(), place, pointer, problem: problem.into(), mend: mend.into() });
        };
        for capability in &self.capabilities {
            let place = format!("capability `{}`", capability.id);
            if matches!(capability.kind, CapabilityKind::Lock | CapabilityKind::Barrier) && capability.fail_mode.is_none() {
                say(place.clone(), "a lock or barrier without `fail_mode`", "say `fail_mode: safe` (opens without power) or `secure`");
            }
            for (name, command) in &capability.commands {
                let place = format!("{place}, command `{name}`");
                if name.to_ascii_lowercase().contains("toggle") {
                    say(place.clone(), "a toggle does the opposite when it arrives twice", "declare the two states as two commands");
                }
                if command.class != CommandClass::Opening {
                    continue;
                }
                if command.expiry_ms() > OPENING_EXPIRY_MAX_MS {
                    say(place.clone(), "an opening command that lives longer than 10,000 ms", "lower `expiry_ms`; 3000 is the default");
                }
                if command.bound.is_none() {
                    say(
                        place.clone(),
                        "an opening command with no bound",
                        "say `bound: {device: {pulse_ms: 3000}}` where the device itself closes, or `bound: {mode: {ended_by: lock}}` \
                         where a flow ends it; the gateway closes nothing by itself, since it may be down when it should",
                    );
                }
            }
        }
        if self.capabilities.is_empty() && !self.convention.as_ref().is_some_and(|convention| convention.bridge) {
            say("capabilities".into(), "it can do nothing", "declare a capability; only a bridge has none");
        }
        if let Some(convention) = &self.convention {
            errors.extend(convention.check(self));
            errors.extend(Compiled::of(self).err().into_iter().flatten());
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}
