//! The default catalog: every function that a flow may call, with the JSON Schemas of its `with` and its output. Runs nothing.

use super::suggest;
use crate::value::Value;
use std::sync::LazyLock;

/// A function of the default catalog.
#[derive(Clone, Debug)]
pub struct Function {
    /// Without version: `device.command`.
    pub name: String,
    pub version: String,
    pub title: String,
    pub with_schema: Value,
    pub output_schema: Value,
    /// Whether a call can wait for a person, a device or a free unit: it should not stand inside a `for`.
    pub blocking: bool,
}

/// Why a `call` names nothing that we run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("`{0}` is no function of the default catalog")]
    Name(String),
    #[error("`{name}` has no version {version}; the newest is {newest}")]
    Version { name: String, version: String, newest: String },
    #[error(
        "the catalog `{0}` is not here; only `default` is: remote catalogs are refused, since a flow must run when the building is cut off"
    )]
    Catalog(String),
}

/// All functions, by name.
pub fn functions() -> &'static [Function] {
    &FUNCTIONS
}

/// The function with this bare name.
pub fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|function| function.name.as_str().cmp(name)).ok().and_then(|at| FUNCTIONS.get(at))
}

/// Reads `name`, `name:1.0.0` or `name:1.0.0@default`. A bare name means the newest 1.x.
pub fn resolve(text: &str) -> Result<&'static Function, Unknown> {
    let (rest, catalog) = text.split_once('@').map_or((text, "default"), |(rest, catalog)| (rest, catalog));
    if catalog != "default" {
        return Err(Unknown::Catalog(catalog.into()));
    }
    let (name, version) = rest.split_once(':').map_or((rest, None), |(name, version)| (name, Some(version)));
    let found = function(name).ok_or_else(|| Unknown::Name(name.into()))?;
    match version {
        Some(version) if version != found.version => {
            Err(Unknown::Version { name: name.into(), version: version.into(), newest: found.version.clone() })
        }
        _ => Ok(found),
    }
}

impl Function {
    /// `device.command:1.0.0@default`.
    pub fn full_name(&self) -> String {
        format!("{}:{}@default", self.name, self.version)
    }
}

impl Unknown {
    /// "did you mean …".
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name(name) => match suggest::nearest(name, FUNCTIONS.iter().map(|function| function.name.as_str())) {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None => same_verb(name).or_else(|| Some("`spalla flow functions` lists all".into())),
            },
            Self::Version { name, newest, .. } => Some(format!("write `{name}:{newest}@default`, or `{name}` for the newest 1.x")),
            Self::Catalog(_) => Some("write `@default`".into()),
        }
    }
}

/// `credential.issueQr` -> `credential.issue`: same room, a name that begins alike.
fn same_verb(name: &str) -> Option<String> {
    let (room, verb) = name.split_once('.')?;
    let known = FUNCTIONS.iter().find(|function| {
        function
            .name
            .split_once('.')
            .is_some_and(|(known_room, known)| known_room == room && (verb.starts_with(known) || known.starts_with(verb)))
    })?;
    Some(format!("did you mean `{}`?", known.name))
}

static FUNCTIONS: LazyLock<Vec<Function>> = LazyLock::new(|| {
    // Our own text, read by a test: an empty catalog is the worst that can come of a slip in it.
    let catalog = Value::from_json(include_str!("functions.json")).unwrap_or_default();
    let mut all: Vec<Function> = catalog.as_array().unwrap_or_default().iter().filter_map(read).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
});

fn read(entry: &Value) -> Option<Function> {
    let text = |key| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(Function {
        name: text("name")?,
        version: text("version")?,
        title: text("title")?,
        with_schema: entry.get("with")?.clone(),
        output_schema: entry.get("output")?.clone(),
        blocking: entry.get("blocking")?.as_bool()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The functions of the language's reference: none may be missing or have a broken schema.
    const NAMES: [&str; 17] = [
        "access.grant",
        "access.revoke",
        "audit.note",
        "credential.issue",
        "credential.revoke",
        "device.command",
        "device.read",
        "human.approval",
        "human.task",
        "notify.broadcast",
        "notify.send",
        "presence.snapshot",
        "resource.allocate",
        "resource.release",
        "resource.releaseAll",
        "sheet.appendRow",
        "sheet.findRow",
    ];

    #[test]
    fn every_function_is_there_with_sound_schemas() {
        assert_eq!(functions().iter().map(|function| function.name.as_str()).collect::<Vec<_>>(), NAMES);
        for function in functions() {
            assert_eq!(crate::schema::check(&function.with_schema), Ok(()), "{}", function.name);
            assert_eq!(crate::schema::check(&function.output_schema), Ok(()), "{}", function.name);
            assert_eq!(super::function(&function.name).map(|found| &found.name), Some(&function.name));
        }
    }

    #[test]
    fn names_resolve_with_and_without_version() {
        for (text, found) in [
            ("device.command", true),
            ("device.command:1.0.0", true),
            ("device.command:1.0.0@default", true),
            ("device.command@default", true),
            ("device.command:1.2.0", false),
            ("device.command:1.0.0@other", false),
            ("device.comand", false),
            ("", false),
        ] {
            assert_eq!(resolve(text).is_ok(), found, "{text}");
        }
        let hint = |name: &str| resolve(name).err().and_then(|unknown| unknown.hint()).unwrap_or_default();
        assert_eq!(hint("device.comand"), "did you mean `device.command`?");
        assert_eq!(hint("credential.issueQr"), "did you mean `credential.issue`?");
    }
}
