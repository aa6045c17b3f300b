//! Reading the pieces of a document: objects with known keys, names, flags, durations.

use super::super::diagnostic::join;
use super::super::plan::DurationSpec;
use super::super::suggest;
use super::Compiler;
use super::template::expression_part;
use crate::time::parse_duration_ms;
use crate::value::{Object, Value};
use std::sync::Arc;

/// Longest literal duration. Beyond it something else is meant.
const DURATION_MAX_MS: u64 = 10 * 366 * 24 * 3_600_000;

impl Compiler {
    /// `value` as an object, with only keys out of `allowed`.
    pub(super) fn object<'v>(&mut self, value: &'v Value, pointer: &str, what: &str, allowed: &[&str]) -> Option<&'v Object> {
        let Some(fields) = value.as_object() else {
            self.error("bad-type", pointer, format!("{what} must be a mapping, not {}", value.type_name()), keys_hint(allowed));
            return None;
        };
        self.keys(fields, pointer, what, allowed);
        Some(fields)
    }

    pub(super) fn keys(&mut self, fields: &Object, pointer: &str, what: &str, allowed: &[&str]) {
        for key in fields.keys().filter(|key| !allowed.contains(&&***key)) {
            let hint = suggest::hint(key, allowed.iter().copied()).unwrap_or_default();
            self.error_on_key("unknown-key", &join(pointer, key), format!("unknown key `{key}` in {what}"), hint);
        }
    }

    /// A field that must be there.
    pub(super) fn required<'v>(&mut self, fields: &'v Object, key: &str, pointer: &str, what: &str) -> Option<&'v Value> {
        let found = fields.get(key).filter(|value| !value.is_null());
        if found.is_none() {
            self.error_on_key("missing-key", pointer, format!("`{key}` is missing in {what}"), "");
        }
        found
    }

    /// A list of at least one item.
    pub(super) fn items<'v>(&mut self, value: &'v Value, pointer: &str, what: &str) -> Option<&'v [Value]> {
        match value.as_array() {
            Some([]) => {
                self.error_on_key("empty", pointer, format!("{what} is empty"), "add an item, or take it out");
                None
            }
            None => {
                let hint = "begin each item with `- `";
                self.error("bad-type", pointer, format!("{what} must be a list, not {}", value.type_name()), hint);
                None
            }
            items => items,
        }
    }

    /// An item of the form `- name: {…}`: its name, what stands below it, and the pointer to that.
    pub(super) fn named<'v>(&mut self, value: &'v Value, pointer: &str, what: &str) -> Option<(&'v Arc<str>, &'v Value, String)> {
        let hint = "write `- name:` and put the rest below it, further in";
        let Some(fields) = value.as_object() else {
            self.error("bad-type", pointer, format!("{what} must be `name: …`, not {}", value.type_name()), hint);
            return None;
        };
        let mut all = fields.iter();
        match (all.next(), all.next()) {
            (Some((name, value)), None) => Some((name, value, join(pointer, name))),
            (None, _) => {
                self.error("missing-name", pointer, format!("{what} has no name"), hint);
                None
            }
            (Some(_), Some(_)) => {
                let names = fields.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
                self.error("several-names", pointer, format!("{what} has one name, but here are {names}"), hint);
                None
            }
        }
    }

    pub(super) fn text(&mut self, value: &Value, pointer: &str, what: &str) -> Option<Arc<str>> {
        match value {
            Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
            Value::String(_) => {
                self.error("empty", pointer, format!("{what} is empty"), "");
                None
            }
            other => {
                let hint = if matches!(other, Value::Int(_) | Value::Float(_) | Value::Bool(_)) { "put it in quotes" } else { "" };
                self.error("bad-type", pointer, format!("{what} must be text, not {}", other.type_name()), hint);
                None
            }
        }
    }

    pub(super) fn flag(&mut self, fields: &Object, key: &str, pointer: &str, default: bool) -> bool {
        match fields.get(key) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(other) => {
                let message = format!("`{key}` must be true or false, not {}", other.type_name());
                self.error("bad-type", &join(pointer, key), message, "YAML 1.2 knows only `true` and `false`");
                default
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<'w>(&mut self, value: &Value, pointer: &str, what: &str, words: &[&'w str]) -> Option<&'w str> {
        let text = value.as_str().unwrap_or_default();
        let found = words.iter().copied().find(|word| *word == text);
        if found.is_none() {
            let hint = suggest::hint(text, words.iter().copied()).unwrap_or_else(|| keys_hint(words));
            self.error("bad-value", pointer, format!("{what} cannot be {value}"), hint);
        }
        found
    }

    /// A name that becomes a variable: `$item`.
    pub(super) fn variable(&mut self, value: Option<&Value>, pointer: &str, default: &str) -> Arc<str> {
        let Some(value) = value else { return default.into() };
        let Some(name) = self.text(value, pointer, "the variable's name") else { return default.into() };
        let name: Arc<str> = name.strip_prefix('$').map_or(name.clone(), Arc::from);
        let first = name.chars().next().unwrap_or('0');
        if !(first.is_ascii_alphabetic() || first == '_') || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.error("bad-value", pointer, format!("`{name}` cannot be a variable"), "use letters, digits and `_`");
        } else if super::template::ARGUMENTS.contains(&&*name) {
            self.error("bad-value", pointer, format!("`${name}` is taken by the language"), "choose another name");
        }
        name
    }

    /// `PT5S`, `{ seconds: 5 }` or an expression that gives such text.
    pub(super) fn duration(&mut self, value: &Value, pointer: &str) -> Option<DurationSpec> {
        if let Some(text) = value.as_str()
            && expression_part(text).is_some()
        {
            return self.expression(value, pointer).map(DurationSpec::Expression);
        }
        self.millis(value, pointer).map(DurationSpec::Millis)
    }

    /// A duration that is known now.
    pub(super) fn millis(&mut self, value: &Value, pointer: &str) -> Option<u64> {
        let total = match value {
            Value::String(text) => match parse_duration_ms(text) {
                Some(total) => total,
                None => {
                    let hint = "write `PT30S`, `PT10M`, `P1D`, or a mapping like `{ minutes: 10 }`";
                    self.error("bad-duration", pointer, format!("`{text}` is no duration"), hint);
                    return None;
                }
            },
            Value::Object(_) => self.duration_parts(value, pointer)?,
            other => {
                let message = format!("a duration is text or a mapping, not {}", other.type_name());
                self.error("bad-duration", pointer, message, "write `PT30S` or `{ seconds: 30 }`");
                return None;
            }
        };
        if total > DURATION_MAX_MS {
            self.error("bad-duration", pointer, "longer than ten years", "");
            return None;
        }
        Some(total)
    }

    fn duration_parts(&mut self, value: &Value, pointer: &str) -> Option<u64> {
        const UNITS: [(&str, u64); 5] =
            [("days", 86_400_000), ("hours", 3_600_000), ("minutes", 60_000), ("seconds", 1_000), ("milliseconds", 1)];
        let fields = self.object(value, pointer, "a duration", &UNITS.map(|(name, _)| name))?;
        if fields.is_empty() {
            self.error("bad-duration", pointer, "an empty duration", "write `{ seconds: 30 }`");
            return None;
        }
        let mut total = 0u64;
        for (name, unit) in UNITS {
            match fields.get(name) {
                None => {}
                Some(Value::Int(count)) if *count >= 0 => total = total.saturating_add(unit.saturating_mul(count.unsigned_abs())),
                Some(other) => {
                    let message = format!("`{name}` must be a whole number, 0 or more, not {other}");
                    self.error("bad-duration", &join(pointer, name), message, "use the next smaller unit, or text with an expression");
                    return None;
                }
            }
        }
        Some(total)
    }
}

fn keys_hint(known: &[&str]) -> String {
    if known.is_empty() { String::new() } else { format!("known here: {}", known.join(", ")) }
}
