//! Ends sessions whose password was changed or taken back, wherever in the mesh that was done: what the log says now is
//! compared with what each session logged in by.

use super::Ingress;
use parking_lot::Mutex;
use spalla_broker::server::Broker;
use spalla_shared::id::{Actor, DeviceId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks: far below the second in which a revoked device must be gone.
const PACE: Duration = Duration::from_millis(100);
/// A look without being told to.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Logins between their password's check and their session. Of one beyond them the password of now is taken for the one that fitted.
const CHECKED_MAX: usize = 4_096;

#[derive(Default)]
pub(super) struct Logins {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By client id and name: the hash that the password fitted.
    checked: BTreeMap<(String, DeviceId), Arc<str>>,
    /// The hashes that live sessions of a device logged in by; more than one only around a change.
    live: BTreeMap<DeviceId, Vec<Arc<str>>>,
}

impl Logins {
    pub fn authenticated(&self, client_id: &str, device: &str, hash: Option<Arc<str>>) {
        let Some(hash) = hash else { return };
        let mut inner = self.inner.lock();
        if inner.checked.len() >= CHECKED_MAX {
            inner.checked.pop_first();
        }
        inner.checked.insert((client_id.to_owned(), DeviceId::new(device)), hash);
    }

    /// `current`: the hash that the log has for the device.
    pub fn connected(&self, client_id: &str, device: &DeviceId, current: Option<Arc<str>>) {
        let mut inner = self.inner.lock();
        let Some(hash) = inner.checked.remove(&(client_id.to_owned(), device.clone())).or(current) else { return };
        let live = inner.live.entry(device.clone()).or_default();
        if !live.contains(&hash) {
            live.push(hash);
        }
    }

    pub fn gone(&self, device: &DeviceId) {
        self.inner.lock().live.remove(device);
    }

    /// Devices with a session whose password is not the one of now.
    fn outdated(&self, now: impl Fn(&DeviceId) -> Option<Arc<str>>) -> Vec<DeviceId> {
        let inner = self.inner.lock();
        let old = |device: &DeviceId, live: &[Arc<str>]| {
            let current = now(device);
            live.iter().any(|hash| Some(hash) != current.as_ref())
        };
        inner.live.iter().filter(|(device, live)| old(device, live)).map(|(device, _)| device.clone()).collect()
    }
}

impl Ingress {
    /// As the log has it; nothing where the device is not declared or has none.
    pub(super) fn password_hash(&self, device: &DeviceId) -> Option<Arc<str>> {
        self.groups.iter().find_map(|group| group.state().read().devices.get(device)?.device.password_hash.clone())
    }

    /// Runs until it is dropped; spawn it once.
    pub async fn keep_logins(self: Arc<Self>, broker: Arc<Broker>) {
        let Some(group) = self.groups.first() else { return };
        let mut applied = group.applied();
        loop {
            let outdated = self.logins.outdated(|device| self.password_hash(device));
            for device in outdated {
                self.logins.gone(&device);
                let cut = broker.disconnect(Actor::device(&device).as_str(), "the password was changed or revoked");
                self.counters.logins_cut.fetch_add(cut as u64, std::sync::atomic::Ordering::Relaxed);
                tracing::info!(%device, sessions = cut, "sessions ended: the password was changed or revoked");
            }
            tokio::time::sleep(PACE).await;
            if let Ok(Err(_)) = tokio::time::timeout(LOOK_AGAIN, applied.changed()).await {
                return;
            }
        }
    }
}
