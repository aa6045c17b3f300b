//! Who belongs to the mesh: the gateways, the ids that were ever given, and the invitations that are still open.
//!
//! ```text
//! invite -> join: a new id -> (learner, voter: decided by the leader from this roster) -> remove: that id never comes back
//! ```
//! An id is given once. So whoever shows an id that was given and stands for no member any more was removed, and no list of
//! removed ones is needed. Says nothing of who votes now: that is agreement's own business.

use super::command::{Accepted, Rejection, Reply};
use super::context::Context;
use super::crossing;
use super::life::{self, Life};
use super::semantics::LIVES;
use super::{attachment, outbox};
use crate::id::{Actor, NodeId, SiteId};
use crate::time::Timestamp;
use crate::topic::is_level;
use crate::value::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Gateways of one mesh: the leader sends heartbeats to each.
pub const MEMBERS_MAX: usize = 64;
/// Open invitations: one for each gateway that is being set up, and room for those that were forgotten.
pub const INVITATIONS_MAX: usize = 32;
/// An invitation is a key to the mesh; one that lies about for longer is found by somebody else.
pub const INVITATION_MS_MAX: u64 = 7 * 86_400_000;
/// Of an address, characters: a host name has at most 253.
const ADDRESS_LEN_MAX: usize = 300;

/// What stands in the state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// How often the mesh was begun again from one gateway or from a backup.
    #[serde(default)]
    pub epoch: u64,
    /// The newest id ever given.
    pub newest: NodeId,
    pub members: BTreeMap<NodeId, Member>,
    /// By the SHA-256 of the token, lower-case hex: whoever reads the log or a backup cannot join by it.
    #[serde(default)]
    pub invitations: BTreeMap<Arc<str>, Invitation>,
    /// Buildings whose groups began again, or whose gateways were removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lives: BTreeMap<SiteId, Life>,
}

impl Roster {
    /// Most of those who vote belong to the mesh.
    pub fn decides(&self, voters: &BTreeSet<NodeId>) -> bool {
        let left = voters.iter().filter(|voter| self.members.contains_key(voter)).count();
        left * 2 > voters.len()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub site: SiteId,
    /// host:port of its mesh listener.
    pub address: Arc<str>,
    pub duty: Duty,
    pub joined_at: Timestamp,
}

/// Whether a gateway votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Duty {
    /// One gateway of each site does, for up to five sites.
    #[default]
    Auto,
    Voter,
    Learner,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Where the gateway must be; anywhere where it is absent.
    pub site: Option<SiteId>,
    pub duty: Duty,
    pub lapses_at: Timestamp,
    pub by: Actor,
}

/// A gateway of the settings files with which a mesh begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founder {
    pub node: NodeId,
    pub site: SiteId,
    pub address: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MemberCommand {
    /// The leader's settings name these gateways. Those with ids that were given before are passed over.
    Found {
        gateways: Vec<Founder>,
    },
    /// `token`: SHA-256 of the secret, lower-case hex.
    Invite {
        token: Arc<str>,
        site: Option<SiteId>,
        duty: Duty,
        until: Timestamp,
        by: Actor,
    },
    /// Uses an invitation up and gives the next id.
    Join {
        token: Arc<str>,
        site: SiteId,
        address: Arc<str>,
    },
    Remove {
        node: NodeId,
        by: Actor,
    },
    /// `node` begins the mesh again, alone, from what it has: all others are removed, and nothing that was on its way counts any more.
    Recover {
        node: NodeId,
        site: SiteId,
        address: Arc<str>,
        reason: Arc<str>,
        by: Actor,
        /// The buildings' groups begin anew as well: what they owed, and were owed, is of no use to them. Older logs know it.
        #[serde(default)]
        buildings_anew: bool,
    },
    /// Nobody who is left can decide in the building's group: it goes on as this says. Semantics [`LIVES`].
    Begin {
        site: SiteId,
        life: Life,
    },
}

impl Roster {
    /// Nothing is written yet: the settings files say who is there.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Once a member (or an id that was skipped), and never again.
    pub fn is_removed(&self, node: NodeId) -> bool {
        node <= self.newest && !self.members.contains_key(&node)
    }

    fn has_address(&self, address: &str) -> bool {
        self.members.values().any(|member| *member.address == *address)
    }
}

