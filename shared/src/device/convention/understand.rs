//! What a message of a device means. One message may mean several things, or nothing.

use super::compile::{Entry, What};
use super::speaker::Speaker;
use super::{NoTemplates, Templates};
use crate::device::AckStatus;
use crate::event::DATA_SIZE_MAX;
use crate::expression::{Budget, Expression};
use crate::time::Timestamp;
use crate::topic::filter_matches;
use crate::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest id of an event or an answer, bytes.
const ID_LEN_MAX: usize = 128;
/// Devices that one message may propose.
const PROPOSALS_MAX: usize = 256;

#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub retained: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// One of the parts that make up whether the device is there.
    Online {
        part: usize,
        online: bool,
    },
    State {
        property: Arc<str>,
        value: Value,
        time: Option<Timestamp>,
    },
    Event {
        name: Arc<str>,
        id: Option<Arc<str>>,
        time: Option<Timestamp>,
        data: Value,
    },
    /// An answer to `command`; without an id, to the one that was sent last.
    Answer {
        command: Arc<str>,
        id: Option<Arc<str>>,
        status: AckStatus,
        detail: Value,
    },
    Proposal(Proposal),
}

/// A device that somebody may declare.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    pub name: Arc<str>,
    pub profile: Arc<str>,
    pub title: Arc<str>,
    pub parameters: BTreeMap<Arc<str>, Arc<str>>,
    /// It is to log in by itself, not by the login that proposes it.
    pub own_login: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Understood {
    pub meanings: Vec<Meaning>,
    /// What could not be read, and why: the rest was.
    pub problems: Vec<String>,
}

impl Speaker {
    pub fn understand(&self, message: &Incoming) -> Understood {
        self.understand_with(message, &NoTemplates)
    }

    /// Reads one message. Spends one expression budget on all of it.
    pub fn understand_with(&self, message: &Incoming, templates: &dyn Templates) -> Understood {
        let mut understood = Understood::default();
        let mut matching =
            self.compiled.entries.iter().zip(&self.filters).filter(|(_, filter)| filter_matches(filter, message.topic)).peekable();
        if matching.peek().is_none() {
            return understood;
        }
        let payload = match payload(message.payload) {
            Ok(payload) => payload,
            Err(problem) => {
                understood.problems.push(problem);
                return understood;
            }
        };
        let levels = Value::array(message.topic.split('/').map(Value::from).collect());
        let variables = [
            ("topic", Value::from(message.topic)),
            ("levels", levels),
            ("retained", Value::Bool(message.retained)),
            ("device", self.device.clone()),
        ];
        let plain = payload.clone();
        let mut sheet = Sheet { payload, variables: &variables, budget: Budget::per_evaluation(), retained: message.retained };
        for (entry, _) in matching {
            sheet.payload = match &entry.template {
                None => plain.clone(),
                Some(template) => match rendered(templates, template, message.payload) {
                    Ok(payload) => payload,
                    Err(problem) => {
                        understood.problems.push(format!("{}: {problem}", entry.what.title()));
                        continue;
                    }
                },
            };
            match sheet.read(entry) {
                Ok(meanings) => understood.meanings.extend(meanings),
                Err(problem) => understood.problems.push(format!("{}: {problem}", entry.what.title())),
            }
        }
        understood
    }
}

/// What a template makes of the payload. Nothing, `None` and `unknown` are what templates say where there is no value.
fn rendered(templates: &dyn Templates, template: &str, bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the payload is no text")?;
    let made = templates.render(template, text)?;
    match made.trim() {
        "" | "None" | "none" | "unknown" => Ok(Value::Null),
        made => payload(made.as_bytes()),
    }
}

/// JSON where it is JSON, else text.
fn payload(bytes: &[u8]) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(_) => std::str::from_utf8(bytes).map(Value::from).map_err(|_| "the payload is neither JSON nor text".into()),
    }
}

impl What {
    fn title(&self) -> String {
        match self {
            Self::Online { .. } => "availability".into(),
            Self::State { property, .. } => format!("state `{property}`"),
            Self::Event { name, .. } => format!("event `{name}`"),
            Self::Answer { command, .. } => format!("answer to `{command}`"),
            Self::Discover { .. } => "discovery".into(),
        }
    }
}

struct Sheet<'a> {
    payload: Value,
    variables: &'a [(&'a str, Value)],
    budget: Budget,
    retained: bool,
}

