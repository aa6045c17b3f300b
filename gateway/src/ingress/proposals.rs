//! Devices that bridges know of and nobody declared yet. Held in memory: a bridge tells of them again. Nothing happens by a
//! proposal alone; a person admits it, which declares the device.

use parking_lot::Mutex;
use spalla_shared::device::convention::Proposal;
use spalla_shared::id::DeviceId;
use spalla_shared::time::Timestamp;
use spalla_shared::topic::is_level;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Proposals kept. More are counted and forgotten: a bridge that invents devices fills nothing up.
const KEPT_MAX: usize = 1_024;

#[derive(Default)]
pub struct Proposals {
    kept: Mutex<BTreeMap<DeviceId, Proposed>>,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Proposed {
    /// Proposed id: the bridge's site and the name it knows the device by.
    pub id: DeviceId,
    pub bridge: DeviceId,
    pub profile: Arc<str>,
    pub title: Arc<str>,
    pub parameters: BTreeMap<Arc<str>, Arc<str>>,
    pub last_seen: Timestamp,
}

impl Proposals {
    /// `false` where it could not be kept.
    pub(super) fn keep(&self, bridge: &DeviceId, proposal: Proposal, now: Timestamp) -> bool {
        if !is_level(&proposal.name) || proposal.name.contains(char::is_whitespace) {
            return false;
        }
        let id = DeviceId::of(&bridge.site(), &proposal.name);
        let mut kept = self.kept.lock();
        if !kept.contains_key(&id) && kept.len() >= KEPT_MAX {
            return false;
        }
        let Proposal { profile, title, parameters, .. } = proposal;
        kept.insert(id.clone(), Proposed { id, bridge: bridge.clone(), profile, title, parameters, last_seen: now });
        true
    }

    pub fn all(&self) -> Vec<Proposed> {
        self.kept.lock().values().cloned().collect()
    }

    pub fn get(&self, id: &DeviceId) -> Option<Proposed> {
        self.kept.lock().get(id).cloned()
    }

    pub fn forget(&self, id: &DeviceId) {
        self.kept.lock().remove(id);
    }
}