/// Refused: `invalid`, `limit`, `conflict`, `not-found`, `forbidden` (no such invitation, or it has lapsed).
pub(super) fn act(context: &mut Context, command: &MemberCommand) -> Reply {
    match command {
        MemberCommand::Found { gateways } => found(context, gateways),
        MemberCommand::Invite { token, site, duty, until, by } => {
            let invitation = Invitation { site: site.clone(), duty: *duty, lapses_at: *until, by: by.clone() };
            invite(context, token, invitation)
        }
        MemberCommand::Join { token, site, address } => join(context, token, site, address),
        MemberCommand::Remove { node, by } => remove(context, *node, by),
        MemberCommand::Recover { node, site, address, reason, by, buildings_anew } => {
            let member = Member { site: site.clone(), address: address.clone(), duty: Duty::Auto, joined_at: context.now };
            let reply = recover(context, *node, member, reason, by)?;
            crossing::begin_again(context.state, *buildings_anew);
            Ok(reply)
        }
        MemberCommand::Begin { site, life } => life::begin(context, site, life),
    }
}

fn found(context: &mut Context, gateways: &[Founder]) -> Reply {
    let now = context.now;
    let roster = &mut context.state.roster;
    let newest = roster.newest;
    let mut changed = false;
    for Founder { node, site, address } in gateways.iter().filter(|founder| founder.node > newest) {
        check_place(site, address)?;
        if roster.members.len() >= MEMBERS_MAX {
            return Err(full());
        }
        let member = Member { site: site.clone(), address: address.clone(), duty: Duty::Auto, joined_at: now };
        roster.members.insert(*node, member);
        roster.newest = roster.newest.max(*node);
        changed = true;
    }
    Ok(if changed { Accepted::Nothing } else { Accepted::Duplicate })
}

fn invite(context: &mut Context, token: &Arc<str>, invitation: Invitation) -> Reply {
    let now = context.now;
    drop_lapsed(context);
    let is_hash = token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let lasts_ms = invitation.lapses_at.millis().saturating_sub(now.millis());
    if !is_hash || lasts_ms <= 0 || u64::try_from(lasts_ms).unwrap_or(0) > INVITATION_MS_MAX {
        let days = INVITATION_MS_MAX / 86_400_000;
        return Err(Rejection::new("invalid", format!("an invitation lasts from now on for at most {days} days")));
    }
    if let Some(site) = &invitation.site
        && !is_level(site.as_str())
    {
        return Err(Rejection::new("invalid", format!("site `{site}` cannot stand in a topic")));
    }
    let roster = &mut context.state.roster;
    if roster.invitations.contains_key(token) {
        return Ok(Accepted::Duplicate);
    }
    if roster.invitations.len() >= INVITATIONS_MAX {
        return Err(Rejection::new("limit", format!("{INVITATIONS_MAX} invitations are open; each is used once, or lapses")));
    }
    let data = Value::object([
        ("site", invitation.site.as_ref().map_or(Value::Null, |site| Value::from(site.as_str()))),
        ("until", Value::Int(invitation.lapses_at.millis())),
    ]);
    let by = invitation.by.clone();
    roster.invitations.insert(token.clone(), invitation);
    // The beginning of the hash tells invitations apart and opens nothing.
    context.audit(by, "mesh.invited", token.get(..12).unwrap_or_default(), data);
    Ok(Accepted::Nothing)
}

fn join(context: &mut Context, token: &Arc<str>, site: &SiteId, address: &Arc<str>) -> Reply {
    let now = context.now;
    drop_lapsed(context);
    check_place(site, address)?;
    let roster = &mut context.state.roster;
    let Some(invitation) = roster.invitations.get(token) else {
        return Err(Rejection::new("forbidden", "no such invitation: it was used, it has lapsed, or it is of another mesh"));
    };
    if let Some(only) = &invitation.site
        && only != site
    {
        return Err(Rejection::new("forbidden", format!("the invitation is for a gateway at `{only}`, not at `{site}`")));
    }
    if roster.members.len() >= MEMBERS_MAX {
        return Err(full());
    }
    if roster.has_address(address) {
        return Err(Rejection::new("conflict", format!("another gateway has the address {address}; remove that one first")));
    }
    let Some(invitation) = roster.invitations.remove(token) else { return Ok(Accepted::Nothing) };
    let declared = context.state.nodes.keys().next_back().copied().unwrap_or_default();
    let node = NodeId(roster.newest.max(declared).0.saturating_add(1));
    roster.newest = node;
    let member = Member { site: site.clone(), address: address.clone(), duty: invitation.duty, joined_at: now };
    roster.members.insert(node, member);
    let data = Value::object([
        ("site", Value::from(site.as_str())),
        ("address", Value::String(address.clone())),
        ("invitation", Value::from(token.get(..12).unwrap_or_default())),
    ]);
    context.audit(invitation.by, "mesh.joined", format!("node:{node}"), data);
    Ok(Accepted::Member { node })
}

