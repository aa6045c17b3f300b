//! What a client was told was done stays done: at the index that it was told, on every gateway, and nothing else is there.

use crate::history::History;

pub fn check(history: &History) -> Result<(), String> {
    for told in &history.told {
        let kept = match told.index {
            Some(index) => {
                let there = history.applied.get(&index).map_or(&[][..], Vec::as_slice);
                !there.is_empty() && there.iter().all(|(entry, _)| entry.command == told.command)
            }
            None => history.applied.values().flatten().any(|(entry, _)| entry.command == told.command),
        };
        if !kept {
            return Err(format!("{} ({:016x}) at {:?} is gone", told.what, told.command, told.index));
        }
    }
    let newest = history.told.iter().filter_map(|told| told.index).max().unwrap_or(0);
    match history.ends.iter().find(|(_, (index, _))| *index < newest) {
        Some((node, (index, _))) => Err(format!("{node} ends at {index}, a client was told of {newest}")),
        None => Ok(()),
    }
}
