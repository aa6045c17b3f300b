//! A command to a group: one effect per member, their answers collected into one.

use super::Started;
use super::device::{self, Ask};
use crate::engine::context::Context;
use crate::engine::desk::{AckMode, GroupCall, Member};
use crate::engine::effect::Owner;
use crate::engine::index::Owned;
use crate::engine::problem::Problem;
use crate::id::DeviceId;
use crate::value::Value;

pub fn begin(context: &mut Context, owner: Owner, devices: Vec<DeviceId>, mode: AckMode, ask: &Ask) -> Result<Started, Problem> {
    let Owner::Token { instance, token, generation } = &owner else {
        return Err(Problem::standard("configuration", 400, "only a task of a flow may command a group"));
    };
    let members = devices.iter().map(|device| Member { device: device.clone(), result: None }).collect();
    context.state.desk.group_calls.insert(owner.clone(), GroupCall { mode, members });
    for (member, device) in (0u32..).zip(&devices) {
        let member_owner = Owner::Member { instance: instance.clone(), token: *token, generation: *generation, member };
        if let Some(result) = device::begin(context, member_owner, device, ask) {
            answer(context, &owner, member, result);
        }
    }
    Ok(match verdict(context, &owner) {
        Some(result) => Started::Done(result),
        None => Started::Waiting("effect"),
    })
}

/// A member has answered; wakes the caller when that decides the call. An answer that nobody collects any more changes nothing.
pub fn collect(context: &mut Context, owner: Owner, result: Result<Value, Problem>) {
    let Owner::Member { instance, token, generation, member } = owner else { return };
    let caller = Owner::Token { instance, token, generation };
    answer(context, &caller, member, result);
    if let Some(result) = verdict(context, &caller) {
        context.wake(caller, result);
    }
}

fn answer(context: &mut Context, caller: &Owner, member: u32, result: Result<Value, Problem>) {
    let call = context.state.desk.group_calls.get_mut(caller);
    if let Some(member) = call.and_then(|call| call.members.get_mut(member as usize)) {
        member.result = Some(result);
    }
}

/// Ends the call when it is decided. The commands that are still on their way go on, with nobody waiting.
fn verdict(context: &mut Context, caller: &Owner) -> Option<Result<Value, Problem>> {
    let result = context.state.desk.group_calls.get(caller)?.verdict()?;
    context.state.desk.group_calls.remove(caller);
    for id in caller.instance().map(|instance| context.state.index.effects_of(instance)).unwrap_or_default() {
        let Some(effect) = context.state.effects.get_mut(&id) else { continue };
        if matches!(effect.owner, Owner::Member { .. }) && effect.owner.is_of(caller) {
            context.state.index.disown(&effect.owner, Owned::Effect(id));
            effect.owner = Owner::Nobody;
        }
    }
    Some(result)
}
