//! Files of a rehearsal: flows, resources. What is wrong in them is told by file, line and column.

use crate::cli::failure::usage;
use anyhow::{Result, bail};
use spalla_shared::flow::{Checked, Diagnostic};
use spalla_shared::resource::Resource;
use std::path::{Path, PathBuf};

/// Files that one command reads.
const FILES_MAX: usize = 1_000;

/// A file with its findings.
#[derive(Debug)]
pub struct Invalid {
    pub file: PathBuf,
    pub found: Vec<Diagnostic>,
}

impl Invalid {
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.found.iter().map(|found| format!("{}:{found}", self.file.display()))
    }
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "file": self.file.display().to_string(), "diagnostics": self.found })
    }
}

pub fn text(file: &Path) -> Result<String> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) => bail!(usage(format!("{}: {error}", file.display()))),
    }
}

/// Flows, one per file. The inner error: files that are no flow that may run.
pub fn flows<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Result<Result<Vec<Checked>, Vec<Invalid>>> {
    let (mut flows, mut invalid) = (Vec::new(), Vec::new());
    for file in files {
        match spalla_shared::flow::check(&text(file)?) {
            Ok(checked) => flows.push(checked),
            Err(found) => invalid.push(Invalid { file: file.clone(), found }),
        }
    }
    Ok(if invalid.is_empty() { Ok(flows) } else { Err(invalid) })
}

/// Everything that files and folders (their `*.yaml` and `*.yml`, not deeper) declare.
pub fn resources(paths: &[PathBuf]) -> Result<Result<Vec<Resource>, Vec<Invalid>>> {
    let (mut all, mut invalid) = (Vec::new(), Vec::new());
    for file in expand(paths)? {
        match spalla_shared::resource::read(&text(&file)?) {
            Ok(resources) => all.extend(resources),
            Err(found) => invalid.push(Invalid { file, found }),
        }
    }
    Ok(if invalid.is_empty() { Ok(all) } else { Err(invalid) })
}

/// Files, and for a folder the YAML files in it, each once, in order.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        let mut found = vec![path.clone()];
        if path.is_dir() {
            let inside = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
            found = inside.into_iter().map(|entry| entry.path()).filter(|path| is_yaml(path)).collect();
            found.sort();
        }
        files.extend(found);
        if files.len() > FILES_MAX {
            bail!(usage(format!("more than {FILES_MAX} files")));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    files.retain(|file| seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())));
    Ok(files)
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}
