//! The document's own keys: who it is, when it starts, where it lives.

use super::super::diagnostic::join;
use super::super::plan::{FlowKey, Plan, Schedule, Scope};
use super::super::suggest;
use super::events::Consumer;
use super::{Compiler, hash};
use crate::topic::is_level;
use crate::value::{Object, Value};
use std::str::FromStr;
use std::sync::Arc;

/// `spalla/event-ttl` where the document says nothing.
pub const EVENT_TTL_DEFAULT_MS: u64 = 5 * 60_000;
/// Kept events are state on every replica.
const EVENT_TTL_MAX_MS: u64 = 24 * 3_600_000;
/// A shorter `every` would start instances faster than they end.
const SCHEDULE_EVERY_MIN_MS: u64 = 1_000;

const METADATA: [&str; 6] =
    ["spalla/scope", "spalla/sites", "spalla/priority", "spalla/singleton", "spalla/business-key", "spalla/event-ttl"];

impl Compiler {
    pub(super) fn document(&mut self, value: &Value) -> Option<Plan> {
        let keys = ["document", "input", "use", "do", "timeout", "output", "schedule", "evaluate"];
        let fields = self.object(value, "", "the flow", &keys)?;
        let document = self.required(fields, "document", "", "the flow").cloned().unwrap_or_default();
        let key = self.identity(&document);
        self.evaluate(fields.get("evaluate"));
        if let Some(definitions) = fields.get("use") {
            self.definitions(definitions);
        }
        let root = self.required(fields, "do", "", "the flow").map(|tasks| self.list(tasks, "/do", "`do`")).unwrap_or_default();
        let extensions = self.extensions(fields.get("use").and_then(|definitions| definitions.get("extensions")));
        let input = self.input_spec(fields, "");
        let output = self.output_spec(fields, "");
        let timeout = self.timeout(fields, "");
        self.unused_definitions();
        let schedule = fields.get("schedule").and_then(|schedule| self.schedule(schedule));
        let metadata = document.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
        let at = |key| join("/document/metadata", key);
        let scope = self.scope_of(&metadata, &at("spalla/scope"));
        let sites = self.sites(&metadata, scope, &at("spalla/sites"));
        let life_safety = self.priority(&metadata, &at("spalla/priority"));
        let singleton = metadata.get("spalla/singleton").and_then(|key| self.expression(key, &at("spalla/singleton")));
        let business_key = metadata.get("spalla/business-key").and_then(|key| self.expression(key, &at("spalla/business-key")));
        let event_ttl_ms = self.event_ttl(&metadata, &at("spalla/event-ttl"));
        let tasks = std::mem::take(&mut self.tasks).into_iter().collect::<Option<Vec<_>>>();
        let key = key?;
        let title = document.get("title").and_then(Value::as_str).unwrap_or(&key.name).into();
        Some(Plan {
            key,
            title,
            hash: hash(value),
            scope,
            sites,
            life_safety,
            singleton,
            business_key,
            event_ttl_ms,
            input,
            output,
            timeout,
            schedule,
            secrets: std::mem::take(&mut self.definitions.secrets),
            tasks: tasks?,
            root,
            extensions,
            unattended: false,
        })
    }

    fn identity(&mut self, document: &Value) -> Option<FlowKey> {
        if document.is_null() {
            return None;
        }
        let keys = ["dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata"];
        let fields = self.object(document, "/document", "`document`", &keys)?;
        let mut part = |key: &str| {
            let value = self.required(fields, key, "/document", "`document`")?;
            self.text(value, &join("/document", key), &format!("`{key}`"))
        };
        let (dsl, namespace, name, version) = (part("dsl"), part("namespace"), part("name"), part("version"));
        if let Some(dsl) = dsl.filter(|dsl| !["1.0.0", "1.0.1", "1.0.2", "1.0.3"].contains(&&**dsl)) {
            self.error("refused", "/document/dsl", format!("the DSL version `{dsl}` is not known"), "write `dsl: '1.0.3'`");
        }
        for (key, text) in [("namespace", &namespace), ("name", &name)] {
            if let Some(text) = text.as_ref().filter(|text| !is_label(text)) {
                let hint = "use lower case letters, digits and `-`, at most 63";
                self.error("bad-value", &join("/document", key), format!("`{text}` cannot be a {key}"), hint);
            }
        }
        if let Some(version) = version.as_ref().filter(|version| !is_semantic(version)) {
            self.error("bad-value", "/document/version", format!("`{version}` is no semantic version"), "write three numbers: `1.0.0`");
        }
        for key in ["title", "summary"] {
            if let Some(text) = fields.get(key) {
                self.text(text, &join("/document", key), &format!("`{key}`"));
            }
        }
        for key in ["tags", "metadata"] {
            if fields.get(key).is_some_and(|value| value.as_object().is_none()) {
                self.error("bad-type", &join("/document", key), format!("`{key}` must be a mapping"), "");
            }
        }
        self.metadata_keys(fields.get("metadata"));
        Some(FlowKey { namespace: namespace?, name: name?, version: version? })
    }

