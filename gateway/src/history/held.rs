//! What a gateway's history holds of each group, and what nobody would have if one of the gateways went.

use super::gap;
use super::schema::{self, unsigned};
use rangemap::RangeInclusiveSet;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use spalla_shared::id::GroupId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// So many entries behind another one, a gateway is taken to get them from the log still.
const LAG_MAX: u64 = 128;
/// Stretches that are told one by one in words.
const STRETCHES_MAX: usize = 3;

/// What one gateway has of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub group: GroupId,
    /// Index of the newest entry, and number of the newest audit link.
    pub reached: u64,
    pub links: u64,
    /// Below them.
    pub missing: Missing,
}

/// Stretches from..=to that are not there, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Instances and traces of these log entries.
    pub entries: Vec<(u64, u64)>,
    /// Audit links by number.
    pub links: Vec<(u64, u64)>,
}

impl Missing {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.links.is_empty()
    }
}

/// `entries 18 to 50, audit links 7 to 9 and 12`.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tell = |what: &str, stretches: &[(u64, u64)]| {
            let stretch = |(from, to): &(u64, u64)| if from == to { from.to_string() } else { format!("{from} to {to}") };
            let mut told: Vec<String> = stretches.iter().take(STRETCHES_MAX).map(stretch).collect();
            if stretches.len() > STRETCHES_MAX {
                told.push(format!("{} more stretches", stretches.len() - STRETCHES_MAX));
            }
            (!told.is_empty()).then(|| format!("{what} {}", told.join(" and ")))
        };
        let told: Vec<String> = tell("entries", &self.entries).into_iter().chain(tell("audit links", &self.links)).collect();
        f.write_str(&told.join(", "))
    }
}

/// `mesh: entries 18 to 50; site:hq: audit links 3 to 9`.
pub fn tell_missing<'a>(missing: impl IntoIterator<Item = (&'a GroupId, &'a Missing)>) -> String {
    missing.into_iter().map(|(group, missing)| format!("{group}: {missing}")).collect::<Vec<_>>().join("; ")
}

pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Held>> {
    let groups = schema::applied(connection)?.into_iter().filter(|(group, _)| !group.as_str().is_empty());
    let held = groups.map(|(group, reached)| {
        let newest: Option<i64> =
            connection.prepare_cached("SELECT max(seq) FROM audit WHERE grp = ?1")?.query_row([group.as_str()], |row| row.get(0))?;
        let gaps = gap::all(connection, &group)?;
        // A group may have gone over all of its links by a snapshot, and has had none since.
        let links = unsigned(newest.unwrap_or(0)).max(gaps.iter().filter_map(|gap| gap.audit).map(|(_, to)| to).max().unwrap_or(0));
        let missing = Missing {
            entries: gaps.iter().filter(|gap| !gap.rows_done).map(|gap| (gap.from_index, gap.to_index)).collect(),
            links: gaps.iter().filter_map(|gap| gap.audit).collect(),
        };
        Ok(Held { group, reached, links, missing })
    });
    held.collect()
}

/// What nobody of `left` has, by group, but the one that goes, if it says what it has; one that cannot is taken to have everything.
pub fn missing_without(goes: Option<&[Held]>, left: &[Vec<Held>]) -> BTreeMap<GroupId, Missing> {
    let known: BTreeSet<&GroupId> = match goes {
        Some(goes) => goes.iter().map(|held| &held.group).collect(),
        None => left.iter().flatten().map(|held| &held.group).collect(),
    };
    let of = |held: &[Held], group: &GroupId| held.iter().find(|held| held.group == *group).cloned();
    let lost = known.into_iter().filter_map(|group| {
        let left: Vec<Held> = left.iter().map(|held| of(held, group).unwrap_or_else(|| nothing(group))).collect();
        let goes = goes.and_then(|held| of(held, group)).unwrap_or_else(|| Held {
            reached: left.iter().map(|held| held.reached).max().unwrap_or(0),
            links: left.iter().map(|held| held.links).max().unwrap_or(0),
            ..nothing(group)
        });
        let entries =
            left.iter().map(|held| lacks(&held.missing.entries, is_far_behind(held, &goes).then_some((held.reached, goes.reached))));
        let links = left.iter().map(|held| lacks(&held.missing.links, is_far_behind(held, &goes).then_some((held.links, goes.links))));
        let missing = Missing {
            entries: nowhere(entries, &goes.missing.entries, goes.reached),
            links: nowhere(links, &goes.missing.links, goes.links),
        };
        (!missing.is_empty()).then(|| (group.clone(), missing))
    });
    lost.collect()
}

