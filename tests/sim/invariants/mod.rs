//! What must hold for every run, whatever went wrong in it. One file each.

mod applied_in_order;
mod attempts_once;
mod goes_on;
mod logs_agree;
mod nothing_breaks;
mod one_leader_per_term;
mod states_equal;
mod told_is_kept;

use crate::history::History;

type Check = fn(&History) -> Result<(), String>;

pub const ALL: [(&str, Check); 8] = [
    ("what was told is kept", told_is_kept::check),
    ("one leader per term", one_leader_per_term::check),
    ("logs agree", logs_agree::check),
    ("applied in order", applied_in_order::check),
    ("an opening is attempted once", attempts_once::check),
    ("nothing breaks", nothing_breaks::check),
    ("a healed mesh goes on", goes_on::check),
    ("states are equal", states_equal::check),
];
