//! A building's own group: what it knows of the mesh, and what it does in the mesh's place while that is out of reach.
//!
//! The mesh is where things are declared; this group gets a copy of what the building needs. Doors are the mesh's to decide, as
//! long as it can be told of an event; else they are decided here, from what the mesh last said, for a bounded time.

use super::access::{Credential, Grant};
use super::command::{Accepted, Known, Rejection, Reply, SiteCommand};
use super::context::Context;
use super::crossing::{self, Crossed};
use super::door::{Doors, source_device};
use super::function::access;
use super::interpreter::Interpreter;
use super::state::State;
use super::{dedupe, function, life, passback, schedule};
use crate::event::{DATA_SIZE_MAX, Event};
use crate::flow::plan::FlowKey;
use crate::id::{Actor, CredentialId, GroupId};
use crate::resource::Resource;
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Longest time for which a building decides doors alone.
pub const LEASE_MAX_MS: u64 = 30 * 24 * 60 * 60 * 1000;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// The mesh's `declared_at` that this group was brought to.
    pub mirrored: u64,
    /// When the mesh was last in reach, by this group's clock.
    pub heard_at: Option<Timestamp>,
    /// How long doors are decided alone behind that.
    pub lease_ms: u64,
}

/// Refused: `invalid` in a group that is no building's, and what a deploy refuses.
pub(super) fn act(interpreter: &mut Interpreter, command: &SiteCommand) -> Reply {
    let context = &mut *interpreter.context;
    if context.state.group.site().is_none() {
        return Err(Rejection::new("invalid", format!("group `{}` is no building's", context.state.group)));
    }
    match command {
        SiteCommand::Mirror { resources, flows, upto } => mirror(context, resources, flows.as_deref(), *upto),
        SiteCommand::Heard { lease_ms } => {
            let now = context.now;
            let beside = context.state.beside.get_or_insert_default();
            beside.heard_at = Some(now);
            beside.lease_ms = (*lease_ms).min(LEASE_MAX_MS);
            Ok(Accepted::Nothing)
        }
        SiteCommand::Forget { nodes } => life::forget(context, nodes),
        SiteCommand::Alone { event, historical, known } => alone(interpreter, event, *historical, known.as_deref()),
    }
}

fn mirror(context: &mut Context, resources: &[Resource], flows: Option<&[(FlowKey, bool)]>, upto: Option<u64>) -> Reply {
    let reply = function::deploy(context, resources, &Actor::new(format!("group:{}", GroupId::mesh())))?;
    if let Some(flows) = flows {
        let wanted: BTreeMap<&FlowKey, bool> = flows.iter().map(|(key, enabled)| (key, *enabled)).collect();
        let busy = |context: &Context, key: &FlowKey| context.state.instances.values().any(|instance| instance.flow == *key);
        let gone: Vec<FlowKey> = context.state.flows.keys().filter(|key| !wanted.contains_key(key)).cloned().collect();
        for key in gone {
            // What runs ends on it, and it is looked at again with the next copy.
            if !busy(context, &key) {
                context.state.flows.remove(&key);
                context.state.plans.remove(&key);
            } else if let Some(flow) = context.state.flows.get_mut(&key) {
                flow.enabled = false;
            }
        }
        for (key, flow) in &mut context.state.flows {
            flow.enabled = wanted.get(key).copied().unwrap_or(false);
        }
    }
    schedule::refresh(context);
    if let Some(upto) = upto {
        context.state.beside.get_or_insert_default().mirrored = upto;
    }
    Ok(reply)
}

fn alone(interpreter: &mut Interpreter, event: &Event, historical: bool, known: Option<&Known>) -> Reply {
    let new = dedupe::seen(interpreter.context, &dedupe::event_key(event)).is_none();
    if new && event.data.size() <= DATA_SIZE_MAX {
        // Before what comes of it, which the mesh hears of in this order.
        crossing::owe(interpreter.context, &GroupId::mesh(), Crossed::Heard { event: event.clone(), historical });
    }
    let nothing = Known::default();
    interpreter.event(event, historical, Doors::Here(Some(known.unwrap_or(&nothing))))
}

/// Grants on one credential that go along: far more than a person has for one door.
const KNOWN_GRANTS_MAX: usize = 64;

/// What `mesh`, the newest that a gateway has of the mesh's group, says of a credential that was shown at a reader.
pub fn known(mesh: &State, event: &Event) -> Known {
    let door = source_device(event).and_then(|reader| mesh.devices.get(&reader)?.device.opens.clone());
    let id = CredentialId::new(event.data.get("credentialId").and_then(Value::as_str).unwrap_or_default());
    let reaches = |grant: &&Grant| {
        let of_area = grant.area.as_ref().and_then(|area| mesh.areas.get(area)).map(|area| &area.doors);
        door.as_ref().is_some_and(|door| of_area.unwrap_or(&grant.doors).contains(door))
    };
    Known {
        credential: mesh.credentials.get(&id).cloned(),
        grants: access::grants_for(mesh, &id).filter(reaches).take(KNOWN_GRANTS_MAX).cloned().collect(),
        holds: door.as_ref().and_then(|door| mesh.desk.holds.get(door).cloned()).unwrap_or_default(),
        areas: door.map(|door| passback::known(mesh, &id, &door)).unwrap_or_default(),
    }
}

/// Whether the mesh was out of reach for longer than doors may be decided alone.
pub(super) fn lease_is_over(context: &Context) -> bool {
    let beside = context.state.beside.as_ref();
    beside.is_none_or(|beside| beside.heard_at.is_none_or(|heard_at| context.now.since(heard_at) > beside.lease_ms))
}

/// Fire brigade, guards: credentials whose claims say `emergency: true` open as long as they are valid.
pub(super) fn is_emergency(credential: &Credential) -> bool {
    credential.claims.get("emergency").and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests;
