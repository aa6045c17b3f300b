//! A topic with `{parameter}` in it. Wildcards are whole levels, and never the first one.

use crate::topic;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Longest topic after its parameters are put in, bytes.
const TOPIC_LEN_MAX: usize = 512;
/// Longest value of a parameter, bytes.
const VALUE_LEN_MAX: usize = 256;

#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(Box<str>),
    Parameter(Box<str>),
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("`{text}`: a `{{` without its `}}`"));
            };
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(format!("`{text}`: `{{{name}}}` names no parameter"));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::Parameter(name.into()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        // As it would look: a parameter is never empty and has no wildcards.
        let shape: String = parts.iter().map(|part| if let Part::Text(text) = part { text } else { "x" }).collect();
        if shape.contains('}') || shape.is_empty() || shape.chars().any(char::is_control) {
            return Err(format!("`{text}` is no topic"));
        }
        if topic::is_reserved(&shape) {
            return Err(format!("`{text}` belongs to the gateway itself"));
        }
        let mut levels = shape.split('/').enumerate().peekable();
        while let Some((place, level)) = levels.next() {
            let wild = level.contains(['+', '#']);
            if wild && (place == 0 || level.len() > 1 || level == "#" && levels.peek().is_some()) {
                return Err(format!("`{text}`: a wildcard stands alone in its level, not in the first one, and `#` in the last"));
            }
        }
        Ok(Self { parts })
    }

    pub fn has_wildcard(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains(['+', '#'])))
    }

    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| if let Part::Parameter(name) = part { Some(&**name) } else { None })
    }

    /// Puts the values in, which have passed [`check_value`].
    pub fn expand(&self, values: &BTreeMap<Arc<str>, Arc<str>>) -> Result<String, String> {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Parameter(name) => out.push_str(values.get(&**name).ok_or_else(|| format!("parameter `{name}` is missing"))?),
            }
        }
        if out.len() > TOPIC_LEN_MAX {
            return Err(format!("a topic of more than {TOPIC_LEN_MAX} bytes"));
        }
        if topic::is_reserved(&out) {
            return Err(format!("topic `{out}` belongs to the gateway itself"));
        }
        Ok(out)
    }
}

/// What may stand for a parameter: it must not widen a topic to those of others.
pub fn check_value(name: &str, value: &str) -> Result<(), String> {
    let bad =
        value.is_empty() || value.len() > VALUE_LEN_MAX || value.contains(['+', '#', '{', '}']) || value.chars().any(char::is_control);
    if bad { Err(format!("parameter `{name}`: 1 to {VALUE_LEN_MAX} bytes, without `+ # {{ }}`")) } else { Ok(()) }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Parameter(name) => write!(f, "{{{name}}}"),
        })
    }
}
