//! `credential.issue`, `credential.revoke`, `access.grant`, `access.revoke`.

use super::arguments::{Arguments, wrong};
use super::{CallInfo, Started};
use crate::device::CommandClass;
use crate::engine::access::{Credential, Grant};
use crate::engine::context::Context;
use crate::engine::effect::{Owner, Request};
use crate::engine::index::Owned;
use crate::engine::problem::Problem;
use crate::engine::state::{State, Timer, TimerWhat};
use crate::id::{Actor, CredentialId, DeviceId, GrantId, InstanceId};
use crate::value::Value;
use std::sync::Arc;

/// Credentials and grants of a group, ended ones that are still remembered included.
const CREDENTIALS_MAX: usize = 50_000;
const GRANTS_MAX: usize = 50_000;
/// Ended credentials are swept when their number is a multiple of it.
const SWEEP_EVERY: usize = 1024;
/// How long an ended credential is remembered, so that a door can say `revoked` and not `unknown`.
const ENDED_KEPT_MS: u64 = 24 * 60 * 60 * 1000;
const SIGN_DEADLINE_MS: u64 = 30_000;
const DOORS_MAX: usize = 1_000;

pub fn issue(context: &mut Context, owner: Owner, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let holder = with.text("holder")?;
    let kind = with.text_or_none("kind")?.unwrap_or_else(|| "qr".into());
    if !matches!(&*kind, "qr" | "card" | "pin") {
        return Err(wrong("kind", "must be `qr`, `card` or `pin`"));
    }
    let valid_from = with.instant("validFrom")?.unwrap_or(context.now);
    let valid_until = with.instant("validUntil")?.ok_or_else(|| wrong("validUntil", "is missing: nothing is valid for ever"))?;
    if valid_until <= valid_from.max(context.now) {
        return Err(wrong("validUntil", "must lie behind `validFrom` and in the future"));
    }
    sweep(context);
    if context.state.credentials.len() >= CREDENTIALS_MAX {
        return Err(Problem::own("limit", 429, format!("{CREDENTIALS_MAX} credentials are kept already")));
    }
    let id = CredentialId::new(context.new_id("credential"));
    let claims = with.value("claims");
    let credential = Credential {
        id: id.clone(),
        owner: owner.clone(),
        holder: holder.clone(),
        kind: kind.clone(),
        valid_from,
        valid_until,
        claims: claims.clone(),
        revoked_at: None,
    };
    context.state.index.own(&owner, Owned::Credential(id.clone()));
    context.state.credentials.insert(id.clone(), credential);
    let data = Value::object([
        ("holder", Value::String(holder.clone())),
        ("kind", Value::String(kind.clone())),
        ("validFrom", Value::from(valid_from.to_rfc3339())),
        ("validUntil", Value::from(valid_until.to_rfc3339())),
    ]);
    context.audit(Actor::flow(&call.instance), "credential.issued", id.as_str(), data);
    let request = Request::SignCredential { credential: id, holder, kind, valid_from, valid_until, claims };
    let deadline = context.now.plus(SIGN_DEADLINE_MS).min(call.deadline.unwrap_or(crate::time::Timestamp::MAX));
    context.open_effect(owner, CommandClass::Neutral, deadline, request);
    Ok(Started::Waiting("effect"))
}

/// Forgets credentials that ended a while ago.
fn sweep(context: &mut Context) {
    let now = context.now;
    let credentials = &mut context.state.credentials;
    if credentials.len() % SWEEP_EVERY == SWEEP_EVERY - 1 || credentials.len() >= CREDENTIALS_MAX {
        let index = &mut context.state.index;
        credentials.retain(|id, credential| {
            let ended_at = credential.revoked_at.unwrap_or(credential.valid_until).min(credential.valid_until);
            let kept = now < ended_at.plus(ENDED_KEPT_MS);
            if !kept {
                index.disown(&credential.owner, Owned::Credential(id.clone()));
            }
            kept
        });
    }
}

pub fn revoke(context: &mut Context, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let id = credential_id(with)?;
    if !context.state.credentials.contains_key(&id) {
        return Err(Problem::own("not-found", 404, format!("there is no credential `{id}`")));
    }
    revoke_credential(context, &id, &call.instance);
    Ok(Started::Done(Ok(Value::object([("credentialId", Value::from(id.as_str()))]))))
}

pub fn grant(context: &mut Context, owner: Owner, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let credential_id = credential_id(with)?;
    let credential = context.state.credentials.get(&credential_id);
    let Some(credential) = credential.filter(|credential| credential.revoked_at.is_none()) else {
        return Err(Problem::own("not-found", 404, format!("there is no valid credential `{credential_id}`")));
    };
    let from = with.instant("from")?.unwrap_or(credential.valid_from);
    let until = with.instant("until")?.unwrap_or(credential.valid_until);
    let (area, doors) = area_or_doors(context, with)?;
    if until <= from.max(context.now) {
        return Err(wrong("until", "must lie behind `from` and in the future"));
    }
    if context.state.grants.len() >= GRANTS_MAX {
        return Err(Problem::own("limit", 429, format!("{GRANTS_MAX} grants are kept already")));
    }
    let id = GrantId::new(context.new_id("grant"));
    let data = Value::object([
        ("credential", Value::from(credential_id.as_str())),
        ("area", area.clone().map_or(Value::Null, Value::String)),
        ("doors", door_names(&doors)),
        ("from", Value::from(from.to_rfc3339())),
        ("until", Value::from(until.to_rfc3339())),
    ]);
    context.state.index.grant(&owner, &credential_id, &id);
    let grant = Grant { id: id.clone(), owner, credential: credential_id, area, doors, from, until };
    context.state.timers.insert(Timer { due: until, what: TimerWhat::GrantEnds { grant: id.clone() } });
    context.state.grants.insert(id.clone(), grant);
    context.audit(Actor::flow(&call.instance), "access.grant", id.as_str(), data);
    Ok(Started::Done(Ok(Value::object([("grantId", Value::from(id.as_str()))]))))
}

