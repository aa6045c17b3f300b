//! The gateway: one process per building. Rooms in the order in which data moves.

pub mod api;
pub mod cli;
pub mod config;
pub mod consensus;
pub mod demo;
pub mod effects;
pub mod history;
pub mod ingress;
pub mod storage;
pub mod telemetry;
pub mod uplink;
