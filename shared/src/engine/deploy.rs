//! Declares resources: all of a deploy or nothing. Everything is checked before anything changes.

use super::command::{Accepted, Rejection, Reply};
use super::context::Context;
use super::pool::{self, PoolState};
use super::problem::Problem;
use super::state::{DeviceState, Flow, State};
use crate::flow::plan::{FlowKey, Plan};
use crate::id::{Actor, DeviceId};
use crate::resource::{Area, Device, Person, Pool, Resource};
use crate::topic::is_level;
use crate::value::Value;
use std::cmp::Ordering;
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
        }
    }
    Ok(Accepted::Deployed { changed })
}

/// Compiled flows of the deploy, by their place in it.
type Plans = BTreeMap<Arc<str>, Arc<Plan>>;

/// What the deploy declares, beside what is there.
#[derive(Default)]
struct Declared<'a> {
    profiles: BTreeSet<&'a str>,
    devices: BTreeSet<&'a DeviceId>,
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
            Resource::Profile(profile) => _ = declared.profiles.insert(&profile.name),
            Resource::Device(device) => _ = declared.devices.insert(&device.id),
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
            Resource::Profile(profile) => profile.check().map_err(|errors| {
                let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
                Rejection::new("invalid", lines.join("; "))
            }),
            Resource::Device(device) => check_device(state, &declared, device),
            Resource::Pool(pool) => check_pool(state, pool),
            Resource::Area(area) => check_area(state, &declared, area),
            Resource::Person(person) => check_person(person),
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
    if !state.profiles.contains_key(&device.profile) && !declared.profiles.contains(&*device.profile) {
        return invalid(format!("there is no profile `{}`", device.profile));
    }
    match &device.opens {
        Some(door) if !known_device(state, declared, door) => invalid(format!("it opens `{door}`, which is no device")),
        _ => Ok(()),
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
    match area.doors.iter().find(|door| !known_device(state, declared, door)) {
        Some(door) => invalid(format!("door `{door}` is no device")),
        None => Ok(()),
    }
}

fn check_person(person: &Person) -> Result<(), Rejection> {
    if person.id.is_empty() || person.id.chars().any(char::is_control) { invalid("a person needs an id") } else { Ok(()) }
}

