//! The decision at a door: a credential is presented to a reader, and the door that the reader opens is asked to open, or is not.
//!
//! It decides from replicated grants only, and leaves an audit record either way. A presentation that is late opens nothing.

use super::access::Credential;
use super::command::Known;
use super::context::Context;
use super::crossing;
use super::effect::Owner;
use super::function::access;
use super::function::device::{self, Ask};
use super::outbox::{self, OutboxClass};
use super::passback::{self, Judgement};
use super::precedence::{self, Mode, Priority, Wanted};
use super::site;
use super::state::State;
use super::whereabouts;
use crate::device::{Bound, CommandClass, Profile};
use crate::event::Event;
use crate::id::{Actor, CredentialId, DeviceId, GrantId, SiteId};
use crate::value::Value;
use std::sync::Arc;

pub const PRESENTED: &str = "spalla.device.presented";
pub const PASSED: &str = "spalla.device.passed";
pub const GRANTED: &str = "spalla.access.granted";
pub const DENIED: &str = "spalla.access.denied";

/// A presentation this much older (or newer) than the log opens nothing: nobody stands at the door any more, or a clock is wrong.
pub const PRESENTED_AGE_MAX_MS: u64 = 10_000;
/// The opening command of a door, in order of preference.
const OPENING_NAMES: [&str; 2] = ["open", "unlock"];

/// Whether this group decides at the door that an event was shown at. One does: the mesh's, or the building's where that stands in.
#[derive(Clone, Copy, Debug)]
pub enum Doors<'a> {
    /// With what the mesh last said, where this is a building's group.
    Here(Option<&'a Known>),
    /// It was decided in a building's group: only passages are noted.
    Late,
    Elsewhere,
}

/// Looks at an event that the log took: alarms go to the cloud, passages to the whereabouts, presentations to a decision.
pub fn event(context: &mut Context, event: &Event, historical: bool, known: Option<&Known>) {
    if is_alarm(context.state, event) {
        outbox::push(context, OutboxClass::Alarm, event.clone());
    }
    match &*event.kind {
        PRESENTED => presented(context, event, historical, known),
        PASSED => whereabouts::passed(context, event, known.and_then(|known| known.credential.as_ref())),
        _ => {}
    }
}

/// The device that an event's source `/sites/<site>/devices/<name>` names.
pub fn source_device(event: &Event) -> Option<DeviceId> {
    let (site, name) = event.source.strip_prefix("/sites/")?.split_once("/devices/")?;
    Some(DeviceId::of(&SiteId::new(site), name))
}

/// Whether [`event`] does anything with it: the log must carry it though no flow listens.
pub fn hears(state: &State, event: &Event) -> bool {
    matches!(&*event.kind, PRESENTED | PASSED) || is_alarm(state, event)
}

fn is_alarm(state: &State, event: &Event) -> bool {
    let Some(name) = event.kind.strip_prefix("spalla.device.") else { return false };
    let device = source_device(event).and_then(|device| state.devices.get(&device));
    let profile = device.and_then(|device| state.profiles.get(&device.device.profile));
    profile.is_some_and(|profile| profile.is_alarm(name))
}

fn presented(context: &mut Context, event: &Event, historical: bool, known: Option<&Known>) {
    let Some(reader) = source_device(event) else { return };
    let Some(door) = context.state.devices.get(&reader).and_then(|reader| reader.device.opens.clone()) else { return };
    let credential = CredentialId::new(event.data.get("credentialId").and_then(Value::as_str).unwrap_or_default());
    let decision = decide(context, event, historical, &credential, &door, known).and_then(|leave| {
        open(context, &door, &credential, known).map_err(|reason| Denial { reason, area: None })?;
        Ok(leave)
    });
    let holder = known_credential(context, &credential, known).map_or(Value::Null, |credential| Value::String(credential.holder.clone()));
    let (action, kind, word, warning, area) = match decision {
        Ok(Leave { grant, against }) => {
            let (warning, area) = against.unzip();
            ("access.granted", GRANTED, ("grantId", Value::from(grant.as_str())), warning, area)
        }
        Err(Denial { reason, area }) => ("access.denied", DENIED, ("reason", Value::from(&*reason)), None, area),
    };
    let said = [
        ("credentialId", Value::from(credential.as_str())),
        ("holder", holder),
        ("reader", Value::from(reader.as_str())),
        ("door", Value::from(door.as_str())),
        ("presentedAt", Value::from(event.time.to_rfc3339())),
        word,
    ];
    let of_rule = [warning.map(|warning| ("warning", Value::from(warning))), area.map(|area| ("area", Value::String(area)))];
    let data = Value::object(said.into_iter().chain(of_rule.into_iter().flatten()));
    context.audit(Actor::device(&reader), action, door.as_str(), data.clone());
    let told = Event {
        id: context.new_id("event").into(),
        source: event.source.clone(),
        kind: kind.into(),
        subject: Some(door.as_str().into()),
        time: context.now,
        data,
        extensions: Default::default(),
    };
    crossing::emitted(context, &told, None);
    context.events.push_back(told);
}

