//! Home Assistant's MQTT discovery, both forms: what a device announces of itself, turned into a profile that a person may
//! admit. About twenty tools announce their devices so.
//!
//! Never takes the announcement's word on safety: commands are not retained whatever it says, an opening is proved by the
//! state that it announces, and what a lock does without power has to be said by whoever admits it.

mod abbreviation;
mod component;

use super::convention::{AvailabilityFrom, Compiled, Convention, Parameter, Speaker};
use super::{Capability, CapabilityKind, Profile};
use crate::id::DeviceId;
use crate::resource::Device;
use crate::value::{Object, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Components of one device that are looked at.
const COMPONENTS_MAX: usize = 64;
/// Name of the parameter that says which announcement a device came from.
pub const PARAMETER: &str = "discovery";

/// Where devices hear that somebody listens to their announcements, and announce themselves again.
pub fn birth_topic(prefix: &str) -> String {
    format!("{prefix}/status")
}

/// What one announcement describes.
#[derive(Clone, Debug, PartialEq)]
pub struct Announced {
    pub name: Arc<str>,
    pub title: Arc<str>,
    pub profile: Profile,
    /// Of the announcement that is of no use here, and why.
    pub left_out: Vec<String>,
}

/// Whether `topic` announces something under `prefix` (`homeassistant`), in either form.
pub fn is_announcement(prefix: &str, topic: &str) -> bool {
    let Some(rest) = topic.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')) else { return false };
    let levels: Vec<&str> = rest.split('/').collect();
    matches!(levels.as_slice(), [_, _, "config"] | [_, _, _, "config"])
}

impl Announced {
    /// Whether somebody has to say what it does without power.
    pub fn needs_fail_mode(profile: &Profile) -> bool {
        profile.capabilities.iter().any(|capability| matches!(capability.kind, CapabilityKind::Lock | CapabilityKind::Barrier))
    }
}

/// Reads an announcement; `Ok(None)` where its empty payload takes it back.
pub fn read(prefix: &str, topic: &str, payload: &[u8]) -> Result<Option<Announced>, String> {
    if payload.is_empty() {
        return Ok(None);
    }
    let rest = topic.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')).ok_or("the topic announces nothing")?;
    let levels: Vec<&str> = rest.split('/').collect();
    let (platform, object) = match levels.as_slice() {
        [platform, object, "config"] => (*platform, (*object).to_owned()),
        [platform, node, object, "config"] => (*platform, format!("{node}-{object}")),
        _ => return Err("the topic announces nothing".into()),
    };
    let given: Value = serde_json::from_slice(payload).map_err(|error| format!("the announcement is not JSON: {error}"))?;
    let Value::Object(given) = given else { return Err("the announcement is no object".into()) };
    let config = abbreviation::expanded(&given);
    let components =
        if platform == "device" { of_device(&config)? } else { vec![(object.clone(), with_platform(config.clone(), platform))] };
    let mut build = component::Build::default();
    let mut availability = BTreeMap::new();
    for (key, component) in &components {
        build.add(&plain(key), component);
        for from in component::availability(component, &mut build.left_out) {
            availability.insert(from.topic.clone(), from);
        }
    }
    if build.capabilities.is_empty() {
        return Err(format!("nothing of it can be used: {}", build.left_out.join("; ")));
    }
    let name = plain(&object);
    let title = title(&config, &name);
    let profile = profile(
        &name,
        &title,
        topic,
        build.capabilities,
        Convention { availability: availability.into_values().collect::<Vec<AvailabilityFrom>>(), ..build.convention },
    );
    // What it does without power is for whoever admits it to say.
    let errors = profile.check().err().unwrap_or_default();
    let wrong: Vec<String> = errors.iter().filter(|error| !error.mend.contains("fail_mode")).map(ToString::to_string).collect();
    if !wrong.is_empty() {
        return Err(wrong.join("; "));
    }
    // Topics that no device could have.
    if let Ok(Some(compiled)) = Compiled::of(&profile) {
        Speaker::bind(Arc::new(compiled), &Device::new(DeviceId::new("site/device")))?;
    }
    Ok(Some(Announced { name: name.into(), title, profile, left_out: build.left_out }))
}

/// The device form: shared keys, and components that may say otherwise. One with nothing but its platform is taken back.
fn of_device(config: &Object) -> Result<Vec<(String, Object)>, String> {
    let Some(Value::Object(components)) = config.get("components") else { return Err("a device without components".into()) };
    if components.len() > COMPONENTS_MAX {
        return Err(format!("{} components; {COMPONENTS_MAX} is the most", components.len()));
    }
    let mut out = Vec::new();
    for (key, component) in components.iter() {
        let Value::Object(own) = component else { continue };
        let own = abbreviation::expanded(own);
        if own.len() <= 1 {
            continue;
        }
        let mut all = config.clone();
        all.retain(|key, _| !matches!(&**key, "components" | "name" | "unique_id"));
        all.extend(own);
        out.push((key.to_string(), all));
    }
    Ok(out)
}

fn with_platform(mut config: Object, platform: &str) -> Object {
    config.insert("platform".into(), Value::from(platform));
    config
}

fn title(config: &Object, name: &str) -> Arc<str> {
    let of_device = config.get("device").and_then(|device| device.get("name")).and_then(Value::as_str);
    let own = config.get("name").and_then(Value::as_str);
    of_device.or(own).filter(|title| !title.is_empty()).unwrap_or(name).into()
}

fn profile(name: &str, title: &str, topic: &str, capabilities: Vec<Capability>, convention: Convention) -> Profile {
    let parameter = Parameter { title: "Topic of its announcement".into(), default: Some(topic.into()) };
    let convention = Convention { parameters: BTreeMap::from([(PARAMETER.into(), parameter)]), ..convention };
    let name: String = format!("ha-{}", name.to_ascii_lowercase().replace('_', "-")).chars().take(63).collect();
    Profile { name: name.into(), version: 1, title: title.into(), convention: Some(Arc::new(convention)), capabilities }
}

/// Letters, digits, `-` and `_`: may be a name of anything.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(60).collect()
}

#[cfg(test)]
mod tests;
