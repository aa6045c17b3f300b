//! What a building's group lacks of what the mesh declares for it, in parts that fit into log entries.

use spalla_shared::codec;
use spalla_shared::engine::State;
use spalla_shared::engine::command::SiteCommand;
use spalla_shared::engine::semantics::ANTI_PASSBACK;
use spalla_shared::flow::plan::{FlowKey, Scope};
use spalla_shared::id::SiteId;
use spalla_shared::resource::{Area, Device, FlowDocument, Resource};
use std::collections::BTreeSet;

/// Of one part: well below what one command may hold.
const PART_SIZE_MAX: usize = 256 * 1024;
const PART_LEN_MAX: usize = 200;

/// In the order in which they must be taken; the last one says that it is all.
pub fn parts(mesh: &State, site: &State) -> Vec<SiteCommand> {
    let Some(id) = site.group.site() else { return Vec::new() };
    let mut parts = Vec::new();
    let (mut part, mut size) = (Vec::new(), 0);
    for resource in lacking(mesh, site, &id) {
        let len = codec::encode(&resource).len();
        if !part.is_empty() && (size + len > PART_SIZE_MAX || part.len() >= PART_LEN_MAX) {
            parts.push(SiteCommand::Mirror { resources: std::mem::take(&mut part), flows: None, upto: None });
            size = 0;
        }
        size += len;
        part.push(resource);
    }
    let wanted = flows(mesh, &id);
    let there: Vec<(FlowKey, bool)> = site.flows.iter().map(|(key, flow)| (key.clone(), flow.enabled)).collect();
    let mirrored = site.beside.as_ref().map_or(0, |beside| beside.mirrored);
    let flows = (wanted != there).then_some(wanted);
    parts.push(SiteCommand::Mirror { resources: part, flows, upto: Some(mesh.declared_at.max(mirrored)) });
    parts
}

/// Whether they would change nothing.
pub fn are_empty(parts: &[SiteCommand]) -> bool {
    let nothing = |part: &SiteCommand| matches!(part, SiteCommand::Mirror { resources, flows: None, .. } if resources.is_empty());
    parts.iter().all(nothing)
}

/// Flows that live in the building, and whether they may be started.
fn flows(mesh: &State, id: &SiteId) -> Vec<(FlowKey, bool)> {
    let lives = |key: &FlowKey| mesh.plans.get(key).is_some_and(|plan| plan.scope == Scope::Site && plan.is_for(id));
    mesh.flows.iter().filter(|(key, _)| lives(key)).map(|(key, flow)| (key.clone(), flow.enabled)).collect()
}

/// Profiles before devices, doors before their readers, devices before areas.
fn lacking(mesh: &State, site: &State, id: &SiteId) -> Vec<Resource> {
    let devices: Vec<Device> =
        mesh.devices.values().filter(|known| known.device.id.site() == *id).map(|known| as_here(&known.device, id)).collect();
    let used: BTreeSet<_> = devices.iter().map(|device| device.profile.clone()).collect();
    let profiles = mesh.profiles.values().filter(|profile| used.contains(&profile.name));
    let mut out: Vec<Resource> = profiles
        .filter(|profile| site.profiles.get(&profile.name) != Some(profile))
        .map(|profile| Resource::Profile((**profile).clone()))
        .collect();
    let new = devices.into_iter().filter(|device| site.devices.get(&device.id).is_none_or(|known| known.device != *device));
    let (with_others, plain): (Vec<Device>, Vec<Device>) = new.partition(|device| device.opens.is_some() || device.bridge.is_some());
    out.extend(plain.into_iter().chain(with_others).map(Resource::Device));
    let areas = mesh.areas.values().map(|area| as_area_here(area, site, id));
    // One that had doors here and has none any more is told so: a grant for it must open nothing.
    let concerns = |area: &Area| !area.doors.is_empty() || site.areas.contains_key(&area.name);
    out.extend(areas.filter(|area| concerns(area) && site.areas.get(&area.name) != Some(area)).map(Resource::Area));
    out.extend(mesh.people.values().filter(|person| site.people.get(&person.id) != Some(person)).cloned().map(Resource::Person));
    let documents = flows(mesh, id).into_iter().filter(|(key, _)| !site.flows.contains_key(key));
    let documents = documents.filter_map(|(key, _)| mesh.flows.get(&key)).map(|flow| flow.document.clone());
    out.extend(documents.map(|document| Resource::Flow(FlowDocument { document })));
    out
}

/// Without its password, which only the broker asks for, and without what lies in another building.
fn as_here(device: &Device, id: &SiteId) -> Device {
    let here = |other: &spalla_shared::id::DeviceId| other.site() == *id;
    Device { password_hash: None, opens: device.opens.clone().filter(here), bridge: device.bridge.clone().filter(here), ..device.clone() }
}

/// With its own doors, and with the rule once the building's group knows it.
fn as_area_here(area: &Area, site: &State, id: &SiteId) -> Area {
    let rule = area.anti_passback.filter(|_| site.semantics >= ANTI_PASSBACK);
    Area { name: area.name.clone(), doors: of_site(area, id), anti_passback: rule }
}

