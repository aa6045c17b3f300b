//! One file per task kind: how it begins, and how it goes on when what it waits for has come.
//! `do`, `set` and `wait` are a few lines in `interpreter::scope`.

mod call;
mod emit;
mod for_each;
mod fork;
mod listen;
mod raise;
mod run;
mod switch;
mod try_catch;
mod uri;

pub(super) use run::refused;
