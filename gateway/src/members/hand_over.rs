//! Leadership handed to another gateway on purpose: the next one asks for votes at once, and nobody waits for a silence to be
//! noticed.

use super::keeper::is_level;
use super::patience::Patience;
use super::{Leads, Members, Refusal};
use crate::consensus::Member;
use serde::{Deserialize, Serialize};
use spalla_shared::id::NodeId;
use std::time::Duration;
use tokio::time::Instant;

/// For the next leader to be there. One that is level takes two round trips and a sync.
const TAKE_OVER_TIME_MAX: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedOver {
    pub from: NodeId,
    pub to: NodeId,
    pub took_ms: u64,
}

/// The voter that lacks least, of those that are there.
pub fn successor(own: NodeId, members: &[Member]) -> Option<NodeId> {
    let fit = members.iter().filter(|member| member.voter && member.node != own && is_level(member));
    fit.min_by_key(|member| (member.lag, member.heard_ms)).map(|member| member.node)
}

impl Members {
    /// To `to`, or to the fittest. Asks the leader, wherever it is.
    pub async fn transfer(&self, to: Option<NodeId>) -> Result<HandedOver, Refusal> {
        let mut patience = Patience::from(Instant::now());
        loop {
            let leads = self.who_leads().await;
            let answer = match leads {
                Leads::Here => self.transfer_here(to).await,
                Leads::There(leader) => self.ask_transfer(leader, to).await,
                Leads::Nobody => Err(Refusal::not_leader()),
            };
            match answer {
                Err(refusal) if refusal.is_not_leader() => {
                    if !patience.again(leads != Leads::Nobody).await {
                        return Err(Refusal::new("no-quorum", "no gateway leads, so none can hand over: look at `spalla mesh status`"));
                    }
                }
                answer => return answer,
            }
        }
    }

    pub(super) async fn transfer_here(&self, to: Option<NodeId>) -> Result<HandedOver, Refusal> {
        let own = self.node();
        let members = self.group.members();
        let to = match to {
            Some(to) => self.check_successor(to, &members)?,
            None => successor(own, &members).ok_or_else(|| Refusal::new("conflict", "no other voter is there and level"))?,
        };
        let mut leadership = self.group.leadership();
        if !leadership.borrow_and_update().is_self {
            return Err(Refusal::not_leader());
        }
        let begun = Instant::now();
        self.mesh()?.transfer(self.group.id(), to).await?;
        let taken = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != own));
        let leader = match tokio::time::timeout(TAKE_OVER_TIME_MAX, taken).await {
            Ok(Ok(now)) => now.leader.unwrap_or(to),
            _ => return Err(Refusal::new("failed", format!("{} did not take over in time", self.name_of(to)))),
        };
        Ok(HandedOver { from: own, to: leader, took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX) })
    }

    /// Before this gateway goes down. Where nobody can take over, the others elect one when they miss it.
    pub async fn step_back(&self) {
        if !self.leadership().is_self || successor(self.node(), &self.group.members()).is_none() {
            return;
        }
        match self.transfer_here(None).await {
            Ok(done) => tracing::info!(to = %done.to, took_ms = done.took_ms, "leadership handed over"),
            Err(refusal) => tracing::info!(why = %refusal, "leadership not handed over; the others will elect a leader"),
        }
    }

    fn check_successor(&self, to: NodeId, members: &[Member]) -> Result<NodeId, Refusal> {
        let name = self.name_of(to);
        let Some(member) = members.iter().find(|member| member.node == to) else {
            return Err(Refusal::new("not-found", format!("gateway {to} is no member of this mesh")));
        };
        if to == self.node() {
            return Err(Refusal::new("conflict", format!("{name} leads already")));
        }
        if !member.voter {
            return Err(Refusal::new("conflict", format!("{name} learns and does not vote, so it cannot lead")));
        }
        if !is_level(member) {
            return Err(Refusal::new("conflict", format!("{name} is not level: {}", super::words::progress(member.lag, member.heard_ms))));
        }
        Ok(to)
    }
}
