//! Secrets by name, read where they are used and nowhere else. Never logged, never put into a problem.

use spalla_shared::topic::is_level;
use std::path::PathBuf;

/// A secret is a password or a token, not a document.
const SECRET_LEN_MAX: u64 = 16 * 1024;

#[derive(Clone, Debug, Default)]
pub struct SecretFolder(Option<PathBuf>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("no folder for secrets is configured")]
    NoFolder,
    #[error("`{0}` cannot name a secret")]
    BadName(String),
    #[error("secret `{0}` cannot be read on this gateway")]
    Unreadable(String),
}

impl SecretFolder {
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self(folder)
    }

    /// The text of secret `name`, without white space around it.
    pub async fn read(&self, name: &str) -> Result<String, SecretError> {
        let folder = self.0.as_ref().ok_or(SecretError::NoFolder)?;
        if !is_level(name) || name.starts_with('.') || name.contains('\\') {
            return Err(SecretError::BadName(name.chars().take(64).collect()));
        }
        let path = folder.join(name);
        let unreadable = || SecretError::Unreadable(name.to_owned());
        let length = tokio::fs::metadata(&path).await.map_err(|_| unreadable())?.len();
        if length > SECRET_LEN_MAX {
            return Err(unreadable());
        }
        let text = tokio::fs::read_to_string(&path).await.map_err(|_| unreadable())?;
        Ok(text.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_cannot_leave_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("in")).unwrap();
        std::fs::write(folder.path().join("outside"), "x").unwrap();
        std::fs::write(folder.path().join("in/erp"), " hidden \n").unwrap();
        let secrets = SecretFolder::new(Some(folder.path().join("in")));
        assert_eq!(secrets.read("erp").await.as_deref(), Ok("hidden"));
        for name in ["../outside", "..", "", "a/b"] {
            assert_eq!(secrets.read(name).await, Err(SecretError::BadName(name.into())));
        }
        assert_eq!(secrets.read("none").await, Err(SecretError::Unreadable("none".into())));
    }
}
