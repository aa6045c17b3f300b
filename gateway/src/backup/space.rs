//! Whether a backup fits beside the data, known before the first byte of it is written: a gateway whose disk is full stops.

use super::BackupError;
use crate::consensus::GroupImage;
use std::path::Path;

/// Left to the gateway for what it writes in the meantime: some snapshots and a stretch of its log.
const LEFT_MIN: u64 = 64 * 1024 * 1024;

/// What making it takes: each part lies there by itself, and again in the file that is made of all of them.
pub fn needed(history: u64, images: &[GroupImage]) -> u64 {
    let images = images.iter().map(|image| image.image.bytes().len() as u64);
    images.fold(history, u64::saturating_add).saturating_mul(2).saturating_add(LEFT_MIN)
}

/// `free` is of the disk that holds `folder`; where the system does not say, writing tells.
pub fn check(folder: &Path, needed: u64, free: Option<u64>) -> Result<(), BackupError> {
    match free {
        Some(free) if free < needed => Err(BackupError::NoSpace { folder: folder.to_owned(), needed, free }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_the_answer_says_by_how_much() {
        let folder = Path::new("/var/lib/spalla");
        let needed = needed(1_500_000_000, &[]);
        assert_eq!(needed, 3_067_108_864, "the history twice, and room to work");
        let refused = check(folder, needed, Some(needed - 1)).expect_err("a byte too few").to_string();
        assert!(["/var/lib/spalla", "needs 3.0 GB", "3.0 GB are free"].iter().all(|part| refused.contains(part)), "{refused}");
        check(folder, needed, Some(needed)).expect("it just fits");
        check(folder, needed, None).expect("nobody knows");
    }
}
