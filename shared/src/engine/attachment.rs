//! Where devices are connected, and which gateways are up.
//!
//! A device is at one gateway at a time. What was sent from a gateway that restarted cannot be answered any more.

use super::command::{Accepted, Rejection, Reply};
use super::context::Context;
use super::effect::{EffectClass, Request};
use super::effect_end;
use super::state::{Attachment, Node};
use crate::id::{DeviceId, EffectId, NodeId, SiteId};
use std::sync::Arc;

/// A device came or went. A "gone" of an older session than the one that is there changes nothing.
pub fn presence(context: &mut Context, device: &DeviceId, node: NodeId, session: u64, online: bool) -> Reply {
    let now = context.now;
    still_there(context, node)?;
    let Some(known) = context.state.devices.get_mut(device) else {
        return Err(Rejection::new("not-found", format!("there is no device `{device}`")));
    };
    let here = known.attached.as_ref().filter(|attached| attached.node == node);
    match (online, here) {
        (true, Some(attached)) if session == attached.session => return Ok(Accepted::Duplicate),
        (_, Some(attached)) if session < attached.session => return Err(Rejection::new("late", "a newer session is there")),
        (false, None) => return Ok(Accepted::Duplicate),
        (true, _) => known.attached = Some(Attachment { node, session, since: now }),
        (false, Some(_)) => known.attached = None,
    }
    known.changed_at = now;
    if !online {
        give_up_openings(context, device);
    }
    Ok(Accepted::Nothing)
}

/// A gateway says who it is. A new boot has no sessions: the devices that were at the gateway are gone until they come again.
pub fn node_up(context: &mut Context, node: NodeId, site: &SiteId, boot: u64, version: &Arc<str>, api: Option<&Arc<str>>) -> Reply {
    let now = context.now;
    still_there(context, node)?;
    let before = context.state.nodes.get(&node).map(|node| node.boot);
    if before.is_some_and(|before| boot < before) {
        return Err(Rejection::new("late", format!("node {node} is at boot {} already", before.unwrap_or_default())));
    }
    let up_at = context.state.nodes.get(&node).filter(|known| known.boot == boot).map_or(now, |known| known.up_at);
    let declared = Node { site: site.clone(), boot, version: version.clone(), api: api.cloned(), up_at };
    if context.state.nodes.get(&node) == Some(&declared) {
        return Ok(Accepted::Duplicate);
    }
    context.state.nodes.insert(node, declared);
    if before.is_some_and(|before| before < boot) {
        forget_boot(context, node, boot);
    }
    Ok(Accepted::Nothing)
}

/// It is gone for good: its devices are away until they come elsewhere, and it holds back nothing any more.
pub(super) fn forget_node(context: &mut Context, node: NodeId) {
    context.state.nodes.remove(&node);
    context.state.understood.remove(&node);
    forget_boot(context, node, u64::MAX);
}

/// What a gateway said before it was removed may arrive behind that.
fn still_there(context: &Context, node: NodeId) -> Result<(), Rejection> {
    if context.state.roster.is_removed(node) {
        return Err(Rejection::new("forbidden", format!("gateway {node} was removed from this mesh")));
    }
    Ok(())
}

fn forget_boot(context: &mut Context, node: NodeId, boot: u64) {
    let now = context.now;
    let mut gone: Vec<DeviceId> = Vec::new();
    for (id, device) in &mut context.state.devices {
        if device.attached.as_ref().is_some_and(|attached| attached.node == node) {
            device.attached = None;
            device.changed_at = now;
            gone.push(id.clone());
        }
    }
    let unanswerable: Vec<EffectId> = context
        .state
        .effects
        .values()
        .filter(|effect| effect.attempt.as_ref().is_some_and(|attempt| attempt.node == node && attempt.boot < boot))
        .map(|effect| effect.id)
        .collect();
    for effect in unanswerable {
        effect_end::executor_gone(context, effect);
    }
    for device in gone {
        give_up_openings(context, &device);
    }
}

/// Openings that were not sent yet fail at once: a door that comes back opens for nobody who waited before.
fn give_up_openings(context: &mut Context, device: &DeviceId) {
    let waiting: Vec<EffectId> = context
        .state
        .effects
        .values()
        .filter(|effect| effect.class == EffectClass::Opening && effect.attempt.is_none())
        .filter(|effect| matches!(&effect.request, Request::Device { device: to, .. } if to == device))
        .map(|effect| effect.id)
        .collect();
    for effect in waiting {
        effect_end::went_offline(context, effect);
    }
}
