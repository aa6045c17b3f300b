//! Whoever applies an entry at an index applies the same one (term, command, instant), and it answers the same.

use crate::history::History;

pub fn check(history: &History) -> Result<(), String> {
    match history.applied.iter().find(|(_, entries)| entries.len() > 1) {
        Some((index, entries)) => Err(format!("at index {index}: {entries:?}")),
        None => Ok(()),
    }
}
