//! `device.command` and `device.read`: from a flow's words to effects on devices.
//!
//! [`begin`] is the only place that opens an effect on one device: precedence, equal commands and deadlines are looked at here.

use super::arguments::{Arguments, wrong};
use super::{CallInfo, Started, group};
use crate::device::{AckSpec, Bound, CommandClass, CommandSpec, OPENING_EXPIRY_MAX_MS};
use crate::engine::context::Context;
use crate::engine::desk::{AckMode, Recent};
use crate::engine::effect::{DeviceStage, Owner, Request};
use crate::engine::effect_end;
use crate::engine::precedence::{self, Hold, Mode, Priority, Wanted};
use crate::engine::problem::Problem;
use crate::engine::state::State;
use crate::id::{Actor, DeviceId, EffectId};
use crate::time::Timestamp;
use crate::value::Value;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Longest life of a command that is not an opening: a lockdown waits that long for a door to come back.
pub const DEADLINE_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// A device command is a small message: many devices hold no more than one packet.
const ARGS_SIZE_MAX: usize = 16 * 1024;
/// Members of a `group:` target.
pub const GROUP_LEN_MAX: usize = 1_000;
/// Equal commands remembered per device, and followers per command.
pub const RECENT_LEN_MAX: usize = 256;
/// How long a `dedupe` key of a flow is remembered.
const DEDUPE_TTL_MS: u64 = 10 * 60 * 1000;
/// A reading is answered from what the site's gateway knows, so it does not wait for the device.
const READ_DEADLINE_MS: u64 = 5_000;
const MAX_AGE_DEFAULT_MS: u64 = 5 * 60 * 1000;

/// One command to one device.
#[derive(Clone, Debug)]
pub struct Ask {
    pub command: Arc<str>,
    pub args: Value,
    pub priority: Priority,
    pub by: Actor,
    /// `namespace/name` of the flow that asks.
    pub flow: Option<Arc<str>>,
    pub dedupe: Option<Arc<str>>,
    /// The answer is wanted within this time.
    pub within_ms: Option<u64>,
    /// Not later than this, whatever else is said.
    pub expires_at: Option<Timestamp>,
}

impl Ask {
    fn wanted(&self, mode: Option<Mode>) -> Wanted<'_> {
        Wanted { command: &self.command, mode, priority: self.priority, flow: self.flow.as_deref() }
    }
}

pub fn command(context: &mut Context, owner: Owner, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let target = with.text("target")?;
    let command = with.text("command")?;
    let ack = with.inside("ack");
    let mode = match ack.text_or_none("mode")?.as_deref() {
        None | Some("all") => AckMode::All,
        Some("one") => AckMode::One,
        Some(_) => return Err(wrong("ack.mode", "must be `one` or `all`")),
    };
    let args = with.value("args");
    if args.size() > ARGS_SIZE_MAX {
        return Err(wrong("args", &format!("is larger than {ARGS_SIZE_MAX} bytes")));
    }
    let plan = context.state.plans.get(&call.flow).map(AsRef::as_ref);
    let ask = Ask {
        priority: Priority::of(plan, &command),
        command,
        args,
        by: Actor::flow(&call.instance),
        flow: Some(format!("{}/{}", call.flow.namespace, call.flow.name).into()),
        dedupe: with.text_or_none("dedupe")?,
        within_ms: ack.duration_ms("within")?,
        expires_at: earliest(expiry(context, with)?, call.deadline),
    };
    let Some(name) = target.strip_prefix("group:") else {
        return Ok(match begin(context, owner, &DeviceId::new(&target), &ask) {
            Some(result) => Started::Done(result),
            None => Started::Waiting("effect"),
        });
    };
    let members: Vec<DeviceId> = context
        .state
        .devices
        .iter()
        .filter(|(_, device)| device.device.groups.iter().any(|group| **group == *name))
        .map(|(id, _)| id.clone())
        .collect();
    match members.len() {
        0 => Err(Problem::own("unknown-device", 404, format!("no device is in group `{name}`"))),
        1..=GROUP_LEN_MAX => group::begin(context, owner, members, mode, &ask),
        count => Err(Problem::own("limit", 429, format!("group `{name}` has {count} devices; {GROUP_LEN_MAX} is the most"))),
    }
}

/// `expires`: a duration from now, or an instant.
fn expiry(context: &Context, with: Arguments) -> Result<Option<Timestamp>, Problem> {
    match with.duration_ms("expires") {
        Ok(millis) => Ok(millis.map(|millis| context.now.plus(millis))),
        Err(_) => with.instant("expires"),
    }
}

fn earliest(left: Option<Timestamp>, right: Option<Timestamp>) -> Option<Timestamp> {
    left.into_iter().chain(right).min()
}

