//! What one group's commands must heed of another group that commands the same devices. Looked at where a command leaves: no log
//! knows what is in the other.
//!
//! ```text
//! own state -> Wish::of(effect) -> objection(other state) -> does not leave
//! ```

use super::effect::{Effect, EffectClass, Request};
use super::effect_end;
use super::function::device;
use super::precedence::{self, Mode, Priority, Wanted};
use super::state::State;

/// A device command as its own group wants it.
pub struct Wish<'a> {
    effect: &'a Effect,
    mode: Option<Mode>,
    priority: Priority,
    /// `namespace/name` of the flow that asks.
    flow: Option<String>,
    /// Of two groups that open at once the building's goes first.
    yields: bool,
}

impl<'a> Wish<'a> {
    /// None for what is no device command.
    pub fn of(effect: &'a Effect, own: &State) -> Option<Self> {
        let Request::Device { .. } = &effect.request else { return None };
        let mode = match effect.class {
            EffectClass::Opening => Some(Mode::Open),
            EffectClass::Securing => Some(Mode::Shut),
            EffectClass::Neutral => None,
        };
        let asks = effect.owner.instance().and_then(|instance| own.instances.get(instance)).map(|instance| &instance.flow);
        let flow = asks.map(|flow| format!("{}/{}", flow.namespace, flow.name));
        let yields = own.group.site().is_none() && effect.class == EffectClass::Opening;
        Some(Self { effect, mode, priority: effect_end::priority(own, effect), flow, yields })
    }

    /// Why it must not leave now: what `other` holds the device in outranks it, or `other` has just given the same opening.
    pub fn objection(&self, other: &State) -> Option<String> {
        let Request::Device { device, command, args, .. } = &self.effect.request else { return None };
        let wanted = Wanted { command, mode: self.mode, priority: self.priority, flow: self.flow.as_deref() };
        let holds = other.desk.holds.get(device);
        if let Some((held, hold)) = holds.and_then(|holds| precedence::refusal(holds, &wanted)) {
            let how = if hold.mode == Mode::Open { "open" } else { "shut" };
            return Some(format!("{device} is held {how} by {} of group `{}`", held.name(), other.group));
        }
        let twice = self.yields && device::was_just_given(other, device, command, args, self.effect.issued_at);
        twice.then(|| format!("group `{}` has just given {device} the same command", other.group))
    }
}
