//! Makes a backup of what this gateway holds, while it runs.

use super::file::{BackupFile, FORMAT, GroupMark, Head, Part};
use super::{BackupError, space};
use crate::config::Config;
use crate::consensus::{GroupImage, Mesh};
use crate::effects::clock::wall_now;
use crate::history::{FILE_NAME, History};
use crate::storage::disk_of;
use spalla_shared::id::GroupId;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Of the folders in which backups are made.
const PREFIX: &str = "backup-";

/// What a gateway that went down in the middle left behind.
pub fn sweep(data: &Path) {
    for entry in std::fs::read_dir(data).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "what is left of a backup stays");
        }
    }
}

/// The file lies in the folder that comes back, and goes with it.
pub async fn make(config: &Config, mesh: &Mesh, history: &History) -> Result<(TempDir, PathBuf), BackupError> {
    // Beside the data: no other user reads it.
    let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&config.data);
    let folder = folder.map_err(|error| BackupError::File { path: config.data.clone(), error })?;
    let (images, cut) = mesh.images(|| history.cut()).await?;
    let (config, path) = (config.clone(), folder.path().join("mesh.backup"));
    let written = tokio::task::spawn_blocking(move || {
        let cut = cut.recv().map_err(|_| BackupError::Failed("history can no longer be read".into()))?;
        let cut = cut.map_err(BackupError::Failed)?;
        let needed = space::needed(cut.size().map_err(BackupError::Failed)?, &images);
        space::check(&config.data, needed, disk_of(&config.data).map(|disk| disk.free))?;
        let history = path.with_file_name(FILE_NAME);
        cut.copy_to(&history).map_err(BackupError::Failed)?;
        write(&config, &path, &history, images).map(|()| (folder, path))
    });
    written.await.map_err(|error| BackupError::Failed(error.to_string()))?
}

fn write(config: &Config, path: &Path, history: &Path, images: Vec<GroupImage>) -> Result<(), BackupError> {
    let mut files = vec![(FILE_NAME.to_owned(), history.to_owned())];
    for (at, image) in images.iter().enumerate() {
        let file = path.with_file_name(format!("group-{at}"));
        std::fs::write(&file, image.image.bytes()).map_err(|error| BackupError::File { path: file.clone(), error })?;
        files.push((image.group.to_string(), file));
    }
    let mut parts = Vec::with_capacity(files.len());
    for (name, file) in &files {
        let size = std::fs::metadata(file).map_err(|error| BackupError::File { path: file.clone(), error })?.len();
        parts.push(Part { name: name.clone(), size });
    }
    let mark = |image: &GroupImage| GroupMark {
        group: image.group.clone(),
        applied: image.applied,
        audit_seq: image.state.audit.seq,
        audit_head: image.state.audit.head.to_string(),
    };
    let mesh = images.iter().find(|image| image.group == GroupId::mesh());
    let head = Head {
        format: FORMAT,
        organisation: config.organisation.clone(),
        mesh: config.mesh.clone(),
        node: config.node,
        taken_at: wall_now().to_rfc3339(),
        version: env!("CARGO_PKG_VERSION").into(),
        semantics: images.iter().map(|image| image.state.semantics).max().unwrap_or_default(),
        epoch: mesh.map_or(0, |mesh| mesh.state.roster.epoch),
        groups: images.iter().map(mark).collect(),
        parts,
    };
    let paths: Vec<&Path> = files.iter().map(|(_, file)| file.as_path()).collect();
    BackupFile::write(path, &head, &paths)
}
