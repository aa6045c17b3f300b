//! The outside in virtual time: devices, services and signers answer as the rules say, else as those answer that work.

use super::answer::{Answers, Verdict};
use super::asked::Asked;
use super::building::executor;
use super::world::{Endless, World};
use crate::device::CommandClass;
use crate::engine::command::Command;
use crate::engine::effect::{Effect, Outcome, Request};
use crate::engine::problem::Problem;
use crate::id::{DeviceId, EffectId};
use crate::time::Timestamp;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Answers and timers of one stretch of time: a flow that does more in it goes in circles.
const TURNS_MAX: usize = 100_000;

#[derive(Clone, Debug, Default)]
pub struct Outside {
    pub answers: Answers,
    /// Devices that take commands and never answer.
    pub silent: BTreeSet<DeviceId>,
    /// Everything that was asked, in order.
    pub asked: Vec<Asked>,
    /// What devices were told, in order: (device, command).
    pub commanded: Vec<(DeviceId, Arc<str>)>,
    seen: BTreeSet<EffectId>,
    /// Answers on their way.
    coming: BTreeMap<(Timestamp, u64), (EffectId, Outcome)>,
    count: u64,
}

impl Outside {
    /// Answers until nothing moves without people, events or time.
    pub fn settle(&mut self, world: &mut World) -> Result<(), Endless> {
        for _ in 0..TURNS_MAX {
            world.settle()?;
            let new =
                world.state.effects.values().find(|effect| !self.seen.contains(&effect.id) && executor(&world.state, effect).is_some());
            if let Some(effect) = new.cloned() {
                self.take(world, &effect);
            } else if !self.deliver(world) {
                return Ok(());
            }
        }
        Err(Endless)
    }

    /// Lets time pass to `target`, through everything that is due on the way.
    pub fn pass_to(&mut self, world: &mut World, target: Timestamp) -> Result<(), Endless> {
        for _ in 0..TURNS_MAX {
            self.settle(world)?;
            let next = [world.state.next_due(), self.coming.keys().next().map(|(at, _)| *at)].into_iter().flatten().min();
            match next.filter(|next| *next <= target) {
                Some(next) => world.pass_to(next),
                None => {
                    world.pass_to(target);
                    return self.settle(world);
                }
            }
        }
        Err(Endless)
    }

    fn take(&mut self, world: &mut World, effect: &Effect) {
        self.seen.insert(effect.id);
        let asked = Asked::by(&world.state, effect);
        let verdict = self.answers.pick(&asked);
        self.asked.push(asked);
        let mut silent = verdict == Some(Verdict::Never);
        if let Request::Device { device, command, .. } = &effect.request {
            if effect.class == CommandClass::Opening
                && let Some(node) = executor(&world.state, effect)
            {
                world.apply(Command::EffectAttempt { effect: effect.id, node });
            }
            self.commanded.push((device.clone(), command.clone()));
            silent |= self.silent.contains(device);
        }
        if silent {
            return;
        }
        let (millis, outcome) = match verdict {
            Some(Verdict::After { millis, outcome }) => (millis, outcome),
            _ => (0, usual(&effect.request, world.at)),
        };
        self.count += 1;
        self.coming.insert((world.at.plus(millis), self.count), (effect.id, outcome));
    }

    /// Hands the next answer over that is due.
    fn deliver(&mut self, world: &mut World) -> bool {
        let Some(next) = self.coming.first_entry().filter(|next| next.key().0 <= world.at) else { return false };
        let (id, outcome) = next.remove();
        // It may have ended meanwhile.
        if let Some(effect) = world.state.effects.get(&id)
            && let Some(node) = executor(&world.state, effect)
        {
            world.apply(Command::EffectDone { effect: id, outcome, node });
        }
        true
    }
}

/// What an effect is answered by something that works and that nobody described. A service that nobody described is not there.
pub fn usual(request: &Request, now: Timestamp) -> Outcome {
    let output = match request {
        Request::Device { .. } => {
            Value::object([("status", Value::from("done")), ("detail", Value::Null), ("at", Value::from(now.to_rfc3339()))])
        }
        Request::Notify { .. } => Value::object([("delivered", Value::Bool(true))]),
        Request::SignCredential { credential, .. } => {
            Value::object([("credentialId", Value::from(credential.as_str())), ("token", Value::from("rehearsal"))])
        }
        Request::AppendRow { .. } => Value::object([("row", Value::Int(2))]),
        Request::FindRow { .. } => Value::Null,
        Request::ReadDevice { device, property, .. } => {
            return failed(Problem::own("stale", 504, format!("no answer says what `{property}` of {device} is")));
        }
        Request::Http(http) => {
            return failed(Problem::standard("communication", 503, format!("no answer says what {} {} gives", http.method, http.uri)));
        }
        Request::Function { function, .. } => {
            return failed(Problem::standard("configuration", 400, format!("no answer says what `{function}` gives")));
        }
    };
    Outcome::Done { output }
}

fn failed(problem: Problem) -> Outcome {
    Outcome::Failed { problem }
}
