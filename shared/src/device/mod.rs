//! Devices: what a profile declares, the payloads of the native contract (command, ack, state), and the conventions of
//! devices that speak otherwise.

pub mod convention;
pub mod discovery;
mod native;
mod profile;

pub use native::{Ack, AckStatus, Command, Format, NativeError};
pub use profile::{
    AckSpec, Bound, Capability, CapabilityKind, CommandClass, CommandSpec, Confirm, EventSpec, FailMode, OPENING_EXPIRY_MAX_MS, Profile,
    ProfileError, PropertySpec,
};
