//! Reads the settings: the file, then `SPALLA_*` variables over it, then relative paths counted from the file's folder.
//! Never looks at what the paths point to: that is `check`.

use super::{Config, Problem};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::path::{Path, PathBuf};

/// Prefix of the variables; `__` separates levels: `SPALLA_API__LISTEN`.
const PREFIX: &str = "SPALLA_";

/// Variables with the prefix that belong to the command line, not to the settings.
const OTHER_VARIABLES: [&str; 8] =
    ["SPALLA_ACTOR", "SPALLA_CONFIG", "SPALLA_LOG", "SPALLA_PARENT", "SPALLA_TOKEN", "SPALLA_TOKEN_FILE", "SPALLA_URL", "SPALLA_URL_CA"];

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{path}: cannot be read: {detail}. Give the settings file with --config, or make one with `spalla init`")]
    Unreadable { path: PathBuf, detail: String },
    #[error("{path}: {detail}")]
    Malformed { path: PathBuf, detail: String },
    #[error("{path}: {} to mend:\n{}", count(.problems.len()), lines(.problems))]
    Refused { path: PathBuf, problems: Vec<Problem> },
}

impl Config {
    /// Reads `path` and the environment, and checks everything.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let config = Self::read_with_environment(path)?;
        config.check().map_err(|problems| LoadError::Refused { path: path.into(), problems })?;
        Ok(config)
    }

    /// Reads `path` and the environment, without looking at the files that they name: for whoever only talks to the gateway.
    pub fn read_with_environment(path: &Path) -> Result<Self, LoadError> {
        Self::read(path, std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))))
    }

    /// Reads `path` and then `variables`, without looking at the files that they name.
    pub fn read(path: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, LoadError> {
        let unreadable = |error: std::io::Error| LoadError::Unreadable { path: path.into(), detail: error.to_string() };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        // Absolute, so that the process may change its folder later.
        let folder = std::path::absolute(path).map_err(unreadable)?.parent().map(Path::to_path_buf).unwrap_or_default();

        let mut figment = Figment::from(Toml::string(&text));
        for (name, value) in variables {
            if name.starts_with(PREFIX) && !OTHER_VARIABLES.contains(&name.as_str()) {
                figment = figment.merge(Variable { name, value });
            }
        }
        let mut config: Config = figment.extract().map_err(|error| LoadError::Malformed { path: path.into(), detail: explain(error) })?;
        config.resolve(&folder);
        Ok(config)
    }

    fn resolve(&mut self, folder: &Path) {
        let mut paths = vec![
            &mut self.data,
            &mut self.peers.ca,
            &mut self.peers.certificate,
            &mut self.peers.key,
            &mut self.api.token_file,
            &mut self.credentials.key_file,
        ];
        if let Some(tls) = &mut self.api.tls {
            paths.extend([&mut tls.certificate, &mut tls.key]);
        }
        if let Some(cloud) = &mut self.cloud {
            paths.extend(cloud.password_file.iter_mut().chain(cloud.ca.iter_mut()));
        }
        paths.extend(self.devices.paths());
        paths.extend(self.secrets.folder.iter_mut().chain(self.workbooks.iter_mut()));
        for path in paths {
            *path = folder.join(&*path);
        }
    }
}

/// One environment variable, laid over what came before.
struct Variable {
    name: String,
    value: String,
}

impl Provider for Variable {
    fn metadata(&self) -> Metadata {
        Metadata::named(format!("environment variable {}", self.name))
    }
    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let key = self.name.get(PREFIX.len()..).unwrap_or_default().to_ascii_lowercase().replace("__", ".");
        let value: Value = match self.value.parse() {
            Ok(value) => value,
            Err(never) => match never {},
        };
        let dict = figment::util::nest(&key, value).into_dict().unwrap_or_default();
        Ok(Profile::Default.collect(dict))
    }
}

/// One line per mistake: the key, what is wrong, and which source said it.
fn explain(error: figment::Error) -> String {
    let lines: Vec<String> = error
        .into_iter()
        .map(|error| {
            let key = error.path.join(".");
            let source =
                error.metadata.as_ref().filter(|source| source.name.starts_with("environment")).map(|source| source.name.to_string());
            let place = if key.is_empty() { String::new() } else { format!("`{key}`: ") };
            format!("{place}{}{}", error.kind, source.map(|name| format!(" (from {name})")).unwrap_or_default())
        })
        .collect();
    lines.join("\n")
}

fn count(problems: usize) -> String {
    if problems == 1 { "one thing".into() } else { format!("{problems} things") }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  - {problem}")).collect::<Vec<_>>().join("\n")
}
