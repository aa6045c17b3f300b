//! A whole mesh in one file, and a mesh from it. What a gateway's API gives is checked before it counts as a backup, and checked
//! again before anything is begun from it. No secret of the settings is in it; password hashes are.
//!
//! ```text
//! api: images of all groups + history at the same moment -> make -> file
//! file -> open (checks) -> restore -> data folder of the first gateway of a new mesh
//! data folder of the last gateway -> recover -> the same folder, a mesh of one
//! ```

mod begin;
mod file;
mod make;
mod space;

pub use begin::{Begun, Wish, check_audit, look, recover, restore};
pub use file::{BackupFile, GroupMark, Head};
pub use make::{make, sweep};

use crate::members::size;

/// Why there is no backup, or nothing came of one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{}: {error}", path.display())]
    File { path: std::path::PathBuf, error: std::io::Error },
    #[error("{}: not a whole backup: {why}", path.display())]
    Damaged { path: std::path::PathBuf, why: String },
    #[error("a backup needs {} beside the data in {} while it is made, and {} are free; make room there, or ask another gateway",
        size(*needed), folder.display(), size(*free))]
    NoSpace { folder: std::path::PathBuf, needed: u64, free: u64 },
    #[error(transparent)]
    Start(#[from] crate::consensus::StartError),
    #[error(transparent)]
    History(#[from] crate::history::HistoryError),
    #[error(transparent)]
    Member(#[from] crate::consensus::MemberError),
    #[error("{0}")]
    Failed(String),
    /// The operator asked for what must not be.
    #[error("{0}")]
    Refused(String),
}
