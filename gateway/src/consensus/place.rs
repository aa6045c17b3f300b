//! Where a group's log and snapshots lie, and which groups a data folder holds.

use spalla_shared::id::{GroupId, derived_u64};
use std::path::{Path, PathBuf};

/// The group's number in the log.
pub fn region_of(group: &GroupId) -> u64 {
    derived_u64(group, 0, 0, "log")
}

/// `snapshots/mesh`, `snapshots/site%3Ahq`.
pub fn folder_of(data: &Path, group: &GroupId) -> PathBuf {
    let mut name = String::new();
    for byte in group.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    data.join("snapshots").join(name)
}

/// Groups that were begun in this folder once. A name that is none of ours is passed over.
pub fn groups_in(data: &Path) -> Vec<GroupId> {
    let folders = std::fs::read_dir(data.join("snapshots")).into_iter().flatten().flatten();
    let mut groups: Vec<GroupId> = folders.filter_map(|folder| group_named(folder.file_name().to_str()?)).collect();
    groups.sort();
    groups
}

fn group_named(name: &str) -> Option<GroupId> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut left = name.as_bytes();
    while let Some((byte, rest)) = left.split_first() {
        if *byte == b'%' {
            let digits = rest.get(..2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            left = &rest[2..];
        } else {
            bytes.push(*byte);
            left = rest;
        }
    }
    String::from_utf8(bytes).ok().map(GroupId::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_tells_which_groups_it_holds() {
        let data = tempfile::tempdir().unwrap();
        for group in ["mesh", "site:hq", "site:würzburg ~1"] {
            std::fs::create_dir_all(folder_of(data.path(), &GroupId::new(group))).unwrap();
        }
        std::fs::create_dir_all(data.path().join("snapshots/%4")).unwrap();
        let found = groups_in(data.path());
        assert_eq!(found, ["mesh", "site:hq", "site:würzburg ~1"].map(GroupId::new));
        assert!(groups_in(&data.path().join("nothing")).is_empty());
    }
}