/// A credential of this group, or one that the mesh last said something of.
fn known_credential<'a>(context: &'a Context, id: &CredentialId, known: Option<&'a Known>) -> Option<&'a Credential> {
    let of_mesh = known.and_then(|known| known.credential.as_ref()).filter(|credential| credential.id == *id);
    context.state.credentials.get(id).or(of_mesh)
}

/// By which grant a door opens, and against the rule of which area.
struct Leave {
    grant: GrantId,
    against: Option<(&'static str, Arc<str>)>,
}

/// Why a door stays shut, and by the rule of which area.
struct Denial {
    reason: Arc<str>,
    area: Option<Arc<str>>,
}

impl From<&str> for Denial {
    fn from(reason: &str) -> Self {
        Self { reason: reason.into(), area: None }
    }
}

/// The grant that opens the door now and what is to be said of it, or why none does.
fn decide(
    context: &Context,
    event: &Event,
    historical: bool,
    credential: &CredentialId,
    door: &DeviceId,
    known: Option<&Known>,
) -> Result<Leave, Denial> {
    let now = context.now;
    if historical {
        return Err("historical".into());
    }
    if now.since(event.time) > PRESENTED_AGE_MAX_MS {
        return Err("too-old".into());
    }
    if event.time.since(now) > PRESENTED_AGE_MAX_MS {
        return Err("from-the-future".into());
    }
    if event.data.get("verified").and_then(Value::as_bool) != Some(true) {
        return Err("unverified".into());
    }
    let Some(credential) = known_credential(context, credential, known) else { return Err("unknown-credential".into()) };
    if credential.revoked_at.is_some() {
        return Err("revoked".into());
    }
    if now < credential.valid_from {
        return Err("not-yet-valid".into());
    }
    if credential.valid_until <= now {
        return Err("expired".into());
    }
    if known.is_some() && site::lease_is_over(context) && !site::is_emergency(credential) {
        return Err("offline-lease".into());
    }
    let covers = |doors: &[DeviceId]| doors.contains(door);
    let of_mesh = known.into_iter().flat_map(|known| &known.grants).filter(|grant| grant.credential == credential.id);
    let grants = access::grants_for(context.state, &credential.id).chain(of_mesh);
    // An area that changed since opens what it holds now.
    let mut here = grants
        .filter(|grant| match grant.area.as_ref().and_then(|area| context.state.areas.get(area)) {
            Some(area) => covers(&area.doors),
            None => covers(&grant.doors),
        })
        .peekable();
    if here.peek().is_none() {
        return Err("no-grant".into());
    }
    let in_time = here.find(|grant| grant.from <= now && now < grant.until);
    let Some(grant) = in_time.map(|grant| grant.id.clone()) else { return Err("outside-grant-time".into()) };
    match passback::judge(context, event, credential, door, known.map(|known| &*known.areas)) {
        Judgement::Fine => Ok(Leave { grant, against: None }),
        Judgement::Warned(what, area) => Ok(Leave { grant, against: Some((what, area)) }),
        Judgement::Denied(why, area) => Err(Denial { reason: why.into(), area: Some(area) }),
    }
}

fn open(context: &mut Context, door: &DeviceId, credential: &CredentialId, mesh: Option<&Known>) -> Result<(), Arc<str>> {
    let Some(known) = context.state.devices.get(door) else { return Err("unknown-door".into()) };
    let command = context.state.profiles.get(&known.device.profile).and_then(|profile| opening_command(profile));
    let Some(command) = command else { return Err("no-opening-command".into()) };
    let wanted = Wanted { command: &command, mode: Some(Mode::Open), priority: Priority::Grant, flow: None };
    if mesh.is_some_and(|mesh| precedence::refusal(&mesh.holds, &wanted).is_some()) {
        return Err("refused".into());
    }
    let ask = Ask {
        command,
        args: Value::object([("credentialId", Value::from(credential.as_str()))]),
        priority: Priority::Grant,
        by: Actor::device(door),
        flow: None,
        dedupe: None,
        within_ms: None,
        expires_at: None,
    };
    match device::begin(context, Owner::Door { device: door.clone() }, door, &ask) {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(problem)) => Err(problem.title),
    }
}

