//! `call`: a function of the catalog, or HTTP.

use super::uri;
use crate::engine::effect::{EffectClass, HttpAuthentication, HttpRequest, Request};
use crate::engine::function::{self, CallInfo, Started};
use crate::engine::instance::{Next, Wait};
use crate::engine::interpreter::{Cursor, Interpreter, PAYLOAD_SIZE_MAX, Step, limit, text_of};
use crate::engine::problem::Problem;
use crate::engine::trace::shown;
use crate::flow::plan::{Authentication, FunctionName, HttpCall, Template};
use crate::time::Timestamp;
use crate::value::Value;
use std::sync::Arc;

/// How long an HTTP call may take where no timeout around it says so: the specification names none, and every wait has a bound.
pub const HTTP_DEADLINE_MS: u64 = 30_000;

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
        self.trace(&cursor, "called", Value::object([("function", Value::String(function.clone())), ("with", shown(&with))]));
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
        if let Some(frame) = cursor.top_mut() {
            frame.authorization = request.authentication.as_ref().map(|authentication| Box::new(authorization(authentication)));
        }
        // Never its headers or body, which may hold what is nobody's business.
        let called = [("function", Value::from("http")), ("method", Value::String(request.method.clone()))];
        self.trace(&cursor, "called", Value::object(called.into_iter().chain([("uri", Value::String(request.uri.clone()))])));
        let deadline = self.deadline(&cursor).unwrap_or_else(|| self.context.now.plus(HTTP_DEADLINE_MS));
        let owner = self.owner(&mut cursor);
        self.context.open_effect(owner, EffectClass::Neutral, deadline, Request::Http(request));
        self.park(cursor, Wait::External("effect".into()));
        Step::Parked
    }

    fn http_request(&mut self, cursor: &Cursor, call: &HttpCall, input: &Value) -> Result<HttpRequest, Problem> {
        let endpoint = self.fill(cursor, &call.endpoint, input, &[])?;
        let uri = match endpoint.get("uri").unwrap_or(&endpoint) {
            Value::String(uri) => uri::expand(uri, input)?,
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

/// `$authorization`. A secret is shown by its name: its value never enters the log.
fn authorization(authentication: &HttpAuthentication) -> Value {
    let (scheme, parameter) = match authentication {
        HttpAuthentication::BearerSecret(name) => ("Bearer", format!("secret:{name}")),
        HttpAuthentication::BasicSecret(name) => ("Basic", format!("secret:{name}")),
        HttpAuthentication::Bearer(token) => ("Bearer", token.to_string()),
        HttpAuthentication::Basic { username, .. } => ("Basic", username.to_string()),
    };
    Value::object([("scheme", Value::from(scheme)), ("parameter", Value::from(parameter))])
}

/// Fields of an object as text; a list gives its name once per item, and what is null is left out.
fn pairs(fields: &Value) -> Vec<(Arc<str>, Arc<str>)> {
    let mut pairs = Vec::new();
    for (name, value) in fields.as_object().into_iter().flatten() {
        let items = value.as_array().unwrap_or(std::slice::from_ref(value));
        pairs.extend(items.iter().filter(|item| !item.is_null()).map(|item| (name.clone(), text_of(item))));
    }
    pairs
}
