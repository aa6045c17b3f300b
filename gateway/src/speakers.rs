//! How each device speaks, ready to use: its profile's convention compiled once, its topics expanded once. Follows what is
//! deployed by itself; holds nothing that the state does not say, and never decides anything.

use parking_lot::Mutex;
use spalla_shared::device::Profile;
use spalla_shared::device::convention::{Compiled, Speaker};
use spalla_shared::engine::State;
use spalla_shared::id::DeviceId;
use spalla_shared::resource::Device;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries beyond those of declared devices and profiles before what is gone is forgotten.
const SLACK: usize = 64;

#[derive(Clone, Debug)]
pub enum Tongue {
    Native,
    Foreign(Arc<Speaker>),
    /// Its declaration does not fit its profile; deploy refuses that, so it is not seen in practice.
    Broken(Arc<str>),
}

#[derive(Default)]
pub struct Speakers {
    profiles: Mutex<BTreeMap<Arc<str>, Compilation>>,
    devices: Mutex<BTreeMap<DeviceId, Known>>,
    /// By bridge: the index of the state that was looked at, and who was behind it.
    behind: Mutex<BTreeMap<DeviceId, (u64, Behind)>>,
}

pub type Behind = Arc<[Arc<Speaker>]>;
type Compilation = (Arc<Profile>, Result<Arc<Compiled>, Arc<str>>);

struct Known {
    compiled: Arc<Compiled>,
    parameters: BTreeMap<Arc<str>, Arc<str>>,
    speaker: Result<Arc<Speaker>, Arc<str>>,
}

impl Speakers {
    /// `None`: no such device, or its profile is gone.
    pub fn of(&self, state: &State, device: &DeviceId) -> Option<Tongue> {
        let known = state.devices.get(device)?;
        self.tongue(state, &known.device)
    }

    fn tongue(&self, state: &State, device: &Device) -> Option<Tongue> {
        let profile = state.profiles.get(&device.profile)?;
        if profile.convention.is_none() {
            return Some(Tongue::Native);
        }
        let compiled = match self.compiled(state, profile) {
            Ok(compiled) => compiled,
            Err(problem) => return Some(Tongue::Broken(problem)),
        };
        let mut devices = self.devices.lock();
        if devices.len() > state.devices.len() + SLACK {
            devices.retain(|id, _| state.devices.contains_key(id));
        }
        let fits = |known: &&Known| Arc::ptr_eq(&known.compiled, &compiled) && known.parameters == device.parameters;
        let speaker = match devices.get(&device.id).filter(fits) {
            Some(known) => known.speaker.clone(),
            None => {
                let speaker = Speaker::bind(compiled.clone(), device).map(Arc::new).map_err(Arc::from);
                let known = Known { compiled, parameters: device.parameters.clone(), speaker: speaker.clone() };
                devices.insert(device.id.clone(), known);
                speaker
            }
        };
        Some(speaker.map_or_else(Tongue::Broken, Tongue::Foreign))
    }

    fn compiled(&self, state: &State, profile: &Arc<Profile>) -> Result<Arc<Compiled>, Arc<str>> {
        let mut profiles = self.profiles.lock();
        if profiles.len() > state.profiles.len() + SLACK {
            profiles.retain(|name, _| state.profiles.contains_key(name));
        }
        if let Some((_, compiled)) = profiles.get(&profile.name).filter(|(of, _)| Arc::ptr_eq(of, profile)) {
            return compiled.clone();
        }
        let compiled = match Compiled::of(profile) {
            Ok(Some(compiled)) => Ok(Arc::new(compiled)),
            Ok(None) => Err("the profile has no convention".into()),
            Err(errors) => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ").into()),
        };
        profiles.insert(profile.name.clone(), (profile.clone(), compiled.clone()));
        compiled
    }

    /// Those that `bridge` speaks for.
    pub fn behind(&self, state: &State, bridge: &DeviceId) -> Behind {
        let mut all = self.behind.lock();
        if let Some((_, behind)) = all.get(bridge).filter(|(applied, _)| *applied == state.applied) {
            return behind.clone();
        }
        if all.len() > state.devices.len() + SLACK {
            all.clear();
        }
        let devices = state.devices.values().filter(|known| known.device.bridge.as_ref() == Some(bridge));
        let behind: Behind = devices
            .filter_map(|known| match self.tongue(state, &known.device) {
                Some(Tongue::Foreign(speaker)) => Some(speaker),
                _ => None,
            })
            .collect();
        all.insert(bridge.clone(), (state.applied, behind.clone()));
        behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spalla_shared::device::convention::Incoming;
    use spalla_shared::engine::state::DeviceState;
    use spalla_shared::id::GroupId;
    use spalla_shared::resource::{Resource, read};
    use spalla_shared::time::Timestamp;

    fn profile(topic: &str) -> Arc<Profile> {
        let text = format!(
            "kind: profile\nname: relay\nversion: 1\ncapabilities: [{{ id: it, type: sensor, state: {{ open: {{}} }} }}]\n\
             convention: {{ parameters: {{ at: {{ default: '{{name}}' }} }}, state: {{ open: [{{ topic: '{topic}', value: . }}] }} }}\n"
        );
        match read(&text).unwrap().remove(0) {
            Resource::Profile(profile) => Arc::new(profile),
            other => panic!("{other:?}"),
        }
    }

    fn declare(state: &mut State, id: &str, bridge: Option<&str>, at: Option<&str>) {
        let mut device = Device { profile: "relay".into(), bridge: bridge.map(DeviceId::new), ..Device::new(id.into()) };
        device.parameters.extend(at.map(|at| ("at".into(), at.into())));
        state.devices.insert(device.id.clone(), DeviceState { device, attached: None, changed_at: Timestamp(0) });
        state.applied += 1;
    }

    fn reads(speakers: &Speakers, state: &State, topic: &str) -> bool {
        let Some(Tongue::Foreign(speaker)) = speakers.of(state, &"hq/a".into()) else { return false };
        !speaker.understand(&Incoming { topic, payload: b"true", retained: false }).meanings.is_empty()
    }

    #[test]
    fn what_is_deployed_is_followed_at_once() {
        let (speakers, mut state) = (Speakers::default(), State::new(GroupId::mesh()));
        assert!(speakers.of(&state, &"hq/a".into()).is_none());
        state.profiles.insert("relay".into(), profile("{at}/door"));
        declare(&mut state, "hq/a", None, None);
        assert!(reads(&speakers, &state, "a/door"));
        declare(&mut state, "hq/a", None, Some("b"));
        assert!(reads(&speakers, &state, "b/door") && !reads(&speakers, &state, "a/door"), "a new parameter");
        state.profiles.insert("relay".into(), profile("{at}/gate"));
        assert!(reads(&speakers, &state, "b/gate") && !reads(&speakers, &state, "b/door"), "a new profile");
        assert!(speakers.behind(&state, &"hq/bridge".into()).is_empty());
        declare(&mut state, "hq/c", Some("hq/bridge"), None);
        assert_eq!(speakers.behind(&state, &"hq/bridge".into()).len(), 1, "a new device behind a bridge");
        state.devices.clear();
        assert!(!reads(&speakers, &state, "b/gate"), "a device that is gone");
    }
}
