//! Who votes. One gateway of each site, for up to five sites, unless the operator said otherwise; a gateway becomes a voter when
//! it is level, and one that is there keeps its vote. Decides only.

use crate::consensus::VOTERS_MAX;
use spalla_shared::engine::roster::{Duty, Roster};
use spalla_shared::id::{NodeId, SiteId};
use std::collections::{BTreeMap, BTreeSet};

/// Who votes once all are level.
pub fn wanted(roster: &Roster, now: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let of = |duty: Duty| roster.members.iter().filter(move |(_, member)| member.duty == duty);
    let mut voters: BTreeSet<NodeId> = of(Duty::Voter).map(|(node, _)| *node).collect();
    let told: BTreeSet<&SiteId> = of(Duty::Voter).map(|(_, member)| &member.site).collect();
    // Of each site the gateway that votes already, else the oldest.
    let mut sites: BTreeMap<&SiteId, NodeId> = BTreeMap::new();
    for (node, member) in of(Duty::Auto).filter(|(_, member)| !told.contains(&member.site)) {
        let best = sites.entry(&member.site).or_insert(*node);
        if now.contains(node) && !now.contains(best) {
            *best = *node;
        }
    }
    let mut candidates: Vec<NodeId> = sites.into_values().collect();
    candidates.sort_by_key(|node| (!now.contains(node), *node));
    let room = VOTERS_MAX.saturating_sub(voters.len());
    voters.extend(candidates.into_iter().take(room));
    voters
}

/// The next set of voters on the way to [`wanted`]; the present one when nothing is to be done now. Nobody loses a vote before
/// those who are to have one are level, except who was removed.
pub fn next(roster: &Roster, now: &BTreeSet<NodeId>, is_level: impl Fn(NodeId) -> bool) -> BTreeSet<NodeId> {
    let wanted = wanted(roster, now);
    let ready: BTreeSet<NodeId> = wanted.iter().copied().filter(|node| now.contains(node) || is_level(*node)).collect();
    let all_ready = ready.len() == wanted.len();
    let kept = now.iter().copied().filter(|node| roster.members.contains_key(node) && !all_ready);
    let next: BTreeSet<NodeId> = ready.iter().copied().chain(kept).collect();
    if next.is_empty() { now.clone() } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spalla_shared::engine::roster::Member;
    use spalla_shared::time::Timestamp;

    fn roster(members: &[(u64, &str, Duty)]) -> Roster {
        let member = |(node, site, duty): &(u64, &str, Duty)| {
            let member =
                Member { site: SiteId::new(site), address: format!("10.0.0.{node}:1").into(), duty: *duty, joined_at: Timestamp(0) };
            (NodeId(*node), member)
        };
        Roster { newest: NodeId(99), members: members.iter().map(member).collect(), ..Roster::default() }
    }

    fn set(nodes: &[u64]) -> BTreeSet<NodeId> {
        nodes.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn one_gateway_of_each_site_votes_for_up_to_five_sites() {
        use Duty::{Auto, Learner, Voter};
        type Case<'a> = (&'a str, &'a [(u64, &'a str, Duty)], &'a [u64], &'a [u64]);
        let table: [Case; 7] = [
            ("three sites", &[(1, "a", Auto), (2, "b", Auto), (3, "c", Auto)], &[], &[1, 2, 3]),
            ("a second gateway of a site learns", &[(1, "a", Auto), (2, "a", Auto), (3, "b", Auto)], &[1], &[1, 3]),
            ("who votes keeps the vote", &[(1, "a", Auto), (2, "a", Auto)], &[2], &[2]),
            (
                "five sites at most",
                &[(1, "a", Auto), (2, "b", Auto), (3, "c", Auto), (4, "d", Auto), (5, "e", Auto), (6, "f", Auto)],
                &[6],
                &[1, 2, 3, 4, 6],
            ),
            ("told to learn", &[(1, "a", Auto), (2, "b", Learner)], &[2], &[1]),
            ("told to vote, in place of the site's other", &[(1, "a", Auto), (2, "a", Voter)], &[1], &[2]),
            ("two of a site, both told", &[(1, "a", Voter), (2, "a", Voter)], &[], &[1, 2]),
        ];
        for (name, members, now, expected) in table {
            assert_eq!(wanted(&roster(members), &set(now)), set(expected), "{name}");
        }
    }

    #[test]
    fn a_vote_is_given_to_who_is_level_and_taken_when_the_next_has_it() {
        use Duty::{Auto, Voter};
        let grown = roster(&[(1, "a", Auto), (2, "b", Auto), (3, "c", Auto)]);
        assert_eq!(next(&grown, &set(&[1, 2]), |_| false), set(&[1, 2]), "not level yet");
        assert_eq!(next(&grown, &set(&[1, 2]), |_| true), set(&[1, 2, 3]));
        let moved = roster(&[(1, "a", Auto), (2, "a", Voter)]);
        assert_eq!(next(&moved, &set(&[1]), |_| false), set(&[1]));
        assert_eq!(next(&moved, &set(&[1]), |_| true), set(&[2]));
        // Removed: at once, whoever is level.
        let shrunk = roster(&[(1, "a", Auto), (3, "c", Auto), (4, "b", Auto)]);
        assert_eq!(next(&shrunk, &set(&[1, 2, 3]), |_| false), set(&[1, 3]));
        assert_eq!(next(&shrunk, &set(&[1, 2, 3]), |_| true), set(&[1, 3, 4]));
        assert_eq!(next(&roster(&[(9, "z", Auto)]), &set(&[1]), |_| false), set(&[1]), "never nobody");
    }
}
