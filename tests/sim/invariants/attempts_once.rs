//! The one attempt of an opening is granted at most once, whoever asks, and however often.

use crate::history::History;

pub fn check(history: &History) -> Result<(), String> {
    match history.granted.iter().find(|(_, nodes)| nodes.len() > 1) {
        Some((effect, nodes)) => Err(format!("{effect:?} was granted to {nodes:?}")),
        None => Ok(()),
    }
}
