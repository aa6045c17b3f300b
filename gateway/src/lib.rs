//! The gateway: one process per building. Rooms in the order in which data moves; `run` wires them.
//!
//! ```text
//! devices -> broker -> ingress -> consensus (storage) -> engine::apply -> effects -> broker -> devices
//!                                     \-> history      \-> uplink -> cloud
//! people  -> cli -> api -> consensus
//! the mesh's group <- bridge -> a building's group
//! ```

pub mod config;

pub mod ingress;
mod listeners;
mod speakers;
pub mod telemetry;
mod templates;

pub mod consensus;
pub mod storage;

pub mod backup;
pub mod bridge;
pub mod effects;
pub mod history;
pub mod members;
pub mod picture;
pub mod uplink;

pub mod api;
pub mod cli;
pub mod demo;
pub mod rehearsal;
pub mod run;
