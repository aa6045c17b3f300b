//! A gateway taken out of the mesh for good. Refused where those who are left could decide nothing any more.

use super::keeper::is_alive;
use super::patience::Patience;
use super::{CHANGE_TIME_MAX, LOOK_AGAIN, Leads, Members, Refusal, policy};
use crate::consensus::{Member, Mesh};
use serde::{Deserialize, Serialize};
use spalla_shared::engine::Command;
use spalla_shared::engine::roster::MemberCommand;
use spalla_shared::id::{Actor, NodeId};
use std::collections::BTreeSet;
use tokio::time::Instant;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRequest {
    pub node: NodeId,
    /// Also where too few of those who are left are there.
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
        // Whoever asked for it waits a little longer.
        let deadline = Instant::now() + CHANGE_TIME_MAX * 4 / 5;
        let roster = self.group.state().read().roster.clone();
        let members = self.group.members();
        let mut laid_down = None;
        if roster.members.contains_key(&node) {
            let now: BTreeSet<NodeId> = members.iter().filter(|member| member.voter).map(|member| member.node).collect();
            let mut left = roster.clone();
            left.members.remove(&node);
            let voters = policy::next(&left, &now, |candidate| {
                members.iter().any(|member| member.node == candidate && super::keeper::is_level(member))
            });
            self.check_quorum(node, &voters, &members, request.force)?;
            if node == self.node() {
                self.transfer_here(None).await?;
                return Err(Refusal::not_leader());
            }
            // Else it is known to be dead, and is not waited for.
            if members.iter().any(|member| member.node == node && is_alive(member)) {
                laid_down = self.ask_lay_down(node).await;
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
                let alone = (laid_down == Some(false))
                    .then(|| "no copy of its building's group was level: what it decided alone at last is lost with it".to_owned());
                let warnings: Vec<String> = few.into_iter().chain(alone).collect();
                let warning = Some(warnings.join("; ")).filter(|text| !text.is_empty());
                return Ok(Removed { node, voters, done, warning });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Those who vote afterwards must be able to decide.
    fn check_quorum(&self, node: NodeId, voters: &BTreeSet<NodeId>, members: &[Member], force: bool) -> Result<(), Refusal> {
        let voters: Vec<NodeId> = voters.iter().copied().filter(|voter| *voter != node).collect();
        if voters.is_empty() {
            let why = format!("{} is the only one that votes: join another gateway first", self.name_of(node));
            return Err(Refusal::new("conflict", why));
        }
        let there = |voter: &NodeId| *voter == self.node() || members.iter().any(|member| member.node == *voter && is_alive(member));
        let (alive, silent): (Vec<NodeId>, Vec<NodeId>) = voters.iter().partition(|voter| there(voter));
        if force || alive.len() * 2 > voters.len() {
            return Ok(());
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
