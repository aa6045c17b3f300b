//! The disk that holds a folder.

use std::path::Path;

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// For this process: what is reserved for the system's administrator does not count.
    pub free: u64,
    pub size: u64,
}

/// Nothing where the system does not say.
pub fn disk_of(folder: &Path) -> Option<Disk> {
    let disk = nix::sys::statvfs::statvfs(folder).ok()?;
    let unit = disk.fragment_size();
    Some(Disk { free: disk.blocks_available().saturating_mul(unit), size: disk.blocks().saturating_mul(unit) })
}
