//! Declares resources: all of a deploy or nothing. Everything is checked before anything changes.

use super::command::{Accepted, Rejection, Reply};
use super::context::Context;
use super::pool::{self, PoolState};
use super::problem::Problem;
use super::state::{DeviceState, Flow, State};
pub use super::version::order as version_order;
use super::{passback, semantics};
use crate::device::Profile;
use crate::device::convention::{Compiled, Speaker};
use crate::flow::plan::Plan;
use crate::id::{Actor, DeviceId};
use crate::resource::{Area, Client, Device, Person, Pool, Resource, names_device};
use crate::topic::is_level;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Resources of one deploy: it is one log entry.
pub const RESOURCES_MAX: usize = 1_000;
pub const POOL_UNITS_MAX: usize = 10_000;
pub const AREA_DOORS_MAX: usize = 1_000;

/// Refused as a whole: `invalid`, `conflict`, `limit`. Gives the titles of what changed; equal resources change nothing.
pub fn deploy(context: &mut Context, resources: &[Resource], by: &Actor) -> Reply {
    let plans = check(context.state, resources)?;
    let mut changed = Vec::new();
    for resource in resources {
        if declare(context, resource, &plans) {
            let (kind, name) = resource.title();
            let title = format!("{kind} {name}");
            context.audit(by.clone(), "resource.deployed", &title, detail(resource, &plans));
            changed.push(Arc::from(title));
            context.state.declared_at = context.index;
        }
    }
    Ok(Accepted::Deployed { changed })
}

/// Compiled flows of the deploy, by their place in it.
type Plans = BTreeMap<Arc<str>, Arc<Plan>>;

/// What the deploy declares, beside what is there.
#[derive(Default)]
struct Declared<'a> {
    profiles: BTreeMap<&'a str, &'a Profile>,
    devices: BTreeMap<&'a DeviceId, &'a Device>,
}

fn check(state: &State, resources: &[Resource]) -> Result<Plans, Rejection> {
    if resources.len() > RESOURCES_MAX {
        return Err(Rejection::new("limit", format!("{} resources in one deploy; {RESOURCES_MAX} is the most", resources.len())));
    }
    let mut declared = Declared::default();
    let mut titles = BTreeSet::new();
    for resource in resources {
        let title = resource.title();
        match resource {
            Resource::Profile(profile) => _ = declared.profiles.insert(&profile.name, profile),
            Resource::Device(device) => _ = declared.devices.insert(&device.id, device),
            _ => {}
        }
        if !titles.insert(title.clone()) {
            return Err(Rejection::new("conflict", format!("{} {} is declared twice", title.0, title.1)));
        }
    }
    let mut plans = Plans::new();
    for resource in resources {
        let (kind, name) = resource.title();
        let checked = match resource {
            Resource::Flow(flow) => check_flow(state, &flow.document).map(|plan| _ = plans.insert(plan.hash.clone(), plan)),
            Resource::Profile(profile) => check_profile(state, &declared, profile),
            Resource::Device(device) => check_device(state, &declared, device),
            Resource::Pool(pool) => check_pool(state, pool),
            Resource::Area(area) => check_area(state, &declared, area),
            Resource::Person(person) => check_person(person),
            Resource::Client(client) => check_client(state, &declared, client),
        };
        checked.map_err(|error| Rejection::new(&error.code, format!("{kind} {name}: {}", error.message)))?;
    }
    Ok(plans)
}

fn invalid<T>(message: impl AsRef<str>) -> Result<T, Rejection> {
    Err(Rejection::new("invalid", message))
}

fn check_flow(state: &State, document: &Value) -> Result<Arc<Plan>, Rejection> {
    let plan = Plan::compile(document).map_err(|findings| {
        let lines: Vec<String> = findings.iter().filter(|finding| finding.is_error()).map(ToString::to_string).collect();
        Rejection::new("invalid", lines.join("; "))
    })?;
    match state.flows.get(&plan.key) {
        Some(there) if there.hash != plan.hash => {
            Err(Rejection::new("conflict", "another content is deployed under this version; give it a new version"))
        }
        _ => Ok(Arc::new(plan)),
    }
}

