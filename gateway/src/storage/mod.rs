//! What a gateway keeps on disk for agreement: the log of all its groups, snapshots, and its own identity.
//! Knows bytes and files; what they mean is `consensus`'s.
//!
//! Every write that is said to be done has been fsynced. An error is final: whoever meets one stops.

mod disk;
pub mod log;
pub mod meta;
pub mod snapshot;
mod watched_files;

pub use disk::{Disk, disk_of};
pub use log::{Change, Log, LogError, LogFile, LogMedium};
pub use meta::{Meta, MetaError};
pub use snapshot::{SnapshotError, SnapshotFolder, SnapshotImage};

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Replaces `path` so that after a crash either the old or the new content is there, whole.
fn replace_file(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("a file needs a folder"))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = folder.join(name);
    let mut file = File::create(&part)?;
    for bytes in parts {
        file.write_all(bytes)?;
    }
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    File::open(folder)?.sync_all()
}
