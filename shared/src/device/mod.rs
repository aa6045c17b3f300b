//! Devices: what a profile declares, and the payloads of the native contract (command, ack, state).

mod native;
mod profile;

pub use native::{Ack, AckStatus, Command, Format, NativeError};
pub use profile::{
    Bound, Capability, CapabilityKind, CommandClass, CommandSpec, Confirm, EventSpec, FailMode, Profile, ProfileError, PropertySpec,
};