fn check_device(state: &State, declared: &Declared, device: &Device) -> Result<(), Rejection> {
    if !device.id.as_str().split_once('/').is_some_and(|(site, name)| is_level(site) && is_level(name)) {
        return invalid("the id must be `site/name`, without `+ # $`");
    }
    let Some(profile) = profile_of(state, declared, &device.profile) else {
        return invalid(format!("there is no profile `{}`", device.profile));
    };
    check_convention(profile, device)?;
    if !device.admits.is_empty() && !profile.convention.as_ref().is_some_and(|convention| convention.bridge) {
        return invalid(format!("it `admits` devices and proposes none: `{}` says no `bridge: true`", device.profile));
    }
    if let Some(kind) = device.admits.iter().find(|kind| !kind.is_admitted_by_policy()) {
        return invalid(format!("`admits: [{kind:?}]`: a person admits what opens a way or says who is there; leave it out"));
    }
    if let Some(bridge) = &device.bridge {
        let known = declared.devices.get(bridge).copied().or_else(|| state.devices.get(bridge).map(|known| &known.device));
        let Some(known) = known else { return invalid(format!("its bridge `{bridge}` is no device")) };
        let speaks = profile_of(state, declared, &known.profile).and_then(|profile| profile.convention.as_ref());
        if !speaks.is_some_and(|convention| convention.bridge) {
            return invalid(format!(
                "`{bridge}` ({}) speaks for no other devices; its profile's convention says no `bridge: true`",
                known.profile
            ));
        }
        if profile.convention.is_none() {
            return invalid(format!("a device behind `{bridge}` needs a profile with a `convention`; `{}` has none", device.profile));
        }
    }
    match &device.opens {
        Some(door) if !known_device(state, declared, door) => invalid(format!("it opens `{door}`, which is no device")),
        _ => Ok(()),
    }
}

fn check_profile(state: &State, declared: &Declared, profile: &Profile) -> Result<(), Rejection> {
    profile.check().map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Rejection::new("invalid", lines.join("; "))
    })?;
    // A device that does not say what the new profile asks for would fall silent.
    let of_it =
        state.devices.values().filter(|known| known.device.profile == profile.name && !declared.devices.contains_key(&known.device.id));
    for known in of_it {
        check_convention(profile, &known.device)
            .map_err(|error| Rejection::new("invalid", format!("device `{}` would not fit it: {}", known.device.id, error.message)))?;
    }
    Ok(())
}

fn profile_of<'a>(state: &'a State, declared: &Declared<'a>, name: &str) -> Option<&'a Profile> {
    declared.profiles.get(name).copied().or_else(|| state.profiles.get(name).map(AsRef::as_ref))
}

/// Whether the device says what the convention of its profile asks for. A profile that is broken itself is told as such.
fn check_convention(profile: &Profile, device: &Device) -> Result<(), Rejection> {
    match Compiled::of(profile) {
        Ok(Some(compiled)) => Speaker::bind(Arc::new(compiled), device).map(drop).map_err(|problem| Rejection::new("invalid", problem)),
        Ok(None) if device.parameters.is_empty() => Ok(()),
        Ok(None) => invalid(format!("profile `{}` speaks the native contract and asks for no parameters", profile.name)),
        Err(_) => Ok(()),
    }
}

fn check_pool(state: &State, pool: &Pool) -> Result<(), Rejection> {
    if pool.name.is_empty() || pool.units.len() > POOL_UNITS_MAX {
        return invalid(format!("a pool has a name and at most {POOL_UNITS_MAX} units"));
    }
    let units: BTreeSet<&str> = pool.units.iter().map(|unit| &*unit.name).collect();
    if units.len() != pool.units.len() || units.contains("") {
        return invalid("units need names, each once");
    }
    let leased = state.pools.get(&pool.name).and_then(|there| there.leases.iter().find(|(unit, _)| !units.contains(&***unit)));
    match leased {
        Some((unit, lease)) => Err(Rejection::new("conflict", format!("unit `{unit}` is leased to `{}` and cannot go now", lease.holder))),
        None => Ok(()),
    }
}

