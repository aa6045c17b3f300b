//! Profiles that could hurt are refused, and each convention of `config/profiles` reads and writes what its devices do.

mod messages;
mod safety;