fn remove(context: &mut Context, node: NodeId, by: &Actor) -> Reply {
    let roster = &mut context.state.roster;
    if roster.is_removed(node) {
        return Ok(Accepted::Duplicate);
    }
    if roster.members.len() == 1 && roster.members.contains_key(&node) {
        return Err(Rejection::new("conflict", format!("gateway {node} is the last one: without it there is no mesh")));
    }
    let Some(member) = roster.members.remove(&node) else {
        return Err(Rejection::new("not-found", format!("gateway {node} is no member of this mesh")));
    };
    attachment::forget_node(context, node);
    if context.state.semantics >= LIVES {
        context.state.roster.lives.entry(member.site.clone()).or_insert_with(Life::unwritten);
    }
    // Nobody will ever tell what happened there.
    if !context.state.roster.members.values().any(|other| other.site == member.site) {
        context.state.passback.split.remove(&member.site);
    }
    let speaker = &mut context.state.outbox.speaker;
    if speaker.as_ref().is_some_and(|speaker| speaker.node == node) {
        *speaker = None;
    }
    let data = Value::object([("site", Value::from(member.site.as_str())), ("address", Value::String(member.address))]);
    context.audit(by.clone(), "mesh.removed", format!("node:{node}"), data);
    Ok(Accepted::Member { node })
}

fn recover(context: &mut Context, node: NodeId, member: Member, reason: &Arc<str>, by: &Actor) -> Reply {
    check_place(&member.site, &member.address)?;
    let known: Vec<NodeId> = context.state.nodes.keys().copied().collect();
    let newest = known.iter().copied().chain([context.state.roster.newest, node]).max().unwrap_or(node);
    // The one that goes on as well: what it sent before cannot be answered any more.
    for gone in known {
        attachment::forget_node(context, gone);
    }
    let roster = &mut context.state.roster;
    let lost: Vec<Value> =
        roster.members.keys().filter(|id| **id != node).map(|id| Value::Int(i64::try_from(id.0).unwrap_or(i64::MAX))).collect();
    let epoch = roster.epoch.saturating_add(1);
    let mut lives = std::mem::take(&mut roster.lives);
    if context.state.semantics >= LIVES {
        for lost in roster.members.values() {
            lives.entry(lost.site.clone()).or_insert_with(Life::unwritten);
        }
    }
    *roster = Roster { epoch, newest, members: BTreeMap::from([(node, member)]), invitations: BTreeMap::new(), lives };
    outbox::begin_again(&mut context.state.outbox);
    let data = Value::object([
        ("epoch", Value::Int(i64::try_from(epoch).unwrap_or(i64::MAX))),
        ("lost", Value::array(lost)),
        ("reason", Value::String(reason.clone())),
    ]);
    context.audit(by.clone(), "mesh.recovered", format!("node:{node}"), data);
    Ok(Accepted::Member { node })
}

fn drop_lapsed(context: &mut Context) {
    let now = context.now;
    context.state.roster.invitations.retain(|_, invitation| invitation.lapses_at > now);
}

fn check_place(site: &SiteId, address: &str) -> Result<(), Rejection> {
    let has_port = address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if !is_level(site.as_str()) || address.len() > ADDRESS_LEN_MAX || !has_port {
        return Err(Rejection::new("invalid", format!("`{address}` at `{site}`: a gateway has a site and an address, host:port")));
    }
    Ok(())
}

fn full() -> Rejection {
    Rejection::new("limit", format!("a mesh has at most {MEMBERS_MAX} gateways"))
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