/// A badge opens for a moment; it never puts a door into a mode. So only openings count that the device itself ends.
fn opening_command(profile: &Profile) -> Option<Arc<str>> {
    let momentary = || {
        profile
            .capabilities
            .iter()
            .flat_map(|capability| &capability.commands)
            .filter(|(_, command)| command.class == CommandClass::Opening && matches!(command.bound, Some(Bound::Device { .. })))
    };
    let named = OPENING_NAMES.iter().find_map(|name| momentary().find(|(command, _)| ***command == **name));
    named.or_else(|| momentary().next()).map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::effect::{Outcome, Request};
    use crate::engine::fixture::{audited, building, call, done, event, json, woken};
    use crate::engine::function::{access_event, effect_done, grant_ends, release_instance};
    use crate::engine::record::RecordBody;
    use crate::id::NodeId;
    use crate::time::Timestamp;

    const HOUR: i64 = 3_600_000;
    const NOW: Timestamp = Timestamp(100 * HOUR);

    /// A credential valid from 99 h to 110 h with a grant for `main` from 100 h to 105 h; gives its id.
    fn admitted(context: &mut Context) -> String {
        let with = format!(r#"{{"holder":"vera","kind":"qr","validFrom":{},"validUntil":{}}}"#, 99 * HOUR, 110 * HOUR);
        assert_eq!(done(call(context, "i", "credential.issue", &with)), "waits for effect");
        let effect = context.effects.last().unwrap().clone();
        let Request::SignCredential { credential, .. } = effect.request else { panic!("{effect:?}") };
        let output = json(&format!(r#"{{"credentialId":"{credential}","token":"secret"}}"#));
        effect_done(context, effect.id, &Outcome::Done { output }, NodeId(1)).unwrap();
        assert_eq!(woken(context).len(), 1);
        let with = format!(r#"{{"credential":"{credential}","area":"main","from":{},"until":{}}}"#, NOW.millis(), 105 * HOUR);
        assert!(done(call(context, "i", "access.grant", &with)).contains("grantId"));
        credential.to_string()
    }

    /// What the audit says of one presentation: `granted` or the reason.
    fn present(context: &mut Context, time: Timestamp, data: &str, historical: bool) -> String {
        let presented = event(PRESENTED, "/sites/hq/devices/reader", time, data);
        access_event(context, &presented, historical, None);
        let Some(RecordBody::Audit(link)) = context.records.last().map(|record| &record.body) else { panic!("no audit") };
        assert_eq!(&*link.subject, "hq/door-1");
        match &*link.action {
            "access.granted" => "granted".into(),
            "access.denied" => link.data.get("reason").and_then(Value::as_str).unwrap().to_owned(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_door_opens_for_a_valid_credential_and_says_why_it_does_not() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, NOW);
        let id = admitted(&mut context);
        let good = format!(r#"{{"credentialId":"{id}","verified":true}}"#);
        let opened = context.effects.len();
        let stale = Timestamp(NOW.millis() - PRESENTED_AGE_MAX_MS as i64 - 1);
        let ahead = NOW.plus(PRESENTED_AGE_MAX_MS + 1);
        for (now, time, data, historical, expected) in [
            (NOW, NOW, good.as_str(), true, "historical"),
            (NOW, stale, &good, false, "too-old"),
            (NOW, ahead, &good, false, "from-the-future"),
            (NOW, NOW, &format!(r#"{{"credentialId":"{id}","verified":false}}"#), false, "unverified"),
            (NOW, NOW, r#"{"verified":true}"#, false, "unknown-credential"),
            (Timestamp(98 * HOUR), Timestamp(98 * HOUR), &good, false, "not-yet-valid"),
            (Timestamp(99 * HOUR), Timestamp(99 * HOUR), &good, false, "outside-grant-time"),
            (Timestamp(105 * HOUR), Timestamp(105 * HOUR), &good, false, "outside-grant-time"),
            (Timestamp(110 * HOUR), Timestamp(110 * HOUR), &good, false, "expired"),
        ] {
            context.now = now;
            assert_eq!(present(&mut context, time, data, historical), expected);
        }
        assert_eq!(context.effects.len(), opened, "nothing opened");
        context.now = NOW;
        assert_eq!(present(&mut context, NOW, &good, false), "granted");
        let effect = context.effects.last().unwrap();
        assert_eq!(effect.owner, Owner::Door { device: "hq/door-1".into() });
        let Request::Device { command, args, .. } = &effect.request else { panic!("{effect:?}") };
        assert_eq!((&**command, args.to_json()), ("unlock", format!(r#"{{"credentialId":"{id}"}}"#)));
        assert_eq!(context.events.len(), 10, "each decision is an event that flows may listen to");

        context.state.areas.get_mut("main").unwrap().doors.clear();
        assert_eq!(present(&mut context, NOW, &good, false), "no-grant", "the area changed");
        context.state.areas.get_mut("main").unwrap().doors.push("hq/door-1".into());
        done(call(&mut context, "i", "device.command", r#"{"target":"hq/door-1","command":"lockdown"}"#));
        assert_eq!(present(&mut context, NOW, &good, false), "refused", "lockdown outranks a grant");
        context.state.desk.holds.clear();
        context.state.devices.get_mut(&DeviceId::new("hq/door-1")).unwrap().attached = None;
        context.state.desk.recent.clear();
        assert_eq!(present(&mut context, NOW, &good, false), "device-offline");
        done(call(&mut context, "i", "credential.revoke", &format!(r#"{{"credential":"{id}"}}"#)));
        assert_eq!(present(&mut context, NOW, &good, false), "revoked");
    }

    #[test]
    fn grants_end_with_their_time_and_with_their_instance() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, NOW);
        let id = admitted(&mut context);
        let good = format!(r#"{{"credentialId":"{id}","verified":true}}"#);
        let grant = context.state.grants.keys().next().unwrap().clone();
        grant_ends(&mut context, &grant);
        assert_eq!(context.state.grants.len(), 1, "not before its time");
        release_instance(&mut context, &"i".into());
        assert!(context.state.grants.is_empty() && context.state.timers.is_empty());
        assert_eq!(present(&mut context, NOW, &good, false), "revoked");
        let audit = audited(&context).join("\n");
        assert!(!audit.contains("secret") && audit.contains(&format!("credential.revoked {id}")), "{audit}");
        let (holder, kind) = (r#"{"holder":"x","kind":"qr","validUntil":1}"#, r#"{"holder":"x","kind":"ring","validUntil":1}"#);
        for with in [holder, kind] {
            assert_eq!(done(call(&mut context, "i", "credential.issue", with)), "validation");
        }
        assert_eq!(done(call(&mut context, "i", "access.grant", &format!(r#"{{"credential":"{id}","area":"main"}}"#))), "not-found");
    }

    #[test]
    fn passages_say_who_is_inside_in_the_order_in_which_they_happened() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, NOW);
        let pass = |context: &mut Context, at: i64, person: &str, direction: &str| {
            let data = format!(r#"{{"holder":"{person}","direction":"{direction}"}}"#);
            access_event(context, &event(PASSED, "/sites/hq/devices/reader", Timestamp(at), &data), true, None);
        };
        pass(&mut context, 10, "vera", "in");
        pass(&mut context, 11, "uwe", "in");
        pass(&mut context, 20, "vera", "out");
        pass(&mut context, 15, "vera", "in");
        let snapshot = |context: &mut Context, with: &str| done(call(context, "i", "presence.snapshot", with));
        assert_eq!(snapshot(&mut context, r#"{"site":"hq"}"#), r#"{"people":["uwe"]}"#);
        assert_eq!(snapshot(&mut context, r#"{"zone":"lobby"}"#), r#"{"people":["uwe"]}"#);
        assert_eq!(snapshot(&mut context, r#"{"site":"plant"}"#), r#"{"people":[]}"#);
        assert_eq!(snapshot(&mut context, "{}"), "validation");
    }

    #[test]
    fn an_alarm_goes_to_the_cloud_as_one() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, NOW);
        for kind in ["spalla.device.tamper", "spalla.device.other"] {
            access_event(&mut context, &event(kind, "/sites/hq/devices/reader", NOW, "null"), false, None);
        }
        let alarms: Vec<&str> = context.state.outbox.items.iter().map(|item| &*item.event.kind).collect();
        assert_eq!(alarms, ["spalla.device.tamper"]);
    }
}
