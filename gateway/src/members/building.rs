//! Keeps the members of one building's group as the mesh's roster wants them: its own gateways vote, two of other buildings hold copies.
//! Works on the group's leader, step by step; whoever leads next goes on from there.

use super::keeper::{Step, is_heard_within};
use super::{LEVEL_LAG_MAX, Members};
use crate::consensus::{GroupRef, Member, VOTERS_MAX, copies};
use spalla_shared::engine::Command;
use spalla_shared::engine::command::SiteCommand;
use spalla_shared::engine::roster::Roster;
use spalla_shared::engine::semantics::LIVES;
use spalla_shared::id::{NodeId, SiteId};
use std::collections::BTreeSet;
use std::time::Duration;

/// Between two looks. A building's members change when its gateways do.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A group with one voter hears of its copies every five seconds only.
const HEARD_MS_MAX: u64 = 15_000;

pub struct BuildingKeeper {
    pub members: Members,
    pub site: SiteId,
    /// The building's group.
    pub group: GroupRef,
}

impl BuildingKeeper {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut leadership = self.group.leadership();
        loop {
            if leadership.borrow_and_update().is_self {
                self.lead().await;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                changed = leadership.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn lead(&self) {
        let (roster, semantics) = {
            let state = self.members.group.state().read();
            (state.roster.clone(), state.semantics)
        };
        if semantics >= LIVES {
            self.forget_removed(&roster).await;
        }
        let members = self.group.members();
        if let Some(step) = step(self.members.node(), &self.site, &roster, &members) {
            self.members.carry_out(&self.group, step, &members).await;
        }
    }

    /// A gateway that was removed must not hold back a newer meaning of the group's log, nor keep devices.
    async fn forget_removed(&self, roster: &Roster) {
        let gone: Vec<NodeId> = {
            let state = self.group.state().read();
            let known = state.nodes.keys().chain(state.understood.keys());
            known.copied().filter(|node| roster.is_removed(*node)).collect::<BTreeSet<_>>().into_iter().collect()
        };
        if gone.is_empty() {
            return;
        }
        if let Err(error) = self.group.propose(Command::Site(SiteCommand::Forget { nodes: gone })).await {
            tracing::debug!(group = %self.group.id(), %error, "removed gateways are not forgotten yet");
        }
    }
}

/// Who is to vote and who is to learn.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
}

impl Wanted {
    /// Copies stay where they are while they can: to move one costs a snapshot.
    fn of(site: &SiteId, roster: &Roster, members: &[Member]) -> Self {
        let own: Vec<NodeId> = roster.members.iter().filter(|(_, member)| member.site == *site).map(|(node, _)| *node).collect();
        let is_elsewhere = |node: &NodeId| roster.members.get(node).is_some_and(|member| member.site != *site);
        let voice = |voter: bool| members.iter().filter(move |member| member.voter == voter).map(|member| member.node);
        let mut elsewhere: Vec<NodeId> = voice(true).chain(voice(false)).filter(is_elsewhere).collect();
        let gateways = roster.members.iter().map(|(node, member)| (*node, &member.site));
        let chosen = copies(site, gateways);
        elsewhere.extend(chosen.iter().copied().filter(|node| !elsewhere.contains(node)).collect::<Vec<_>>());
        elsewhere.truncate(chosen.len());

        let (voters, more) = own.split_at(own.len().min(VOTERS_MAX));
        let mut voters: BTreeSet<NodeId> = voters.iter().copied().collect();
        // Two voters alone could not lose one.
        let third = voters.len().is_multiple_of(2).then(|| elsewhere.first().copied()).flatten();
        voters.extend(third.filter(|_| !own.is_empty()));
        let learners = more.iter().copied().chain(elsewhere).filter(|node| !voters.contains(node)).collect();
        Self { voters, learners }
    }
}

/// The next step of the leader `own`. Votes change when all who are to have one are level, but for those who were removed: a building
/// must not come to depend on a gateway that is only half there.
fn step(own: NodeId, site: &SiteId, roster: &Roster, members: &[Member]) -> Option<Step> {
    let wanted = Wanted::of(site, roster, members);
    if wanted.voters.is_empty() {
        return None;
    }
    let is_member = |node: &NodeId| members.iter().any(|member| member.node == *node);
    if let Some(missing) = wanted.voters.iter().chain(&wanted.learners).find(|node| !is_member(node)) {
        return Some(Step::Admit(*missing, roster.members.get(missing)?.address.to_string()));
    }
    let now: BTreeSet<NodeId> = members.iter().filter(|member| member.voter).map(|member| member.node).collect();
    let is_level = |node: &NodeId| {
        let member = members.iter().find(|member| member.node == *node);
        *node == own || member.is_some_and(|it| is_heard_within(it, HEARD_MS_MAX) && it.lag.is_some_and(|lag| lag <= LEVEL_LAG_MAX))
    };
    let there: BTreeSet<NodeId> = now.iter().copied().filter(|node| roster.members.contains_key(node)).collect();
    let stays: BTreeSet<NodeId> = now.iter().chain(&wanted.voters).chain(&wanted.learners).copied().collect();
    let next = if wanted.voters.iter().all(|node| now.contains(node) || is_level(node)) { wanted.voters } else { there };
    if next.is_empty() || next == now {
        return members.iter().find(|member| !stays.contains(&member.node)).map(|member| Step::Dismiss(member.node));
    }
    // Someone who votes must be there to hand over to.
    if now.is_disjoint(&next) {
        return Some(Step::Voters(now.union(&next).copied().collect()));
    }
    Some(if next.contains(&own) { Step::Voters(next) } else { Step::HandOver })
}

#[cfg(test)]
mod tests {
    use super::*;
    use spalla_shared::engine::roster::{Duty, Member as Listed};
    use spalla_shared::time::Timestamp;

