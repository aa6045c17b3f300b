//! A gateway taken out of the mesh for good. Refused where those who are left could decide nothing any more, or would lack history.

use super::keeper::{is_alive, is_level};
use super::lost::Lost;
use super::patience::Patience;
use super::{CHANGE_TIME_MAX, CONNECT_WAIT, LOOK_AGAIN, Leads, Members, Refusal, policy};
use crate::consensus::Mesh;
use serde::{Deserialize, Serialize};
use spalla_shared::engine::Command;
use spalla_shared::engine::roster::MemberCommand;
use spalla_shared::id::{Actor, NodeId};
use std::collections::BTreeSet;
use tokio::time::Instant;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRequest {
    pub node: NodeId,
    /// Also where too few of those who are left are there, or history is lost.
    pub force: bool,
    pub by: Actor,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    pub node: NodeId,
    pub voters: Vec<NodeId>,
    /// It has left all groups; else that is still under way.
    pub done: bool,
    /// What the operator should know of the mesh as it is now.
    pub warning: Option<String>,
}

impl Members {
    /// Asks the leader, wherever it is; a leader that is to go hands over first.
    pub async fn remove(&self, request: &RemoveRequest) -> Result<Removed, Refusal> {
        let _under_way = self.removing.read().await;
        let mut patience = Patience::from(Instant::now());
        loop {
            let leads = self.who_leads().await;
            let answer = match leads {
                Leads::Here => self.remove_here(request).await,
                Leads::There(leader) => self.ask_remove(leader, request).await,
                Leads::Nobody => Err(Refusal::not_leader()),
            };
            match answer {
                // Their refusal is the answer. Whether the groups have let go is for them to know.
                Err(_) if request.node == self.node() && self.is_cast_out() => {
                    let members = self.group.members();
                    let voters = members.iter().filter(|member| member.voter && member.node != request.node).map(|member| member.node);
                    return Ok(Removed { node: request.node, voters: voters.collect(), done: false, warning: None });
                }
                Err(refusal) if refusal.is_not_leader() => {
                    if patience.again(leads != Leads::Nobody).await {
                        continue;
                    }
                    let how = "no gateway leads; when the others are gone for good, `spalla recover` begins again from one that is left";
                    return Err(Refusal::new("no-quorum", how));
                }
                answer => return answer,
            }
        }
    }

    /// Runs until another gateway says that this one was removed; then this one stops.
    pub async fn heed_others(self) {
        // Not held over the wait: the mesh must be able to end.
        let Some(mut cast_out) = self.mesh.upgrade().map(|mesh| mesh.cast_out()) else { return };
        let Ok(why) = cast_out.wait_for(Option::is_some).await.map(|why| why.clone().unwrap_or_default()) else { return };
        if let Some(mesh) = self.mesh.upgrade() {
            self.leave(&mesh, why).await;
        }
    }

    /// Whoever asked here for this gateway's removal hears that it is done before it stops.
    pub(super) async fn leave(&self, mesh: &Mesh, why: String) {
        let _answered = tokio::time::timeout(CHANGE_TIME_MAX, self.removing.write()).await;
        mesh.fail(why);
    }

    /// The others refuse to hear this gateway any more: they have removed it.
    fn is_cast_out(&self) -> bool {
        self.mesh.upgrade().is_some_and(|mesh| mesh.cast_out().borrow().is_some())
    }

