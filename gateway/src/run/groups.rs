//! The rooms that each group has for itself, opened for those that are there at the start and for those that come to be held here later.

use super::backfill::Backfill;
use crate::bridge::Bridge;
use crate::config::Config;
use crate::consensus::{GroupRef, Mesh};
use crate::effects::{
    Acks, DeviceLink, Dispatcher, ExecutorOptions, Executors, HttpClient, Lanes, SecretFolder, Workbooks, announce, clock,
};
use crate::history::History;
use crate::members::{BuildingKeeper, Members};
use crate::telemetry::Telemetry;
use spalla_shared::id::GroupId;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// What the executors of all groups of this gateway share.
pub struct Outside {
    pub link: Arc<dyn DeviceLink>,
    pub telemetry: Arc<Telemetry>,
    pub acks: Arc<Acks>,
    pub http: HttpClient,
    pub secrets: SecretFolder,
    pub workbooks: Option<Workbooks>,
}

impl Outside {
    /// Those of one group. `beside`: the other group that commands the same devices.
    fn executors(&self, options: ExecutorOptions, group: GroupRef, beside: Option<GroupRef>) -> Arc<Executors> {
        let (link, telemetry, acks) = (self.link.clone(), self.telemetry.clone(), self.acks.clone());
        let (http, secrets, workbooks) = (self.http.clone(), self.secrets.clone(), self.workbooks.clone());
        Executors::new(options, group, beside, link, telemetry, acks, http, secrets, workbooks)
    }
}

pub struct GroupRooms {
    pub config: Arc<Config>,
    pub outside: Outside,
    pub options: ExecutorOptions,
    pub history: History,
    pub members: Members,
    /// The group of this gateway's building.
    pub own: GroupRef,
    /// Weak: the mesh must be able to end while these rooms are open.
    pub mesh: Weak<Mesh>,
}

impl GroupRooms {
    /// Opens the rooms of each group once, and closes them all when `closing` is told or dropped.
    pub async fn keep(self, mut begun: watch::Receiver<u64>, mut closing: oneshot::Receiver<()>) {
        let mut rooms = JoinSet::new();
        let mut open: BTreeSet<GroupId> = BTreeSet::new();
        loop {
            begun.borrow_and_update();
            let groups = self.mesh.upgrade().map(|mesh| mesh.groups()).unwrap_or_default();
            for group in groups {
                if open.insert(group.id().clone()) {
                    self.open(group, &mut rooms);
                }
            }
            tokio::select! {
                changed = begun.changed() => if changed.is_err() { break },
                _ = &mut closing => break,
            }
        }
        rooms.shutdown().await;
    }

    fn open(&self, group: GroupRef, rooms: &mut JoinSet<()>) {
        let (of_mesh, boot) = (&self.members.group, self.options.boot);
        let beside = if group.id() == of_mesh.id() { self.own.clone() } else { of_mesh.clone() };
        let executors = self.outside.executors(self.options.clone(), group.clone(), Some(beside));
        rooms.spawn(Dispatcher::new(executors, Lanes::default()).run());
        rooms.spawn(clock::keep_time(group.clone()));
        rooms.spawn(announce(group.clone(), self.config.site.clone(), boot, env!("CARGO_PKG_VERSION").into(), None));
        // What a snapshot carried this gateway over, from the others.
        rooms.spawn(Backfill::new(group.id().clone(), self.history.clone(), self.mesh.clone()).run());
        if let Some(site) = group.id().site() {
            let lease = Duration::from_secs(u64::from(self.config.doors.offline_lease_h) * 60 * 60);
            rooms.spawn(BuildingKeeper { members: self.members.clone(), site, group: group.clone() }.run());
            rooms.spawn(Bridge { mesh: of_mesh.clone(), site: group, lease }.run());
        }
    }
}
