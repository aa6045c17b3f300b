//! From a proposal to the resources that declare its device. Decides nothing about who may: a person does, or a policy.

use super::Proposed;
use spalla_shared::device::discovery::Announced;
use spalla_shared::device::{CapabilityKind, FailMode, Profile};
use spalla_shared::engine::State;
use spalla_shared::id::DeviceId;
use spalla_shared::resource::{Device, Resource};
use std::sync::Arc;

/// What whoever admits a device wants otherwise than proposed, and what only a person can say.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub id: Option<DeviceId>,
    pub profile: Option<Arc<str>>,
    pub title: Option<Arc<str>>,
    pub groups: Vec<Arc<str>>,
    pub zone: Option<Arc<str>>,
    pub opens: Option<DeviceId>,
    /// Of its locks and barriers, where the device announced itself.
    pub fail_mode: Option<FailMode>,
    /// For one with a login of its own.
    pub password_hash: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Invalid(String),
}

/// All that has to be declared, the device last.
pub fn resources(state: &State, proposed: &Proposed, wanted: Wanted) -> Result<(Vec<Resource>, Device), NotAdmitted> {
    let id = wanted.id.unwrap_or_else(|| proposed.id.clone());
    if state.devices.contains_key(&id) {
        return Err(NotAdmitted::Conflict(format!("there is a device `{id}` already; give another id")));
    }
    let mut resources = Vec::new();
    let profile = match &proposed.declares {
        None => wanted.profile.unwrap_or_else(|| proposed.profile.clone()),
        Some(made) => {
            let made = completed(made.clone(), wanted.profile, wanted.fail_mode)?;
            if state.profiles.get(&made.name).is_some_and(|there| **there != made) {
                let problem = format!("there is another profile `{}` already; give `profile`, a name for this one", made.name);
                return Err(NotAdmitted::Conflict(problem));
            }
            let name = made.name.clone();
            resources.push(Resource::Profile(made));
            name
        }
    };
    let device = Device {
        profile,
        title: wanted.title.unwrap_or_else(|| proposed.title.clone()),
        groups: wanted.groups,
        zone: wanted.zone,
        opens: wanted.opens,
        parameters: proposed.parameters.clone(),
        bridge: (!proposed.own_login).then(|| proposed.bridge.clone()),
        password_hash: wanted.password_hash,
        ..Device::new(id)
    };
    resources.push(Resource::Device(device.clone()));
    Ok((resources, device))
}

/// The profile of an announcement, with what only a person can say of it.
fn completed(mut made: Profile, name: Option<Arc<str>>, fail_mode: Option<FailMode>) -> Result<Profile, NotAdmitted> {
    if fail_mode.is_none() && Announced::needs_fail_mode(&made) {
        let problem = "a lock or a barrier: say `fail_mode`, safe (opens without power) or secure";
        return Err(NotAdmitted::Invalid(problem.into()));
    }
    for capability in &mut made.capabilities {
        if matches!(capability.kind, CapabilityKind::Lock | CapabilityKind::Barrier) {
            capability.fail_mode = fail_mode;
        }
    }
    made.name = name.unwrap_or(made.name);
    Ok(made)
}
