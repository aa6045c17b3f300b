//! Tells devices that announce themselves that somebody listens (Home Assistant's birth message), so that they announce
//! themselves again: after a start of this gateway, and after one of them was admitted and now has to say how it is.

use super::Ingress;
use spalla_broker::message::{Message, Qos};
use spalla_broker::server::Broker;
use spalla_shared::device::discovery::birth_topic;
use spalla_shared::engine::State;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks.
const PACE: Duration = Duration::from_millis(200);

impl Ingress {
    /// Runs until it is dropped; spawn it once.
    pub async fn keep_births(self: Arc<Self>, broker: Arc<Broker>) {
        let Some(group) = self.groups.first() else { return };
        let mut applied = group.applied();
        let mut told = BTreeMap::new();
        loop {
            let wanted = listened_to(&group.state().read());
            for (prefix, behind) in wanted {
                if told.get(&prefix) == Some(&behind) {
                    continue;
                }
                // Retained: a device that subscribes later hears it too. It says how things are and moves nothing.
                let topic = birth_topic(&prefix);
                let message =
                    Message { topic, payload: b"online".to_vec().into(), qos: Qos::AtLeastOnce, retain: true, ..Message::default() };
                match broker.publish(message).await {
                    Ok(()) => _ = told.insert(prefix, behind),
                    Err(error) => tracing::debug!(%prefix, %error, "birth message not published"),
                }
            }
            tokio::time::sleep(PACE).await;
            if applied.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The prefixes under which devices announce themselves in this mesh, with how many of them are declared.
fn listened_to(state: &State) -> BTreeMap<Arc<str>, usize> {
    let prefix_of = |profile: &Arc<str>| state.profiles.get(profile)?.convention.as_ref()?.home_assistant.clone();
    let mut all = BTreeMap::new();
    for known in state.devices.values() {
        if let Some(prefix) = prefix_of(&known.device.profile) {
            all.entry(prefix).or_insert(0);
        }
        let bridge = known.device.bridge.as_ref().and_then(|bridge| state.devices.get(bridge));
        if let Some(prefix) = bridge.and_then(|bridge| prefix_of(&bridge.device.profile)) {
            *all.entry(prefix).or_insert(0) += 1;
        }
    }
    all
}
