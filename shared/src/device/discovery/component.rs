//! One announced component as a capability with its topics.

use super::super::convention::{AnswerFrom, AvailabilityFrom, CommandTo, Convention, EventFrom, Publish, StateFrom};
use super::super::{AckSpec, Bound, Capability, CapabilityKind, CommandClass, CommandSpec, Confirm, EventSpec, PropertySpec};
use super::plain;
use crate::value::{Object, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long the announced state may take to show that a command was carried out.
const CONFIRM_MS: u64 = 15_000;
const EXPIRY_MS: u64 = 30_000;

#[derive(Default)]
pub(super) struct Build {
    pub capabilities: Vec<Capability>,
    pub convention: Convention,
    pub left_out: Vec<String>,
}

/// What a command of a component is.
struct Told {
    name: String,
    class: CommandClass,
    payload: Value,
    bound: Option<Bound>,
    becomes: Option<Value>,
}

impl Build {
    pub fn add(&mut self, key: &str, config: &Object) {
        let platform = text(config, "platform").unwrap_or_default();
        match &*platform {
            "sensor" => self.sensor(key, config, "."),
            "binary_sensor" => {
                let map = two(config, ("payload_on", "ON", "true"), ("payload_off", "OFF", "false"));
                self.sensor(key, config, &map);
            }
            "switch" => self.switch(key, config),
            "lock" => self.lock(key, config),
            "cover" => self.cover(key, config),
            "event" => self.event(key, config),
            other => self.left_out.push(format!("`{key}`: components of platform `{other}` are not used")),
        }
    }

    fn sensor(&mut self, key: &str, config: &Object, value: &str) {
        self.capability(key, CapabilityKind::Sensor, config, value, Vec::new());
    }

    fn switch(&mut self, key: &str, config: &Object) {
        let map =
            two(config, ("state_on", &or(config, "payload_on", "ON"), "true"), ("state_off", &or(config, "payload_off", "OFF"), "false"));
        let told = [("on", "payload_on", "ON", true), ("off", "payload_off", "OFF", false)].map(|(word, payload, usual, becomes)| Told {
            name: format!("{word}-{key}"),
            class: CommandClass::Neutral,
            payload: Value::from(or(config, payload, usual)),
            bound: None,
            becomes: Some(Value::Bool(becomes)),
        });
        self.capability(key, CapabilityKind::Switch, config, &map, told.into());
    }

    fn lock(&mut self, key: &str, config: &Object) {
        let (locked, unlocked) = (or(config, "state_locked", "LOCKED"), or(config, "state_unlocked", "UNLOCKED"));
        let map = two(config, ("state_locked", &locked, "\"locked\""), ("state_unlocked", &unlocked, "\"unlocked\""));
        let ended_by: Arc<str> = format!("lock-{key}").into();
        let mut told = vec![
            Told {
                name: format!("unlock-{key}"),
                class: CommandClass::Opening,
                payload: Value::from(or(config, "payload_unlock", "UNLOCK")),
                bound: Some(Bound::Mode { ended_by: ended_by.clone() }),
                becomes: Some(Value::from("unlocked")),
            },
            Told {
                name: ended_by.to_string(),
                class: CommandClass::Securing,
                payload: Value::from(or(config, "payload_lock", "LOCK")),
                bound: None,
                becomes: Some(Value::from("locked")),
            },
        ];
        if let Some(payload) = text(config, "payload_open") {
            let bound = Some(Bound::Mode { ended_by });
            told.push(Told {
                name: format!("open-{key}"),
                class: CommandClass::Opening,
                payload: Value::from(&*payload),
                bound,
                becomes: None,
            });
        }
        self.capability(key, CapabilityKind::Lock, config, &map, told);
    }

    fn cover(&mut self, key: &str, config: &Object) {
        let (open, closed) = (or(config, "state_open", "open"), or(config, "state_closed", "closed"));
        let map = two(config, ("state_open", &open, "\"open\""), ("state_closed", &closed, "\"closed\""));
        let is_way = matches!(text(config, "device_class").as_deref(), Some("door" | "garage" | "gate"));
        // A blind opens for nobody.
        let (kind, opening, closing) = if is_way {
            (CapabilityKind::Barrier, CommandClass::Opening, CommandClass::Securing)
        } else {
            (CapabilityKind::Switch, CommandClass::Neutral, CommandClass::Neutral)
        };
        let ended_by: Arc<str> = format!("close-{key}").into();
        let bound = is_way.then(|| Bound::Mode { ended_by: ended_by.clone() });
        let told = vec![
            Told {
                name: format!("open-{key}"),
                class: opening,
                payload: Value::from(or(config, "payload_open", "OPEN")),
                bound,
                becomes: Some(Value::from("open")),
            },
            Told {
                name: ended_by.to_string(),
                class: closing,
                payload: Value::from(or(config, "payload_close", "CLOSE")),
                bound: None,
                becomes: Some(Value::from("closed")),
            },
            Told {
                name: format!("stop-{key}"),
                class: CommandClass::Neutral,
                payload: Value::from(or(config, "payload_stop", "STOP")),
                bound: None,
                becomes: None,
            },
        ];
        self.capability(key, kind, config, &map, told);
    }

    fn event(&mut self, key: &str, config: &Object) {
        let Some(topic) = text(config, "state_topic") else {
            return self.left_out.push(format!("`{key}`: an event without a state_topic"));
        };
        let types = config.get("event_types").and_then(Value::as_array).unwrap_or_default();
        let mut events = BTreeMap::new();
        for kind in types.iter().filter_map(Value::as_str) {
            let name: Arc<str> = format!("{key}-{}", plain(kind)).into();
            let from = EventFrom {
                topic: topic.clone(),
                template: text(config, "value_template"),
                when: Some(format!(".event_type == {}", Value::from(kind).to_json()).into()),
                data: None,
                id: None,
                time: None,
            };
            self.convention.events.insert(name.clone(), vec![from]);
            events.insert(name, EventSpec::default());
        }
        if events.is_empty() {
            return self.left_out.push(format!("`{key}`: an event without event_types"));
        }
        let (kind, fail_mode, state, commands) = (CapabilityKind::Sensor, None, BTreeMap::new(), BTreeMap::new());
        self.capabilities.push(Capability { id: key.into(), kind, fail_mode, state, events, commands });
    }

    /// A property named as the component, read from its `state_topic`, and commands to its `command_topic`.
    fn capability(&mut self, key: &str, kind: CapabilityKind, config: &Object, value: &str, told: Vec<Told>) {
        let property: Arc<str> = key.into();
        let state_topic = text(config, "state_topic");
        let mut state = BTreeMap::new();
        if let Some(topic) = &state_topic {
            let stale_after_ms =
                config.get("expire_after").and_then(Value::as_i64).and_then(|s| u64::try_from(s).ok()).map(|s| s.saturating_mul(1_000));
            state.insert(
                property.clone(),
                PropertySpec { unit: text(config, "unit_of_measurement"), stale_after_ms: stale_after_ms.filter(|ms| *ms > 0) },
            );
            let from =
                StateFrom { topic: topic.clone(), template: text(config, "value_template"), when: None, value: value.into(), time: None };
            self.convention.state.insert(property.clone(), vec![from]);
        }
        let mut commands = BTreeMap::new();
        let command_topic = text(config, "command_topic");
        if let Some(topic) = &command_topic {
            for one in told {
                let confirm = one.becomes.filter(|_| state_topic.is_some());
                let spec = CommandSpec {
                    class: one.class,
                    expiry_ms: (one.class != CommandClass::Opening).then_some(EXPIRY_MS),
                    bound: one.bound,
                    ack: AckSpec::None,
                    confirm: confirm.map(|becomes| Confirm { property: property.clone(), becomes, within_ms: CONFIRM_MS }),
                };
                let publish = Publish {
                    topic: topic.clone(),
                    payload: Some(one.payload.to_json().into()),
                    template: text(config, "command_template"),
                    qos: 1,
                    retain: false,
                };
                let answers: Vec<AnswerFrom> = Vec::new();
                self.convention.commands.insert(one.name.as_str().into(), CommandTo { publish, answers, bounded_by: None });
                commands.insert(one.name.into(), spec);
            }
        }
        if state.is_empty() && commands.is_empty() {
            return self.left_out.push(format!("`{key}`: neither a state_topic nor a command_topic"));
        }
        self.capabilities.push(Capability { id: property, kind, fail_mode: None, state, events: BTreeMap::new(), commands });
    }
}

/// Availabilities of a component. `any` and `latest` over several topics cannot be said here: those are left out.
pub(super) fn availability(config: &Object, left_out: &mut Vec<String>) -> Vec<AvailabilityFrom> {
    let one = |topic: Arc<str>, from: &Object, template: &str| {
        let (yes, no) = (or(from, "payload_available", "online"), or(from, "payload_not_available", "offline"));
        let online = format!("if {} then true elif {} then false else null end", is(&yes), is(&no)).into();
        AvailabilityFrom { topic, template: text(from, template), when: None, online }
    };
    if let Some(topic) = text(config, "availability_topic") {
        return vec![one(topic, config, "availability_template")];
    }
    let list: Vec<&Object> = match config.get("availability") {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_object).collect(),
        Some(Value::Object(item)) => vec![item],
        _ => Vec::new(),
    };
    let mode = text(config, "availability_mode").unwrap_or_else(|| "latest".into());
    if list.len() > 1 && &*mode != "all" {
        let note = format!("availability_mode `{mode}` over {} topics is not used; the login itself tells", list.len());
        if !left_out.contains(&note) {
            left_out.push(note);
        }
        return Vec::new();
    }
    list.into_iter().filter_map(|item| Some(one(text(item, "topic")?, item, "value_template"))).collect()
}

fn text(config: &Object, key: &str) -> Option<Arc<str>> {
    match config.get(key) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(number @ (Value::Int(_) | Value::Float(_) | Value::Bool(_))) => Some(number.to_json().into()),
        _ => None,
    }
}

fn or(config: &Object, key: &str, usual: &str) -> String {
    text(config, key).map_or_else(|| usual.to_owned(), |text| text.to_string())
}

/// jq that says whether a payload is this word. A word may be JSON: `1`, or `true`, which templates write `True`.
fn is(word: &str) -> String {
    let value = Value::from_json(word).unwrap_or_else(|_| Value::from(word));
    match word.to_ascii_lowercase().as_str() {
        "true" => "(. == true or . == \"True\")".into(),
        "false" => "(. == false or . == \"False\")".into(),
        _ => format!(". == {}", value.to_json()),
    }
}

/// jq that maps two words and says nothing to others. Each: (key, usual word, what it becomes).
fn two(config: &Object, yes: (&str, &str, &str), no: (&str, &str, &str)) -> String {
    let [(yes, then), (no, otherwise)] = [yes, no].map(|(key, usual, becomes)| (is(&or(config, key, usual)), becomes));
    format!("if {yes} then {then} elif {no} then {otherwise} else null end")
}
