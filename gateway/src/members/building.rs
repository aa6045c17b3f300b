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
use tokio::time::Instant;

/// Between two looks. A building's members change when its gateways do.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A group with one voter hears of its copies every five seconds only.
const HEARD_MS_MAX: u64 = 15_000;
/// A gateway elsewhere that leads gives the votes to the building's own no sooner: it may just have got them from one that is to go.
const GIVES_BACK_AFTER: Duration = Duration::from_secs(10);

pub struct BuildingKeeper {
    pub members: Members,
    pub site: SiteId,
    /// The building's group.
    pub group: GroupRef,
}

impl BuildingKeeper {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let (mut leadership, mut leaving) = (self.group.leadership(), self.members.leaving.subscribe());
        let mut leads_since = None;
        loop {
            leaving.borrow_and_update();
            if leadership.borrow_and_update().is_self {
                self.lead(*leads_since.get_or_insert_with(Instant::now)).await;
            } else {
                leads_since = None;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                changed = leadership.changed() => if changed.is_err() { return },
                changed = leaving.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn lead(&self, since: Instant) {
        let (roster, semantics) = {
            let state = self.members.group.state().read();
            (state.roster.clone(), state.semantics)
        };
        if semantics >= LIVES {
            self.forget_removed(&roster).await;
        }
        let (own, members) = (self.members.node(), self.group.members());
        let is_elsewhere = roster.members.get(&own).is_some_and(|member| member.site != self.site);
        let leaves = self.members.leaving.borrow().filter(|_| votes_alone(own, &members));
        let heir = leaves.and_then(|asked| heir(own, &self.site, &roster, &members, asked.elapsed()));
        let step = match heir {
            Some(heir) => Some(Step::Voters(BTreeSet::from([heir]))),
            None if is_elsewhere && leaves.is_none() && votes_alone(own, &members) && since.elapsed() < GIVES_BACK_AFTER => None,
            None => step(own, &self.site, &roster, &members, since.elapsed()),
        };
        if let Some(step) = step {
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

pub(super) fn votes_alone(own: NodeId, members: &[Member]) -> bool {
    members.iter().filter(|member| member.voter).map(|member| member.node).eq([own])
}

fn is_level(member: &Member) -> bool {
    is_heard_within(member, HEARD_MS_MAX) && member.lag.is_some_and(|lag| lag <= LEVEL_LAG_MAX)
}

/// Who votes instead of `own`, which votes alone and was asked to go so long ago: one of its building, else one that holds a copy. It was
/// heard since then: the building depends on it at once.
fn heir(own: NodeId, site: &SiteId, roster: &Roster, members: &[Member], asked: Duration) -> Option<NodeId> {
    let of_mesh = |member: &&Member| roster.members.get(&member.node).map(|listed| listed.site != *site);
    let heard = |member: &&Member| member.heard_ms.is_some_and(|heard| u128::from(heard) <= asked.as_millis());
    let fit = members.iter().filter(|member| member.node != own && is_level(member) && heard(member) && of_mesh(member).is_some());
    fit.min_by_key(|member| (of_mesh(member), member.lag, member.heard_ms)).map(|member| member.node)
}

/// Who is to vote and who is to learn.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
}

impl Wanted {
    /// Copies stay where they are while they can: to move one costs a snapshot.
    fn of(site: &SiteId, roster: &Roster, members: &[Member], led: Duration) -> Self {
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
        // Two voters alone could not lose one. The third voice is one that is there, if any is: a silent one would hold the building up.
        // A new leader has heard nobody yet, and leaves the vote where it is.
        let new = led.as_millis() < u128::from(HEARD_MS_MAX);
        let is_there = |node: &&NodeId| members.iter().any(|member| member.node == **node && (is_level(member) || new && member.voter));
        let third = elsewhere.iter().find(is_there).or(elsewhere.first()).copied();
        voters.extend(third.filter(|_| !own.is_empty() && own.len().min(VOTERS_MAX).is_multiple_of(2)));
        // Nobody of the building is there: who votes for it elsewhere does so until somebody comes.
        voters.extend(voice(true).filter(|node| own.is_empty() && is_elsewhere(node)));
        let learners = more.iter().copied().chain(elsewhere).filter(|node| !voters.contains(node)).collect();
        Self { voters, learners }
    }
}

/// The next step of the leader `own`, which leads for so long. Votes change when all who are to have one are level, but for those who were removed: a building
/// must not come to depend on a gateway that is only half there.
fn step(own: NodeId, site: &SiteId, roster: &Roster, members: &[Member], led: Duration) -> Option<Step> {
    let wanted = Wanted::of(site, roster, members, led);
    if wanted.voters.is_empty() {
        return None;
    }
    let is_member = |node: &NodeId| members.iter().any(|member| member.node == *node);
    if let Some(missing) = wanted.voters.iter().chain(&wanted.learners).find(|node| !is_member(node)) {
        return Some(Step::Admit(*missing, roster.members.get(missing)?.address.to_string()));
    }
    let now: BTreeSet<NodeId> = members.iter().filter(|member| member.voter).map(|member| member.node).collect();
    let is_level = |node: &NodeId| *node == own || members.iter().any(|member| member.node == *node && is_level(member));
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
        step(NodeId(own), &"hq".into(), roster, members, Duration::MAX)
    }

    #[test]
    fn copies_stay_where_they_are_and_a_lost_one_is_made_elsewhere() {
        let all = roster(&[(1, "hq"), (2, "plant"), (3, "depot"), (4, "lab"), (5, "store")]);
        let fresh = Wanted::of(&"hq".into(), &all, &members(&[1], &[], &[]), Duration::MAX);
        assert_eq!((fresh.voters, fresh.learners.len()), (set(&[1]), 2));
        for there in [[2, 3], [4, 5], [3, 5]] {
            let kept = Wanted::of(&"hq".into(), &all, &members(&[1], &there, &[]), Duration::MAX);
            assert_eq!(kept.learners, set(&there));
            assert_eq!(next(1, &all, &members(&[1], &there, &[])), None);
        }
        // 3 was removed.
        let fewer = roster(&[(1, "hq"), (2, "plant"), (4, "lab"), (5, "store")]);
        let now = members(&[1], &[2, 3], &[3]);
        let wanted = Wanted::of(&"hq".into(), &fewer, &now, Duration::MAX);
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
        assert_eq!(next(1, &two, &members(&[1], &[2, 3, 4], &[2, 3])), None, "a third voice that is away is none");
        assert_eq!(next(1, &two, &members(&[1], &[2, 3, 4], &[2])), Some(Step::Voters(set(&[1, 3, 4]))), "another one is there");
        assert_eq!(next(1, &two, &members(&[1, 2, 4], &[3], &[2])), Some(Step::Voters(set(&[1, 3, 4]))), "it went silent");
        assert_eq!(next(1, &two, &members(&[1, 2, 4], &[3], &[2, 3])), None);
        let new = step(NodeId(1), &"hq".into(), &two, &members(&[1, 2, 4], &[3], &[2]), Duration::ZERO);
        assert_eq!(new, None, "who has just begun to lead may not have heard it yet");
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
        // Nobody of the building is left: the third voice speaks for it.
        assert_eq!(next(2, &roster(&[(2, "plant"), (3, "depot")]), &members(&[1, 2, 4], &[3], &[1, 4])), Some(Step::Voters(set(&[2]))));
    }

    #[test]
    fn who_votes_alone_and_is_to_go_has_an_heir_that_keeps_the_vote_until_somebody_comes() {
        let all = roster(&[(1, "hq"), (2, "plant"), (3, "depot")]);
        let heir = |roster: &Roster, members: &[Member]| super::heir(NodeId(1), &"hq".into(), roster, members, Duration::from_millis(9));
        assert!(votes_alone(NodeId(1), &members(&[1], &[2, 3], &[])) && !votes_alone(NodeId(1), &members(&[1, 2], &[], &[])));
        assert_eq!(heir(&all, &members(&[1], &[2, 3], &[2])), Some(NodeId(3)), "2 is silent");
        assert_eq!(heir(&all, &members(&[1], &[2, 3], &[2, 3])), None);
        let early = super::heir(NodeId(1), &"hq".into(), &all, &members(&[1], &[2, 3], &[]), Duration::from_millis(8));
        assert_eq!(early, None, "it may have died since it was heard");
        let two = roster(&[(1, "hq"), (2, "plant"), (3, "depot"), (4, "hq")]);
        assert_eq!(heir(&two, &members(&[1], &[2, 3, 4], &[])), Some(NodeId(4)), "one of the building first");
        assert_eq!(heir(&two, &members(&[1], &[2, 9], &[])), Some(NodeId(2)), "9 was removed");

        // 1 was removed, 3 votes: 1 is dismissed, and nothing else is done until 4 comes.
        let without = roster(&[(2, "plant"), (3, "depot")]);
        assert_eq!(next(3, &without, &members(&[3], &[1, 2], &[1])), Some(Step::Dismiss(NodeId(1))));
        assert_eq!(next(3, &without, &members(&[3], &[2], &[])), None);
        let come = roster(&[(2, "plant"), (3, "depot"), (4, "hq")]);
        assert_eq!(next(3, &come, &members(&[3], &[2], &[])), Some(Step::Admit(NodeId(4), "h4:1".into())));
        assert_eq!(next(3, &come, &members(&[3], &[2, 4], &[])), Some(Step::Voters(set(&[3, 4]))));
        assert_eq!(next(3, &come, &members(&[3, 4], &[2], &[])), Some(Step::HandOver));
        assert_eq!(next(4, &come, &members(&[3, 4], &[2], &[])), Some(Step::Voters(set(&[4]))));
    }
}