/// Asks one device. `None`: `owner` is answered later.
pub fn begin(context: &mut Context, owner: Owner, device: &DeviceId, ask: &Ask) -> Option<Result<Value, Problem>> {
    let spec = match spec(context, device, &ask.command) {
        Ok(spec) => spec,
        Err(problem) => return Some(Err(problem)),
    };
    let mode = match spec.class {
        CommandClass::Opening => Some(Mode::Open),
        CommandClass::Securing => Some(Mode::Shut),
        CommandClass::Neutral => None,
    };
    if let Some(problem) = refusal(context, device, mode, ask) {
        return Some(Err(problem));
    }
    let late = owner.instance().and_then(|instance| context.state.instances.get(instance)).is_some_and(|instance| instance.late);
    if late && spec.class == CommandClass::Opening {
        let detail = format!("`{}` was asked for by another group while the link was down; nothing opens late", ask.command);
        return Some(Err(Problem::own("historical", 409, detail)));
    }
    let key = equality_key(&spec, ask);
    if let Some(key) = &key
        && let Some(answer) = repeat(context, &owner, device, key)
    {
        return answer;
    }
    let attached = context.state.devices.get(device).is_some_and(|device| device.attached.is_some());
    if spec.class == CommandClass::Opening && !attached {
        return Some(Err(Problem::own("device-offline", 503, format!("{device} is not connected; an opening does not wait for it"))));
    }
    let deadline = deadline(context.now, &spec, ask);
    if deadline <= context.now {
        return Some(Err(Problem::timeout(format!("`{}` for {device} expired before it was sent", ask.command))));
    }
    keep_hold(context, device, &spec, mode, ask);
    let until = match spec.ack {
        AckSpec::Done => DeviceStage::Done,
        AckSpec::Accepted => DeviceStage::Accepted,
        AckSpec::None => DeviceStage::Transported,
    };
    let request = Request::Device { device: device.clone(), command: ask.command.clone(), args: ask.args.clone(), until };
    let effect = context.open_effect(owner, spec.class, deadline, request);
    if let Some(key) = key {
        keep_recent(context, device, key, effect, &spec, ask);
    }
    None
}

pub fn spec(context: &Context, device: &DeviceId, command: &str) -> Result<CommandSpec, Problem> {
    let Some(known) = context.state.devices.get(device) else {
        return Err(Problem::own("unknown-device", 404, format!("there is no device `{device}`")));
    };
    let profile = context.state.profiles.get(&known.device.profile);
    profile
        .and_then(|profile| profile.command(command))
        .cloned()
        .ok_or_else(|| Problem::own("unknown-command", 404, format!("{device} ({}) has no command `{command}`", known.device.profile)))
}

/// The instant behind which nothing is published and no answer counts.
/// An opening lives as long as its profile says, or as the flow waits for the answer, never above 10 s, and the time for its proof
/// comes on top; the profile's own time bounds the sending in any case.
fn deadline(now: Timestamp, spec: &CommandSpec, ask: &Ask) -> Timestamp {
    let millis = match (spec.class, ask.within_ms) {
        (CommandClass::Opening, Some(within)) => within.min(OPENING_EXPIRY_MAX_MS),
        (CommandClass::Opening, None) => spec.expiry_ms().min(OPENING_EXPIRY_MAX_MS) + spec.confirm_ms(),
        (_, Some(within)) => within.min(DEADLINE_MAX_MS),
        (_, None) => spec.expiry_ms().min(DEADLINE_MAX_MS),
    };
    let deadline = now.plus(millis);
    ask.expires_at.map_or(deadline, |expires| deadline.min(expires))
}

fn refusal(context: &mut Context, device: &DeviceId, mode: Option<Mode>, ask: &Ask) -> Option<Problem> {
    let holds = context.state.desk.holds.get(device)?;
    let (held, hold) = precedence::refusal(holds, &ask.wanted(mode))?;
    let detail = format!("{device} is held {} by {} ({})", if hold.mode == Mode::Open { "open" } else { "shut" }, held.name(), hold.by);
    let data = Value::object([
        ("command", Value::String(ask.command.clone())),
        ("priority", Value::from(ask.priority.name())),
        ("heldBy", Value::from(held.name())),
    ]);
    context.audit(ask.by.clone(), "device.refused", device.as_str(), data);
    Some(Problem::own("refused", 409, detail))
}

/// Ends the holds that the command ends, and keeps the one that it makes: openings that are a mode from the schedule's priority up,
/// securing ones from the interlock's up (a door that the schedule locked still opens for a badge). Commands below it that were not
/// sent yet are refused, so that no door locks late against a fire release.
fn keep_hold(context: &mut Context, device: &DeviceId, spec: &CommandSpec, mode: Option<Mode>, ask: &Ask) {
    if let Some(holds) = context.state.desk.holds.get_mut(device) {
        precedence::end_holds(holds, &ask.wanted(mode));
        if holds.is_empty() {
            context.state.desk.holds.remove(device);
        }
    }
    let ended_by = match (&spec.bound, mode) {
        _ if precedence::is_release(&ask.command) => return,
        (Some(Bound::Mode { ended_by }), Some(Mode::Open)) if ask.priority >= Priority::Schedule => Some(ended_by.clone()),
        (_, Some(Mode::Shut)) if ask.priority >= Priority::Interlock => None,
        _ => return,
    };
    let Some(mode) = mode else { return };
    let hold = Hold { mode, by: ask.by.clone(), flow: ask.flow.clone(), since: context.now, ended_by };
    let holds = context.state.desk.holds.entry(device.clone()).or_default();
    holds.insert(ask.priority, hold);
    let opposed = if mode == Mode::Open { CommandClass::Securing } else { CommandClass::Opening };
    let overruled: Vec<EffectId> = context
        .state
        .effects
        .values()
        .filter(|effect| effect.class == opposed && effect.attempt.is_none())
        .filter(|effect| matches!(&effect.request, Request::Device { device: to, .. } if to == device))
        .filter(|effect| effect_end::priority(context.state, effect) < ask.priority)
        .map(|effect| effect.id)
        .collect();
    for effect in overruled {
        effect_end::refuse(context, effect, &format!("{device} is held by {} now", ask.priority.name()));
    }
}

