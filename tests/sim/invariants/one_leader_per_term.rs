//! At most one gateway speaks as the leader of a term. (In one life or in several: a leader that restarts leads in a new term.)

use crate::history::History;

pub fn check(history: &History) -> Result<(), String> {
    match history.leaders.iter().find(|(_, leaders)| leaders.len() > 1) {
        Some((term, leaders)) => Err(format!("term {term} was led by {leaders:?}")),
        None => Ok(()),
    }
}
