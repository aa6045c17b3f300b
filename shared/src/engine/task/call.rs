//! `call`: a function of the catalog, or HTTP.

use crate::engine::effect::{EffectClass, HttpAuthentication, HttpRequest, Request};
use crate::engine::function::{self, CallInfo, Started};
use crate::engine::instance::{Next, Wait};
use crate::engine::interpreter::{Cursor, Interpreter, PAYLOAD_SIZE_MAX, Step, limit, text_of};
use crate::engine::problem::Problem;
use crate::flow::plan::{Authentication, FunctionName, HttpCall, Template};
use crate::time::Timestamp;
use crate::value::Value;
use std::sync::Arc;

/// How long an HTTP call may take where no timeout around it says so: the specification names none, and every wait has a bound.
pub const HTTP_DEADLINE_MS: u64 = 30_000;
/// Of the address, before and behind filling it in.
const URI_LEN_MAX: usize = 8192;

impl Interpreter<'_, '_> {
    pub(in crate::engine) fn call_function(&mut self, mut cursor: Cursor, function: &FunctionName, with: &Template, input: &Value) -> Step {
        let with = match self.fill_payload(&cursor, with, input) {
            Ok(with) => with,
            Err(problem) => return cursor.fail(problem),
        };
        let call = match (self.instance(&cursor.id), cursor.top()) {
            (Some(instance), Some(frame)) => CallInfo {
                instance: cursor.id.clone(),
                flow: instance.flow.clone(),
                reference: frame.reference.clone(),
                deadline: self.deadline(&cursor),
            },
            _ => return cursor.broken("a call without its task"),
        };
        let owner = self.owner(&mut cursor);
        let (id, number) = (cursor.id.clone(), cursor.number);
        // Back in its instance: what the function looks at must show that this token waits.
        self.park(cursor, Wait::External("effect".into()));
        let started = function::start(self.context, owner, &call, function, &with);
        let Some(mut cursor) = self.take(&id, number) else { return Step::Parked };
        match started {
            Started::Done(Ok(value)) => Step::Go(cursor, Next::Done { value }),
            Started::Done(Err(problem)) => cursor.fail(problem),
            Started::Waiting(what) => {
                cursor.token.wait = Wait::External(what.into());
                self.put(cursor);
                Step::Parked
            }
        }
    }

    /// A rehearsal: the function is asked for as it stands, and waited for as long as the timeouts around it allow.
    pub(in crate::engine) fn call_outside(&mut self, mut cursor: Cursor, function: &FunctionName, with: &Template, input: &Value) -> Step {
        let with = match self.fill_payload(&cursor, with, input) {
            Ok(with) => with,
            Err(problem) => return cursor.fail(problem),
        };
        let deadline = self.deadline(&cursor).unwrap_or(Timestamp::MAX);
        let owner = self.owner(&mut cursor);
        self.context.open_effect(owner, EffectClass::Neutral, deadline, Request::Function { function: function.clone(), with });
        self.park(cursor, Wait::External("effect".into()));
        Step::Parked
    }

    pub(in crate::engine) fn call_http(&mut self, mut cursor: Cursor, call: &HttpCall, input: &Value) -> Step {
        let request = match self.http_request(&cursor, call, input) {
            Ok(request) => request,
            Err(problem) => return cursor.fail(problem),
        };
        let deadline = self.deadline(&cursor).unwrap_or_else(|| self.context.now.plus(HTTP_DEADLINE_MS));
        let owner = self.owner(&mut cursor);
        self.context.open_effect(owner, EffectClass::Neutral, deadline, Request::Http(request));
        self.park(cursor, Wait::External("effect".into()));
        Step::Parked
    }

    fn http_request(&mut self, cursor: &Cursor, call: &HttpCall, input: &Value) -> Result<HttpRequest, Problem> {
        let endpoint = self.fill(cursor, &call.endpoint, input, &[])?;
        let uri = match endpoint.get("uri").unwrap_or(&endpoint) {
            Value::String(uri) => expand(uri, input)?,
            other => return Err(Problem::standard("configuration", 400, format!("the endpoint is a {}, not a URI", other.type_name()))),
        };
        let headers = self.fill(cursor, &call.headers, input, &[])?;
        let query = self.fill(cursor, &call.query, input, &[])?;
        let body = match &call.body {
            Some(body) => Some(self.fill(cursor, body, input, &[])?),
            None => None,
        };
        for (value, what) in [(Some(&headers), "headers"), (Some(&query), "query"), (body.as_ref(), "body")] {
            if let Some(value) = value {
                limit(value, PAYLOAD_SIZE_MAX, what)?;
            }
        }
        let authentication = match &call.authentication {
            None => None,
            Some(Authentication::BearerSecret(name)) => Some(HttpAuthentication::BearerSecret(name.clone())),
            Some(Authentication::BasicSecret(name)) => Some(HttpAuthentication::BasicSecret(name.clone())),
            Some(Authentication::BearerToken(token)) => {
                Some(HttpAuthentication::Bearer(text_of(&self.fill_payload(cursor, token, input)?)))
            }
            Some(Authentication::Basic { username, password }) => Some(HttpAuthentication::Basic {
                username: text_of(&self.fill_payload(cursor, username, input)?),
                password: text_of(&self.fill_payload(cursor, password, input)?),
            }),
        };
        Ok(HttpRequest {
            method: call.method.clone(),
            uri: uri.into(),
            query: pairs(&query),
            headers: pairs(&headers),
            body,
            authentication,
            output: call.output,
            redirect: call.redirect,
        })
    }
}

/// Fields of an object as text; fields that are null are left out.
fn pairs(fields: &Value) -> Vec<(Arc<str>, Arc<str>)> {
    let fields = fields.as_object().into_iter().flatten();
    fields.filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), text_of(value))).collect()
}

/// Fills `{name}` from the fields of `input`, percent-encoded (RFC 6570, level 1).
fn expand(template: &str, input: &Value) -> Result<String, Problem> {
    let bad = |detail: String| Problem::standard("configuration", 400, detail);
    let mut uri = String::new();
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        uri.push_str(before);
        let (name, behind) = behind.split_once('}').ok_or_else(|| bad(format!("`{template}` has a brace that does not close")))?;
        let value = input.get(name).filter(|value| !value.is_null());
        let value = value.ok_or_else(|| bad(format!("`{template}`: the task's input has no `{name}`")))?;
        for byte in text_of(value).bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(byte)),
                _ => uri.push_str(&format!("%{byte:02X}")),
            }
        }
        if uri.len() > URI_LEN_MAX {
            break;
        }
        rest = behind;
    }
    uri.push_str(rest);
    if uri.len() > URI_LEN_MAX {
        return Err(bad(format!("an address of more than {URI_LEN_MAX} bytes")));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_takes_fields_and_encodes_them() {
        let input = Value::object([("plate", Value::from("KA 01/Ä")), ("n", Value::Int(7))]);
        assert_eq!(expand("http://x/{plate}?n={n}", &input).as_deref(), Ok("http://x/KA%2001%2F%C3%84?n=7"));
        assert!(expand("http://x/{gone}", &input).is_err());
        assert!(expand("http://x/{open", &input).is_err());
    }
}
