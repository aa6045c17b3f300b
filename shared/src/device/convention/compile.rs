//! A convention with its topics and expressions parsed: what is done once per profile, not once per message.

use super::template::Template;
use super::{ENTRIES_MAX, PARAMETERS_MAX};
use crate::device::{Profile, ProfileError};
use crate::expression::Expression;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a message or a command may be told in expressions.
const READING: [&str; 4] = ["device", "levels", "retained", "topic"];
const WRITING: [&str; 2] = ["command", "device"];
/// Known of every device.
pub(super) const BUILT_IN: [&str; 3] = ["device", "name", "site"];

#[derive(Clone, Debug)]
pub struct Compiled {
    pub(super) parameters: BTreeMap<Arc<str>, Option<Template>>,
    pub(super) entries: Vec<Entry>,
    pub(super) commands: BTreeMap<Arc<str>, CommandTo>,
    pub(super) publishes: Vec<Template>,
    pub(super) subscribes: Vec<Template>,
    pub(super) bridge: bool,
    pub(super) home_assistant: Option<Arc<str>>,
}

/// Something that may be read from messages of a topic.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub topic: Template,
    pub template: Option<Arc<str>>,
    pub when: Option<Expression>,
    pub what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// `part`: its place among the profile's availabilities.
    Online {
        part: usize,
        online: Expression,
    },
    State {
        property: Arc<str>,
        value: Expression,
        time: Option<Expression>,
    },
    Event {
        name: Arc<str>,
        data: Option<Expression>,
        id: Option<Expression>,
        time: Option<Expression>,
    },
    Answer {
        command: Arc<str>,
        id: Option<Expression>,
        status: Expression,
        detail: Option<Expression>,
        retained: bool,
    },
    Discover {
        propose: Expression,
        own_login: bool,
    },
}

#[derive(Clone, Debug)]
pub(super) struct CommandTo {
    pub topic: Template,
    pub payload: Option<Expression>,
    pub template: Option<Arc<str>>,
    pub qos: u8,
}

impl Compiled {
    /// `None`: the profile speaks the native contract. Every finding, not just the first.
    pub fn of(profile: &Profile) -> Result<Option<Self>, Vec<ProfileError>> {
        let Some(convention) = &profile.convention else { return Ok(None) };
        let mut reader = Reader { profile: &profile.name, parameters: &convention.parameters, errors: Vec::new() };
        let mut parameters = BTreeMap::new();
        for (name, parameter) in &convention.parameters {
            let at = format!("/convention/parameters/{name}");
            if BUILT_IN.contains(&&**name) {
                reader.say(&at, "every device has this parameter already", "rename it");
            }
            let default = parameter.default.as_deref().and_then(|default| match Template::parse(default) {
                Ok(template) if template.parameters().all(|used| BUILT_IN.contains(&used)) => Some(template),
                Ok(_) => {
                    reader.say(&at, "a default may use {site}, {name} and {device} only", "leave it out");
                    None
                }
                Err(problem) => {
                    reader.say(&at, &problem, "write a part of a topic");
                    None
                }
            });
            parameters.insert(name.clone(), default);
        }
        let mut entries = Vec::new();
        for (part, from) in convention.availability.iter().enumerate() {
            let at = format!("/convention/availability/{part}");
            let online = reader.jq(&at, "online", &from.online, &READING);
            entries.extend(reader.entry(&at, &from.topic, &from.template, &from.when, online.map(|online| What::Online { part, online })));
        }
        for (property, all) in &convention.state {
            for (place, from) in all.iter().enumerate() {
                let at = format!("/convention/state/{property}/{place}");
                let time = reader.jq_or_none(&at, "time", &from.time);
                let value = reader.jq(&at, "value", &from.value, &READING);
                let what = value.map(|value| What::State { property: property.clone(), value, time });
                entries.extend(reader.entry(&at, &from.topic, &from.template, &from.when, what));
            }
        }
        for (name, all) in &convention.events {
            for (place, from) in all.iter().enumerate() {
                let at = format!("/convention/events/{name}/{place}");
                let [data, id, time] =
                    [("data", &from.data), ("id", &from.id), ("time", &from.time)].map(|(key, text)| reader.jq_or_none(&at, key, text));
                let what = What::Event { name: name.clone(), data, id, time };
                entries.extend(reader.entry(&at, &from.topic, &from.template, &from.when, Some(what)));
            }
        }
        let mut commands = BTreeMap::new();
        for (command, to) in &convention.commands {
            let at = format!("/convention/commands/{command}");
            for (place, from) in to.answers.iter().enumerate() {
                let at = format!("{at}/answers/{place}");
                let [id, detail] = [("id", &from.id), ("detail", &from.detail)].map(|(key, text)| reader.jq_or_none(&at, key, text));
                let status = reader.jq(&at, "status", &from.status, &READING);
                let what = status.map(|status| What::Answer { command: command.clone(), id, status, detail, retained: from.retained });
                entries.extend(reader.entry(&at, &from.topic, &None, &from.when, what));
            }
            let at = format!("{at}/publish");
            let payload = to.publish.payload.as_ref().and_then(|text| reader.jq(&at, "payload", text, &WRITING));
            if let Some(topic) = reader.topic(&at, &to.publish.topic) {
                if topic.has_wildcard() {
                    reader.say(&format!("{at}/topic"), "a command goes to one topic", "write the topic without `+` and `#`");
                }
                commands.insert(
                    command.clone(),
                    CommandTo { topic, payload, template: to.publish.template.clone(), qos: to.publish.qos.min(1) },
                );
            }
        }
        for (place, from) in convention.discover.iter().enumerate() {
            let at = format!("/convention/discover/{place}");
            let propose = reader.jq(&at, "propose", &from.propose, &READING);
            let what = propose.map(|propose| What::Discover { propose, own_login: from.own_login });
            entries.extend(reader.entry(&at, &from.topic, &None, &from.when, what));
        }
        let mut also = |key: &str, topics: &[Arc<str>]| -> Vec<Template> {
            topics.iter().enumerate().filter_map(|(place, text)| reader.also(&format!("/convention/also/{key}/{place}"), text)).collect()
        };
        let (publishes, subscribes) = (also("publishes", &convention.also.publishes), also("subscribes", &convention.also.subscribes));
        if entries.len() + commands.len() + publishes.len() + subscribes.len() > ENTRIES_MAX {
            reader.say("/convention", &format!("more than {ENTRIES_MAX} entries"), "split the profile");
        }
        if convention.parameters.len() > PARAMETERS_MAX {
            reader.say("/convention/parameters", &format!("more than {PARAMETERS_MAX} parameters"), "keep those that topics need");
        }
        if let Some(prefix) = &convention.home_assistant {
            reader.home_assistant(prefix);
        }
        if !reader.errors.is_empty() {
            return Err(reader.errors);
        }
        Ok(Some(Self {
            parameters,
            entries,
            commands,
            publishes,
            subscribes,
            bridge: convention.bridge,
            home_assistant: convention.home_assistant.clone(),
        }))
    }