    /// Other people's keys are theirs; a slip in ours would silently change where a flow lives.
    fn metadata_keys(&mut self, metadata: Option<&Value>) {
        for key in metadata.and_then(Value::as_object).into_iter().flat_map(Object::keys) {
            if key.starts_with("spalla/") && !METADATA.contains(&&**key) {
                let hint = suggest::hint(key, METADATA).unwrap_or_default();
                self.error_on_key("unknown-key", &join("/document/metadata", key), format!("unknown key `{key}`"), hint);
            }
        }
    }

    fn scope_of(&mut self, metadata: &Object, pointer: &str) -> Scope {
        match metadata.get("spalla/scope").map(|scope| self.word(scope, pointer, "`spalla/scope`", &["mesh", "site"])) {
            Some(Some("site")) => Scope::Site,
            _ => Scope::Mesh,
        }
    }

    fn sites(&mut self, metadata: &Object, scope: Scope, pointer: &str) -> Vec<Arc<str>> {
        let Some(value) = metadata.get("spalla/sites") else { return Vec::new() };
        if scope != Scope::Site {
            self.error_on_key("bad-value", pointer, "a flow of the mesh lives in no building", "write `spalla/scope: site` beside it");
        }
        let items = value.as_array().unwrap_or_default();
        let sites: Vec<Arc<str>> = items.iter().filter_map(Value::as_str).filter(|site| is_level(site)).map(Arc::from).collect();
        if sites.is_empty() || sites.len() != items.len() {
            self.error("bad-value", pointer, "`spalla/sites` is a list of buildings", "write `[hq, plant]`, or leave it out for all");
        }
        sites
    }

    fn priority(&mut self, metadata: &Object, pointer: &str) -> bool {
        let words = ["normal", "life-safety"];
        let priority = metadata.get("spalla/priority").and_then(|value| self.word(value, pointer, "`spalla/priority`", &words));
        priority == Some("life-safety")
    }

    fn event_ttl(&mut self, metadata: &Object, pointer: &str) -> u64 {
        let Some(value) = metadata.get("spalla/event-ttl") else { return EVENT_TTL_DEFAULT_MS };
        let millis = self.millis(value, pointer).unwrap_or(EVENT_TTL_DEFAULT_MS);
        if millis > EVENT_TTL_MAX_MS {
            self.error("bad-value", pointer, "events that nobody waits for are kept for a day at most", "write `PT24H` or less");
        }
        millis
    }

    fn evaluate(&mut self, value: Option<&Value>) {
        let Some(fields) = value.and_then(|value| self.object(value, "/evaluate", "`evaluate`", &["language", "mode"])) else { return };
        for (key, only) in [("language", "jq"), ("mode", "strict")] {
            if let Some(value) = fields.get(key).filter(|value| value.as_str() != Some(only)) {
                let message = format!("`{key}: {}` is refused: only `{only}` is", value.as_str().unwrap_or("?"));
                self.error("refused", &join("/evaluate", key), message, "leave `evaluate` out");
            }
        }
    }

    fn schedule(&mut self, value: &Value) -> Option<Schedule> {
        let fields = self.object(value, "/schedule", "`schedule`", &["on", "cron", "every", "after"])?;
        let mut all = fields.iter();
        let (Some((kind, value)), None) = (all.next(), all.next()) else {
            self.error_on_key("bad-value", "/schedule", "`schedule` is exactly one of `on`, `cron`, `every`, `after`", "");
            return None;
        };
        let pointer = join("/schedule", kind);
        match &**kind {
            "on" => self.consume(value, &pointer, Consumer::Schedule).map(Schedule::On),
            "cron" => self.cron(value, &pointer).map(Schedule::Cron),
            "every" => {
                let millis = self.millis(value, &pointer)?;
                if millis < SCHEDULE_EVERY_MIN_MS {
                    self.error("bad-duration", &pointer, "more often than once a second", "write `{ seconds: 1 }` or more");
                }
                Some(Schedule::Every { millis })
            }
            "after" => self.millis(value, &pointer).map(|millis| Schedule::After { millis }),
            _ => None,
        }
    }

    fn cron(&mut self, value: &Value, pointer: &str) -> Option<Arc<str>> {
        let text = self.text(value, pointer, "`cron`")?;
        if let Err(error) = croner::Cron::from_str(&text) {
            self.error("bad-value", pointer, format!("`{text}` is no cron expression: {error}"), "e.g. '0 6 * * 1-5' (UTC)");
            return None;
        }
        Some(text)
    }
}

/// A DNS label: part of topics, paths and file names.
fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

pub(super) fn is_semantic(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    let number = |part: &&str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
    let rest = text.get(core.len()..).unwrap_or_default();
    let rest_fits =
        rest.is_empty() || (rest.len() > 1 && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+')));
    numbers.len() == 3 && numbers.iter().all(number) && rest_fits
}
