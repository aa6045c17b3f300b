//! Who is inside: the newest passage of each person, by the instant of the passage and not of its arrival.

use super::access::Credential;
use super::context::Context;
use super::door;
use super::passback::{self, Passage};
use super::semantics::ANTI_PASSBACK;
use crate::event::Event;
use crate::id::{CredentialId, DeviceId, SiteId};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub const PEOPLE_MAX: usize = 50_000;
/// Bytes of a name that a device gives somebody; a longer one is nobody's.
const NAME_LEN_MAX: usize = 256;
/// Those who left are swept when the number of people is a multiple of it.
const SWEEP_EVERY: usize = 1024;
/// How long a departure is remembered, so that an older passage that arrives late cannot put the person back inside.
const LEFT_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Present {
    pub inside: bool,
    pub site: SiteId,
    pub zone: Option<Arc<str>>,
    /// What was passed last.
    pub device: DeviceId,
    pub at: Timestamp,
}

/// `credential`: what another group last said of the one that the event names. A `spalla.device.passed` event: `{credentialId | holder | personId, direction: in | out}`; without a direction it is an entry.
pub fn passed(context: &mut Context, event: &Event, credential: Option<&Credential>) {
    let Some(device) = door::source_device(event) else { return };
    let credential = credential.filter(|_| context.state.semantics >= ANTI_PASSBACK);
    let Some(person) = person(context, &event.data, credential) else { return };
    let Some(known) = context.state.devices.get(&device) else { return };
    let present = Present {
        inside: event.data.get("direction").and_then(Value::as_str) != Some("out"),
        site: device.site(),
        zone: known.device.zone.clone(),
        device: device.clone(),
        at: event.time.min(context.now),
    };
    // A direction that is none says nothing of who is inside.
    if let inside @ Some(_) = passback::goes_in(event) {
        passback::passed(context.state, &device, &person, Passage { inside, at: present.at });
    }
    let all = &mut context.state.presence;
    if all.get(&person).is_some_and(|newer| newer.at > present.at) {
        return;
    }
    let now = context.now;
    if all.len() % SWEEP_EVERY == SWEEP_EVERY - 1 || all.len() >= PEOPLE_MAX {
        all.retain(|_, person| person.inside || now < person.at.plus(LEFT_KEPT_MS));
    }
    if all.len() < PEOPLE_MAX || all.contains_key(&person) {
        all.insert(person, present);
    }
}

/// The holder of the credential, which may be one that another group told of, or whom the device names.
fn person(context: &Context, data: &Value, told: Option<&Credential>) -> Option<Arc<str>> {
    let text = |name: &str| data.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let holder = text("credentialId").map(CredentialId::new).and_then(|id| {
        let own = context.state.credentials.get(&id);
        own.or(told.filter(|told| told.id == id))
    });
    let fits = |name: &&str| name.len() <= NAME_LEN_MAX || context.state.semantics < ANTI_PASSBACK;
    let named = || text("holder").or_else(|| text("personId")).filter(fits).map(Arc::from);
    holder.map(|credential| credential.holder.clone()).or_else(named)
}

/// People inside a site (or in a zone of any site), sorted.
pub fn people(context: &Context, site: Option<&str>, zone: Option<&str>) -> Vec<Value> {
    let here = |present: &Present| {
        present.inside
            && site.is_none_or(|site| present.site.as_str() == site)
            && zone.is_none_or(|zone| present.zone.as_deref() == Some(zone))
    };
    context.state.presence.iter().filter(|(_, present)| here(present)).map(|(person, _)| Value::String(person.clone())).collect()
}