fn check_area(state: &State, declared: &Declared, area: &Area) -> Result<(), Rejection> {
    if area.name.is_empty() || area.doors.len() > AREA_DOORS_MAX {
        return invalid(format!("an area has a name and at most {AREA_DOORS_MAX} doors"));
    }
    if area.anti_passback.is_some() {
        semantics::require(state, semantics::ANTI_PASSBACK, "`anti_passback`")?;
        let opens = |door: &&DeviceId| {
            let device = declared.devices.get(*door).copied().or_else(|| state.devices.get(*door).map(|known| &known.device));
            device.is_none_or(|device| profile_of(state, declared, &device.profile).is_some_and(Profile::can_open))
        };
        if let Some(other) = area.doors.iter().find(|door| !opens(door)) {
            return invalid(format!("`{other}` opens nothing: `anti_passback` wants what is passed, not the reader beside it"));
        }
    }
    match area.doors.iter().find(|door| !known_device(state, declared, door)) {
        Some(door) => invalid(format!("door `{door}` is no device")),
        None => Ok(()),
    }
}

fn check_person(person: &Person) -> Result<(), Rejection> {
    if person.id.is_empty() || person.id.chars().any(char::is_control) { invalid("a person needs an id") } else { Ok(()) }
}

/// Its rules name devices that there are, and commands only where nothing opens: a group that gains such a device later does not
/// bring it in, the gateway looks again at each message.
fn check_client(state: &State, declared: &Declared, client: &Client) -> Result<(), Rejection> {
    if !is_level(&client.name) {
        return invalid("a client needs a name without `/ + # $`");
    }
    for (key, filters) in [("subscribe", &client.subscribe), ("publish", &client.publish)] {
        for filter in filters {
            client.check_filter(key, filter).or_else(|problem| invalid(format!("{key}: {problem}")))?;
        }
    }
    let rules = client.commands.iter().chain(&client.speaks_for);
    if let Some(stranger) = rules.filter(|rule| !rule.starts_with("group:")).find(|id| !known_device(state, declared, &DeviceId::new(id))) {
        return invalid(format!("`{stranger}` is no device"));
    }
    let newer = declared.devices.values().copied();
    let older = state.devices.values().map(|known| &known.device).filter(|device| !declared.devices.contains_key(&device.id));
    let opens = |device: &&Device| profile_of(state, declared, &device.profile).is_some_and(Profile::can_open);
    match newer.chain(older).filter(|device| names_device(&client.commands, device)).find(opens) {
        Some(device) => invalid(format!("it may not command `{}`, which can open something: only flows and grants do", device.id)),
        None => Ok(()),
    }
}

fn known_device(state: &State, declared: &Declared, device: &DeviceId) -> bool {
    state.devices.contains_key(device) || declared.devices.contains_key(device)
}

/// Puts one checked resource in; whether anything changed.
fn declare(context: &mut Context, resource: &Resource, plans: &Plans) -> bool {
    let now = context.now;
    match resource {
        Resource::Flow(flow) => match plans.values().find(|plan| is_of(plan, &flow.document)) {
            Some(plan) => declare_flow(context, &flow.document, plan),
            None => false,
        },
        Resource::Profile(profile) => replace(&mut context.state.profiles, profile.name.clone(), Arc::new(profile.clone())),
        Resource::Area(area) => {
            let changed = replace(&mut context.state.areas, area.name.clone(), area.clone());
            passback::tidy(context.state);
            changed
        }
        Resource::Person(person) => replace(&mut context.state.people, person.id.clone(), person.clone()),
        Resource::Device(device) => {
            let devices = &mut context.state.devices;
            let there = devices.get(&device.id);
            // Files declare devices without passwords; applying one again must not lock its devices out.
            let kept = there.and_then(|there| there.device.password_hash.clone());
            let device = Device { password_hash: device.password_hash.clone().or(kept), ..device.clone() };
            if there.is_some_and(|there| there.device == device) {
                return false;
            }
            let attached = there.and_then(|there| there.attached.clone());
            devices.insert(device.id.clone(), DeviceState { device, attached, changed_at: now });
            true
        }
        Resource::Client(client) => {
            // As for devices: a file holds no password.
            let kept = context.state.clients.get(&client.name).and_then(|there| there.password_hash.clone());
            let client = Client { password_hash: client.password_hash.clone().or(kept), ..client.clone() };
            replace(&mut context.state.clients, client.name.clone(), client)
        }
        Resource::Pool(pool) => declare_pool(context, pool),
    }
}