impl Sheet<'_> {
    fn eval(&mut self, expression: &Expression) -> Result<Value, String> {
        expression.eval(&self.payload, self.variables, &mut self.budget).map_err(|error| error.to_string())
    }

    fn eval_or_null(&mut self, expression: Option<&Expression>) -> Result<Value, String> {
        expression.map_or(Ok(Value::Null), |expression| self.eval(expression))
    }

    fn read(&mut self, entry: &Entry) -> Result<Vec<Meaning>, String> {
        if let Some(when) = &entry.when
            && !self.eval(when)?.is_truthy()
        {
            return Ok(Vec::new());
        }
        let meaning = match &entry.what {
            What::Online { part, online } => match self.eval(online)? {
                Value::Null => return Ok(Vec::new()),
                Value::Bool(online) => Meaning::Online { part: *part, online },
                other => return Err(format!("`online` gives {}, not true, false or null", other.type_name())),
            },
            What::State { property, value, time } => match self.eval(value)? {
                Value::Null => return Ok(Vec::new()),
                value => Meaning::State { property: property.clone(), value, time: self.time(time.as_ref())? },
            },
            What::Event { name, data, id, time } => {
                let data = match data {
                    Some(data) => self.eval(data)?,
                    None if self.payload.as_object().is_some() => self.payload.clone(),
                    None => Value::object([("value", self.payload.clone())]),
                };
                if data.as_object().is_none() {
                    return Err(format!("`data` gives {}, not an object", data.type_name()));
                }
                if data.size() > DATA_SIZE_MAX {
                    return Err("the event is too large".into());
                }
                let given = match id {
                    Some(expression) => Some(self.id(expression)?.ok_or("the event has no id")?),
                    None => None,
                };
                Meaning::Event { name: name.clone(), id: given, time: self.time(time.as_ref())?, data }
            }
            What::Answer { id: None, retained: false, .. } if self.retained => return Ok(Vec::new()),
            What::Answer { command, id, status, detail, .. } => {
                let status = match self.eval(status)? {
                    Value::Null => return Ok(Vec::new()),
                    value => ack_status(&value)?,
                };
                let id = match id {
                    // An answer to somebody else's request.
                    Some(expression) => match self.id(expression)? {
                        Some(id) => Some(id),
                        None => return Ok(Vec::new()),
                    },
                    None => None,
                };
                let detail = self.eval_or_null(detail.as_ref())?;
                Meaning::Answer { command: command.clone(), id, status, detail }
            }
            What::Discover { propose, own_login } => return self.proposals(propose, *own_login),
        };
        Ok(vec![meaning])
    }

    fn id(&mut self, expression: &Expression) -> Result<Option<Arc<str>>, String> {
        match self.eval(expression)? {
            Value::Null => Ok(None),
            Value::String(text) if !text.is_empty() && text.len() <= ID_LEN_MAX => Ok(Some(text)),
            Value::Int(number) => Ok(Some(number.to_string().into())),
            other => Err(format!("`id` gives {}, not text of 1 to {ID_LEN_MAX} bytes or a whole number", other.type_name())),
        }
    }

    fn time(&mut self, expression: Option<&Expression>) -> Result<Option<Timestamp>, String> {
        match self.eval_or_null(expression)? {
            Value::Null => Ok(None),
            Value::Int(millis) => Ok(Some(Timestamp(millis))),
            Value::String(text) => match Timestamp::parse_rfc3339(&text) {
                Some(at) => Ok(Some(at)),
                None => Err(format!("`time` gives `{text}`, not RFC 3339 or whole Unix milliseconds")),
            },
            other => Err(format!("`time` gives {}, not RFC 3339 or whole Unix milliseconds", other.type_name())),
        }
    }

    fn proposals(&mut self, propose: &Expression, own_login: bool) -> Result<Vec<Meaning>, String> {
        let all = propose.eval_all(&self.payload, self.variables, &mut self.budget).map_err(|error| error.to_string())?;
        if all.len() > PROPOSALS_MAX {
            return Err(format!("one message proposes {} devices; {PROPOSALS_MAX} is the most", all.len()));
        }
        all.iter().filter(|value| !value.is_null()).map(|value| proposal(value, own_login).map(Meaning::Proposal)).collect()
    }
}

fn ack_status(value: &Value) -> Result<AckStatus, String> {
    match value.as_str() {
        Some("accepted") => Ok(AckStatus::Accepted),
        Some("done") => Ok(AckStatus::Done),
        Some("failed") => Ok(AckStatus::Failed),
        _ => Err(format!("`status` gives {value}, not accepted, done, failed or null")),
    }
}

fn proposal(value: &Value, own_login: bool) -> Result<Proposal, String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(Arc::from);
    let (Some(name), Some(profile)) = (text("name"), text("profile")) else {
        return Err("`propose` gives something without `name` and `profile`".into());
    };
    let mut parameters = BTreeMap::new();
    for (key, value) in value.get("parameters").and_then(Value::as_object).into_iter().flatten() {
        let Some(value) = value.as_str() else { return Err(format!("proposed parameter `{key}` is no text")) };
        parameters.insert(key.clone(), Arc::from(value));
    }
    Ok(Proposal { name, profile, title: text("title").unwrap_or_else(|| "".into()), parameters, own_login })
}
