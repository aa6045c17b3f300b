//! Every file that we give operators to copy can be applied, together, and names only what is there.

use spalla_shared::device::{CommandClass, Profile};
use spalla_shared::flow::plan::{Call, Plan, TaskKind, Template};
use spalla_shared::resource::{Resource, read_with_warnings};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

/// All YAML files that declare resources. Settings of a gateway (`*.config.yaml`, `gateway.yaml`) are read by the gateway's tests.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

fn everything() -> Vec<Resource> {
    let mut paths = Vec::new();
    for folder in ["flows", "site-flows", "profiles", "three-buildings"] {
        files(&config().join(folder), &mut paths);
    }
    paths.extend(["pools.yaml", "people.yaml", "areas.yaml"].map(|name| config().join(name)));
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        match read_with_warnings(&text) {
            Ok(file) => {
                assert!(file.warnings.is_empty(), "{}:\n{}", path.display(), list(&file.warnings));
                all.extend(file.resources);
            }
            Err(found) => panic!("{}:\n{}", path.display(), list(&found)),
        }
    }
    all
}

fn list(found: &[spalla_shared::flow::Diagnostic]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_file_loads_without_a_warning_and_no_name_stands_twice() {
    let all = everything();
    let mut seen = BTreeSet::new();
    for resource in &all {
        assert!(seen.insert(resource.title()), "{:?} twice", resource.title());
    }
    for name in ["visitor", "goods-gate", "evacuation", "evacuate-building", "sensor-limit"] {
        assert!(seen.contains(&("flow", format!("spalla/{name}:1.0.0"))), "{name}");
    }
    let sites: BTreeSet<_> = all
        .iter()
        .filter_map(|resource| match resource {
            Resource::Device(device) => Some(device.id.site().to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(sites.into_iter().collect::<Vec<_>>(), ["depot", "hq", "plant"]);
}

#[test]
fn devices_areas_and_flows_name_only_what_is_declared() {
    let all = everything();
    let mut profiles: BTreeMap<String, &Profile> = BTreeMap::new();
    let mut devices = BTreeMap::new();
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut pools = BTreeSet::new();
    let mut areas = BTreeSet::new();
    let mut roles = BTreeSet::new();
    for resource in &all {
        match resource {
            Resource::Profile(profile) => {
                profiles.insert(profile.name.to_string(), profile);
            }
            Resource::Device(device) => {
                devices.insert(device.id.to_string(), device);
                for group in &device.groups {
                    groups.entry(group.to_string()).or_default().push(device.id.to_string());
                }
            }
            Resource::Pool(pool) => {
                pools.insert(pool.name.to_string());
            }
            Resource::Area(area) => {
                areas.insert(area.name.to_string());
            }
            Resource::Person(person) => roles.extend(person.roles.iter().map(ToString::to_string)),
            Resource::Flow(_) | Resource::Client(_) => {}
        }
    }
    let opens = |device: &str| {
        let profile = profiles[&*devices[device].profile];
        profile.capabilities.iter().any(|capability| capability.commands.values().any(|command| command.class == CommandClass::Opening))
    };
    for device in devices.values() {
        assert!(profiles.contains_key(&*device.profile), "{}", device.id);
        if let Some(door) = &device.opens {
            assert!(opens(door.as_str()), "{} opens {door}", device.id);
        }
    }
    for resource in &all {
        match resource {
            Resource::Area(area) => area.doors.iter().for_each(|door| assert!(opens(door.as_str()), "{door}")),
            Resource::Flow(flow) => {
                let plan = Plan::compile(&flow.document).unwrap();
                for (function, argument, value) in literals(&plan) {
                    let known = match (&*function, &*argument) {
                        ("device.command", "target") => match value.strip_prefix("group:") {
                            Some(group) => groups.contains_key(group),
                            None => devices.contains_key(&value),
                        },
                        (_, "pool") => pools.contains(&value),
                        (_, "area") => areas.contains(&value),
                        ("human.task" | "human.approval", "to") => roles.contains(value.trim_start_matches("role:")),
                        _ => true,
                    };
                    assert!(known, "{}: {function} {argument}: {value}", plan.key);
                }
            }
            _ => {}
        }
    }
    // What flows put together at run time.
    for site in ["hq", "plant", "depot"] {
        assert!(roles.contains(&format!("fire-warden-{site}")));
        for (group, command) in [("doors", "release"), ("doors", "resume"), ("lifts", "recallToGround")] {
            for device in &groups[&format!("{site}/{group}")] {
                assert!(profiles[&*devices[device].profile].command(command).is_some(), "{device} {command}");
            }
        }
    }
    for room in ["orion", "vega", "lyra"] {
        assert!(areas.contains(&format!("room/{room}")) && devices.contains_key(&format!("hq/lock-{room}")));
    }
}

/// (function, argument, literal text) of all calls.
fn literals(plan: &Plan) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for task in &plan.tasks {
        let TaskKind::Call(Call::Function { function, with }) = &task.kind else { continue };
        let fields: Vec<(String, String)> = match with {
            Template::Object(fields) => fields
                .iter()
                .filter_map(|(name, value)| match value {
                    Template::Literal(value) => Some((name.to_string(), value.as_str()?.to_owned())),
                    _ => None,
                })
                .collect(),
            Template::Literal(value) => value
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name.to_string(), value.as_str()?.to_owned())))
                .collect(),
            _ => Vec::new(),
        };
        found.extend(fields.into_iter().map(|(name, value)| (function.to_string(), name, value)));
    }
    found
}
