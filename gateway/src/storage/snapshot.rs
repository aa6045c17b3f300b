//! Snapshot files of one group: checksummed, written whole or not at all, the newest two kept.
//!
//! `SPALLASN` | crc32 of the rest, u32 BE | length of meta, u32 BE | meta | state

use super::replace_file;
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"SPALLASN";
const HEADER_LEN: usize = 16;
const KEPT: usize = 2;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("snapshot {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "snapshot {path} is corrupt ({reason}); the gateway does not start on a guess: restore the file, or rejoin under a new node id"
    )]
    Corrupt { path: PathBuf, reason: String },
}

/// A snapshot as it lies in its file and crosses the wire. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotImage {
    bytes: Bytes,
    meta_len: usize,
}

impl SnapshotImage {
    pub fn new(meta: &[u8], state: &[u8]) -> Self {
        let mut rest = Vec::with_capacity(4 + meta.len() + state.len());
        rest.extend_from_slice(&u32::try_from(meta.len()).unwrap_or(u32::MAX).to_be_bytes());
        rest.extend_from_slice(meta);
        rest.extend_from_slice(state);
        let mut bytes = Vec::with_capacity(HEADER_LEN + rest.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&crc32fast::hash(&rest).to_be_bytes());
        bytes.extend_from_slice(&rest);
        Self { bytes: bytes.into(), meta_len: meta.len() }
    }

    /// Takes bytes from a disk or a wire, once they are known to be whole.
    pub fn check(bytes: Bytes) -> Result<Self, &'static str> {
        let rest = bytes.strip_prefix(MAGIC).ok_or("not a snapshot")?;
        let (checksum, rest) = rest.split_first_chunk::<4>().ok_or("too short")?;
        if crc32fast::hash(rest) != u32::from_be_bytes(*checksum) {
            return Err("wrong checksum");
        }
        let (meta_len, rest) = rest.split_first_chunk::<4>().ok_or("too short")?;
        let meta_len = u32::from_be_bytes(*meta_len) as usize;
        if meta_len > rest.len() {
            return Err("wrong length");
        }
        Ok(Self { bytes, meta_len })
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
    pub fn meta(&self) -> Bytes {
        self.bytes.slice(HEADER_LEN..HEADER_LEN + self.meta_len)
    }
    pub fn state(&self) -> Bytes {
        self.bytes.slice(HEADER_LEN + self.meta_len..)
    }
}

#[derive(Clone, Debug)]
pub struct SnapshotFolder {
    path: PathBuf,
}

impl SnapshotFolder {
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        std::fs::create_dir_all(path).map_err(|source| SnapshotError::Io { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned() })
    }

    /// Makes `image`, which covers the log up to `index`, durable, and drops all but the newest two. Blocks.
    pub fn write(&self, index: u64, image: &SnapshotImage) -> Result<(), SnapshotError> {
        let path = self.path.join(format!("{index:020}.snapshot"));
        replace_file(&path, &[image.bytes()]).map_err(|source| SnapshotError::Io { path: path.clone(), source })?;
        for old in self.files()?.iter().rev().skip(KEPT) {
            // It is in the way of nothing; the next snapshot tries again.
            if let Err(error) = std::fs::remove_file(old) {
                tracing::warn!(path = %old.display(), %error, "old snapshot stays");
            }
        }
        Ok(())
    }

    /// The newest one. Blocks. A corrupt one is an error, not a reason to take the one before: the log may be purged behind it.
    pub fn newest(&self) -> Result<Option<SnapshotImage>, SnapshotError> {
        let Some(path) = self.files()?.pop() else { return Ok(None) };
        let bytes = std::fs::read(&path).map_err(|source| SnapshotError::Io { path: path.clone(), source })?;
        let image = SnapshotImage::check(bytes.into()).map_err(|reason| SnapshotError::Corrupt { path, reason: reason.into() })?;
        Ok(Some(image))
    }

    /// The newest one is whole, but what is in it cannot be used.
    pub fn unusable(&self, reason: String) -> SnapshotError {
        SnapshotError::Corrupt { path: self.path.clone(), reason }
    }

    /// Oldest first: names sort by index.
    fn files(&self) -> Result<Vec<PathBuf>, SnapshotError> {
        let io = |source| SnapshotError::Io { path: self.path.clone(), source };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.extension().is_some_and(|extension| extension == "snapshot") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_comes_back_two_are_kept_and_a_corrupt_one_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = SnapshotFolder::open(&root.path().join("mesh")).unwrap();
        assert_eq!(folder.newest().unwrap(), None);
        for index in [9, 10, 200] {
            folder.write(index, &SnapshotImage::new(b"meta", index.to_string().as_bytes())).unwrap();
        }
        let newest = folder.newest().unwrap().unwrap();
        assert_eq!((&newest.meta()[..], &newest.state()[..]), (&b"meta"[..], &b"200"[..]));
        let files = folder.files().unwrap();
        assert_eq!(files.len(), 2);

        // What a crash leaves half written is not a snapshot.
        std::fs::write(root.path().join("mesh/00000000000000000300.snapshot.part"), b"SPALLASN").unwrap();
        assert_eq!(folder.newest().unwrap().unwrap(), newest);
        let mut bytes = std::fs::read(&files[1]).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&files[1], bytes).unwrap();
        assert!(matches!(folder.newest(), Err(SnapshotError::Corrupt { .. })));
    }
}
