//! `try`, `catch`, `retry`, and the errors that `raise` raises.

use super::super::diagnostic::{Diagnostic, join};
use super::super::plan::{Backoff, Catch, DurationSpec, ErrorSpec, Retry, TaskKind, Template, Try};
use super::super::suggest;
use super::Compiler;
use super::template::{expression_part, has_expression};
use crate::value::{Object, Value};
use std::sync::Arc;

/// Pause between attempts where `delay` is not given: a retry without any pause is a busy loop.
pub const RETRY_DELAY_DEFAULT_MS: u64 = 1_000;
/// Attempts where neither a count nor a duration bounds them: nothing is retried for ever.
pub const RETRY_COUNT_DEFAULT: u32 = 10;
/// More attempts than this are a loop in disguise.
const RETRY_COUNT_MAX: i64 = 10_000;

/// Types of the specification, below `…/errors/` or `…/errors/types/`.
const STANDARD: [&str; 8] =
    ["configuration", "validation", "expression", "authentication", "authorization", "timeout", "communication", "runtime"];

impl Compiler {
    pub(super) fn trying(&mut self, task: &Object, pointer: &str) -> Option<TaskKind> {
        let body = self.list(task.get("try")?, &join(pointer, "try"), "`try`");
        let catch = self.required(task, "catch", pointer, "a `try`")?;
        let catch = self.catch(catch, &join(pointer, "catch"))?;
        Some(TaskKind::Try(Try { body, catch }))
    }

    fn catch(&mut self, value: &Value, pointer: &str) -> Option<Catch> {
        let fields = self.object(value, pointer, "`catch`", &["errors", "as", "when", "exceptWhen", "retry", "do"])?;
        let errors = fields.get("errors").map(|errors| self.caught(errors, &join(pointer, "errors"))).unwrap_or_default();
        let as_ = self.variable(fields.get("as"), &join(pointer, "as"), "error");
        let depth = self.scope.len();
        self.scope.push(as_.clone());
        let when = fields.get("when").and_then(|when| self.expression(when, &join(pointer, "when")));
        let except_when = fields.get("exceptWhen").and_then(|when| self.expression(when, &join(pointer, "exceptWhen")));
        let retry = fields.get("retry").and_then(|retry| self.retry(retry, &join(pointer, "retry")));
        let body = fields.get("do").map(|body| self.list(body, &join(pointer, "do"), "`do`")).unwrap_or_default();
        self.scope.truncate(depth);
        Some(Catch { errors, as_, when, except_when, retry, body })
    }

    fn caught(&mut self, value: &Value, pointer: &str) -> Vec<(Arc<str>, Value)> {
        let Some(fields) = self.object(value, pointer, "`errors`", &["with"]) else { return Vec::new() };
        let at = join(pointer, "with");
        let known = ["type", "status", "title", "detail", "instance"];
        let Some(fields) = fields.get("with").and_then(|with| self.object(with, &at, "`with`", &known)) else { return Vec::new() };
        for (key, wanted) in fields {
            if has_expression(wanted) {
                let hint = "use `catch.when: $error.status == …`";
                self.error("bad-expression", &join(&at, key), "errors are matched by plain values here", hint);
            }
        }
        if let Some(kind) = fields.get("type").and_then(Value::as_str) {
            self.error_type(kind, &join(&at, "type"));
        }
        fields.iter().map(|(key, wanted)| (key.clone(), wanted.clone())).collect()
    }

    /// A type that looks like one of the specification but is none would never match.
    fn error_type(&mut self, kind: &str, pointer: &str) {
        let hosts = ["https://serverlessworkflow.io/", "https://open-workflow-specification.org/"];
        if !hosts.iter().any(|host| kind.starts_with(host)) {
            return;
        }
        let name = kind.rsplit('/').next().unwrap_or_default();
        if !STANDARD.contains(&name) {
            let warning = Diagnostic::warning("unknown-error-type", pointer, format!("the specification has no error `{name}`"));
            self.findings.push(warning.hint(suggest::hint(name, STANDARD)));
        }
    }

    fn retry(&mut self, value: &Value, pointer: &str) -> Option<Retry> {
        if let Value::String(name) = value {
            let (definition, at) = self.definition("retries", name, pointer)?;
            return self.retry_spec(&definition, &at);
        }
        self.retry_spec(value, pointer)
    }

    pub(super) fn retry_spec(&mut self, value: &Value, pointer: &str) -> Option<Retry> {
        let keys = ["when", "exceptWhen", "delay", "backoff", "limit", "jitter"];
        let fields = self.object(value, pointer, "a retry", &keys)?;
        let when = fields.get("when").and_then(|when| self.expression(when, &join(pointer, "when")));
        let except_when = fields.get("exceptWhen").and_then(|when| self.expression(when, &join(pointer, "exceptWhen")));
        let delay = match fields.get("delay") {
            Some(delay) => self.duration(delay, &join(pointer, "delay"))?,
            None => DurationSpec::Millis(RETRY_DELAY_DEFAULT_MS),
        };
        let increment_ms = if let DurationSpec::Millis(millis) = &delay { *millis } else { RETRY_DELAY_DEFAULT_MS };
        let backoff = fields.get("backoff").and_then(|backoff| self.backoff(backoff, &join(pointer, "backoff"), increment_ms));
        let jitter_ms = fields.get("jitter").and_then(|jitter| self.jitter(jitter, &join(pointer, "jitter")));
        let mut retry = Retry {
            when,
            except_when,
            delay,
            backoff: backoff.unwrap_or_default(),
            jitter_ms,
            attempt_count_max: None,
            attempt_duration: None,
            duration_max: None,
        };
        if let Some(limit) = fields.get("limit") {
            self.limit(limit, &join(pointer, "limit"), &mut retry);
        }
        if retry.attempt_count_max.is_none() && retry.duration_max.is_none() {
            let message = format!("a retry without a limit: {RETRY_COUNT_DEFAULT} attempts are made");
            let warning = Diagnostic::warning("unbounded-retry", pointer, message).on_key();
            self.findings.push(warning.suggest("say `limit: { attempt: { count: 5 } }`"));
            retry.attempt_count_max = Some(RETRY_COUNT_DEFAULT);
        }
        Some(retry)
    }

