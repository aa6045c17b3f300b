//! `call: http`: the request, and who it says it is.

use super::super::diagnostic::join;
use super::super::plan::{Authentication, HttpCall, HttpOutput, Template};
use super::Compiler;
use super::template::expression_part;
use crate::value::{Object, Value};

const METHODS: [&str; 7] = ["get", "post", "put", "patch", "delete", "head", "options"];

impl Compiler {
    pub(super) fn http(&mut self, with: &Value, pointer: &str) -> Option<HttpCall> {
        let keys = ["method", "endpoint", "headers", "query", "body", "output", "redirect"];
        let fields = self.object(with, pointer, "`with` of `call: http`", &keys)?;
        let method = self.required(fields, "method", pointer, "`with` of `call: http`");
        let method = method.and_then(|method| self.method(method, &join(pointer, "method")));
        let endpoint = self.required(fields, "endpoint", pointer, "`with` of `call: http`");
        let endpoint = endpoint.and_then(|endpoint| self.endpoint(endpoint, &join(pointer, "endpoint")));
        let headers = self.pairs(fields, "headers", pointer);
        let query = self.pairs(fields, "query", pointer);
        let body = fields.get("body").map(|body| self.template(body, &join(pointer, "body")));
        let output = match fields
            .get("output")
            .map(|output| self.word(output, &join(pointer, "output"), "`output`", &["raw", "content", "response"]))
        {
            Some(Some("raw")) => HttpOutput::Raw,
            Some(Some("response")) => HttpOutput::Response,
            _ => HttpOutput::Content,
        };
        let redirect = self.flag(fields, "redirect", pointer, false);
        let (endpoint, authentication) = endpoint?;
        Some(HttpCall { method: method?.into(), endpoint, headers, query, body, authentication, output, redirect })
    }

    fn method(&mut self, value: &Value, pointer: &str) -> Option<&'static str> {
        let lower = value.as_str().map(|method| Value::from(method.to_ascii_lowercase()));
        self.word(lower.as_ref().unwrap_or(value), pointer, "`method`", &METHODS)
    }

    fn pairs(&mut self, fields: &Object, key: &str, pointer: &str) -> Template {
        let Some(value) = fields.get(key) else { return Template::Object(Vec::new()) };
        let pointer = join(pointer, key);
        let fits = match value {
            Value::Object(_) => true,
            Value::String(text) => expression_part(text).is_some(),
            _ => false,
        };
        if !fits {
            self.error("bad-type", &pointer, format!("`{key}` must be a mapping, not {}", value.type_name()), "");
        }
        self.template(value, &pointer)
    }

    fn endpoint(&mut self, value: &Value, pointer: &str) -> Option<(Template, Option<Authentication>)> {
        let Value::Object(_) = value else { return self.uri(value, pointer).map(|uri| (uri, None)) };
        let fields = self.object(value, pointer, "an endpoint", &["uri", "authentication"])?;
        let uri = self.required(fields, "uri", pointer, "an endpoint").and_then(|uri| self.uri(uri, &join(pointer, "uri")));
        let authentication = fields.get("authentication").and_then(|auth| self.authentication(auth, &join(pointer, "authentication")));
        Some((uri?, authentication))
    }

    /// Literal URIs may hold `{name}` parts, filled from the task's input.
    fn uri(&mut self, value: &Value, pointer: &str) -> Option<Template> {
        let text = self.text(value, pointer, "an endpoint")?;
        if expression_part(&text).is_some() {
            return Some(self.template(value, pointer));
        }
        if !(text.starts_with("http://") || text.starts_with("https://")) || text.contains(char::is_whitespace) {
            let hint = "write `https://host/path/{name}`, or an expression in ${ }";
            self.error("bad-value", pointer, format!("`{text}` is no http address"), hint);
        }
        Some(self.template(value, pointer))
    }

    fn authentication(&mut self, value: &Value, pointer: &str) -> Option<Authentication> {
        if let Some(name) = value.get("use") {
            self.object(value, pointer, "`authentication`", &["use"]);
            let name = self.text(name, &join(pointer, "use"), "`use`")?;
            let (definition, at) = self.definition("authentications", &name, &join(pointer, "use"))?;
            return self.authentication_spec(&definition, &at);
        }
        self.authentication_spec(value, pointer)
    }

    pub(super) fn authentication_spec(&mut self, value: &Value, pointer: &str) -> Option<Authentication> {
        let fields = value.as_object();
        for refused in ["oauth2", "oidc", "digest", "certificate"] {
            if fields.is_some_and(|fields| fields.contains_key(refused)) {
                let message = format!("`{refused}` is not carried yet");
                self.error_on_key("refused", &join(pointer, refused), message, "use `bearer` or `basic` with a secret");
                return None;
            }
        }
        let fields = self.object(value, pointer, "an authentication", &["basic", "bearer"])?;
        match (fields.get("bearer"), fields.get("basic")) {
            (Some(bearer), None) => self.bearer(bearer, &join(pointer, "bearer")),
            (None, Some(basic)) => self.basic(basic, &join(pointer, "basic")),
            _ => {
                self.error_on_key("missing-key", pointer, "an authentication is either `bearer` or `basic`", "");
                None
            }
        }
    }

    fn bearer(&mut self, value: &Value, pointer: &str) -> Option<Authentication> {
        let fields = self.object(value, pointer, "`bearer`", &["use", "token"])?;
        if let Some(secret) = fields.get("use") {
            return self.secret(secret, &join(pointer, "use")).map(Authentication::BearerSecret);
        }
        let token = self.required(fields, "token", pointer, "`bearer`")?;
        Some(Authentication::BearerToken(self.template(token, &join(pointer, "token"))))
    }

    fn basic(&mut self, value: &Value, pointer: &str) -> Option<Authentication> {
        let fields = self.object(value, pointer, "`basic`", &["use", "username", "password"])?;
        if let Some(secret) = fields.get("use") {
            return self.secret(secret, &join(pointer, "use")).map(Authentication::BasicSecret);
        }
        let username = self.required(fields, "username", pointer, "`basic`")?;
        let username = self.template(username, &join(pointer, "username"));
        let password = self.required(fields, "password", pointer, "`basic`")?;
        Some(Authentication::Basic { username, password: self.template(password, &join(pointer, "password")) })
    }
}