/// By `grant`, or by `credential` with or without `area` or `doors`.
pub fn revoke_grant(context: &mut Context, call: &CallInfo, with: Arguments) -> Result<Started, Problem> {
    let by_id = with.text_or_none("grant")?;
    let ids: Vec<GrantId> = match by_id {
        Some(id) => vec![GrantId::new(&id)],
        None => {
            let credential = credential_id(with)?;
            let area = with.text_or_none("area")?;
            let doors = with.texts("doors")?;
            let matches = |grant: &&Grant| {
                area.as_ref().is_none_or(|area| grant.area.as_ref() == Some(area))
                    && (doors.is_empty() || doors.iter().any(|door| grant.doors.iter().any(|has| *has.as_str() == **door)))
            };
            grants_for(context.state, &credential).filter(matches).map(|grant| grant.id.clone()).collect()
        }
    };
    let removed: Vec<Value> = ids
        .iter()
        .filter(|id| end_grant(context, id, Actor::flow(&call.instance), "access.revoked"))
        .map(|id| Value::from(id.as_str()))
        .collect();
    let first = removed.first().cloned().unwrap_or_default();
    Ok(Started::Done(Ok(Value::object([("grantId", first), ("revoked", Value::Int(removed.len() as i64))]))))
}

/// Revokes what an instance issued. Its grants on other credentials end too.
pub fn revoke_of_instance(context: &mut Context, instance: &InstanceId) {
    let owned: Vec<Owned> = context.state.index.owned_by(instance).cloned().collect();
    for id in owned.iter().filter_map(|owned| if let Owned::Credential(id) = owned { Some(id) } else { None }) {
        revoke_credential(context, id, instance);
    }
    for id in owned.iter().filter_map(|owned| if let Owned::Grant(id) = owned { Some(id) } else { None }) {
        end_grant(context, id, Actor::flow(instance), "access.revoked");
    }
}

/// The grants on a credential, whoever gave them.
pub fn grants_for<'a>(state: &'a State, credential: &'a CredentialId) -> impl Iterator<Item = &'a Grant> {
    state.index.grants_for(credential).filter_map(|id| state.grants.get(id))
}

/// The timer of a grant's end. The credential may live on.
pub fn grant_ends(context: &mut Context, id: &GrantId) {
    if context.state.grants.get(id).is_some_and(|grant| grant.until <= context.now) {
        end_grant(context, id, Actor::system(), "access.ended");
    }
}

fn revoke_credential(context: &mut Context, id: &CredentialId, by: &InstanceId) {
    let now = context.now;
    let Some(credential) = context.state.credentials.get_mut(id) else { return };
    if credential.revoked_at.is_some() {
        return;
    }
    credential.revoked_at = Some(now);
    context.state.index.disown(&credential.owner, Owned::Credential(id.clone()));
    context.audit(Actor::flow(by), "credential.revoked", id.as_str(), Value::empty_object());
    let grants: Vec<GrantId> = context.state.index.grants_for(id).cloned().collect();
    for grant in grants {
        end_grant(context, &grant, Actor::flow(by), "access.revoked");
    }
}

fn end_grant(context: &mut Context, id: &GrantId, by: Actor, action: &str) -> bool {
    let Some(grant) = context.state.grants.remove(id) else { return false };
    context.state.index.end_grant(&grant.owner, &grant.credential, id);
    context.state.timers.remove(&Timer { due: grant.until, what: TimerWhat::GrantEnds { grant: id.clone() } });
    let data = Value::object([("credential", Value::from(grant.credential.as_str()))]);
    context.audit(by, action, id.as_str(), data);
    true
}

fn credential_id(with: Arguments) -> Result<CredentialId, Problem> {
    Ok(CredentialId::new(with.text("credential")?))
}

type AreaAndDoors = (Option<Arc<str>>, Vec<DeviceId>);

fn area_or_doors(context: &Context, with: Arguments) -> Result<AreaAndDoors, Problem> {
    if let Some(name) = with.text_or_none("area")? {
        let Some(area) = context.state.areas.get(&name) else {
            return Err(Problem::own("not-found", 404, format!("there is no area `{name}`")));
        };
        return Ok((Some(name), area.doors.clone()));
    }
    let doors: Vec<DeviceId> = with.texts("doors")?.iter().map(DeviceId::new).collect();
    if doors.is_empty() || doors.len() > DOORS_MAX {
        return Err(wrong("doors", &format!("must name 1 to {DOORS_MAX} doors where no `area` is given")));
    }
    match doors.iter().find(|door| !context.state.devices.contains_key(*door)) {
        Some(missing) => Err(Problem::own("unknown-device", 404, format!("there is no device `{missing}`"))),
        None => Ok((None, doors)),
    }
}

fn door_names(doors: &[DeviceId]) -> Value {
    Value::array(doors.iter().map(|door| Value::from(door.as_str())).collect())
}
