//! Anti-passback: who is inside an area does not come in a second time, so one card does not let two people in.
//!
//! ```text
//! passed ------> passages of each area with the rule, newest by its instant (late ones of a building that was cut off among them)
//! presented ---> judge: fine | warned (granted, and the trail says so) | denied
//! Lost, Level -> which buildings the mesh cannot hear: an area with doors there is split, and what is known of it may be old
//! ```
//! Only coming in is ever denied. Nobody is kept inside by what a log knows or does not know.

use super::access::Credential;
use super::command::{Accepted, Rejection, Reply};
use super::context::Context;
use super::semantics;
use super::site;
use super::state::State;
use crate::event::Event;
use crate::id::{Actor, CredentialId, DeviceId, SiteId};
use crate::resource::{AntiPassback, Area, PassbackRule, WhenSplit};
use crate::time::Timestamp;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// People of one area. Beyond it those whose newest passage is the oldest are forgotten, and forgotten people are let in.
pub const PEOPLE_MAX: usize = 50_000;
/// Those who left are swept when the number of people is a multiple of it.
const SWEEP_EVERY: usize = 1024;
/// How long a departure is remembered, so that an older passage that arrives late cannot put the person back inside.
const LEFT_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// The area says that the person is inside (or outside) already.
pub const AGAIN: &str = "anti-passback";
/// Doors of the area are out of reach: nobody knows who is inside.
pub const SPLIT: &str = "anti-passback-split";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Passback {
    /// By area and person.
    pub passages: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Passage>>,
    /// When everybody of an area was forgiven: what happened before, and is heard of later, counts no more.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub forgiven: BTreeMap<Arc<str>, Timestamp>,
    /// Buildings that the mesh cannot hear, or has not heard out yet. In the group `mesh` only.
    pub split: BTreeSet<SiteId>,
}

/// The newest passage of one person, or when the person was forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Nothing: forgiven.
    pub inside: Option<bool>,
    pub at: Timestamp,
}

