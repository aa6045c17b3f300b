//! Whose folder this is, and how often its gateway was started. Also keeps a second process out of the folder.

use super::replace_file;
use serde::{Deserialize, Serialize};
use spalla_shared::codec;
use spalla_shared::id::NodeId;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// An open data folder.
pub struct Meta {
    node: NodeId,
    boot: u64,
    /// Locked as long as this lives.
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    #[error("data folder {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("data folder {0} is in use by another process")]
    InUse(PathBuf),
    #[error("{path} cannot be read: {reason}; a gateway whose folder is damaged must rejoin under a new node id")]
    Corrupt { path: PathBuf, reason: String },
    #[error("data folder {path} belongs to node {found}, the config says node {expected}")]
    OtherNode { path: PathBuf, found: NodeId, expected: NodeId },
}

#[derive(Serialize, Deserialize)]
struct Stored {
    node: NodeId,
    boot: u64,
}

impl Meta {
    /// Opens (or begins) the folder of `node`, and counts this start, durably.
    pub fn open(folder: &Path, node: NodeId) -> Result<Self, MetaError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| MetaError::Io { path, source }
        };
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => MetaError::InUse(folder.to_owned()),
            TryLockError::Error(source) => MetaError::Io { path: lock_path, source },
        })?;

        let path = folder.join("meta");
        let boot = match std::fs::read(&path) {
            Ok(bytes) => {
                let stored: Stored = read(&bytes).map_err(|reason| MetaError::Corrupt { path: path.clone(), reason })?;
                if stored.node != node {
                    return Err(MetaError::OtherNode { path: folder.to_owned(), found: stored.node, expected: node });
                }
                stored.boot + 1
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => 1,
            Err(source) => return Err(MetaError::Io { path, source }),
        };
        let body = codec::encode(&Stored { node, boot });
        replace_file(&path, &[&crc32fast::hash(&body).to_be_bytes(), &body]).map_err(io(&path))?;
        Ok(Self { node, boot, _lock: lock })
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    /// 1 at the first start, and one more at each.
    pub fn boot(&self) -> u64 {
        self.boot
    }
}

fn read(bytes: &[u8]) -> Result<Stored, String> {
    let (checksum, body) = bytes.split_first_chunk::<4>().ok_or("too short")?;
    if crc32fast::hash(body) != u32::from_be_bytes(*checksum) {
        return Err("wrong checksum".into());
    }
    codec::decode(body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_counts_and_the_folder_has_one_owner() {
        let folder = tempfile::tempdir().unwrap();
        let first = Meta::open(folder.path(), NodeId(3)).unwrap();
        assert_eq!((first.node(), first.boot()), (NodeId(3), 1));
        assert!(matches!(Meta::open(folder.path(), NodeId(3)), Err(MetaError::InUse(_))));
        drop(first);
        assert_eq!(Meta::open(folder.path(), NodeId(3)).unwrap().boot(), 2);
        assert!(matches!(Meta::open(folder.path(), NodeId(4)), Err(MetaError::OtherNode { .. })));

        let path = folder.path().join("meta");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(Meta::open(folder.path(), NodeId(3)), Err(MetaError::Corrupt { .. })));
    }
}
