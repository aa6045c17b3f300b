//! A building to rehearse in: resources declared, one gateway per site, devices connected, units taken.

use super::world::World;
use crate::engine::State;
use crate::engine::command::Command;
use crate::engine::deploy::RESOURCES_MAX;
use crate::engine::effect::{Effect, Owner, Place};
use crate::engine::pool::Lease;
use crate::id::{Actor, DeviceId, GroupId, NodeId, SiteId};
use crate::resource::{Person, Resource};
use crate::time::Timestamp;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who holds units that are taken before the rehearsal begins.
const SOMEBODY: &str = "somebody-else";

/// Everything declared and every device connected. The error says what was refused.
pub fn build(at: Timestamp, mut resources: Vec<Resource>) -> Result<World, String> {
    let mut world = World::new(at);
    if resources.iter().any(lives_in_a_building) {
        world.state.group = GroupId::rehearsal();
    }
    // What others name must be there before.
    resources.sort_by_key(|resource| match resource {
        Resource::Profile(_) => 0,
        Resource::Device(_) => 1,
        Resource::Pool(_) | Resource::Person(_) => 2,
        Resource::Area(_) | Resource::Client(_) => 3,
        Resource::Flow(_) => 4,
    });
    for some in resources.chunks(RESOURCES_MAX) {
        let deploy = Command::Deploy { resources: some.to_vec(), by: Actor::system() };
        world.apply(deploy).reply.map_err(|refused| refused.to_string())?;
    }
    let devices: Vec<DeviceId> = world.state.devices.keys().cloned().collect();
    let sites: BTreeSet<SiteId> = devices.iter().map(DeviceId::site).collect();
    for (node, site) in (1..).map(NodeId).zip(sites) {
        let up = Command::NodeUp { node, site, boot: 1, version: "rehearsal".into(), api: None };
        world.apply(up).reply.map_err(|refused| refused.to_string())?;
    }
    for device in devices {
        connect(&mut world, &device, true)?;
    }
    Ok(world)
}

fn lives_in_a_building(resource: &Resource) -> bool {
    let Resource::Flow(flow) = resource else { return false };
    let metadata = flow.document.get("document").and_then(|document| document.get("metadata"));
    metadata.and_then(|metadata| metadata.get("spalla/scope")).and_then(Value::as_str) == Some("site")
}

/// A device comes or goes at its site's gateway.
pub fn connect(world: &mut World, device: &DeviceId, online: bool) -> Result<(), String> {
    let attached = world.state.devices.get(device).ok_or_else(|| format!("there is no device `{device}`"))?.attached.clone();
    let site = device.site();
    let node = world.state.nodes.iter().find(|(_, node)| node.site == site).map(|(id, _)| *id).unwrap_or_default();
    let session = match attached {
        Some(attached) if !online => attached.session,
        _ => world.state.applied.saturating_add(1),
    };
    world.apply(Command::Presence { device: device.clone(), node, session, online }).reply.map_err(|refused| refused.to_string())?;
    Ok(())
}

/// Units of a pool that somebody else holds for good. No names: all of them.
pub fn take(world: &mut World, pool: &str, units: Option<&[Arc<str>]>) -> Result<(), String> {
    let since = world.at;
    let state = world.state.pools.get_mut(pool).ok_or_else(|| format!("there is no pool `{pool}`"))?;
    let known: Vec<Arc<str>> = state.pool.units.iter().map(|unit| unit.name.clone()).collect();
    for unit in units.unwrap_or(&known) {
        if !known.contains(unit) {
            return Err(format!("pool `{pool}` has no unit `{unit}`"));
        }
        let lease = Lease { id: format!("taken-{unit}").into(), holder: SOMEBODY.into(), owner: Owner::Nobody, since };
        state.leases.insert(unit.clone(), lease);
    }
    Ok(())
}

/// Units that instances hold, by pool; pools of which none is held are left out.
pub fn held(state: &State) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
    let of_instances = |leases: &BTreeMap<Arc<str>, Lease>| -> Vec<Arc<str>> {
        leases.iter().filter(|(_, lease)| *lease.holder != *SOMEBODY).map(|(unit, _)| unit.clone()).collect()
    };
    let all = state.pools.iter().map(|(name, pool)| (name.clone(), of_instances(&pool.leases)));
    all.filter(|(_, units)| !units.is_empty()).collect()
}

/// The gateway that answers an effect; `None` while its device is at none.
pub fn executor(state: &State, effect: &Effect) -> Option<NodeId> {
    match effect.place(state) {
        Place::Node(node) => Some(node),
        Place::Leader => Some(state.nodes.keys().next().copied().unwrap_or(NodeId(1))),
        Place::Nowhere => None,
    }
}

/// Whether a person is meant by `user:…` or `role:…`.
pub fn is_asked(person: &Person, to: &str) -> bool {
    match to.split_once(':') {
        Some(("user", id)) => *person.id == *id,
        Some(("role", role)) => person.roles.iter().any(|known| **known == *role),
        _ => false,
    }
}

/// What instances still own though none runs, in words; empty where everything was given back.
pub fn leftovers(state: &State) -> Vec<String> {
    let mut left = Vec::new();
    let mut tell = |count: usize, what: &str| {
        if count > 0 {
            left.push(format!("{count} {what}"));
        }
    };
    tell(state.work_items.len(), "open work items");
    tell(state.grants.len(), "grants");
    tell(state.credentials.values().filter(|credential| credential.revoked_at.is_none()).count(), "credentials that still open");
    tell(held(state).values().map(Vec::len).sum(), "units held");
    tell(state.pools.values().map(|pool| pool.queue.len()).sum(), "waiters for a unit");
    tell(state.effects.values().filter(|effect| effect.owner.instance().is_some()).count(), "open effects");
    tell(state.listeners.len(), "subscriptions");
    tell(state.desk.group_calls.len(), "group calls");
    left
}
