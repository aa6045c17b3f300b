//! History that one gateway alone has must not go with it: what the others lack, they fetch from it first (`crate::run::backfill`).

use super::{Members, Refusal};
use crate::history::{Held, Missing, missing_without, tell_missing};
use futures::future::join_all;
use spalla_shared::id::{GroupId, NodeId};
use std::collections::BTreeMap;

/// What nobody would have without one of the gateways.
#[derive(Default)]
pub(super) struct Lost {
    missing: BTreeMap<GroupId, Missing>,
    /// Those who would be left and do not say what they have.
    silent: Vec<NodeId>,
}

impl Lost {
    pub(super) fn warning(&self) -> Option<String> {
        (!self.missing.is_empty()).then(|| format!("history that no other gateway has went with it: {}", tell_missing(&self.missing)))
    }
}

impl Members {
    /// What is here of each group. None: the file cannot be read.
    pub(super) async fn held(&self) -> Option<Vec<Held>> {
        let held = self.history.held().await.inspect_err(|error| tracing::warn!(%error, "history cannot be read"));
        let mut held = held.ok()?;
        // What is applied will be in the file, whatever happens: the log keeps it until then.
        let running = self.mesh.upgrade().map(|mesh| mesh.groups()).unwrap_or_default();
        for held in &mut held {
            let applied = running.iter().find(|group| *group.id() == held.group).map(|group| *group.applied().borrow());
            held.reached = held.reached.max(applied.unwrap_or(0));
        }
        Some(held)
    }

    /// Asks everybody. A silent one has nothing that could be relied on; the one that is to go has everything, if it does not say.
    pub(super) async fn lost_with(&self, node: NodeId) -> Lost {
        let (members, came_up) = {
            let state = self.group.state().read();
            let members: Vec<NodeId> = state.roster.members.keys().copied().collect();
            (members, state.nodes.contains_key(&node))
        };
        let asked = members.into_iter().map(async |member| (member, self.held_by(member).await));
        let (goes, others): (Vec<_>, Vec<_>) = join_all(asked).await.into_iter().partition(|(asked, _)| *asked == node);
        let goes = goes.into_iter().find_map(|(_, held)| held).or_else(|| (!came_up).then(Vec::new));
        let (mut left, mut silent) = (Vec::new(), Vec::new());
        for (other, held) in others {
            match held {
                Some(held) => left.push(held),
                None => silent.push(other),
            }
        }
        // Nobody is left who says anything: that is as one who has nothing.
        if left.is_empty() {
            left.push(Vec::new());
        }
        Lost { missing: missing_without(goes.as_deref(), &left), silent }
    }

    async fn held_by(&self, node: NodeId) -> Option<Vec<Held>> {
        if node == self.node() { self.held().await } else { self.ask_held(node).await }
    }

    /// `works`: the one that is to go is there to give what it has.
    pub(super) fn refuse_to_lose(&self, node: NodeId, works: bool, lost: &Lost) -> Result<(), Refusal> {
        if lost.missing.is_empty() {
            return Ok(());
        }
        let name = self.name_of(node);
        let mut why = format!("without {name} no gateway that answers would have this history: {}", tell_missing(&lost.missing));
        if !lost.silent.is_empty() {
            let names: Vec<String> = lost.silent.iter().map(|silent| self.name_of(*silent)).collect();
            why.push_str(&format!("; {} may have it and does not say: bring it back or upgrade it", names.join(", ")));
        } else if works {
            why.push_str("; the others fetch what they can: ask again when `spalla mesh status` shows them with it");
        } else {
            why.push_str(&format!("; bring {name} back until the others have fetched it, if it has it"));
        }
        let abandoned = self.abandoned(lost);
        if !abandoned.is_empty() {
            why.push_str(&format!(
                "; there is no gateway at {} any more, so nobody fetches its history: `spalla backup` keeps it",
                abandoned.join(", ")
            ));
        }
        why.push_str(". With --force it is lost");
        Err(Refusal::new("conflict", why))
    }

    /// Buildings without a gateway: nobody gets a copy of their groups any more.
    fn abandoned(&self, lost: &Lost) -> Vec<String> {
        let state = self.group.state().read();
        let is_there = |site| state.roster.members.values().any(|member| member.site == site);
        lost.missing.keys().filter_map(GroupId::site).filter(|site| !is_there(site.clone())).map(|site| site.to_string()).collect()
    }
}
