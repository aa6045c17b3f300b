//! Who takes part in which group, from the settings alone, so that all gateways come to the same answer.

use super::links::Gateway;
use spalla_shared::id::{GroupId, NodeId, SiteId, derived_u64};
use std::collections::BTreeSet;

/// An odd number of sites can lose just under half of them; more than five only make each commit slower.
pub const VOTERS_MAX: usize = 5;
/// Gateways of other buildings that hold a copy of a building's group: it outlives a fire, and the loss of one copy.
const COPIES_ELSEWHERE: usize = 2;

/// A group and its first members. Equal on all gateways: each begins an empty group with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPlan {
    pub id: GroupId,
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
}

impl GroupPlan {
    /// The group `mesh` and one group for each building.
    pub fn all(gateways: &[Gateway]) -> Vec<Self> {
        let sites: BTreeSet<&SiteId> = gateways.iter().map(|gateway| &gateway.site).collect();
        std::iter::once(Self::mesh(gateways)).chain(sites.into_iter().map(|site| Self::site(site, gateways))).collect()
    }

    /// The group `mesh`: the first gateway of each of the first five sites votes, all others learn.
    pub fn mesh(gateways: &[Gateway]) -> Self {
        let mut sites: BTreeSet<&SiteId> = BTreeSet::new();
        let (mut voters, mut learners) = (Vec::new(), Vec::new());
        for gateway in gateways {
            if voters.len() < VOTERS_MAX && sites.insert(&gateway.site) {
                voters.push(gateway.node);
            } else {
                learners.push(gateway.node);
            }
        }
        Self { id: GroupId::mesh(), voters, learners }
    }

    /// A building's group: its own gateways vote, two of other buildings learn. With an even number of its own, the first of those
    /// two votes as well: else the building could lose none of them.
    pub fn site(site: &SiteId, gateways: &[Gateway]) -> Self {
        let id = GroupId::of_site(site);
        let own: Vec<NodeId> = gateways.iter().filter(|gateway| gateway.site == *site).map(|gateway| gateway.node).collect();
        let (mut voters, mut learners) = (own.clone(), Vec::new());
        learners.extend(voters.drain(own.len().min(VOTERS_MAX)..));
        let mut copies = copies(site, gateways.iter().map(|gateway| (gateway.node, &gateway.site))).into_iter();
        if voters.len() % 2 == 0 {
            voters.extend(copies.next());
        }
        learners.extend(copies);
        Self { id, voters, learners }
    }

    pub fn has(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.learners.contains(&node)
    }
}

/// Gateways of other buildings that hold a copy of the group of `site`: spread over the mesh by chance that all agree on, each in another
/// building where there are enough.
pub fn copies<'a>(site: &SiteId, gateways: impl Iterator<Item = (NodeId, &'a SiteId)>) -> Vec<NodeId> {
    let id = GroupId::of_site(site);
    let mut others: Vec<(NodeId, &SiteId)> = gateways.filter(|(_, other)| *other != site).collect();
    others.sort_by_key(|(node, _)| (derived_u64(&id, node.0, 0, "copies"), *node));
    let mut seen = BTreeSet::new();
    let (first, more): (Vec<_>, Vec<_>) = others.into_iter().partition(|(_, site)| seen.insert(*site));
    first.into_iter().chain(more).map(|(node, _)| node).take(COPIES_ELSEWHERE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateways(sites: &[&str]) -> Vec<Gateway> {
        let gateway = |(node, site): (u64, &&str)| Gateway { node: NodeId(node), site: SiteId::new(site), address: String::new() };
        (1..).zip(sites).map(gateway).collect()
    }

    #[test]
    fn each_building_has_a_group_of_its_own_with_copies_in_two_others() {
        let all = gateways(&["hq", "plant", "depot", "lab"]);
        let plans = GroupPlan::all(&all);
        assert_eq!(plans.len(), 5);
        for (plan, gateway) in plans.iter().skip(1).zip([3, 1, 4, 2]) {
            assert_eq!((plan.voters.clone(), plan.learners.len()), (vec![NodeId(gateway)], 2), "{plan:?}");
            assert!(!plan.learners.contains(&NodeId(gateway)));
        }
        let mut turned = all.clone();
        turned.reverse();
        assert_eq!(GroupPlan::site(&"hq".into(), &all), GroupPlan::site(&"hq".into(), &turned), "the order of the list is nothing");
    }

    #[test]
    fn two_gateways_of_one_building_get_a_third_voice_elsewhere() {
        let plan = GroupPlan::site(&"hq".into(), &gateways(&["hq", "hq", "plant", "depot"]));
        assert_eq!((plan.voters.len(), plan.learners.len()), (3, 1), "{plan:?}");
        let three = GroupPlan::site(&"hq".into(), &gateways(&["hq", "hq", "hq", "plant"]));
        assert_eq!((three.voters.len(), three.learners), (3, vec![NodeId(4)]));
        let only = GroupPlan::site(&"hq".into(), &gateways(&["hq", "hq"]));
        assert_eq!((only.voters.len(), only.learners.len()), (2, 0), "nobody else is there");
    }
}
