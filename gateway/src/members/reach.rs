//! Buildings that the leader of the mesh cannot hear. It says so in the log where that matters: where they share an area with
//! anti-passback, of which nobody knows then who is inside. Each building says by itself when all that happened there is told.

use crate::consensus::Member;
use spalla_shared::engine::{State, passback};
use spalla_shared::id::{NodeId, SiteId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Since when each building is silent, as this leader hears it. A leader that has just begun has heard nobody yet.
#[derive(Default)]
pub struct Silence(BTreeMap<SiteId, Instant>);

impl Silence {
    /// Buildings to be told as lost: silent for `patience`, and the log does not say so yet.
    pub fn lost(&mut self, own: NodeId, state: &State, members: &[Member], patience: Duration, now: Instant) -> Vec<SiteId> {
        let mut shared = passback::shared_by(state);
        shared.retain(|site| state.roster.members.values().any(|member| member.site == *site));
        let heard = |member: &&Member| member.node == own || member.heard_ms.is_some_and(|heard| u128::from(heard) <= patience.as_millis());
        let site = |member: &Member| state.roster.members.get(&member.node).map(|known| known.site.clone());
        let there: BTreeSet<SiteId> = members.iter().filter(heard).filter_map(site).collect();
        // One that was heard, if long ago, is silent since then.
        let of_old =
            |wanted: &SiteId| members.iter().filter(|member| site(member).as_ref() == Some(wanted)).all(|member| member.heard_ms.is_some());
        self.0.retain(|site, _| shared.contains(site) && !there.contains(site));
        let silent = shared.into_iter().filter(|site| !there.contains(site));
        let long = silent.filter(|site| of_old(site) || now.duration_since(*self.0.entry(site.clone()).or_insert(now)) >= patience);
        long.filter(|site| !state.passback.split.contains(site)).collect()
    }

    /// Another gateway leads: what was noted here says nothing any more.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spalla_shared::engine::roster::{Duty, Member as Listed};
    use spalla_shared::id::GroupId;
    use spalla_shared::resource::{AntiPassback, Area, PassbackRule, WhenSplit};
    use spalla_shared::time::Timestamp;

    const PATIENCE: Duration = Duration::from_secs(1);

    /// Gateway 1 at `hq`, 2 and 3 at `plant`, 4 at `depot`; `hq` and `plant` share an area.
    fn campus() -> State {
        let mut state = State::new(GroupId::mesh());
        for (node, site) in [(1, "hq"), (2, "plant"), (3, "plant"), (4, "depot")] {
            let listed = Listed { site: site.into(), address: format!("h{node}:1").into(), duty: Duty::Auto, joined_at: Timestamp(0) };
            state.roster.members.insert(NodeId(node), listed);
        }
        let anti_passback = Some(AntiPassback { rule: PassbackRule::Hard, when_split: WhenSplit::Deny });
        let area = Area { name: "floor".into(), doors: vec!["hq/door".into(), "plant/door".into()], anti_passback };
        state.areas.insert(area.name.clone(), area);
        state
    }

    fn members(heard: [Option<u64>; 4]) -> Vec<Member> {
        let member = |(at, heard_ms)| Member { node: NodeId(at), voter: true, address: String::new(), lag: None, heard_ms };
        (1..).zip(heard).map(member).collect()
    }

    #[test]
    fn a_building_is_lost_when_all_its_gateways_are_silent_for_long_enough() {
        let (mut state, mut silence, began) = (campus(), Silence::default(), Instant::now());
        let mut lost = |state: &State, heard, after: u64| {
            silence.lost(NodeId(1), state, &members(heard), PATIENCE, began + Duration::from_millis(after))
        };
        // The one that looks leads since a moment, and has heard nobody.
        assert!(lost(&state, [None; 4], 0).is_empty());
        assert!(lost(&state, [None; 4], 999).is_empty());
        assert_eq!(lost(&state, [None; 4], 1_000), ["plant".into()], "the depot shares nothing");
        assert!(lost(&state, [None, Some(1_000), None, None], 1_900).is_empty());
        assert!(lost(&state, [None, Some(1_001), None, None], 2_000).is_empty(), "the other one may be there");
        assert_eq!(lost(&state, [None, Some(1_001), Some(2_000), None], 2_000), ["plant".into()]);
        assert!(lost(&state, [None, Some(2_002), Some(3), None], 2_001).is_empty(), "one of two is enough");
        assert!(lost(&state, [None, None, None, None], 3_000).is_empty());
        state.passback.split.insert("plant".into());
        assert!(lost(&state, [None, None, None, None], 9_000).is_empty(), "the log says so");
    }
}