/// What makes two commands to one device equal: the flow's `dedupe`, else (for a momentary opening) command and arguments.
/// Arguments may be large, so the key holds their digest.
fn equality_key(spec: &CommandSpec, ask: &Ask) -> Option<Arc<str>> {
    match (&ask.dedupe, &spec.bound) {
        (Some(dedupe), _) => Some(format!("dedupe\u{1f}{}\u{1f}{dedupe}", ask.command).into()),
        (None, Some(Bound::Device { .. })) if spec.class == CommandClass::Opening => Some(plain_key(&ask.command, &ask.args)),
        _ => None,
    }
}

fn plain_key(command: &str, args: &Value) -> Arc<str> {
    let digest: String = Sha256::digest(args.to_json()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{command}\u{1f}{digest}").into()
}

/// Whether a momentary opening like this one is under way, or was done a moment before `at`.
pub fn was_just_given(state: &State, device: &DeviceId, command: &str, args: &Value, at: Timestamp) -> bool {
    let recent = state.desk.recent.get(device).and_then(|all| all.get(&plain_key(command, args)));
    recent.is_some_and(|recent| recent.effect.is_some() || at < recent.until)
}

/// The answer to a command that an equal one stands before: `Some(None)` when it waits for the same answer.
fn repeat(context: &mut Context, owner: &Owner, device: &DeviceId, key: &Arc<str>) -> Option<Option<Result<Value, Problem>>> {
    let now = context.now;
    let recent = context.state.desk.recent.get_mut(device)?.get_mut(key)?;
    if recent.effect.is_some() {
        if recent.followers.len() >= RECENT_LEN_MAX {
            return Some(Some(Err(Problem::own("limit", 429, format!("{RECENT_LEN_MAX} wait for the same command to {device} already")))));
        }
        recent.followers.push(owner.clone());
        context.state.index.follow(device, key);
        return Some(None);
    }
    if recent.until <= now {
        return None;
    }
    Some(Some(match &recent.output {
        Some(output) => Ok(output.clone()),
        None => {
            Err(Problem::own("refused", 409, format!("an equal command was sent to {device} just now and nobody waited for its answer")))
        }
    }))
}

fn keep_recent(context: &mut Context, device: &DeviceId, key: Arc<str>, effect: EffectId, spec: &CommandSpec, ask: &Ask) {
    let now = context.now;
    let millis = match (&ask.dedupe, &spec.bound) {
        (None, Some(Bound::Device { pulse_ms })) => *pulse_ms,
        _ => DEDUPE_TTL_MS,
    };
    let all = context.state.desk.recent.entry(device.clone()).or_default();
    all.retain(|_, recent| recent.effect.is_some() || now < recent.until);
    if all.len() >= RECENT_LEN_MAX {
        // Forgetting one only means that an equal command would be sent again.
        let oldest =
            all.iter().filter(|(_, recent)| recent.effect.is_none()).min_by_key(|(_, recent)| recent.until).map(|(key, _)| key.clone());
        match oldest {
            Some(oldest) => all.remove(&oldest),
            None => return,
        };
    }
    all.insert(key, Recent { effect: Some(effect), followers: Vec::new(), output: None, until: now.plus(millis) });
}

pub fn read(context: &mut Context, owner: Owner, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let device = DeviceId::new(with.text("target")?);
    let property = with.text("property")?;
    let Some(known) = context.state.devices.get(&device) else {
        return Err(Problem::own("unknown-device", 404, format!("there is no device `{device}`")));
    };
    let profile = context.state.profiles.get(&known.device.profile);
    let Some(spec) = profile.and_then(|profile| profile.capabilities.iter().find_map(|capability| capability.state.get(&property))) else {
        return Err(Problem::own("unknown-property", 404, format!("{device} ({}) has no property `{property}`", known.device.profile)));
    };
    let max_age_ms = with.duration_ms("maxAge")?.or(spec.stale_after_ms).unwrap_or(MAX_AGE_DEFAULT_MS);
    let deadline = earliest(Some(context.now.plus(READ_DEADLINE_MS)), call.deadline).unwrap_or(context.now);
    let request = Request::ReadDevice { device, property, max_age_ms };
    context.open_effect(owner, CommandClass::Neutral, deadline, request);
    Ok(Started::Waiting("effect"))
}

#[cfg(test)]
mod tests;
