//! `spalla flow check`: files and folders -> everything that is wrong with them, for people or as JSON. Needs no gateway.

mod explain;
mod source;

pub use explain::explain;

use super::super::failure::usage;
use super::super::output::{self, outln};
use super::apply;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use source::Painter;
use spalla_shared::flow::Diagnostic;
use spalla_shared::resource::{Resource, read_with_warnings};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// One file and what was found in it.
struct Checked {
    name: String,
    text: String,
    /// What it declares; nothing where it has an error.
    resources: Vec<Resource>,
    diagnostics: Vec<Diagnostic>,
}

impl Checked {
    fn ok(&self) -> bool {
        !self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Exit code 2 when any file has an error.
pub fn check(paths: &[PathBuf], json: bool) -> Result<ExitCode> {
    let mut files = Vec::new();
    for path in paths {
        apply::list(path, &mut files)?;
    }
    if files.is_empty() {
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        bail!(usage(format!("there is no *.yaml or *.yml file in {}", names.join(", "))));
    }
    let mut checked: Vec<Checked> = files.iter().map(|path| one(path)).collect();
    twice(&mut checked);
    let invalid = checked.iter().any(|file| !file.ok());
    if json {
        output::json(&checked.iter().map(as_json).collect());
    } else {
        tell(&checked);
    }
    Ok(if invalid { ExitCode::from(2) } else { ExitCode::SUCCESS })
}

fn one(path: &std::path::Path) -> Checked {
    let name = path.display().to_string();
    match apply::text_of(path) {
        Err(error) => {
            let unreadable = Diagnostic::error("unreadable-file", "", format!("{error:#}")).at_line(1, 1);
            Checked { name, text: String::new(), resources: Vec::new(), diagnostics: vec![unreadable] }
        }
        Ok(text) => match read_with_warnings(&text) {
            Ok(file) => Checked { name, text, resources: file.resources, diagnostics: file.warnings },
            Err(diagnostics) => Checked { name, text, resources: Vec::new(), diagnostics },
        },
    }
}

/// What several files declare: `spalla apply` would take one of them only.
fn twice(checked: &mut [Checked]) {
    let mut seen: BTreeMap<(&'static str, String), String> = BTreeMap::new();
    for file in checked {
        for resource in &file.resources {
            let title = resource.title();
            if let Some(first) = seen.get(&title).filter(|first| **first != file.name) {
                let message = format!("{} `{}` is declared in {first} already", title.0, title.1);
                let hint = if title.0 == "flow" { "raise its version, or remove one of them" } else { "remove one of them" };
                file.diagnostics.push(Diagnostic::error("duplicate-name", "", message).suggest(hint).at_line(1, 1));
            }
            seen.entry(title).or_insert_with(|| file.name.clone());
        }
    }
}

fn as_json(file: &Checked) -> Value {
    let declares = file.resources.iter().map(Resource::title).map(|(kind, name)| json!({ "kind": kind, "name": name }));
    json!({ "file": file.name, "ok": file.ok(), "declares": declares.collect::<Vec<_>>(), "diagnostics": file.diagnostics })
}

fn tell(checked: &[Checked]) {
    let painter = Painter::for_stdout();
    let (mut errors, mut warnings) = (0, 0);
    for file in checked {
        for diagnostic in &file.diagnostics {
            outln!("{}", painter.paint(&file.name, &file.text, diagnostic));
            *(if diagnostic.is_error() { &mut errors } else { &mut warnings }) += 1;
        }
    }
    for file in checked.iter().filter(|file| file.diagnostics.is_empty()) {
        let titles: Vec<String> = file.resources.iter().map(Resource::title).map(|(kind, name)| format!("{kind} {name}")).collect();
        let what = if titles.len() > 3 { format!("{} resources", titles.len()) } else { titles.join(", ") };
        outln!("{}: ok ({what})", file.name);
    }
    if errors + warnings > 0 {
        let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        outln!("{}, {} in {}", count(errors, "error"), count(warnings, "warning"), count(checked.len(), "file"));
        outln!("what a code means: spalla flow check --explain CODE");
    }
}