    pub fn is_bridge(&self) -> bool {
        self.bridge
    }
}

struct Reader<'a> {
    profile: &'a str,
    parameters: &'a BTreeMap<Arc<str>, super::Parameter>,
    errors: Vec<ProfileError>,
}

impl Reader<'_> {
    fn say(&mut self, pointer: &str, problem: &str, mend: &str) {
        self.errors.push(ProfileError {
            profile: self.profile.into(),
            place: pointer.trim_start_matches('/').replace('/', ", "),
            pointer: pointer.into(),
            problem: problem.into(),
            mend: mend.into(),
        });
    }

    fn entry(&mut self, at: &str, topic: &str, template: &Option<Arc<str>>, when: &Option<Arc<str>>, what: Option<What>) -> Option<Entry> {
        let when = self.jq_or_none(at, "when", when);
        let topic = self.topic(at, topic);
        Some(Entry { topic: topic?, template: template.clone(), when, what: what? })
    }

    fn home_assistant(&mut self, prefix: &str) {
        let at = "/convention/home_assistant";
        match Template::parse(prefix) {
            Ok(template) if !template.has_wildcard() && template.parameters().next().is_none() => {}
            Ok(_) => self.say(at, "the prefix is plain text", "write `homeassistant`"),
            Err(problem) => self.say(at, &problem, "write `homeassistant`"),
        }
    }

    fn topic(&mut self, at: &str, text: &str) -> Option<Template> {
        self.also(&format!("{at}/topic"), text)
    }

    fn also(&mut self, at: &str, text: &str) -> Option<Template> {
        match Template::parse(text) {
            Ok(template) => {
                let known = |name: &str| BUILT_IN.contains(&name) || self.parameters.contains_key(name);
                if let Some(unknown) = template.parameters().find(|name| !known(name)).map(str::to_owned) {
                    self.say(at, &format!("there is no parameter `{unknown}`"), "declare it under `parameters`");
                }
                Some(template)
            }
            Err(problem) => {
                self.say(at, &problem, "write e.g. `{prefix}/status`");
                None
            }
        }
    }

    fn jq_or_none(&mut self, at: &str, key: &str, text: &Option<Arc<str>>) -> Option<Expression> {
        text.as_deref().and_then(|text| self.jq(at, key, text, &READING))
    }

    fn jq(&mut self, at: &str, key: &str, text: &str, variables: &[&str]) -> Option<Expression> {
        match Expression::parse(text) {
            Ok(expression) => {
                if let Some(unknown) = expression.variables().iter().find(|name| !variables.contains(&name.as_str())) {
                    let known: Vec<String> = variables.iter().map(|name| format!("${name}")).collect();
                    self.say(&format!("{at}/{key}"), &format!("there is no `${unknown}` here"), &format!("there are {}", known.join(", ")));
                }
                Some(expression)
            }
            Err(error) => {
                self.say(&format!("{at}/{key}"), &error.to_string(), "mend the expression (jq)");
                None
            }
        }
    }
}
