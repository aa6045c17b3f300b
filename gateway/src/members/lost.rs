//! History that one gateway alone has must not go with it: what the others lack, they fetch from it first (`crate::run::backfill`).

use super::{Members, Refusal};
use crate::history::{Held, Missing, missing_without, tell_missing};
use futures::future::join_all;
use spalla_shared::id::{GroupId, NodeId};
use std::collections::BTreeMap;

impl Members {
    /// What nobody would have without `node`, asked of everybody. A silent one has nothing that could be relied on.
    pub(super) async fn lost_with(&self, node: NodeId) -> BTreeMap<GroupId, Missing> {
        let members = self.group.members();
        let asked = members.iter().map(async |member| (member.node, self.held_by(member.node).await));
        let (goes, left): (Vec<_>, Vec<_>) = join_all(asked).await.into_iter().partition(|(asked, _)| *asked == node);
        let goes = goes.into_iter().find_map(|(_, held)| held);
        let left: Vec<Vec<Held>> = left.into_iter().map(|(_, held)| held.unwrap_or_default()).collect();
        missing_without(goes.as_deref(), &left)
    }

    async fn held_by(&self, node: NodeId) -> Option<Vec<Held>> {
        if node == self.node() { self.history.held().await.ok() } else { self.ask_vitals(node).await?.history }
    }

    /// `works`: it is there to give what it has.
    pub(super) fn refuse_to_lose(&self, node: NodeId, works: bool, lost: &BTreeMap<GroupId, Missing>) -> Result<(), Refusal> {
        if lost.is_empty() {
            return Ok(());
        }
        let name = self.name_of(node);
        let how = if works {
            "the others fetch it: ask again when `spalla mesh status` shows that nobody lacks any".to_owned()
        } else {
            format!("bring {name} back until the others have fetched it, if it has it")
        };
        let why = format!(
            "without {name} no gateway that answers has all of the history ({}); {how}. With --force it is lost",
            tell_missing(lost)
        );
        Err(Refusal::new("conflict", why))
    }
}
