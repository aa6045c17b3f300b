//! Seeded simulation: the agreement of three or five gateways in one thread on virtual time, while its network and its disks do what
//! they can against it. What is real and what is not: `spalla::consensus::simulation`.
//!
//! - `SIM_SEED=7 cargo test -p spalla-tests --test sim seeds::seeds -- --nocapture` plays one run again, and prints what happened.
//! - `SIM_RUNS=5000 cargo test -p spalla-tests --test sim seeds::seeds` plays so many seeds; with `SIM_SEED` as well, from that one on.
//! - `SIM_MISTAKE=leader-restore` makes one of the mistakes of [`mistakes`] on purpose.
//!
//! ```text
//! Climate (seed) -> world (roads, disks, history) <- gateways <- load (clients, doors, clock)
//! faults (seed) -> mesh (crashes, cuts)                             history -> invariants
//! ```

mod alone;
mod climate;
mod faults;
mod history;
mod invariants;
mod load;
mod mesh;
mod mistakes;
mod play;
mod resources;
mod seeds;
mod world;