/// What the mesh last said of an area that the door belongs to, for a building that decides alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownArea {
    pub name: Arc<str>,
    pub rule: AntiPassback,
    pub passage: Option<Passage>,
    /// It has doors in other buildings.
    pub elsewhere: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PassbackCommand {
    /// No gateway of the building was heard for longer than an election takes.
    Lost { site: SiteId },
    /// The building is in reach again, and the mesh has all that it owed.
    Level { site: SiteId },
    /// Nobody, or this person not, counts as inside or outside any more: the next passage is free.
    Forgive { area: Arc<str>, person: Option<Arc<str>>, by: Actor },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    Fine,
    /// Let in, and the trail says of which area and why.
    Warned(&'static str, Arc<str>),
    Denied(&'static str, Arc<str>),
}

impl Passback {
    pub fn is_empty(&self) -> bool {
        self.passages.is_empty() && self.split.is_empty() && self.forgiven.is_empty()
    }

    /// What is known of a person.
    fn of(&self, area: &Arc<str>, person: &Arc<str>) -> Option<Passage> {
        let own = self.passages.get(area).and_then(|people| people.get(person)).copied();
        let forgiven = self.forgiven.get(area).map(|at| Passage { inside: None, at: *at });
        own.into_iter().chain(forgiven).max_by_key(|passage| passage.at)
    }

    /// People inside, with their passages.
    pub fn inside(&self, area: &Arc<str>) -> impl Iterator<Item = (&Arc<str>, &Passage)> {
        self.passages.get(area).into_iter().flatten().filter(|(_, passage)| passage.inside == Some(true))
    }
}

/// Refused: `conflict` while a gateway's build does not know it, `not-found`, and `invalid` in a building's group.
pub(super) fn act(context: &mut Context, command: &PassbackCommand) -> Reply {
    semantics::require(context.state, semantics::ANTI_PASSBACK, "anti-passback")?;
    if context.state.group.site().is_some() {
        return Err(Rejection::new("invalid", "the mesh says who is inside, not a building's group"));
    }
    match command {
        PassbackCommand::Lost { site } => {
            if !context.state.nodes.values().any(|node| node.site == *site) {
                return Err(Rejection::new("not-found", format!("there is no building `{site}`")));
            }
            if !context.state.passback.split.insert(site.clone()) {
                return Ok(Accepted::Duplicate);
            }
            context.audit(Actor::system(), "site.lost", site.as_str(), Value::Null);
        }
        PassbackCommand::Level { site } => {
            if !context.state.passback.split.remove(site) {
                return Ok(Accepted::Duplicate);
            }
            context.audit(Actor::system(), "site.level", site.as_str(), Value::Null);
        }
        PassbackCommand::Forgive { area, person, by } => {
            if context.state.areas.get(area).is_none_or(|area| area.anti_passback.is_none()) {
                return Err(Rejection::new("not-found", format!("there is no area `{area}` with anti-passback")));
            }
            let now = context.now;
            let people = context.state.passback.passages.entry(area.clone()).or_default();
            let was_known = |known: &Passage| known.inside.is_some();
            let forgiven = match person {
                None => {
                    context.state.passback.forgiven.insert(area.clone(), now);
                    std::mem::take(people).values().filter(|known| was_known(known)).count()
                }
                // It may come in late where the person went before.
                Some(person) => usize::from(note(people, person, Passage { inside: None, at: now }).as_ref().is_some_and(was_known)),
            };
            let person = person.as_ref().map_or(Value::Null, |person| Value::String(person.clone()));
            let data = Value::object([("person", person), ("forgiven", Value::from(i64::try_from(forgiven).unwrap_or(i64::MAX)))]);
            context.audit(by.clone(), "area.forgiven", &**area, data);
            tidy(context.state);
            return Ok(Accepted::Forgiven { people: forgiven as u64 });
        }
    }
    Ok(Accepted::Nothing)
}

/// Areas that lost the rule, or all their people, take no room.
pub(super) fn tidy(state: &mut State) {
    let State { areas, passback, .. } = state;
    let has_rule = |name: &Arc<str>| areas.get(name).is_some_and(|area| area.anti_passback.is_some());
    passback.passages.retain(|name, people| !people.is_empty() && has_rule(name));
    passback.forgiven.retain(|name, _| has_rule(name));
}

/// A passage of `person` through what `device` is, or opens.
pub(super) fn passed(state: &mut State, device: &DeviceId, person: &Arc<str>, passage: Passage) {
    let State { areas, devices, passback, .. } = state;
    let door = devices.get(device).and_then(|known| known.device.opens.as_ref()).unwrap_or(device);
    for area in areas.values().filter(|area| area.anti_passback.is_some() && area.doors.contains(door)) {
        if passback.of(&area.name, person).is_some_and(|newer| newer.at > passage.at) {
            continue;
        }
        note(passback.passages.entry(area.name.clone()).or_default(), person, passage);
    }
}

/// Gives what was known before.
fn note(people: &mut BTreeMap<Arc<str>, Passage>, person: &Arc<str>, passage: Passage) -> Option<Passage> {
    if people.len() % SWEEP_EVERY == SWEEP_EVERY - 1 || people.len() >= PEOPLE_MAX {
        people.retain(|_, known| known.inside == Some(true) || passage.at < known.at.plus(LEFT_KEPT_MS));
    }
    if people.len() >= PEOPLE_MAX && !people.contains_key(person) {
        let oldest = people.iter().min_by_key(|(_, known)| known.at).map(|(person, _)| person.clone());
        oldest.map(|oldest| people.remove(&oldest));
    }
    people.insert(person.clone(), passage)
}

/// Whether somebody goes in: without a direction it is an entry; nothing where the direction is none.
pub(super) fn goes_in(event: &Event) -> Option<bool> {
    match event.data.get("direction") {
        None | Some(Value::Null) => Some(true),
        Some(Value::String(way)) if way.eq_ignore_ascii_case("in") => Some(true),
        Some(Value::String(way)) if way.eq_ignore_ascii_case("out") => Some(false),
        Some(_) => None,
    }
}

/// What is to be said of somebody who is let through `door` otherwise. `known`: this building's group decides alone.
pub(super) fn judge(context: &Context, event: &Event, credential: &Credential, door: &DeviceId, known: Option<&[KnownArea]>) -> Judgement {
    if site::is_emergency(credential) {
        return Judgement::Fine;
    }
    let state = &*context.state;
    let own = |area: &Arc<str>| state.passback.of(area, &credential.holder);
    let goes_in = goes_in(event).unwrap_or(true);
    let mut judgement = Judgement::Fine;
    let mut take = |area: &Arc<str>, rule: AntiPassback, last: Option<Passage>, split: bool| {
        let found = one(area, rule, goes_in, last, split);
        if !matches!(judgement, Judgement::Denied(..)) && found != Judgement::Fine {
            judgement = found;
        }
    };
    match known {
        Some(areas) => {
            for area in areas {
                let last = own(&area.name).into_iter().chain(area.passage).max_by_key(|passage| passage.at);
                take(&area.name, area.rule, last, area.elsewhere);
            }
        }
        None => {
            for (rule, area) in with_rule(state, door) {
                let split = area.doors.iter().any(|door| state.passback.split.contains(&door.site()));
                take(&area.name, rule, own(&area.name), split);
            }
        }
    }
    judgement
}

fn one(area: &Arc<str>, rule: AntiPassback, goes_in: bool, last: Option<Passage>, split: bool) -> Judgement {
    let denies = goes_in && rule.rule == PassbackRule::Hard;
    match last.and_then(|last| last.inside) {
        _ if split && denies && rule.when_split == WhenSplit::Deny => Judgement::Denied(SPLIT, area.clone()),
        _ if split && goes_in => Judgement::Warned(SPLIT, area.clone()),
        // Who leaves while nobody can know is let out without a word.
        _ if split => Judgement::Fine,
        Some(inside) if inside == goes_in && denies => Judgement::Denied(AGAIN, area.clone()),
        Some(inside) if inside == goes_in => Judgement::Warned(AGAIN, area.clone()),
        _ => Judgement::Fine,
    }
}

/// What a gateway's copy of the mesh says of the areas of `door` and of who holds `credential`.
pub(super) fn known(mesh: &State, credential: &CredentialId, door: &DeviceId) -> Vec<KnownArea> {
    let holder = mesh.credentials.get(credential).map(|credential| &credential.holder);
    let of = |(rule, area): (AntiPassback, &Area)| KnownArea {
        name: area.name.clone(),
        rule,
        passage: holder.and_then(|holder| mesh.passback.of(&area.name, holder)),
        elsewhere: area.doors.iter().any(|other| other.site() != door.site()),
    };
    with_rule(mesh, door).map(of).collect()
}

fn with_rule<'a>(state: &'a State, door: &'a DeviceId) -> impl Iterator<Item = (AntiPassback, &'a Area)> {
    state.areas.values().filter(|area| area.doors.contains(door)).filter_map(|area| Some((area.anti_passback?, area)))
}

/// Buildings that share an area with the rule: of these the mesh is told when it cannot hear them.
pub fn shared_by(state: &State) -> BTreeSet<SiteId> {
    let sites = |area: &Area| area.doors.iter().map(DeviceId::site).collect::<BTreeSet<_>>();
    state.areas.values().filter(|area| area.anti_passback.is_some()).map(sites).filter(|sites| sites.len() > 1).flatten().collect()
}

#[cfg(test)]
mod tests;