fn replace<T: PartialEq>(all: &mut BTreeMap<Arc<str>, T>, name: Arc<str>, new: T) -> bool {
    if all.get(&name) == Some(&new) {
        return false;
    }
    all.insert(name, new);
    true
}

fn is_of(plan: &Plan, document: &Value) -> bool {
    let head = document.get("document");
    let part = |name| head.and_then(|head| head.get(name)).and_then(Value::as_str);
    part("namespace") == Some(&plan.key.namespace) && part("name") == Some(&plan.key.name) && part("version") == Some(&plan.key.version)
}

fn declare_flow(context: &mut Context, document: &Value, plan: &Arc<Plan>) -> bool {
    context.state.plans.insert(plan.key.clone(), plan.clone());
    if context.state.flows.contains_key(&plan.key) {
        return false;
    }
    let flow = Flow { document: document.clone(), hash: plan.hash.clone(), deployed_at: context.now, enabled: true };
    context.state.flows.insert(plan.key.clone(), flow);
    true
}

/// New units serve those who wait; who asked for more than there is now hears it.
fn declare_pool(context: &mut Context, pool: &Pool) -> bool {
    match context.state.pools.get_mut(&pool.name) {
        Some(there) if there.pool == *pool => return false,
        Some(there) => {
            there.pool = pool.clone();
            let (served, unserved) = there.queue.drain(..).partition(|waiter| waiter.quantity <= pool.units.len());
            there.queue = served;
            for waiter in Vec::from(unserved) {
                let problem = Problem::standard("validation", 400, format!("pool `{}` has fewer units now than are asked for", pool.name));
                context.wake(waiter.owner, Err(problem));
            }
        }
        None => _ = context.state.pools.insert(pool.name.clone(), PoolState::new(pool.clone())),
    }
    pool::hand_on(context, &pool.name);
    true
}

/// For the audit: never the resource itself, which may hold a password's hash.
fn detail(resource: &Resource, plans: &Plans) -> Value {
    match resource {
        Resource::Flow(flow) => {
            let plan = plans.values().find(|plan| is_of(plan, &flow.document));
            Value::object([("hash", plan.map_or(Value::Null, |plan| Value::String(plan.hash.clone())))])
        }
        Resource::Profile(profile) => Value::object([("version", Value::from(profile.version))]),
        Resource::Device(device) => Value::object([
            ("profile", Value::String(device.profile.clone())),
            ("login", Value::from(login(device.is_revoked(), device.has_password()))),
        ]),
        Resource::Client(client) => {
            let list = |rules: &[Arc<str>]| Value::array(rules.iter().cloned().map(Value::String).collect());
            Value::object([
                ("subscribe", list(&client.subscribe)),
                ("publish", list(&client.publish)),
                ("commands", list(&client.commands)),
                ("speaks_for", list(&client.speaks_for)),
                ("login", Value::from(login(client.is_revoked(), client.has_password()))),
            ])
        }
        Resource::Pool(pool) => Value::object([("units", Value::Int(pool.units.len() as i64))]),
        Resource::Area(area) => Value::object([("doors", Value::Int(area.doors.len() as i64))]),
        Resource::Person(person) => Value::object([("roles", Value::array(person.roles.iter().cloned().map(Value::String).collect()))]),
    }
}

/// What a declaration says of a login.
fn login(revoked: bool, password: bool) -> &'static str {
    match (revoked, password) {
        (true, _) => "revoked",
        (_, true) => "new password",
        _ => "as it was",
    }
}

#[cfg(test)]
mod tests;
