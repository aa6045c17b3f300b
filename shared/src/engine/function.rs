//! The domain half of the engine, as the interpreter and `apply` call it: catalog functions, what an instance owns,
//! devices, effects' ends, work items, doors, the outbox.
//!
//! It never moves a token: answers go to `Context::wakes`, and the interpreter drains them.

use super::command::{Reply, UplinkCommand, WorkItemAction};
use super::context::Context;
use super::effect::{Outcome, Owner};
use super::problem::Problem;
use crate::event::Event;
use crate::flow::plan::FlowKey;
use crate::id::{Actor, DeviceId, EffectId, GrantId, InstanceId, NodeId, SiteId, WorkItemId};
use crate::resource::Resource;
use crate::time::Timestamp;
use crate::value::Value;
use std::sync::Arc;

/// What came of calling a function.
#[derive(Clone, Debug, PartialEq)]
pub enum Started {
    Done(Result<Value, Problem>),
    /// The owner is woken later. What it waits for: `effect`, `work-item` or `pool`.
    Waiting(&'static str),
}

/// Who calls.
#[derive(Clone, Debug, PartialEq)]
pub struct CallInfo {
    pub instance: InstanceId,
    pub flow: FlowKey,
    /// JSON pointer to the task.
    pub reference: Arc<str>,
    /// When the nearest enclosing timeout ends it anyway.
    pub deadline: Option<Timestamp>,
}

/// Calls `function` (canonical name, without version) with `with`.
pub fn start(context: &mut Context, owner: Owner, call: &CallInfo, function: &str, with: &Value) -> Started {
    let _ = (context, owner, call, with);
    Started::Done(Err(Problem::standard("configuration", 400, format!("`{function}` is not in the catalog"))))
}

/// Ends everything that `owner` waits for: open effects (a group call's members too), its place in a queue, its work item.
pub fn withdraw(context: &mut Context, owner: &Owner) {
    let _ = (context, owner);
}

/// Gives back what `instance` owns. Called on any terminal state.
pub fn release_instance(context: &mut Context, instance: &InstanceId) {
    let _ = (context, instance);
}

pub fn deploy(context: &mut Context, resources: &[Resource], by: &Actor) -> Reply {
    let _ = (context, resources, by);
    Ok(super::Accepted::Nothing)
}
pub fn presence(context: &mut Context, device: &DeviceId, node: NodeId, session: u64, online: bool) -> Reply {
    let _ = (context, device, node, session, online);
    Ok(super::Accepted::Nothing)
}
pub fn node_up(context: &mut Context, node: NodeId, site: &SiteId, boot: u64, version: &Arc<str>, api: Option<&Arc<str>>) -> Reply {
    let _ = (context, node, site, boot, version, api);
    Ok(super::Accepted::Nothing)
}
pub fn effect_attempt(context: &mut Context, effect: EffectId, node: NodeId) -> Reply {
    let _ = (context, effect, node);
    Ok(super::Accepted::AttemptRefused)
}
pub fn effect_done(context: &mut Context, effect: EffectId, outcome: &Outcome, node: NodeId) -> Reply {
    let _ = (context, effect, outcome, node);
    Ok(super::Accepted::Nothing)
}
pub fn effect_deadline(context: &mut Context, effect: EffectId) {
    let _ = (context, effect);
}
pub fn work_item(context: &mut Context, id: &WorkItemId, action: &WorkItemAction, by: &Actor, key: &Arc<str>) -> Reply {
    let _ = (context, id, action, by, key);
    Ok(super::Accepted::Nothing)
}
pub fn uplink(context: &mut Context, command: &UplinkCommand) -> Reply {
    let _ = (context, command);
    Ok(super::Accepted::Nothing)
}
pub fn grant_ends(context: &mut Context, grant: &GrantId) {
    let _ = (context, grant);
}
pub fn access_event(context: &mut Context, event: &Event, historical: bool) {
    let _ = (context, event, historical);
}
