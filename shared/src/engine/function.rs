//! The domain half of the engine, as the interpreter and `apply` call it: catalog functions, what an instance owns,
//! devices, effects' ends, work items, doors, the outbox.
//!
//! It never moves a token: answers go to `Context::wakes`, and the interpreter drains them.

pub(super) mod access;
mod arguments;
pub(super) mod device;
pub(super) mod group;
mod human;
mod outside;
mod resource;

pub use super::attachment::{node_up, presence};
pub use super::deploy::deploy;
pub use super::door::event as access_event;
pub use super::effect_end::{effect_attempt, effect_deadline, effect_done};
pub use super::outbox::uplink;
pub use super::work_item::act as work_item;
pub use access::grant_ends;

use super::context::Context;
use super::effect::Owner;
use super::pool::{self, Which};
use super::problem::Problem;
use super::{effect_end, whereabouts};
use crate::flow::plan::FlowKey;
use crate::id::InstanceId;
use crate::time::Timestamp;
use crate::value::Value;
use arguments::Arguments;
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
    let with = Arguments(with);
    let started = match function {
        "device.command" => device::command(context, owner, call, with),
        "device.read" => device::read(context, owner, call, with),
        "human.approval" => human::approval(context, owner, call, with),
        "human.task" => human::task(context, owner, call, with),
        "resource.allocate" => resource::allocate(context, owner, call, with),
        "resource.release" => resource::release(context, call, with),
        "resource.releaseAll" => resource::release_all(context, call, with),
        "credential.issue" => access::issue(context, owner, call, with),
        "credential.revoke" => access::revoke(context, call, with),
        "access.grant" => access::grant(context, owner, call, with),
        "access.revoke" => access::revoke_grant(context, call, with),
        "presence.snapshot" => snapshot(context, with),
        "notify.send" => outside::notify(context, owner, call, with, "to"),
        "notify.broadcast" => outside::notify(context, owner, call, with, "audience"),
        "sheet.appendRow" => outside::append_row(context, owner, call, with),
        "sheet.findRow" => outside::find_row(context, owner, call, with),
        "audit.note" => outside::note(context, call, with),
        _ => Err(Problem::standard("configuration", 400, format!("`{function}` is not in the catalog"))),
    };
    started.unwrap_or_else(|problem| Started::Done(Err(problem)))
}

/// Ends everything that `owner` waits for: open effects (a group call's members too), its place in a queue, its work item.
/// A unit that it was just given but did not hear of goes back.
pub fn withdraw(context: &mut Context, owner: &Owner) {
    context.state.desk.group_calls.remove(owner);
    if let Some(instance) = owner.instance() {
        end_effects(context, instance, |of| of.is_of(owner));
        pool::leave_queues(context, instance, |of| of == owner);
        super::work_item::withdraw(context, instance, |of| of == owner);
    }
    let pending = context.wakes.len();
    context.wakes.retain(|(of, _)| of != owner);
    if context.wakes.len() < pending {
        pool::release_all(context, &Which::Owner(owner));
    }
}

/// Gives back what `instance` owns. Called on any terminal state.
pub fn release_instance(context: &mut Context, instance: &InstanceId) {
    let of = |owner: &Owner| owner.instance() == Some(instance);
    end_group_calls(context, instance);
    end_effects(context, instance, of);
    pool::leave_queues(context, instance, of);
    super::work_item::withdraw(context, instance, of);
    context.wakes.retain(|(owner, _)| !of(owner));
    pool::release_all(context, &Which::Instance(instance));
    access::revoke_of_instance(context, instance);
}

fn end_group_calls(context: &mut Context, instance: &InstanceId) {
    let of_token = |number| Owner::Token { instance: instance.clone(), token: number, generation: number };
    let calls = &mut context.state.desk.group_calls;
    let gone: Vec<Owner> = calls.range(of_token(0)..=of_token(u32::MAX)).map(|(owner, _)| owner.clone()).collect();
    for owner in gone {
        calls.remove(&owner);
    }
}

/// Withdraws the effects of `instance` that `of` names, and takes those owners off others' effects that they joined.
fn end_effects(context: &mut Context, instance: &InstanceId, of: impl Fn(&Owner) -> bool) {
    for (device, key) in context.state.index.followed() {
        let Some(recent) = context.state.desk.recent.get_mut(&device).and_then(|recent| recent.get_mut(&key)) else { continue };
        recent.followers.retain(|owner| !of(owner));
        if recent.followers.is_empty() {
            context.state.index.unfollow(&device, &key);
        }
    }
    let mut open = context.state.index.effects_of(instance);
    open.retain(|effect| context.state.effects.get(effect).is_some_and(|effect| of(&effect.owner)));
    for effect in open {
        effect_end::withdraw(context, effect);
    }
}

fn snapshot(context: &Context, with: Arguments) -> Result<Started, Problem> {
    let (site, zone) = (with.text_or_none("site")?, with.text_or_none("zone")?);
    if site.is_none() && zone.is_none() {
        return Err(arguments::wrong("site", "is missing: name a `site` or a `zone`"));
    }
    let people = whereabouts::people(context, site.as_deref(), zone.as_deref());
    Ok(Started::Done(Ok(Value::object([("people", Value::array(people))]))))
}
