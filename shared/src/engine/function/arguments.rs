//! Reads what a flow passes in `with`; a wrong argument is a `validation` problem that names it.

use crate::engine::problem::Problem;
use crate::time::{Timestamp, parse_duration_ms};
use crate::value::Value;
use std::sync::Arc;

/// Longest text that an argument may be: ids, names, questions. Data goes into `data`.
const TEXT_LEN_MAX: usize = 4096;

#[derive(Clone, Copy)]
pub struct Arguments<'a>(pub &'a Value);

impl<'a> Arguments<'a> {
    /// The argument, unless absent or null.
    pub fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }
    pub fn value(self, name: &str) -> Value {
        self.get(name).cloned().unwrap_or_default()
    }
    pub fn inside(self, name: &str) -> Arguments<'a> {
        Arguments(self.0.get(name).unwrap_or(&Value::Null))
    }
    /// A text that must be there, not empty.
    pub fn text(self, name: &str) -> Result<Arc<str>, Problem> {
        self.text_or_none(name)?.ok_or_else(|| wrong(name, "is missing: a text that is not empty"))
    }
    pub fn text_or_none(self, name: &str) -> Result<Option<Arc<str>>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() && text.len() <= TEXT_LEN_MAX => Ok(Some(text.clone())),
            Some(_) => Err(wrong(name, &format!("must be a text of 1 to {TEXT_LEN_MAX} bytes"))),
        }
    }
    /// A list of texts; empty where absent.
    pub fn texts(self, name: &str) -> Result<Vec<Arc<str>>, Problem> {
        const MEANS: &str = "must be a list of texts";
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let items = value.as_array().ok_or_else(|| wrong(name, MEANS))?;
        items.iter().map(|item| item.as_str().map(Arc::from).ok_or_else(|| wrong(name, MEANS))).collect()
    }
    /// A whole number within `range`; `default` where absent.
    pub fn count(self, name: &str, default: u32, range: std::ops::RangeInclusive<u32>) -> Result<u32, Problem> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let number = value.as_i64().and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number));
        number.ok_or_else(|| wrong(name, &format!("must be a whole number from {} to {}", range.start(), range.end())))
    }
    /// Milliseconds of an ISO 8601 duration.
    pub fn duration_ms(self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let millis = value.as_str().and_then(parse_duration_ms);
        millis.map(Some).ok_or_else(|| wrong(name, "must be an ISO 8601 duration such as PT5S"))
    }
    /// RFC 3339 text or Unix milliseconds.
    pub fn instant(self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let at = match value {
            Value::Int(millis) => Some(Timestamp(*millis)),
            Value::String(text) => Timestamp::parse_rfc3339(text),
            _ => None,
        };
        at.map(Some).ok_or_else(|| wrong(name, "must be an instant such as 2026-11-23T09:00:00Z, or Unix milliseconds"))
    }
    pub fn flag(self, name: &str) -> bool {
        self.get(name).is_some_and(Value::is_truthy)
    }
}

pub fn wrong(name: &str, what: &str) -> Problem {
    Problem::standard("validation", 400, format!("argument `{name}` {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_argument_is_named() {
        let with = Value::from_json(r#"{"target":"","within":"five","until":"soon","quantity":0,"choices":["a",1],"none":null}"#).unwrap();
        let with = Arguments(&with);
        let detail = |problem: Problem| problem.detail.unwrap().to_string();
        assert_eq!(detail(with.text("target").unwrap_err()), "argument `target` must be a text of 1 to 4096 bytes");
        assert_eq!(detail(with.text("none").unwrap_err()), "argument `none` is missing: a text that is not empty");
        assert!(with.duration_ms("within").is_err() && with.instant("until").is_err());
        assert!(with.count("quantity", 1, 1..=9).is_err() && with.texts("choices").is_err());
        assert_eq!(with.count("absent", 1, 1..=9), Ok(1));
    }
}