    fn roster(gateways: &[(u64, &str)]) -> Roster {
        let listed = |(node, site): &(u64, &str)| {
            let address = format!("h{node}:1").into();
            (NodeId(*node), Listed { site: SiteId::new(site), address, duty: Duty::Auto, joined_at: Timestamp(0) })
        };
        Roster { newest: NodeId(99), members: gateways.iter().map(listed).collect(), ..Roster::default() }
    }

    fn set(nodes: &[u64]) -> BTreeSet<NodeId> {
        nodes.iter().copied().map(NodeId).collect()
    }

    fn members(voters: &[u64], learners: &[u64], silent: &[u64]) -> Vec<Member> {
        let of = |node: &u64, voter| {
            let there = !silent.contains(node);
            Member { node: NodeId(*node), voter, address: String::new(), lag: there.then_some(0), heard_ms: there.then_some(9) }
        };
        voters.iter().map(|node| of(node, true)).chain(learners.iter().map(|node| of(node, false))).collect()
    }

    fn next(own: u64, roster: &Roster, members: &[Member]) -> Option<Step> {
        step(NodeId(own), &"hq".into(), roster, members)
    }

    #[test]
    fn copies_stay_where_they_are_and_a_lost_one_is_made_elsewhere() {
        let all = roster(&[(1, "hq"), (2, "plant"), (3, "depot"), (4, "lab"), (5, "store")]);
        let fresh = Wanted::of(&"hq".into(), &all, &members(&[1], &[], &[]));
        assert_eq!((fresh.voters, fresh.learners.len()), (set(&[1]), 2));
        for there in [[2, 3], [4, 5], [3, 5]] {
            let kept = Wanted::of(&"hq".into(), &all, &members(&[1], &there, &[]));
            assert_eq!(kept.learners, set(&there));
            assert_eq!(next(1, &all, &members(&[1], &there, &[])), None);
        }
        // 3 was removed.
        let fewer = roster(&[(1, "hq"), (2, "plant"), (4, "lab"), (5, "store")]);
        let now = members(&[1], &[2, 3], &[3]);
        let wanted = Wanted::of(&"hq".into(), &fewer, &now);
        assert!(wanted.learners.contains(&NodeId(2)) && wanted.learners.len() == 2, "{wanted:?}");
        assert!(matches!(next(1, &fewer, &now), Some(Step::Admit(NodeId(4 | 5), _))));
        let new = wanted.learners.iter().find(|node| **node != NodeId(2)).unwrap().0;
        assert_eq!(next(1, &fewer, &members(&[1], &[2, 3, new], &[3])), Some(Step::Dismiss(NodeId(3))));
    }

    #[test]
    fn a_second_gateway_of_a_building_votes_with_a_third_voice_once_all_are_level() {
        let two = roster(&[(1, "hq"), (2, "plant"), (3, "depot"), (4, "hq")]);
        assert_eq!(next(1, &two, &members(&[1], &[2, 3], &[])), Some(Step::Admit(NodeId(4), "h4:1".into())));
        assert_eq!(next(1, &two, &members(&[1], &[2, 3, 4], &[4])), None, "it is not level");
        assert_eq!(next(1, &two, &members(&[1], &[2, 3, 4], &[2])), None, "a third voice that is away is none");
        assert_eq!(next(1, &two, &members(&[1], &[2, 3, 4], &[])), Some(Step::Voters(set(&[1, 2, 4]))));
        assert_eq!(next(1, &two, &members(&[1, 2, 4], &[3], &[])), None);
        // The third voice goes: another one takes its place, and it loses its vote at once only where it was removed.
        let without = roster(&[(1, "hq"), (3, "depot"), (4, "hq")]);
        assert_eq!(next(1, &without, &members(&[1, 2, 4], &[3], &[2])), Some(Step::Voters(set(&[1, 3, 4]))));
        assert_eq!(next(1, &without, &members(&[1, 2, 4], &[3], &[2, 3])), Some(Step::Voters(set(&[1, 4]))));
    }

    #[test]
    fn a_gateway_that_is_replaced_hands_over() {
        // 4 came for 1, which was removed while it led.
        let replaced = roster(&[(2, "plant"), (3, "depot"), (4, "hq")]);
        assert_eq!(next(1, &replaced, &members(&[1, 2, 4], &[3], &[])), Some(Step::HandOver));
        assert_eq!(next(4, &replaced, &members(&[1, 2, 4], &[3], &[1])), Some(Step::Voters(set(&[4]))));
        assert_eq!(next(4, &replaced, &members(&[4], &[1, 2, 3], &[1])), Some(Step::Dismiss(NodeId(1))));
        // It voted alone: the next one votes beside it first.
        assert_eq!(next(1, &replaced, &members(&[1], &[2, 3, 4], &[])), Some(Step::Voters(set(&[1, 4]))));
        assert_eq!(next(1, &replaced, &members(&[1, 4], &[2, 3], &[])), Some(Step::HandOver));
        // Nobody of the building is left: nothing to do here.
        assert_eq!(next(2, &roster(&[(2, "plant"), (3, "depot")]), &members(&[1, 2, 4], &[3], &[1, 4])), None);
    }
}
