//! A resource file: one or several `---` documents, each a flow (it has `document:`) or something with a `kind:`.
//! Reports all that is wrong, by line; gives resources only where nothing is.

use super::{Client, FlowDocument, Resource};
use crate::device::Profile;
use crate::flow::document::{Located, read_all};
use crate::flow::{Diagnostic, check_located, join, suggest};
use crate::schema;
use crate::value::{Object, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

const KINDS: [&str; 6] = ["area", "client", "device", "person", "pool", "profile"];

/// What a file declares, and the warnings about it.
#[derive(Clone, Debug)]
pub struct ResourceFile {
    pub resources: Vec<Resource>,
    pub warnings: Vec<Diagnostic>,
}

/// Reads a resource file; warnings are dropped (see [`read_with_warnings`]).
pub fn read(text: &str) -> Result<Vec<Resource>, Vec<Diagnostic>> {
    read_with_warnings(text).map(|file| file.resources)
}

/// Reads a resource file. On failure all errors and warnings.
pub fn read_with_warnings(text: &str) -> Result<ResourceFile, Vec<Diagnostic>> {
    let documents = read_all(text)?;
    if documents.is_empty() {
        let hint = format!("begin with `kind: device` ({}) or a flow's `document:`", KINDS.join(", "));
        return Err(vec![Diagnostic::error("empty-file", "", "the file declares nothing").suggest(hint).at_line(1, 1)]);
    }
    let mut file = ResourceFile { resources: Vec::new(), warnings: Vec::new() };
    let mut found = Vec::new();
    let mut seen = BTreeMap::new();
    for located in &documents {
        match one(located) {
            Ok((resource, warnings)) => {
                let title = resource.title();
                let (line, column) = located.position("");
                if let Some(first) = seen.insert(title.clone(), line) {
                    let message = format!("{} `{}` is declared twice; it is first in line {first}", title.0, title.1);
                    found.push(Diagnostic::error("duplicate-name", "", message).suggest("remove one of them").at_line(line, column));
                }
                file.resources.push(resource);
                file.warnings.extend(warnings);
            }
            Err(errors) => found.extend(errors),
        }
    }
    if found.is_empty() {
        return Ok(file);
    }
    found.extend(file.warnings);
    found.sort_by_key(|found| (found.line, found.column, found.severity));
    Err(found)
}

fn one(located: &Located) -> Result<(Resource, Vec<Diagnostic>), Vec<Diagnostic>> {
    // Without its `document:` (or with a slip in it) a flow is told by its tasks.
    let flow = located.value.get("document").or_else(|| located.value.get("do")).is_some();
    if flow && located.value.get("kind").is_none() {
        let checked = check_located(located)?;
        return Ok((Resource::Flow(FlowDocument { document: checked.document }), checked.warnings));
    }
    let errors = match declared(&located.value) {
        Ok(resource) => match rules(&resource) {
            errors if errors.is_empty() && located.findings().is_empty() => return Ok((resource, Vec::new())),
            errors => errors,
        },
        Err(errors) => errors,
    };
    Err(errors.into_iter().map(|error| located.locate(error)).chain(located.findings().iter().cloned()).collect())
}

/// Shape: known keys of the right type.
fn declared(value: &Value) -> Result<Resource, Vec<Diagnostic>> {
    let Some(fields) = value.as_object() else {
        let message = format!("a resource is a mapping, not {}", value.type_name());
        return Err(vec![Diagnostic::error("bad-type", "", message).suggest("begin with `kind: …`")]);
    };
    let kind = fields.get("kind").and_then(Value::as_str).unwrap_or_default();
    let Some(schema) = SCHEMAS.get(kind) else {
        let error = match fields.get("kind") {
            None => Diagnostic::error("missing-key", "", "`kind` is missing"),
            Some(kind) => Diagnostic::error("bad-value", "/kind", format!("there is no kind {kind}")),
        };
        let hint = suggest::nearest(kind, KINDS).map(|near| format!("did you mean `{near}`?"));
        return Err(vec![error.suggest(hint.unwrap_or_else(|| format!("one of {}; a flow begins with `document:`", KINDS.join(", "))))]);
    };
    schema::validate(schema, value)
        .map_err(|violations| violations.into_iter().map(|violation| told(kind, violation)).collect::<Vec<_>>())?;
    let json: serde_json::Value = value.into();
    serde_json::from_value(json).map_err(|error| vec![Diagnostic::error("bad-value", "", format!("{kind}: {error}"))])
}

/// A violation of the schema of `kind`, as a finding.
pub(crate) fn told(kind: &str, violation: schema::Violation) -> Diagnostic {
    let (message, hint) = match violation.message.split_once("; ") {
        Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
        None => (violation.message, None),
    };
    let unknown = message.starts_with("unknown key");
    let missing = message.ends_with("is missing");
    let code = match (unknown, missing) {
        (true, _) => "unknown-key",
        (_, true) => "missing-key",
        _ => "bad-value",
    };
    let diagnostic = Diagnostic::error(code, violation.pointer, format!("{kind}: {message}")).hint(hint);
    if unknown { diagnostic.on_key() } else { diagnostic }
}

/// Rules that a shape cannot say.
fn rules(resource: &Resource) -> Vec<Diagnostic> {
    match resource {
        Resource::Profile(profile) => profile_rules(profile),
        Resource::Pool(pool) => {
            let mut seen = BTreeSet::new();
            let twice = pool.units.iter().enumerate().filter(|(_, unit)| !seen.insert(&unit.name));
            twice.map(|(index, unit)| again(format!("/units/{index}/name"), &format!("unit `{}`", unit.name))).collect()
        }
        Resource::Client(client) => client_rules(client),
        Resource::Flow(_) | Resource::Device(_) | Resource::Area(_) | Resource::Person(_) => Vec::new(),
    }
}

fn client_rules(client: &Client) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    for (key, filters) in [("subscribe", &client.subscribe), ("publish", &client.publish)] {
        for (index, filter) in filters.iter().enumerate() {
            if let Err(problem) = client.check_filter(key, filter) {
                errors.push(Diagnostic::error("bad-value", format!("/{key}/{index}"), problem));
            }
        }
    }
    errors
}