    pub(super) async fn remove_here(&self, request: &RemoveRequest) -> Result<Removed, Refusal> {
        let node = request.node;
        let _alone = self.one_at_a_time.lock().await;
        // Whoever asked for it waits a little longer.
        let deadline = Instant::now() + CHANGE_TIME_MAX * 4 / 5;
        let mut loses = false;
        let mut lost = Lost::default();
        if self.check_quorum(node, request.force)? {
            let works = self.may_work(node).await;
            lost = self.check_history(node, works, request.force).await?;
            if node == self.node() {
                self.transfer_here(None).await?;
                return Err(Refusal::not_leader());
            }
            if works {
                loses = self.ask_lay_down(node).await != Some(true);
                // That took its time. Another leader keeps removals apart by itself.
                if !self.leadership().is_self {
                    return Err(Refusal::not_leader());
                }
                self.check_quorum(node, request.force)?;
                lost = self.check_history(node, works, request.force).await?;
            }
        }
        let command = Command::Member(MemberCommand::Remove { node, by: request.by.clone() });
        self.group.propose(command).await?.reply?;
        loop {
            let members = self.group.members();
            let done = !members.iter().any(|member| member.node == node);
            if done || Instant::now() > deadline || !self.leadership().is_self {
                let voters: Vec<NodeId> = members.iter().filter(|member| member.voter).map(|member| member.node).collect();
                let few = voters.len().is_multiple_of(2).then(|| {
                    format!("{} voters are left: one more gateway elsewhere, a witness, lets the mesh lose one more", voters.len())
                });
                let last = loses.then(|| {
                    "it did not say in time that all it decided in its building is known elsewhere: the last of it may be lost".to_owned()
                });
                let warnings: Vec<String> = few.into_iter().chain(last).chain(lost.warning()).collect();
                let warning = Some(warnings.join("; ")).filter(|text| !text.is_empty());
                return Ok(Removed { node, voters, done, warning });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn check_history(&self, node: NodeId, works: bool, force: bool) -> Result<Lost, Refusal> {
        let lost = self.lost_with(node).await;
        if !force {
            self.refuse_to_lose(node, works, &lost)?;
        }
        Ok(lost)
    }

    /// Else it is known to be dead, and is not waited for.
    async fn may_work(&self, node: NodeId) -> bool {
        let member = self.group.members().into_iter().find(|member| member.node == node);
        match (member, self.mesh.upgrade()) {
            (Some(member), _) if member.heard_ms.is_some() => is_alive(&member),
            // One that leads since a moment has heard nobody.
            (Some(_), Some(mesh)) => mesh.reaches(node, CONNECT_WAIT).await,
            _ => false,
        }
    }

    /// Those who vote afterwards must be able to decide. Says whether `node` is there to be removed.
    fn check_quorum(&self, node: NodeId, force: bool) -> Result<bool, Refusal> {
        let mut left = self.group.state().read().roster.clone();
        if left.members.remove(&node).is_none() {
            return Ok(false);
        }
        let members = self.group.members();
        let now: BTreeSet<NodeId> = members.iter().filter(|member| member.voter).map(|member| member.node).collect();
        let is_level = |candidate| members.iter().any(|member| member.node == candidate && is_level(member));
        let voters = policy::next(&left, &now, is_level);
        let voters: Vec<NodeId> = voters.iter().copied().filter(|voter| *voter != node).collect();
        if voters.is_empty() {
            let why = format!("{} is the only one that votes: join another gateway first", self.name_of(node));
            return Err(Refusal::new("conflict", why));
        }
        let there = |voter: &NodeId| *voter == self.node() || members.iter().any(|member| member.node == *voter && is_alive(member));
        let (alive, silent): (Vec<NodeId>, Vec<NodeId>) = voters.iter().partition(|voter| there(voter));
        if force || alive.len() * 2 > voters.len() {
            return Ok(true);
        }
        let names: Vec<String> = silent.iter().map(|silent| self.name_of(*silent)).collect();
        let why = format!(
            "without {} only {} of {} voters would be there ({} silent), and they could decide nothing; \
             bring it back or remove it first. With --force it is done all the same",
            self.name_of(node),
            alive.len(),
            voters.len(),
            match names.as_slice() {
                [one] => format!("{one} is"),
                many => format!("{} are", many.join(", ")),
            }
        );
        Err(Refusal::new("conflict", why))
    }
}
