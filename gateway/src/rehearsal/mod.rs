//! Flows without a mesh, on the command line: `spalla flow run`, `test` and `torture`. What they decide stands in
//! `spalla_shared::rehearsal`; here are the files, the terminal, real time and real HTTP.
//!
//! It never talks to a gateway.

mod ask;
mod files;
mod live;
mod run;
mod test;
mod torture;

pub use run::{RunArgs, run};
pub use test::{TestArgs, test};
pub use torture::{TortureArgs, torture};

/// Expressions may nest as deep as their bound allows: see the engine's own thread.
const STACK_LEN: usize = 16 * 1024 * 1024;

/// Runs `work` on a thread whose stack holds the deepest expression.
fn on_deep_stack<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    let thread = std::thread::Builder::new().name("rehearsal".into()).stack_size(STACK_LEN).spawn(work)?;
    thread.join().map_err(|_| anyhow::anyhow!("the rehearsal ended in a panic"))?
}