fn of_site(area: &Area, id: &SiteId) -> Vec<spalla_shared::id::DeviceId> {
    area.doors.iter().filter(|door| door.site() == *id).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use spalla_shared::engine::command::FlowAction;
    use spalla_shared::engine::{Command, Entry, apply};
    use spalla_shared::id::{Actor, DeviceId, GroupId};
    use spalla_shared::resource;
    use spalla_shared::time::Timestamp;

    const FLOWS: &str = "
document: { dsl: '1.0.3', namespace: it, name: all, version: '1.0.0', metadata: { spalla/scope: site } }
do: [ { a: { set: { n: 1 } } } ]
---
document: { dsl: '1.0.3', namespace: it, name: plant, version: '1.0.0', metadata: { spalla/scope: site, spalla/sites: [ plant ] } }
do: [ { a: { set: { n: 1 } } } ]
---
document: { dsl: '1.0.3', namespace: it, name: mesh, version: '1.0.0' }
do: [ { a: { set: { n: 1 } } } ]
";

    fn tell(state: &mut State, command: Command) {
        let entry = Entry { index: state.applied + 1, at: Timestamp(1), command };
        let reply = apply(state, &entry).reply;
        assert!(reply.is_ok(), "{reply:?}");
    }

    fn campus() -> State {
        let mut mesh = State::new(GroupId::mesh());
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        let mut profiles: Vec<_> = std::fs::read_dir(folder.join("profiles")).unwrap().map(|entry| entry.unwrap().path()).collect();
        profiles.sort();
        let others = ["people.yaml", "pools.yaml", "three-buildings/devices.yaml", "areas.yaml"].map(|name| folder.join(name));
        let mut resources = Vec::new();
        for file in profiles.into_iter().chain(others) {
            resources
                .extend(resource::read(&std::fs::read_to_string(&file).unwrap()).unwrap_or_else(|found| panic!("{file:?}: {found:?}")));
        }
        resources.extend(resource::read(FLOWS).unwrap());
        for resource in &mut resources {
            if let Resource::Device(device) = resource {
                device.password_hash = Some("a hash".into());
            }
        }
        tell(&mut mesh, Command::Deploy { resources, by: Actor::system() });
        mesh
    }

    fn level(mesh: &State, site: &mut State) -> usize {
        let parts = parts(mesh, site);
        let count = parts.len();
        parts.into_iter().for_each(|part| tell(site, Command::Site(part)));
        assert_eq!(site.beside.as_ref().unwrap().mirrored, mesh.declared_at);
        count
    }

    #[test]
    fn a_building_gets_what_it_needs_and_nothing_twice() {
        let (mut mesh, mut site) = (campus(), State::new(GroupId::of_site(&"hq".into())));
        level(&mesh, &mut site);
        let own: Vec<&DeviceId> = mesh.devices.keys().filter(|id| id.site().as_str() == "hq").collect();
        assert_eq!(site.devices.keys().collect::<Vec<_>>(), own);
        assert!(site.devices.values().all(|known| known.device.password_hash.is_none()));
        assert_eq!(site.people.len(), mesh.people.len());
        assert!(site.pools.is_empty(), "what is shared is the mesh's to give");
        assert!(!site.areas.is_empty() && site.areas.values().flat_map(|area| &area.doors).all(|door| door.site().as_str() == "hq"));
        assert_eq!(site.flows.keys().map(|key| &*key.name).collect::<Vec<_>>(), ["all"]);

        let again = parts(&mesh, &site);
        assert!(are_empty(&again), "{again:?}");

        let flow = site.flows.keys().next().unwrap().clone();
        tell(&mut mesh, Command::Flow { flow: flow.clone(), action: FlowAction::Disable, by: Actor::system() });
        level(&mesh, &mut site);
        assert!(!site.flows[&flow].enabled && site.current.is_empty());
        tell(&mut mesh, Command::Flow { flow, action: FlowAction::Remove, by: Actor::system() });
        level(&mesh, &mut site);
        assert!(site.flows.is_empty() && site.plans.is_empty());
    }

    /// It kept the doors that the area had had here: a flow of the building went on granting them.
    #[test]
    fn an_area_that_loses_its_last_door_in_a_building_loses_it_there() {
        let (mut mesh, mut site) = (campus(), State::new(GroupId::of_site(&"hq".into())));
        level(&mesh, &mut site);
        let name = site.areas.keys().next().unwrap().clone();
        let moved = Area { doors: Vec::new(), ..mesh.areas[&name].clone() };
        tell(&mut mesh, Command::Deploy { resources: vec![Resource::Area(moved)], by: Actor::system() });
        level(&mesh, &mut site);
        assert_eq!(site.areas[&name].doors, []);
        assert!(are_empty(&parts(&mesh, &site)));
    }

    #[test]
    fn no_part_is_larger_than_an_entry_may_be() {
        let (mut mesh, mut site) = (campus(), State::new(GroupId::of_site(&"hq".into())));
        let profile = mesh.devices.values().next().unwrap().device.profile.clone();
        let many: Vec<Resource> = (0..900)
            .map(|number| Resource::Device(Device { profile: profile.clone(), ..Device::new(DeviceId::new(format!("hq/more-{number}"))) }))
            .collect();
        tell(&mut mesh, Command::Deploy { resources: many, by: Actor::system() });
        assert!(level(&mesh, &mut site) > 4);
        assert!(site.devices.contains_key(&DeviceId::new("hq/more-899")));
    }
}