fn nothing(group: &GroupId) -> Held {
    Held { group: group.clone(), reached: 0, links: 0, missing: Missing::default() }
}

fn is_far_behind(held: &Held, goes: &Held) -> bool {
    held.reached.saturating_add(LAG_MAX) < goes.reached
}

/// `behind`: (what it reaches, what it should reach).
fn lacks(missing: &[(u64, u64)], behind: Option<(u64, u64)>) -> RangeInclusiveSet<u64> {
    let behind = behind.filter(|(reached, to)| reached < to).map(|(reached, to)| (reached + 1, to));
    missing.iter().copied().chain(behind).filter(|(from, to)| from <= to).map(|(from, to)| from..=to).collect()
}

/// What all of `left` lack, up to `reached`, and the one that goes does not.
fn nowhere(left: impl Iterator<Item = RangeInclusiveSet<u64>>, goes: &[(u64, u64)], reached: u64) -> Vec<(u64, u64)> {
    let all: RangeInclusiveSet<u64> = (reached > 0).then_some(1..=reached).into_iter().collect();
    let mut lost = left.fold(all, |lost, lacks| lost.intersection(&lacks).collect());
    for (from, to) in goes.iter().filter(|(from, to)| from <= to) {
        lost.remove(*from..=*to);
    }
    lost.into_iter().map(|range| range.into_inner()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(reached: u64, entries: &[(u64, u64)], links: &[(u64, u64)]) -> Vec<Held> {
        let missing = Missing { entries: entries.to_vec(), links: links.to_vec() };
        vec![Held { group: GroupId::mesh(), reached, links: reached, missing }]
    }

    fn lost(goes: Option<&[Held]>, left: &[Vec<Held>]) -> String {
        tell_missing(&missing_without(goes, left))
    }

    #[test]
    fn what_is_lost_with_a_gateway_is_what_it_alone_has() {
        let whole = held(1_000, &[], &[]);
        let first_half = held(1_000, &[(501, 1_000)], &[(501, 1_000)]);
        let newest = held(1_000, &[(1, 700)], &[(1, 300)]);
        for (goes, left, told) in [
            (&whole, vec![whole.clone(), newest.clone()], ""),
            (&whole, vec![first_half.clone(), newest.clone()], "mesh: entries 501 to 700"),
            (&whole, vec![newest.clone()], "mesh: entries 1 to 700, audit links 1 to 300"),
            // It cannot take away what it lacks too.
            (&newest, vec![newest.clone(), newest.clone()], ""),
            (&held(1_000, &[(40, 700)], &[(1, 300)]), vec![newest.clone()], "mesh: entries 1 to 39"),
            (&held(1_000, &[(2, 9), (11, 700)], &[(1, 300)]), vec![newest.clone()], "mesh: entries 1 and 10"),
            // One that never had the group, one that gets the newest from the log still, and one that does not.
            (&whole, vec![Vec::new()], "mesh: entries 1 to 1000, audit links 1 to 1000"),
            (&whole, vec![held(900, &[], &[])], ""),
            (&whole, vec![held(800, &[], &[])], "mesh: entries 801 to 1000, audit links 801 to 1000"),
        ] {
            assert_eq!(lost(Some(goes), &left), told, "{goes:?} {left:?}");
        }
        // A dead one may have had everything.
        assert_eq!(lost(None, &[newest.clone(), newest.clone()]), "mesh: entries 1 to 700, audit links 1 to 300");
        assert_eq!(lost(None, &[newest, whole]), "");
        let many = Missing { entries: vec![(1, 1), (3, 3), (5, 5), (7, 7), (9, 9)], links: Vec::new() };
        assert_eq!(many.to_string(), "entries 1 and 3 and 5 and 2 more stretches");
    }
}
