//! Brings about what the roster says, step by step: on every gateway the addresses and who is refused; on the leader who takes
//! part in a group and who votes there. Each step is tried again until it is done, whoever leads then.

use super::reach::Silence;
use super::{ALIVE_MS_MAX, LEVEL_LAG_MAX, Members, hand_over, policy};
use crate::consensus::{GroupRef, Member, MemberError, Mesh};
use spalla_shared::engine::roster::{Founder, MemberCommand, Roster};
use spalla_shared::engine::{Command, PassbackCommand};
use spalla_shared::id::NodeId;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks: whether a learner is level shows by nothing else. Also the pause after a step that failed.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub struct Keeper {
    pub members: Members,
    /// The group whose members are kept; the roster stands in `members.group`.
    pub group: GroupRef,
    /// A building that is silent for longer counts as lost.
    pub alone_after: Duration,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Admit(NodeId, String),
    HandOver,
    Voters(BTreeSet<NodeId>),
    Dismiss(NodeId),
}

impl Keeper {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut applied = self.members.group.applied();
        let mut leadership = self.group.leadership();
        let mut known = Roster::default();
        let mut silence = Silence::default();
        let mut refused = Vec::new();
        loop {
            applied.borrow_and_update();
            leadership.borrow_and_update();
            // Not held over a wait: the mesh must be able to end.
            let Some(mesh) = self.members.mesh.upgrade() else { return };
            let roster = self.members.group.state().read().roster.clone();
            if roster != known {
                if let Err(error) = mesh.learn(&roster) {
                    tracing::error!(%error, "an address of the roster cannot be used");
                }
                known = roster.clone();
            }
            if roster.is_removed(self.members.node()) {
                let why = format!("gateway {} was removed from this mesh; it can join again under a new id", self.members.node());
                return self.members.leave(&mesh, why).await;
            }
            if leadership.borrow().is_self {
                self.lead(&mesh, &roster, &mut refused).await;
                self.look_for_lost(&mut silence).await;
            } else {
                silence.forget();
            }
            drop(mesh);
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                changed = leadership.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn lead(&self, mesh: &Arc<Mesh>, roster: &Roster, refused: &mut Vec<Founder>) {
        self.found(roster, refused).await;
        // Without a roster the settings still count.
        if roster.members.is_empty() {
            return;
        }
        let members = self.group.members();
        let Some(step) = step(self.members.node(), roster, &members) else {
            // Those who left have heard of it by now.
            drop(mesh.learn(roster));
            return;
        };
        self.members.carry_out(&self.group, step, &members).await;
    }

    /// Says in the log which buildings cannot be heard.
    async fn look_for_lost(&self, silence: &mut Silence) {
        let members = self.group.members();
        let lost = {
            let state = self.group.state().read();
            silence.lost(self.members.node(), &state, &members, self.alone_after, Instant::now())
        };
        for site in lost {
            tracing::warn!(%site, "the mesh cannot hear this building; areas with anti-passback that it shares are split");
            if let Err(error) = self.group.propose(Command::Passback(PassbackCommand::Lost { site })).await {
                tracing::debug!(%error, "the log does not say yet that the building is lost");
            }
        }
    }

    /// Writes down the gateways of the settings that have no place in the roster yet. Those that were refused once are not asked for again:
    /// the settings are what they are until the next start.
    async fn found(&self, roster: &Roster, refused: &mut Vec<Founder>) {
        // Groups of sites have their roster in the mesh's log.
        if self.group.id() != self.members.group.id() {
            return;
        }
        let configured = &self.members.config.peers.gateways;
        // Else it would count as removed.
        let unnamed = self.group.members().into_iter().find(|member| !configured.iter().any(|gateway| gateway.node == member.node));
        if let Some(unnamed) = unnamed.filter(|_| roster.is_empty()) {
            tracing::error!(node = %unnamed.node, "peers.gateways does not name this member: the list must be the same at every gateway");
            return;
        }
        let new = configured.iter().filter(|gateway| gateway.node > roster.newest);
        let gateways: Vec<Founder> = new
            .map(|gateway| Founder { node: gateway.node, site: gateway.site.clone(), address: gateway.address.as_str().into() })
            .collect();
        if gateways.is_empty() || gateways == *refused {
            return;
        }
        let command = Command::Member(MemberCommand::Found { gateways: gateways.clone() });
        match self.group.propose(command).await.map(|receipt| receipt.reply) {
            Ok(Ok(_)) => {}
            Ok(Err(rejection)) => {
                tracing::error!(reason = %rejection.message, "a gateway of peers.gateways cannot be a member");
                *refused = gateways;
            }
            Err(error) => tracing::debug!(%error, "the members are not in the log yet"),
        }
    }
}

impl Members {
    /// On the leader of `group`. What fails is tried again with the next look.
    pub(super) async fn carry_out(&self, group: &GroupRef, step: Step, members: &[Member]) {
        let (Some(mesh), id) = (self.mesh.upgrade(), group.id()) else { return };
        tracing::info!(group = %id, ?step, "members change");
        let done = match step {
            Step::Admit(node, address) => mesh.admit(id, node, &address).await,
            Step::Voters(voters) => mesh.set_voters(id, &voters).await,
            Step::Dismiss(node) => mesh.dismiss(id, node).await,
            Step::HandOver => match hand_over::successor(self.node(), members) {
                Some(node) => mesh.transfer(id, node).await,
                None => Err(MemberError::Failed("no other voter is level".into())),
            },
        };
        match done {
            Ok(()) => {}
            Err(MemberError::UnderWay | MemberError::NotLeader) => tracing::debug!(group = %id, "the members have not changed yet"),
            Err(error) => tracing::warn!(group = %id, %error, "the members have not changed yet"),
        }
    }
}

/// The next step of the leader `own` towards `roster`.
fn step(own: NodeId, roster: &Roster, members: &[Member]) -> Option<Step> {
    let missing = roster.members.iter().find(|(node, _)| !members.iter().any(|member| member.node == **node));
    if let Some((node, member)) = missing {
        return Some(Step::Admit(*node, member.address.to_string()));
    }
    let now: BTreeSet<NodeId> = members.iter().filter(|member| member.voter).map(|member| member.node).collect();
    let next = policy::next(roster, &now, |node| members.iter().any(|member| member.node == node && is_level(member)));
    if next != now {
        return Some(if next.contains(&own) { Step::Voters(next) } else { Step::HandOver });
    }
    let gone = members.iter().find(|member| !member.voter && roster.is_removed(member.node));
    gone.map(|member| Step::Dismiss(member.node))
}

pub(super) fn is_level(member: &Member) -> bool {
    is_alive(member) && member.lag.is_some_and(|lag| lag <= LEVEL_LAG_MAX)
}

pub(super) fn is_alive(member: &Member) -> bool {
    is_heard_within(member, ALIVE_MS_MAX)
}

pub(super) fn is_heard_within(member: &Member, ms: u64) -> bool {
    member.heard_ms.is_some_and(|heard| heard <= ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spalla_shared::engine::roster::{Duty, Member as Listed};
    use spalla_shared::id::SiteId;
    use spalla_shared::time::Timestamp;

    fn roster(nodes: &[u64]) -> Roster {
        let listed = |node: &u64| {
            let site = SiteId::new(format!("s{node}"));
            (NodeId(*node), Listed { site, address: format!("h{node}:1").into(), duty: Duty::Auto, joined_at: Timestamp(0) })
        };
        Roster { newest: NodeId(9), members: nodes.iter().map(listed).collect(), ..Roster::default() }
    }

    fn member(node: u64, voter: bool, lag: Option<u64>) -> Member {
        Member { node: NodeId(node), voter, address: String::new(), lag, heard_ms: lag.map(|_| 10) }
    }

    #[test]
    fn a_newcomer_is_admitted_and_votes_when_it_is_level() {
        let roster = roster(&[1, 2]);
        let voter = member(1, true, Some(0));
        assert_eq!(step(NodeId(1), &roster, std::slice::from_ref(&voter)), Some(Step::Admit(NodeId(2), "h2:1".into())));
        assert_eq!(step(NodeId(1), &roster, &[voter.clone(), member(2, false, None)]), None);
        assert_eq!(step(NodeId(1), &roster, &[voter.clone(), member(2, false, Some(LEVEL_LAG_MAX + 1))]), None);
        let both = BTreeSet::from([NodeId(1), NodeId(2)]);
        assert_eq!(step(NodeId(1), &roster, &[voter, member(2, false, Some(3))]), Some(Step::Voters(both)));
    }

    #[test]
    fn who_was_removed_loses_its_vote_and_then_its_place_and_a_leader_goes_last() {
        let roster = roster(&[1, 3]);
        let all = |voter| [member(1, true, Some(0)), member(2, voter, None), member(3, true, Some(0))];
        assert_eq!(step(NodeId(1), &roster, &all(true)), Some(Step::Voters(BTreeSet::from([NodeId(1), NodeId(3)]))));
        assert_eq!(step(NodeId(1), &roster, &all(false)), Some(Step::Dismiss(NodeId(2))));
        assert_eq!(step(NodeId(2), &roster, &all(true)), Some(Step::HandOver), "the leader itself");
        assert_eq!(step(NodeId(1), &roster, &[member(1, true, Some(0)), member(3, true, Some(0))]), None);
    }
}
