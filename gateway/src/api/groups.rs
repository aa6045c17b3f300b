//! Which group a call is about: `group=mesh`, `group=site:hq`, or `site=hq` for short; else the one that has what is named.

use super::{ApiError, App};
use crate::consensus::GroupRef;
use serde::Deserialize;
use serde_json::{Value, json};
use spalla_shared::engine::State;
use spalla_shared::engine::command::FlowSelector;
use spalla_shared::flow::plan::Scope;
use spalla_shared::id::{GroupId, NodeId, SiteId};
use std::collections::BTreeSet;

#[derive(Clone, Debug, Default, Deserialize)]
pub struct GroupQuery {
    /// `mesh` or `site:<name>`.
    pub group: Option<String>,
    /// A building, for its group.
    pub site: Option<String>,
}

impl GroupQuery {
    pub fn is_empty(&self) -> bool {
        self.group.is_none() && self.site.is_none()
    }

    pub(super) fn id(&self) -> Result<Option<GroupId>, ApiError> {
        match (&self.group, &self.site) {
            (Some(_), Some(_)) => Err(ApiError::invalid("give `group` or `site`, not both")),
            (Some(group), None) => Ok(Some(GroupId::new(group))),
            (None, Some(site)) => Ok(Some(GroupId::of_site(&SiteId::new(site)))),
            (None, None) => Ok(None),
        }
    }
}

impl App {
    /// The group that is asked for; the mesh's where none is.
    pub(super) fn group_of(&self, query: &GroupQuery) -> Result<GroupRef, ApiError> {
        Ok(self.wanted(query)?.unwrap_or_else(|| self.group.clone()))
    }

    /// The groups that are asked for; all that are here where none is.
    pub(super) fn groups_of(&self, query: &GroupQuery) -> Result<Vec<GroupRef>, ApiError> {
        Ok(self.wanted(query)?.map_or_else(|| self.groups(), |group| vec![group]))
    }

    fn wanted(&self, query: &GroupQuery) -> Result<Option<GroupRef>, ApiError> {
        let Some(id) = query.id()? else { return Ok(None) };
        self.here(&id).map(Some)
    }

    pub(super) fn here(&self, id: &GroupId) -> Result<GroupRef, ApiError> {
        if let Some(group) = self.groups().into_iter().find(|group| group.id() == id) {
            return Ok(group);
        }
        let members = &self.group.state().read().roster.members;
        let named = |node: &NodeId| members.get(node).map(|member| GroupId::of_site(&member.site)).as_ref() == Some(id);
        let nodes: Vec<String> = members.keys().filter(|node| named(node)).map(ToString::to_string).collect();
        Err(ApiError::not_found(if nodes.is_empty() {
            let sites: BTreeSet<&SiteId> = members.values().map(|member| &member.site).collect();
            let known: Vec<String> = sites.into_iter().map(|site| GroupId::of_site(site).to_string()).collect();
            format!("there is no group `{id}`; there are mesh, {}", known.join(", "))
        } else {
            format!("group `{id}` has no copy at this gateway; ask gateway {}", nodes.join(" or "))
        }))
    }

    /// All groups that this gateway has a copy of.
    pub(super) fn groups(&self) -> Vec<GroupRef> {
        self.members.mesh.upgrade().map(|mesh| mesh.groups()).unwrap_or_default()
    }

    /// The group in which a flow is started: the mesh's, or this building's for one that lives there.
    pub(super) fn home_of(&self, flow: &FlowSelector) -> Result<GroupRef, ApiError> {
        let lives_in_buildings = {
            let state = self.group.state().read();
            let named = state.plans.iter().filter(|(key, _)| key.namespace == flow.namespace && key.name == flow.name);
            let mut wanted =
                named.filter(|(key, _)| flow.version.as_ref().map_or_else(|| state.current.contains(*key), |v| key.version == *v));
            wanted.any(|(_, plan)| plan.scope == Scope::Site)
        };
        if lives_in_buildings { self.here(&GroupId::of_site(&self.config.site)) } else { Ok(self.group.clone()) }
    }

    /// The group in whose state something stands; the mesh's, where it is in none or `query` names no other.
    pub(super) fn group_with(&self, query: &GroupQuery, has: impl Fn(&State) -> bool) -> Result<GroupRef, ApiError> {
        if let Some(group) = self.wanted(query)? {
            return Ok(group);
        }
        let found = self.groups().into_iter().find(|group| has(&group.state().read()));
        Ok(found.unwrap_or_else(|| self.group.clone()))
    }

    /// One line for each group that is here.
    pub(super) fn group_lines(&self) -> Vec<Value> {
        let line = |group: &GroupRef| {
            let (term, freshness) = (group.leadership().borrow().term, group.freshness());
            let voter = group.members().iter().any(|member| member.node == self.config.node && member.voter);
            let state = group.state().read();
            let owed: usize = state.crossings.owed.values().map(|owed| owed.items.len()).sum();
            json!({
                "group": group.id(), "leader": freshness.leads(), "last_leader": freshness.led(), "term": term, "applied": state.applied, "voter": voter,
                "running": state.instances.len(), "stale": freshness.stale, "leader_seen_ms": freshness.leader_seen_ms,
                "declared_at": state.declared_at, "mirrored": state.beside.as_ref().map(|beside| beside.mirrored), "owes": owed, "mesh_heard_at": state.beside.as_ref().and_then(|beside| beside.heard_at).map(|at| at.to_rfc3339()),
            })
        };
        self.groups().iter().map(line).collect()
    }
}