fn again(pointer: String, what: &str) -> Diagnostic {
    Diagnostic::error("duplicate-name", pointer, format!("a second {what}")).suggest("rename one of them")
}

fn profile_rules(profile: &Profile) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    // The words of `Profile::check` for a place -> where it stands.
    let mut places = BTreeMap::new();
    let mut capabilities = BTreeSet::new();
    let mut commands: BTreeSet<&Arc<str>> = BTreeSet::new();
    let properties: Vec<&str> = profile.capabilities.iter().flat_map(|capability| capability.state.keys().map(|name| &**name)).collect();
    let all_commands: Vec<&str> =
        profile.capabilities.iter().flat_map(|capability| capability.commands.keys().map(|name| &**name)).collect();
    for (index, capability) in profile.capabilities.iter().enumerate() {
        let at = format!("/capabilities/{index}");
        places.insert(format!("capability `{}`", capability.id), at.clone());
        if !capabilities.insert(&capability.id) {
            errors.push(again(join(&at, "id"), &format!("capability `{}`", capability.id)));
        }
        for (name, command) in &capability.commands {
            let at = join(&join(&at, "commands"), name);
            places.insert(format!("capability `{}`, command `{name}`", capability.id), at.clone());
            if !commands.insert(name) {
                errors.push(again(at.clone(), &format!("command `{name}` of this profile")).on_key());
            }
            let mut unknown = |at: String, what: &str, name: &str, known: &[&str]| {
                if !known.contains(&name) {
                    let error = Diagnostic::error("unknown-name", at, format!("the profile has no {what} `{name}`"));
                    errors.push(error.hint(suggest::hint(name, known.iter().copied())));
                }
            };
            if let Some(confirm) = &command.confirm {
                unknown(format!("{at}/confirm/property"), "property", &confirm.property, &properties);
            }
            if let Some(crate::device::Bound::Mode { ended_by }) = &command.bound {
                unknown(format!("{at}/bound/mode/ended_by"), "command", ended_by, &all_commands);
            }
        }
    }
    for error in profile.check().err().unwrap_or_default() {
        let at = if error.pointer.is_empty() { places.get(&error.place).cloned().unwrap_or_default() } else { error.pointer.clone() };
        errors.push(Diagnostic::error("unsafe-profile", at, format!("{}: {}", error.place, error.problem)).suggest(error.mend).on_key());
    }
    errors
}

static SCHEMAS: LazyLock<Object> = LazyLock::new(|| {
    // Our own text, read by a test: without it every resource is refused.
    Value::from_json(include_str!("kinds.json")).ok().and_then(|schemas| schemas.as_object().cloned()).unwrap_or_default()
});

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
