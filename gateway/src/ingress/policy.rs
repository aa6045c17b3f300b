//! Admits proposed devices of the kinds that their bridge's declaration names (`admits:`), by the same command as a person would,
//! under the name `policy:BRIDGE`. Never what opens a way, says who is there, or needs a password.

use super::admission::{Wanted, resources};
use super::{Ingress, Proposed};
use spalla_shared::engine::{Command, State};
use spalla_shared::id::{Actor, DeviceId};
use spalla_shared::resource::{Device, Resource};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// A look without being told to: what was declared meanwhile may let a proposal in.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Before what was refused is tried again.
const REST: Duration = Duration::from_secs(60);

impl Ingress {
    /// Runs until it is dropped; spawn it once.
    pub async fn keep_policies(self: std::sync::Arc<Self>) {
        let Some(group) = self.groups.first() else { return };
        let mut refused: BTreeMap<DeviceId, Instant> = BTreeMap::new();
        loop {
            refused.retain(|_, at| at.elapsed() < REST);
            let admitted: Vec<(Device, Actor, Vec<Resource>)> = {
                let state = group.state().read();
                let open = self.proposals.open(&state).into_iter().filter(|proposed| !refused.contains_key(&proposed.id));
                open.filter_map(|proposed| by_policy(&state, &proposed)).collect()
            };
            for (device, by, resources) in admitted {
                match group.propose(Command::Deploy { resources, by: by.clone() }).await {
                    Ok(receipt) => match receipt.reply {
                        Ok(_) => tracing::info!(device = %device.id, profile = %device.profile, %by, "device admitted by policy"),
                        Err(rejection) => {
                            tracing::warn!(device = %device.id, %by, reason = %rejection.message, "policy could not admit a device");
                            refused.insert(device.id, Instant::now());
                        }
                    },
                    // Without a quorum nothing is admitted; the next look tries again.
                    Err(error) => tracing::debug!(device = %device.id, %error, "policy could not admit a device now"),
                }
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, self.proposals.news.notified()).await;
        }
    }
}

/// `None` where a person has to say something.
fn by_policy(state: &State, proposed: &Proposed) -> Option<(Device, Actor, Vec<Resource>)> {
    let bridge = &state.devices.get(&proposed.bridge)?.device;
    let profile = proposed.declares.as_ref().or_else(|| state.profiles.get(&proposed.profile).map(AsRef::as_ref))?;
    if proposed.own_login || !profile.is_admitted_by(&bridge.admits) {
        return None;
    }
    let (resources, device) = resources(state, proposed, Wanted::default()).ok()?;
    Some((device, Actor::new(format!("policy:{}", bridge.id)), resources))
}
