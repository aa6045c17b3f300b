//! Crashes, cuts and slow disks are no reason for agreement to end by itself.

use crate::history::History;

pub fn check(history: &History) -> Result<(), String> {
    history.broke.first().map_or(Ok(()), |(node, reason)| Err(format!("{node}: {reason}")))
}