fn known_device(state: &State, declared: &Declared, device: &DeviceId) -> bool {
    state.devices.contains_key(device) || declared.devices.contains(device)
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
        Resource::Area(area) => replace(&mut context.state.areas, area.name.clone(), area.clone()),
        Resource::Person(person) => replace(&mut context.state.people, person.id.clone(), person.clone()),
        Resource::Device(device) => {
            let devices = &mut context.state.devices;
            if devices.get(&device.id).is_some_and(|there| there.device == *device) {
                return false;
            }
            let attached = devices.get(&device.id).and_then(|there| there.attached.clone());
            devices.insert(device.id.clone(), DeviceState { device: device.clone(), attached, changed_at: now });
            true
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
    let flow = Flow { document: document.clone(), hash: plan.hash.clone(), deployed_at: context.now, enabled: false };
    context.state.flows.insert(plan.key.clone(), flow);
    enable_newest(context.state, &plan.key);
    true
}

/// Of the versions of one flow, the newest is started by its schedule; the others only end what they began.
fn enable_newest(state: &mut State, of: &FlowKey) {
    let same = |key: &FlowKey| key.namespace == of.namespace && key.name == of.name;
    let newest = state.flows.keys().filter(|key| same(key)).max_by(|left, right| version_order(&left.version, &right.version)).cloned();
    for (key, flow) in state.flows.iter_mut().filter(|(key, _)| same(key)) {
        flow.enabled = Some(key) == newest.as_ref();
    }
}

/// Order of semantic versions: numbers by value; a pre-release before its release.
pub fn version_order(left: &str, right: &str) -> Ordering {
    fn parts(version: &str) -> (Vec<u64>, &str) {
        let version = version.split('+').next().unwrap_or_default();
        let (core, pre) = version.split_once('-').unwrap_or((version, ""));
        (core.split('.').map(|part| part.parse().unwrap_or(0)).collect(), pre)
    }
    let ((left_core, left_pre), (right_core, right_pre)) = (parts(left), parts(right));
    left_core.cmp(&right_core).then_with(|| match (left_pre.is_empty(), right_pre.is_empty()) {
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ => pre_release_order(left_pre, right_pre),
    })
}

fn pre_release_order(left: &str, right: &str) -> Ordering {
    let one = |left: &str, right: &str| match (left.parse::<u64>(), right.parse::<u64>()) {
        (Ok(left), Ok(right)) => left.cmp(&right),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => left.cmp(right),
    };
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) => match one(left, right) {
                Ordering::Equal => {}
                order => return order,
            },
        }
    }
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
        Resource::Device(device) => Value::object([("profile", Value::String(device.profile.clone()))]),
        Resource::Pool(pool) => Value::object([("units", Value::Int(pool.units.len() as i64))]),
        Resource::Area(area) => Value::object([("doors", Value::Int(area.doors.len() as i64))]),
        Resource::Person(person) => Value::object([("roles", Value::array(person.roles.iter().cloned().map(Value::String).collect()))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fixture::{audited, building, call, done, woken};
    use crate::resource::{FlowDocument, Unit};
    use crate::time::Timestamp;

    fn pool(units: &[&str]) -> Resource {
        let units = units.iter().map(|name| Unit { name: (*name).into(), attributes: BTreeMap::new() }).collect();
        Resource::Pool(Pool { name: "parking".into(), units })
    }
    fn flow(version: &str, hours: u32) -> Resource {
        let text = format!(
            r#"{{"document":{{"dsl":"1.0.3","namespace":"test","name":"nap","version":"{version}"}},"do":[{{"sleep":{{"wait":{{"hours":{hours}}}}}}}]}}"#
        );
        Resource::Flow(FlowDocument { document: Value::from_json(&text).unwrap() })
    }
    fn device(id: &str, profile: &str, opens: Option<&str>) -> Resource {
        Resource::Device(Device {
            id: id.into(),
            profile: profile.into(),
            title: "".into(),
            zone: None,
            groups: Vec::new(),
            opens: opens.map(DeviceId::new),
            password_hash: Some("$argon2id$secret".into()),
        })
    }
    fn area(doors: &[&str]) -> Resource {
        Resource::Area(Area { name: "gate".into(), doors: doors.iter().map(DeviceId::new).collect() })
    }
    fn apply(context: &mut Context, resources: &[Resource]) -> Result<Vec<String>, String> {
        match deploy(context, resources, &Actor::system()) {
            Ok(Accepted::Deployed { changed }) => Ok(changed.iter().map(ToString::to_string).collect()),
            Ok(other) => panic!("{other:?}"),
            Err(rejection) => Err(format!("{}: {rejection}", rejection.code)),
        }
    }

    #[test]
    fn all_or_nothing_and_equal_resources_change_nothing() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        let before = context.state.digest();
        for (resources, refusal) in [
            (vec![pool(&["p1"]), device("hq/x", "nothing", None)], "invalid: device hq/x: there is no profile `nothing`"),
            (vec![pool(&["p1"]), device("hq/x/y", "door", None)], "invalid: device hq/x/y: the id must be `site/name`, without `+ # $`"),
            (vec![pool(&["p1"]), device("hq/x", "reader", Some("hq/z"))], "invalid: device hq/x: it opens `hq/z`, which is no device"),
            (vec![pool(&["p1"]), area(&["hq/z"])], "invalid: area gate: door `hq/z` is no device"),
            (vec![pool(&["p1", "p1"])], "invalid: pool parking: units need names, each once"),
            (vec![pool(&["p1"]), pool(&["p2"])], "conflict: pool parking is declared twice"),
        ] {
            assert_eq!(apply(&mut context, &resources), Err(refusal.to_owned()));
        }
        assert_eq!(context.state.digest(), before);
        // Declared in the same deploy counts, in any order.
        let good = [area(&["hq/z"]), device("hq/x", "reader", Some("hq/z")), device("hq/z", "door", None), pool(&["p1"])];
        assert_eq!(apply(&mut context, &good), Ok(["area gate", "device hq/x", "device hq/z", "pool parking"].map(str::to_owned).into()));
        assert_eq!(apply(&mut context, &good), Ok(Vec::new()));
        assert_eq!(audited(&context).len(), 4);
        assert!(context.state.outbox.items.iter().all(|item| !item.event.data.to_json().contains("argon2")));
    }

    #[test]
    fn a_flow_version_keeps_its_content_and_the_newest_is_enabled() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        assert_eq!(apply(&mut context, &[flow("1.10.0", 1)]), Ok(vec!["flow test/nap:1.10.0".into()]));
        assert_eq!(apply(&mut context, &[flow("1.10.0", 1), flow("1.9.0", 1)]), Ok(vec!["flow test/nap:1.9.0".into()]));
        let conflict = apply(&mut context, &[flow("1.10.0", 2)]);
        assert!(conflict.as_ref().is_err_and(|error| error.starts_with("conflict: flow test/nap:1.10.0: another content")), "{conflict:?}");
        let enabled: Vec<(&str, bool)> = context.state.flows.iter().map(|(key, flow)| (&*key.version, flow.enabled)).collect();
        assert_eq!(enabled, [("1.10.0", true), ("1.9.0", false)]);
        let broken = Resource::Flow(FlowDocument { document: Value::from_json(r#"{"document":{}}"#).unwrap() });
        assert!(apply(&mut context, &[broken]).is_err_and(|error| error.starts_with("invalid: ")));
    }

    #[test]
    fn a_leased_unit_stays_and_new_units_serve_those_who_wait() {
        let mut state = building();
        let mut context = Context::new(&mut state, 1, Timestamp(0));
        apply(&mut context, &[pool(&["p1"])]).unwrap();
        let ask = |context: &mut Context, instance: &str| done(call(context, instance, "resource.allocate", r#"{"pool":"parking"}"#));
        assert!(ask(&mut context, "a").contains(r#""unit":"p1""#));
        assert_eq!(ask(&mut context, "b"), "waits for pool");
        let refused = apply(&mut context, &[pool(&["p2"])]);
        assert_eq!(refused, Err("conflict: pool parking: unit `p1` is leased to `a` and cannot go now".into()));
        apply(&mut context, &[pool(&["p1", "p2"])]).unwrap();
        let woken = woken(&mut context);
        assert!(woken.len() == 1 && woken[0].0 == "b" && woken[0].1.contains(r#""unit":"p2""#), "{woken:?}");
    }

    #[test]
    fn versions_order_by_number_and_a_pre_release_comes_before_its_release() {
        let order = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.9.0", "1.10.0"];
        for pair in order.windows(2) {
            assert_eq!(version_order(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert_eq!(version_order("1.0.0+a", "1.0.0+b"), Ordering::Equal);
    }
}
