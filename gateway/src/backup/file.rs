//! The file of a backup. Whole or refused: a hash over everything stands at its end.
//!
//! `SPALLABK` | length of head, u32 BE | head, JSON | parts, one after the other | SHA-256 of all that

use super::BackupError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use spalla_shared::id::{GroupId, NodeId};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"SPALLABK";
pub const FORMAT: u32 = 1;
/// A head names the parts; each takes some hundred bytes.
const HEAD_LEN_MAX: u32 = 1024 * 1024;
const HASH_LEN: u64 = 32;
const COPY_LEN: usize = 64 * 1024;

/// What is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub format: u32,
    pub organisation: String,
    pub mesh: String,
    /// The gateway that gave it, RFC 3339 time, and its version.
    pub node: NodeId,
    pub taken_at: String,
    pub version: String,
    /// The newest semantics in force; an older build refuses the file.
    pub semantics: u32,
    pub epoch: u64,
    pub groups: Vec<GroupMark>,
    pub parts: Vec<Part>,
}

/// Where a group stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMark {
    pub group: GroupId,
    pub applied: u64,
    pub audit_seq: u64,
    pub audit_head: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `history.db`, or a group's name.
    pub name: String,
    pub size: u64,
}

/// An opened backup whose hash was right.
pub struct BackupFile {
    path: PathBuf,
    pub head: Head,
    parts_at: u64,
}

impl BackupFile {
    /// Writes a new file, readable by its owner only, from parts that lie in files.
    pub fn write(path: &Path, head: &Head, parts: &[&Path]) -> Result<(), BackupError> {
        let fail = |error| BackupError::File { path: path.to_owned(), error };
        let file = create_private(path).map_err(fail)?;
        let mut out = Hashed { out: BufWriter::new(file), hash: Sha256::new() };
        let body = serde_json::to_vec(head).map_err(|error| fail(io::Error::other(error)))?;
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let mut write = || -> io::Result<()> {
            out.write_all(MAGIC)?;
            out.write_all(&len.to_be_bytes())?;
            out.write_all(&body)?;
            for part in parts {
                io::copy(&mut File::open(part)?, &mut out)?;
            }
            let hash = std::mem::take(&mut out.hash).finalize();
            out.out.write_all(&hash)?;
            out.out.flush()?;
            out.out.get_ref().sync_all()
        };
        write().map_err(fail)
    }

    /// Reads the file through, once. Blocks.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let fail = |error| BackupError::File { path: path.to_owned(), error };
        let damaged = |why: &str| BackupError::Damaged { path: path.to_owned(), why: why.to_owned() };
        let file = File::open(path).map_err(fail)?;
        let len = file.metadata().map_err(fail)?.len();
        let mut file = BufReader::with_capacity(COPY_LEN, file);
        let mut begin = [0; 12];
        file.read_exact(&mut begin).map_err(|_| damaged("it is too short"))?;
        let (magic, head_len) = begin.split_at(8);
        if magic != MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        let head_len = head_len.try_into().map(u32::from_be_bytes).unwrap_or(u32::MAX);
        if head_len > HEAD_LEN_MAX || u64::from(head_len) + 12 + HASH_LEN > len {
            return Err(damaged("its head is longer than the file"));
        }
        let mut body = vec![0; head_len as usize];
        file.read_exact(&mut body).map_err(fail)?;
        let mut hash = Sha256::new();
        hash.update(begin);
        hash.update(&body);
        let mut rest = len - 12 - u64::from(head_len) - HASH_LEN;
        let mut chunk = vec![0; COPY_LEN];
        while rest > 0 {
            let take = usize::try_from(rest).unwrap_or(COPY_LEN).min(COPY_LEN);
            let chunk = chunk.get_mut(..take).unwrap_or_default();
            file.read_exact(chunk).map_err(fail)?;
            hash.update(&*chunk);
            rest -= take as u64;
        }
        let mut wanted = [0; HASH_LEN as usize];
        file.read_exact(&mut wanted).map_err(fail)?;
        if *hash.finalize() != wanted[..] {
            return Err(damaged("its hash is wrong: bytes were lost or changed"));
        }
        let head: Head = serde_json::from_slice(&body).map_err(|error| damaged(&format!("its head cannot be read: {error}")))?;
        if head.format != FORMAT {
            return Err(damaged(&format!("it has format {}; this build reads {FORMAT}", head.format)));
        }
        let all = head.parts.iter().try_fold(0u64, |sum, part| sum.checked_add(part.size));
        if all != Some(len - 12 - u64::from(head_len) - HASH_LEN) {
            return Err(damaged("its parts do not fill it"));
        }
        Ok(Self { path: path.to_owned(), head, parts_at: 12 + u64::from(head_len) })
    }

    /// Copies one part to a new file. Blocks.
    pub fn extract(&self, name: &str, to: &Path) -> Result<(), BackupError> {
        let fail = |error| BackupError::File { path: to.to_owned(), error };
        let mut at = self.parts_at;
        for part in &self.head.parts {
            if part.name == name {
                let mut file = File::open(&self.path).map_err(fail)?;
                file.seek(SeekFrom::Start(at)).map_err(fail)?;
                let mut out = create_private(to).map_err(fail)?;
                io::copy(&mut file.take(part.size), &mut out).map_err(fail)?;
                return out.sync_all().map_err(fail);
            }
            at += part.size;
        }
        Err(BackupError::Damaged { path: self.path.clone(), why: format!("it has no part `{name}`") })
    }

    pub fn group(&self, group: &GroupId) -> Result<&GroupMark, BackupError> {
        let found = self.head.groups.iter().find(|mark| mark.group == *group);
        found.ok_or_else(|| BackupError::Damaged { path: self.path.clone(), why: format!("group `{group}` is not in it") })
    }
}

fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

struct Hashed<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.out.write(bytes)?;
        self.hash.update(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(parts: &[(&str, u64)]) -> Head {
        Head {
            format: FORMAT,
            organisation: "example".into(),
            mesh: "campus".into(),
            node: NodeId(1),
            taken_at: "2026-01-01T00:00:00Z".into(),
            version: "1".into(),
            semantics: 1,
            epoch: 0,
            groups: Vec::new(),
            parts: parts.iter().map(|(name, size)| Part { name: (*name).into(), size: *size }).collect(),
        }
    }

    #[test]
    fn what_was_written_comes_back_and_one_wrong_byte_anywhere_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let (a, b, file) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("backup"));
        std::fs::write(&a, b"history").expect("written");
        std::fs::write(&b, b"mesh").expect("written");
        let head = head(&[("history.db", 7), ("mesh", 4)]);
        BackupFile::write(&file, &head, &[&a, &b]).expect("writes");
        let opened = BackupFile::open(&file).expect("opens");
        assert_eq!(opened.head, head);
        opened.extract("mesh", &folder.path().join("c")).expect("extracts");
        assert_eq!(std::fs::read(folder.path().join("c")).expect("reads"), b"mesh");
        assert!(matches!(opened.extract("site:hq", &folder.path().join("d")), Err(BackupError::Damaged { .. })));

        let whole = std::fs::read(&file).expect("reads");
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&file, &bytes).expect("written");
            assert!(matches!(BackupFile::open(&file), Err(BackupError::Damaged { .. })), "byte {at}");
        }
        for len in 0..whole.len() {
            std::fs::write(&file, &whole[..len]).expect("written");
            assert!(matches!(BackupFile::open(&file), Err(BackupError::Damaged { .. })), "the first {len} bytes");
        }
    }
}
