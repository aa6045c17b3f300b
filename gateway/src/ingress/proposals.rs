//! Devices that bridges know of and nobody declared yet. Held in memory: a bridge tells of them again. Nothing happens by a
//! proposal alone: a person admits it, or the policy of its bridge does, which declares the device.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use spalla_shared::device::Profile;
use spalla_shared::device::convention::{PARAMETERS_MAX, Proposal};
use spalla_shared::engine::State;
use spalla_shared::id::DeviceId;
use spalla_shared::time::Timestamp;
use spalla_shared::topic::is_level;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// Proposals kept. More are counted and forgotten: a bridge that invents devices fills nothing up.
const KEPT_MAX: usize = 1_024;
/// Longest name, title and parameter that is kept, bytes: what a person reads in a list.
const TEXT_LEN_MAX: usize = 256;

#[derive(Default)]
pub struct Proposals {
    kept: Mutex<BTreeMap<DeviceId, Proposed>>,
    /// Something new came: the policies look at it.
    pub(super) news: Notify,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposed {
    /// Proposed id: the bridge's site and the name it knows the device by.
    pub id: DeviceId,
    /// Who proposes it.
    pub bridge: DeviceId,
    /// It is to log in by itself, not by the bridge's login.
    pub own_login: bool,
    pub profile: Arc<str>,
    pub title: Arc<str>,
    pub parameters: BTreeMap<Arc<str>, Arc<str>>,
    pub last_seen: Timestamp,
    /// A profile made from what the device announced, which is declared with it.
    pub declares: Option<Profile>,
}

impl Proposed {
    /// Whether it is declared already, under whatever id.
    pub fn is_known(&self, state: &State) -> bool {
        let same = |bridge: Option<&DeviceId>, parameters: &BTreeMap<_, _>| {
            (self.own_login || bridge == Some(&self.bridge)) && *parameters == self.parameters
        };
        state.devices.values().any(|known| same(known.device.bridge.as_ref(), &known.device.parameters))
    }
}

impl Proposals {
    /// `false` where it could not be kept.
    pub(super) fn keep(&self, bridge: &DeviceId, proposal: Proposal, declares: Option<Profile>, now: Timestamp) -> bool {
        let Proposal { name, profile, title, parameters, own_login } = proposal;
        let short = |text: &Arc<str>| text.len() <= TEXT_LEN_MAX;
        let plain = is_level(&name) && !name.contains(char::is_whitespace) && short(&name) && short(&profile) && short(&title);
        if !plain || parameters.len() > PARAMETERS_MAX || !parameters.iter().all(|(name, value)| short(name) && short(value)) {
            return false;
        }
        let id = DeviceId::of(&bridge.site(), &name);
        let mut kept = self.kept.lock();
        if !kept.contains_key(&id) && kept.len() >= KEPT_MAX {
            return false;
        }
        kept.insert(id.clone(), Proposed { id, bridge: bridge.clone(), own_login, profile, title, parameters, last_seen: now, declares });
        self.news.notify_one();
        true
    }

    /// The bridge takes back what it proposed with these parameters.
    pub(super) fn withdraw(&self, bridge: &DeviceId, parameters: &BTreeMap<Arc<str>, Arc<str>>) {
        self.kept.lock().retain(|_, kept| kept.bridge != *bridge || kept.parameters != *parameters);
    }

    /// Those that nobody declared meanwhile.
    pub fn open(&self, state: &State) -> Vec<Proposed> {
        self.kept.lock().values().filter(|proposed| !proposed.is_known(state)).cloned().collect()
    }

    pub fn get(&self, id: &DeviceId) -> Option<Proposed> {
        self.kept.lock().get(id).cloned()
    }

    pub fn forget(&self, id: &DeviceId) {
        self.kept.lock().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(name: &str, title: &str) -> Proposal {
        Proposal {
            name: name.into(),
            profile: "p".into(),
            title: title.into(),
            parameters: [("name".into(), name.into())].into(),
            own_login: false,
        }
    }

    #[test]
    fn what_a_bridge_invents_fills_nothing_up() {
        let (proposals, bridge) = (Proposals::default(), DeviceId::new("hq/z2m"));
        let state = State::new(spalla_shared::id::GroupId::mesh());
        for bad in ["", "a b", "a/b", "#", &"x".repeat(TEXT_LEN_MAX + 1)] {
            assert!(!proposals.keep(&bridge, proposal(bad, "t"), None, Timestamp(0)), "{bad}");
        }
        assert!(!proposals.keep(&bridge, proposal("a", &"t".repeat(TEXT_LEN_MAX + 1)), None, Timestamp(0)));
        for number in 0..KEPT_MAX {
            assert!(proposals.keep(&bridge, proposal(&format!("d{number}"), ""), None, Timestamp(0)));
        }
        assert!(!proposals.keep(&bridge, proposal("more", ""), None, Timestamp(0)));
        assert!(proposals.keep(&bridge, proposal("d7", "again"), None, Timestamp(1)), "one that is there is renewed");
        assert_eq!(proposals.open(&state).len(), KEPT_MAX);
        proposals.withdraw(&bridge, &proposal("d7", "").parameters);
        assert_eq!((proposals.get(&DeviceId::new("hq/d7")), proposals.open(&state).len()), (None, KEPT_MAX - 1));
    }
}