    fn limit(&mut self, value: &Value, pointer: &str, retry: &mut Retry) {
        let Some(fields) = self.object(value, pointer, "`limit`", &["attempt", "duration"]) else { return };
        retry.duration_max = fields.get("duration").and_then(|duration| self.duration(duration, &join(pointer, "duration")));
        let at = join(pointer, "attempt");
        let Some(fields) = fields.get("attempt").and_then(|attempt| self.object(attempt, &at, "`attempt`", &["count", "duration"])) else {
            return;
        };
        retry.attempt_duration = fields.get("duration").and_then(|duration| self.duration(duration, &join(&at, "duration")));
        match fields.get("count") {
            None => {}
            Some(Value::Int(count)) if (1..=RETRY_COUNT_MAX).contains(count) => retry.attempt_count_max = u32::try_from(*count).ok(),
            Some(other) => {
                let message = format!("`count` is a whole number from 1 to {RETRY_COUNT_MAX}, not {other}");
                self.error("bad-value", &join(&at, "count"), message, "");
            }
        }
    }

    fn backoff(&mut self, value: &Value, pointer: &str, increment_ms: u64) -> Option<Backoff> {
        let fields = self.object(value, pointer, "`backoff`", &["constant", "linear", "exponential"])?;
        let mut all = fields.iter();
        let (Some((kind, details)), None) = (all.next(), all.next()) else {
            self.error_on_key(
                "bad-value",
                pointer,
                "`backoff` is exactly one of `constant`, `linear`, `exponential`",
                "e.g. `backoff: { exponential: {} }`",
            );
            return None;
        };
        let at = join(pointer, kind);
        let known: &[&str] = if &**kind == "linear" { &["increment"] } else { &[] };
        let details = if details.is_null() { &Value::empty_object() } else { details };
        let details = self.object(details, &at, &format!("`{kind}`"), known)?;
        Some(match &**kind {
            "linear" => {
                let increment = details.get("increment").and_then(|increment| self.millis(increment, &join(&at, "increment")));
                Backoff::Linear { increment_ms: increment.unwrap_or(increment_ms) }
            }
            "exponential" => Backoff::Exponential,
            _ => Backoff::Constant,
        })
    }

    fn jitter(&mut self, value: &Value, pointer: &str) -> Option<(u64, u64)> {
        let fields = self.object(value, pointer, "`jitter`", &["from", "to"])?;
        let from = fields.get("from").map_or(Some(0), |from| self.millis(from, &join(pointer, "from")))?;
        let to = self.required(fields, "to", pointer, "`jitter`").and_then(|to| self.millis(to, &join(pointer, "to")))?;
        if from > to {
            self.error("bad-value", pointer, "`jitter.from` is longer than `jitter.to`", "swap them");
        }
        Some((from, to))
    }

    pub(super) fn raise(&mut self, task: &Object, pointer: &str) -> Option<TaskKind> {
        let at = join(pointer, "raise");
        let fields = self.object(task.get("raise")?, &at, "`raise`", &["error"])?;
        let error = self.required(fields, "error", &at, "`raise`")?;
        let at = join(&at, "error");
        if let Value::String(name) = error {
            let (definition, at) = self.definition("errors", name, &at)?;
            return self.error_spec(&definition, &at).map(TaskKind::Raise);
        }
        self.error_spec(error, &at).map(TaskKind::Raise)
    }

    pub(super) fn error_spec(&mut self, value: &Value, pointer: &str) -> Option<ErrorSpec> {
        let fields = self.object(value, pointer, "an error", &["type", "status", "title", "detail", "instance"])?;
        let kind = self.required(fields, "type", pointer, "an error");
        let status = self.required(fields, "status", pointer, "an error");
        if let Some(status) = status {
            let at = join(pointer, "status");
            let fits = match status {
                Value::Int(status) => (100..=599).contains(status),
                Value::String(text) => expression_part(text).is_some(),
                _ => false,
            };
            if !fits {
                self.error("bad-value", &at, format!("`status` is a number like 403, not {status}"), "");
            }
        }
        if let Some(kind) = kind
            && let Some(text) = self.text(kind, &join(pointer, "type"), "`type`")
        {
            self.error_type(&text, &join(pointer, "type"));
        }
        let mut part = |value: &Value, key: &str| self.template(value, &join(pointer, key));
        let kind: Option<Template> = kind.map(|kind| part(kind, "type"));
        let status = status.map(|status| part(status, "status"));
        let title = fields.get("title").map(|title| part(title, "title"));
        let detail = fields.get("detail").map(|detail| part(detail, "detail"));
        let instance = fields.get("instance").map(|instance| part(instance, "instance"));
        Some(ErrorSpec { kind: kind?, status: status?, title, detail, instance })
    }
}
