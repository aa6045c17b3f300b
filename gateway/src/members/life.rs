//! Buildings whose group has nobody left that can decide: their only gateway was replaced, or most of those who voted were removed, or
//! they are new in the mesh. The leader of the mesh says in the log who goes on, and from whose copy; that gateway then does it.
//!
//! ```text
//! leader of the mesh:  standings of all gateways -> nobody can decide -> Begin (log)
//! the maker it names:  its copy -> the founder, until that one stands in the new life
//! ```
//! Never while a gateway that may still decide there is only silent: that is for an operator to say, with `mesh remove`.

use super::Members;
use crate::consensus::{Gateway, Mesh, Standing};
use spalla_shared::engine::Command;
use spalla_shared::engine::life::Life;
use spalla_shared::engine::roster::{MemberCommand, Roster};
use spalla_shared::engine::semantics::LIVES;
use spalla_shared::id::{GroupId, NodeId, SiteId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Between two looks, while something is to be done; longer and longer while gateways are silent.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// For a gateway to say how its groups stand.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

pub struct Midwife {
    pub members: Members,
}

/// What each gateway has of buildings' groups; nothing where it does not answer.
type Standings = BTreeMap<NodeId, Option<Vec<Standing>>>;

impl Midwife {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let (mut applied, mut leadership) = (self.members.group.applied(), self.members.group.leadership());
        // At this roster every building's group could decide.
        let mut well = None;
        let mut begun: BTreeMap<SiteId, u64> = BTreeMap::new();
        let (mut seen, mut pause) = (Roster::default(), LOOK_AGAIN);
        loop {
            let (roster, semantics) = {
                let state = self.members.group.state().read();
                (state.roster.clone(), state.semantics)
            };
            // Not held over the wait: the mesh must be able to end.
            let Some(mesh) = self.members.mesh.upgrade() else { return };
            if !leadership.borrow_and_update().is_self {
                well = None;
            } else if semantics >= LIVES && well.as_ref() != Some(&roster) {
                well = self.look(&mesh, &roster).await.then(|| roster.clone());
            }
            self.make(&mesh, &roster, &mut begun).await;
            drop(mesh);
            pause = if roster == seen { PAUSE_MAX.min(pause * 2) } else { LOOK_AGAIN };
            seen = roster;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = applied.wait_for(|_| self.members.group.state().read().roster != seen) => if changed.is_err() { return },
                changed = leadership.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Whether every building's group can decide, or only waits for gateways that are silent.
    async fn look(&self, mesh: &Mesh, roster: &Roster) -> bool {
        let asked = roster.members.keys().map(|node| async move { (*node, mesh.standings_at(*node, ANSWER_TIME_MAX).await) });
        let standings: Standings = futures::future::join_all(asked).await.into_iter().collect();
        let sites: BTreeSet<&SiteId> = roster.members.values().map(|member| &member.site).collect();
        let mut well = true;
        for site in sites {
            match verdict(site, roster, &standings) {
                // One that is silent may know better.
                Verdict::Lives => well &= is_heard(site, roster, &standings),
                Verdict::Waits => well = false,
                Verdict::Begin(life) => {
                    well = false;
                    tracing::warn!(%site, life = life.number, founder = %life.founder, from = ?life.from.map(|node| node.0),
                        "nobody who is left can decide in this building's group; it begins again");
                    let command = Command::Member(MemberCommand::Begin { site: site.clone(), life });
                    match self.members.group.propose(command).await.map(|receipt| receipt.reply) {
                        Ok(Ok(_)) => {}
                        Ok(Err(rejection)) => tracing::warn!(%site, reason = %rejection.message, "the group does not begin again"),
                        Err(error) => tracing::debug!(%site, %error, "the group does not begin again yet"),
                    }
                }
            }
        }
        well
    }

    /// What the log names this gateway for, until the founders stand in it.
    async fn make(&self, mesh: &Arc<Mesh>, roster: &Roster, begun: &mut BTreeMap<SiteId, u64>) {
        for (site, life) in roster.lives.iter().filter(|(_, life)| life.maker() == self.members.node()) {
            let founder = roster.members.get(&life.founder).filter(|_| begun.get(site).is_none_or(|number| *number < life.number));
            let Some(founder) = founder else { continue };
            let group = GroupId::of_site(site);
            // Its own copy follows that life once it is there, whatever the founder has come to since.
            let mut heard = Vec::new();
            for node in [self.members.node(), life.founder] {
                heard.push(mesh.standings_at(node, ANSWER_TIME_MAX).await);
            }
            let Some(heard) = heard.into_iter().collect::<Option<Vec<_>>>() else { continue };
            if heard.iter().flatten().any(|standing| standing.group == group && standing.life >= life.number) {
                begun.insert(site.clone(), life.number);
                continue;
            }
            let founder = Gateway { node: life.founder, site: site.clone(), address: founder.address.to_string() };
            // As it stands now, with that life in its roster.
            let of_mesh = self.members.group.state().read().clone();
            let (number, first) = (life.number, life.clone());
            let made = mesh.begin_life(
                &group,
                life.number,
                &founder,
                life.from.is_some(),
                |known| first.first_index(known),
                move |state, index| state.begin_life(number, index, &of_mesh),
            );
            if let Err(error) = made.await {
                tracing::warn!(%group, founder = %founder.node, %error, "the building's group has not begun again yet");
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Enough of those who vote there belong to the mesh.
    Lives,
    /// For what the log says already, or for gateways that do not answer.
    Waits,
    Begin(Life),
}

/// All gateways of a building answered.
fn is_heard(site: &SiteId, roster: &Roster, standings: &Standings) -> bool {
    let own = roster.members.iter().filter(|(_, member)| member.site == *site);
    own.map(|(node, _)| node).all(|node| standings.get(node).is_some_and(Option::is_some))
}

fn verdict(site: &SiteId, roster: &Roster, standings: &Standings) -> Verdict {
    let group = GroupId::of_site(site);
    let known = roster.lives.get(site);
    let of =
        |node: &NodeId| standings.get(node)?.as_ref()?.iter().find(|standing| standing.group == group).map(|standing| (*node, standing));
    let is_own = |node: &NodeId| roster.members.get(node).is_some_and(|member| member.site == *site);
    // Of equal ones, one that is in the building.
    let best = roster.members.keys().filter_map(of).max_by_key(|(node, standing)| (standing.age(), is_own(node), std::cmp::Reverse(*node)));
    let (number, newest) = (known.map_or(0, |life| life.number), best.map_or(0, |(_, standing)| standing.life));
    if let Some((_, standing)) = best.filter(|(_, standing)| standing.life >= number || known.is_some_and(|life| life.number == 1)) {
        if standing.voters.iter().all(|voters| roster.decides(voters)) {
            return Verdict::Lives;
        }
    } else if let Some(life) = known.filter(|life| life.number > newest) {
        let both_there = roster.members.contains_key(&life.founder) && roster.members.contains_key(&life.maker());
        if both_there {
            return Verdict::Waits;
        }
    }
    // It still has a quorum, of those who were removed: it takes their votes away itself.
    if standings.values().flatten().flatten().any(|standing| standing.group == group && standing.leads) {
        return Verdict::Waits;
    }
    let own: Vec<&NodeId> = roster.members.keys().filter(|node| is_own(node)).collect();
    let silent = |node: &&NodeId| standings.get(node).is_none_or(Option::is_none);
    // One that is silent may vote where nobody has heard of it yet; and where no copy is found, any of them may have one.
    if own.iter().any(silent) || best.is_none() && roster.members.keys().any(|node| silent(&node)) {
        return Verdict::Waits;
    }
    let with_copy = own.iter().filter_map(|node| of(node)).max_by_key(|(node, standing)| (standing.age(), std::cmp::Reverse(*node)));
    let founder = with_copy.map(|(node, _)| node).or_else(|| own.first().map(|node| **node));
    founder.map_or(Verdict::Waits, |founder| {
        // One that has never begun again is in its first life.
        let before = number.max(newest).max(u64::from(best.is_some()));
        Verdict::Begin(Life { number: before + 1, founder, from: best.map(|(node, _)| node) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use spalla_shared::engine::roster::{Duty, Member};
    use spalla_shared::time::Timestamp;

    fn roster(gateways: &[(u64, &str)], lives: &[(&str, u64, u64, Option<u64>)]) -> Roster {
        let listed = |(node, site): &(u64, &str)| {
            let address = format!("h{node}:1").into();
            (NodeId(*node), Member { site: SiteId::new(site), address, duty: Duty::Auto, joined_at: Timestamp(0) })
        };
        let life = |(site, number, founder, from): &(&str, u64, u64, Option<u64>)| (SiteId::new(site), life(*number, *founder, *from));
        Roster {
            newest: NodeId(99),
            members: gateways.iter().map(listed).collect(),
            lives: lives.iter().map(life).collect(),
            ..Roster::default()
        }
    }

    fn life(number: u64, founder: u64, from: Option<u64>) -> Life {
        Life { number, founder: NodeId(founder), from: from.map(NodeId) }
    }

    /// What gateways have of the group of `depot`: (gateway, life, index, voters). Those without voters answer that they have nothing.
    fn standings(of: &[(u64, u64, u64, &[u64])]) -> Standings {
        let one = |(node, life, index, voters): &(u64, u64, u64, &[u64])| {
            let voters: BTreeSet<NodeId> = voters.iter().copied().map(NodeId).collect();
            let nothing = voters.is_empty();
            let standing =
                Standing { group: GroupId::new("site:depot"), life: *life, term: 1, index: *index, voters: vec![voters], leads: false };
            (NodeId(*node), Some(if nothing { Vec::new() } else { vec![standing] }))
        };
        of.iter().map(one).collect()
    }

    fn of_depot(roster: &Roster, standings: &Standings) -> Verdict {
        verdict(&"depot".into(), roster, standings)
    }

    #[test]
    fn a_group_lives_while_most_of_its_voters_belong_to_the_mesh_whether_they_answer_or_not() {
        let all = roster(&[(1, "hq"), (2, "plant"), (3, "depot")], &[]);
        assert_eq!(of_depot(&all, &standings(&[(1, 0, 9, &[3]), (2, 0, 9, &[3])])), Verdict::Lives, "3 is silent");
        let two = roster(&[(1, "hq"), (2, "plant"), (4, "depot")], &[("depot", 1, 3, None)]);
        assert_eq!(of_depot(&two, &standings(&[(1, 0, 9, &[3, 4, 1]), (2, 0, 9, &[3, 4, 1]), (4, 0, 9, &[3, 4, 1])])), Verdict::Lives);
    }

    #[test]
    fn a_replaced_gateway_goes_on_from_the_newest_copy() {
        let replaced = roster(&[(1, "hq"), (2, "plant"), (4, "depot")], &[("depot", 1, 3, None)]);
        let heard = standings(&[(1, 0, 9, &[3]), (2, 0, 12, &[3]), (4, 0, 0, &[])]);
        assert_eq!(of_depot(&replaced, &heard), Verdict::Begin(life(2, 4, Some(2))));
        let mut silent = heard.clone();
        silent.insert(NodeId(4), None);
        assert_eq!(of_depot(&replaced, &silent), Verdict::Waits, "the new one may have been given a vote meanwhile");
        silent.insert(NodeId(4), Some(Vec::new()));
        silent.insert(NodeId(2), None);
        assert_eq!(of_depot(&replaced, &silent), Verdict::Begin(life(2, 4, Some(1))), "a copy is at hand");
        silent.insert(NodeId(1), None);
        assert_eq!(of_depot(&replaced, &silent), Verdict::Waits, "who is silent may have one");
    }

    #[test]
    fn what_the_log_says_is_waited_for_and_said_again_only_when_it_cannot_be_done() {
        let said = [("depot", 2, 4, Some(2))];
        let heard = standings(&[(1, 0, 9, &[3]), (2, 0, 12, &[3]), (4, 0, 0, &[])]);
        assert_eq!(of_depot(&roster(&[(1, "hq"), (2, "plant"), (4, "depot")], &said), &heard), Verdict::Waits);
        let done = standings(&[(1, 0, 9, &[3]), (2, 0, 12, &[3]), (4, 2, 1 << 33, &[4])]);
        assert_eq!(of_depot(&roster(&[(1, "hq"), (2, "plant"), (4, "depot")], &said), &done), Verdict::Lives);
        let gone = roster(&[(1, "hq"), (4, "depot")], &said);
        assert_eq!(of_depot(&gone, &standings(&[(1, 0, 9, &[3]), (4, 0, 0, &[])])), Verdict::Begin(life(3, 4, Some(1))));
    }

    #[test]
    fn a_new_building_begins_with_nothing_once_everybody_said_that_there_is_nothing() {
        let new = roster(&[(1, "hq"), (2, "plant"), (4, "depot")], &[]);
        let nothing = standings(&[(1, 0, 0, &[]), (2, 0, 0, &[]), (4, 0, 0, &[])]);
        assert_eq!(of_depot(&new, &nothing), Verdict::Begin(life(1, 4, None)));
        assert_eq!(of_depot(&new, &standings(&[(1, 0, 0, &[]), (4, 0, 0, &[])])), Verdict::Waits);
        let lost = roster(&[(1, "hq"), (2, "plant"), (4, "depot")], &[("depot", 1, 3, None)]);
        assert_eq!(of_depot(&lost, &nothing), Verdict::Begin(life(2, 4, None)), "it was there, and every copy is lost");
    }

    #[test]
    fn who_votes_is_changing_and_every_side_must_be_able_to_decide() {
        let left = roster(&[(1, "hq"), (2, "plant"), (4, "depot")], &[("depot", 1, 3, None)]);
        let mut heard = standings(&[(1, 0, 9, &[3]), (2, 0, 8, &[3]), (4, 0, 9, &[3, 4, 1])]);
        assert_eq!(of_depot(&left, &heard), Verdict::Lives);
        // 3, which voted alone, was lost before all had agreed on the others.
        let standing = heard.get_mut(&NodeId(4)).unwrap().as_mut().unwrap().first_mut().unwrap();
        standing.voters.insert(0, BTreeSet::from([NodeId(3)]));
        assert_eq!(of_depot(&left, &heard), Verdict::Begin(life(2, 4, Some(4))));
        heard.get_mut(&NodeId(4)).unwrap().as_mut().unwrap()[0].leads = true;
        assert_eq!(of_depot(&left, &heard), Verdict::Waits, "it has a quorum yet, and acknowledges");
    }

    #[test]
    fn of_two_that_vote_no_more_than_one_is_left_and_it_goes_on_from_itself() {
        let left = roster(&[(1, "hq"), (2, "plant"), (4, "depot")], &[("depot", 1, 3, None)]);
        // 3 and the third voice 5 were removed.
        let heard = standings(&[(1, 0, 9, &[3, 4, 5]), (2, 0, 8, &[3, 4, 5]), (4, 0, 9, &[3, 4, 5])]);
        assert_eq!(of_depot(&left, &heard), Verdict::Begin(life(2, 4, Some(4))));
    }
}
