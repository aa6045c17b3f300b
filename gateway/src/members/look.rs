//! How the mesh and each of its gateways are, asked of all of them at once. Changes nothing.

use super::{Members, words};
use crate::consensus::Member;
use crate::effects::clock::wall_now;
use crate::effects::known_semantics;
use crate::history::{Held, Missing, missing_without};
use crate::storage::{Disk, disk_of};
use serde::{Deserialize, Serialize};
use spalla_shared::engine::roster::Duty;
use spalla_shared::id::{GroupId, NodeId, SiteId};
use spalla_shared::time::Timestamp;
use std::collections::BTreeMap;
use std::path::Path;

/// Files of a data folder that are counted: a log has some dozens, everything else a handful.
const FILES_MAX: usize = 10_000;

/// What a gateway says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vitals {
    pub version: String,
    /// The newest meaning of the log that its build knows.
    pub semantics: u32,
    pub boot: u64,
    pub uptime_s: u64,
    pub applied: u64,
    /// Its wall clock.
    pub clock: Timestamp,
    /// Bytes: of its data folder, and of the disk that holds it.
    pub data_size: u64,
    pub disk_free: u64,
    pub disk_size: u64,
    /// What its history has of each group. None: it does not say, being of an older build, or its file cannot be read.
    #[serde(default)]
    pub history: Option<Vec<Held>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct MemberLook {
    pub node: NodeId,
    pub site: SiteId,
    pub address: String,
    pub leader: bool,
    pub voter: bool,
    pub duty: Duty,
    /// Entries that it lacks; the leader knows.
    pub lag: Option<u64>,
    /// Milliseconds since the leader heard of it.
    pub heard_ms: Option<u64>,
    /// Against the clock of the gateway that was asked, within half a round trip; positive: it is ahead.
    pub clock_skew_ms: Option<i64>,
    /// Absent where it does not answer.
    pub vitals: Option<Vitals>,
    #[serde(rename = "self")]
    pub is_self: bool,
    pub words: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct GroupLook {
    pub group: GroupId,
    /// Nobody where this gateway does not hear of the leader any more.
    pub leader: Option<NodeId>,
    /// Whom it heard lead last, where it hears of nobody.
    pub last_leader: Option<NodeId>,
    /// How old this is, in words; absent where it is not.
    pub as_of: Option<String>,
    pub term: u64,
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
    /// A change of voters is under way: until it is done, the old ones and the new ones have to agree.
    pub changing: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct MeshLook {
    /// Groups that run at the gateway that was asked.
    pub groups: Vec<GroupLook>,
    pub leader: Option<NodeId>,
    /// How old roles and voters are, in words; absent where a leader is heard of.
    pub as_of: Option<String>,
    /// What the log means now; a newer meaning waits until all gateways know it.
    pub semantics: u32,
    pub epoch: u64,
    pub invitations: usize,
    /// What no gateway has of a group's history; absent where one of them does not say what it has.
    pub history_lost: Option<BTreeMap<GroupId, Missing>>,
    pub members: Vec<MemberLook>,
}

impl Members {
    pub(super) async fn vitals(&self) -> Vitals {
        let folder = self.config.data.clone();
        // A folder on a slow disk must not hold up this thread's other work.
        let measured = tokio::task::spawn_blocking(move || (size_of(&folder), disk_of(&folder)));
        let history = self.held().await;
        let measured = measured.await;
        let (data_size, disk) = measured.unwrap_or_default();
        // Zeros where the system does not say.
        let Disk { free: disk_free, size: disk_size } = disk.unwrap_or_default();
        Vitals {
            version: env!("CARGO_PKG_VERSION").into(),
            semantics: known_semantics(),
            boot: self.mesh.upgrade().map_or(0, |mesh| mesh.boot()),
            uptime_s: self.started.elapsed().as_secs(),
            applied: *self.group.applied().borrow(),
            clock: wall_now(),
            data_size,
            disk_free,
            disk_size,
            history,
        }
    }

    /// Asks everybody, and waits for no one longer than a moment.
    pub async fn look(&self) -> MeshLook {
        let freshness = self.group.freshness();
        let leader = freshness.leads();
        let standing = match leader {
            Some(leader) if leader != self.node() => self.ask_standing(leader).await,
            _ => None,
        };
        let members = standing.unwrap_or_else(|| self.group.members());
        let asked = members.iter().map(|member| self.ask_skew(member.node));
        let mut vitals: BTreeMap<NodeId, (Option<i64>, super::Vitals)> =
            futures::future::join_all(asked).await.into_iter().flatten().collect();
        let looks: Vec<MemberLook> = members.into_iter().map(|member| self.look_of(member, leader, &mut vitals)).collect();
        let held: Option<Vec<Vec<Held>>> = looks.iter().map(|look| look.vitals.as_ref()?.history.clone()).collect();
        let state = self.group.state().read();
        MeshLook {
            groups: self.groups(),
            leader,
            as_of: words::as_of(&freshness),
            semantics: state.semantics,
            epoch: state.roster.epoch,
            invitations: state.roster.invitations.len(),
            history_lost: held.map(|held| missing_without(None, &held)),
            members: looks,
        }
    }

    fn groups(&self) -> Vec<GroupLook> {
        let groups = self.mesh.upgrade().map(|mesh| mesh.groups()).unwrap_or_default();
        let look = |group: &crate::consensus::GroupRef| {
            let (term, freshness) = (group.leadership().borrow().term, group.freshness());
            let (voters, learners): (Vec<Member>, Vec<Member>) = group.members().into_iter().partition(|member| member.voter);
            let nodes = |members: Vec<Member>| members.into_iter().map(|member| member.node).collect();
            let (voters, learners) = (nodes(voters), nodes(learners));
            GroupLook {
                group: group.id().clone(),
                leader: freshness.leads(),
                last_leader: freshness.led(),
                as_of: words::as_of(&freshness),
                term,
                voters,
                learners,
                changing: group.is_changing(),
            }
        };
        groups.iter().map(look).collect()
    }

    fn look_of(&self, member: Member, leader: Option<NodeId>, vitals: &mut BTreeMap<NodeId, (Option<i64>, Vitals)>) -> MemberLook {
        let listed = self.group.state().read().roster.members.get(&member.node).cloned();
        let configured = self.config.peers.gateways.iter().find(|gateway| gateway.node == member.node);
        let site = listed.as_ref().map(|listed| listed.site.clone()).or_else(|| configured.map(|gateway| gateway.site.clone()));
        let (clock_skew_ms, vitals) = vitals.remove(&member.node).map_or((None, None), |(skew, vitals)| (skew, Some(vitals)));
        let leads = leader == Some(member.node);
        let mut look = MemberLook {
            node: member.node,
            site: site.unwrap_or_else(|| SiteId::new("")),
            address: member.address,
            leader: leads,
            voter: member.voter,
            duty: listed.map(|listed| listed.duty).unwrap_or_default(),
            lag: if leads { Some(0) } else { member.lag },
            heard_ms: if leads { Some(0) } else { member.heard_ms },
            clock_skew_ms,
            vitals,
            is_self: member.node == self.node(),
            words: String::new(),
        };
        look.words = words::line(&self.name_of(member.node), &look, env!("CARGO_PKG_VERSION"));
        look
    }

    /// Its vitals, and how far its clock is off; this gateway's own are at hand.
    async fn ask_skew(&self, node: NodeId) -> Option<(NodeId, (Option<i64>, Vitals))> {
        if node == self.node() {
            return Some((node, (None, self.vitals().await)));
        }
        let asked_at = wall_now();
        let vitals = self.ask_vitals(node).await?;
        let middle = asked_at.millis() + (wall_now().millis() - asked_at.millis()) / 2;
        Some((node, (Some(vitals.clock.millis() - middle), vitals)))
    }
}

/// Bytes of all files below `folder`; what cannot be read counts nothing.
fn size_of(folder: &Path) -> u64 {
    let (mut size, mut seen) = (0u64, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > FILES_MAX {
                return size;
            }
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => size = size.saturating_add(meta.len()),
                Err(_) => {}
            }
        }
    }
    size
}
