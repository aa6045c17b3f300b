//! Flows: the file (`document`), what is wrong with it (`check`), what it may call (`catalog`), and what runs (`plan`).
//!
//! YAML text -> document -> check -> canonical JSON + hash (what the log carries) -> plan (rebuilt from canonical JSON on every replica).

pub mod plan;
