//! Tells the log which devices are connected here, until the log says the same: a lost answer, a missing quorum or a
//! restart is mended by looking again, never by a queue of old news.

use crate::consensus::GroupRef;
use crate::effects::clock::wall_now;
use crate::telemetry::Telemetry;
use futures::future::join_all;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use spalla_shared::engine::{Command, State};
use spalla_shared::id::{DeviceId, GroupId, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Proposals at a time: a building whose power returns connects all its devices at once.
const PROPOSALS_MAX: usize = 32;
/// Least time between two looks.
const PACE: Duration = Duration::from_millis(20);
/// A look without being told to: mends what a lost answer left.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

pub struct Presence {
    node: NodeId,
    telemetry: Arc<Telemetry>,
    /// One entry per connected device, those behind a connected bridge included.
    here: Mutex<BTreeMap<DeviceId, Here>>,
    /// What devices with a convention last said of the parts of their availability, while their login is here.
    parts: Mutex<BTreeMap<DeviceId, BTreeMap<usize, bool>>>,
    /// Counts what may be news: each group is told by a loop of its own, or one without a quorum would hold the others up.
    woken: watch::Sender<u64>,
}

#[derive(Clone)]
struct Here {
    /// The newest of its sessions, also after that one ended: what the log knows it by.
    session: u64,
    /// Those that are connected now; a device may listen in one and speak in another. As many as the broker lets in by one login.
    live: BTreeSet<u64>,
    /// Whose log has taken this session: where it names another gateway now, the device went there later.
    told: BTreeSet<GroupId>,
    /// The bridge whose login speaks for it.
    via: Option<DeviceId>,
}

/// One thing that the log has to hear.
struct News {
    device: DeviceId,
    session: u64,
    online: bool,
}

impl Presence {
    pub fn new(node: NodeId, telemetry: Arc<Telemetry>) -> Self {
        Self { node, telemetry, here: Mutex::default(), parts: Mutex::default(), woken: watch::Sender::new(0) }
    }

    pub fn came(&self, device: DeviceId, session: u64) {
        let mut here = self.here.lock();
        let mut live = here.remove(&device).filter(|held| held.via.is_none()).map(|held| held.live).unwrap_or_default();
        live.insert(session);
        here.insert(device, Here { session, live, told: BTreeSet::new(), via: None });
        self.wake();
    }

    /// `Some` with the session that it is known by once its last one ended. With a bridge go those behind it.
    pub fn went(&self, device: &DeviceId, session: u64) -> Option<u64> {
        let mut here = self.here.lock();
        let held = here.get_mut(device).filter(|held| held.via.is_none())?;
        held.live.remove(&session);
        if !held.live.is_empty() {
            return None;
        }
        let known_by = held.session;
        here.remove(device);
        let mut parts = self.parts.lock();
        parts.remove(device);
        here.retain(|behind, held| {
            let stays = held.via.as_ref() != Some(device);
            if !stays {
                parts.remove(behind);
                self.telemetry.disconnected(behind, held.session);
            }
            stays
        });
        self.wake();
        Some(known_by)
    }

    /// A part of the device's availability; gives whether it is there by all that is known.
    pub fn says(&self, device: &DeviceId, part: usize, online: bool) -> bool {
        let mut parts = self.parts.lock();
        let of_it = parts.entry(device.clone()).or_default();
        of_it.insert(part, online);
        let there = of_it.values().all(|online| *online);
        self.wake();
        there
    }

    /// Brings in those behind the bridges that are here, and lets go those that are away or not behind them any more.
    fn follow_bridges(&self, state: &State) {
        let mut here = self.here.lock();
        let parts = self.parts.lock();
        let away = |device: &DeviceId| parts.get(device).is_some_and(|of_it| of_it.values().any(|online| !online));
        let behind: BTreeMap<&DeviceId, (&DeviceId, u64)> = state
            .devices
            .iter()
            .filter_map(|(id, known)| {
                let bridge = known.device.bridge.as_ref()?;
                let at = here.get(bridge).filter(|at| at.via.is_none())?;
                (!away(id)).then_some((id, (bridge, at.session)))
            })
            .collect();
        here.retain(|id, held| {
            let stays = held.via.is_none() || behind.contains_key(id);
            if !stays {
                self.telemetry.disconnected(id, held.session);
            }
            stays
        });
        for (id, (bridge, session)) in behind {
            if here.get(id).is_some_and(|held| held.via.is_none() || held.session == session) {
                continue;
            }
            self.telemetry.connected(id, session, wall_now());
            here.insert(id.clone(), Here { session, live: BTreeSet::new(), told: BTreeSet::new(), via: Some(bridge.clone()) });
        }
    }

    /// The session of a device that is connected here, else 0.
    pub fn session(&self, device: &DeviceId) -> u64 {
        self.here.lock().get(device).map_or(0, |held| held.session)
    }

    fn wake(&self) {
        self.woken.send_modify(|count| *count += 1);
    }

    pub async fn keep(&self, groups: &[GroupRef]) {
        join_all(groups.iter().map(|group| self.keep_one(group))).await;
    }

    async fn keep_one(&self, group: &GroupRef) {
        let mut woken = self.woken.subscribe();
        loop {
            stream::iter(self.differences(group)).for_each_concurrent(PROPOSALS_MAX, |news| self.tell(group, news)).await;
            // A mesh without quorum is not asked as fast as it refuses.
            tokio::time::sleep(PACE).await;
            let _ = tokio::time::timeout(LOOK_AGAIN, woken.changed()).await;
        }
    }

    /// Resolves when there is nothing left to tell; `keep` must run beside it.
    pub async fn settled(&self, groups: &[GroupRef]) {
        while groups.iter().any(|group| !self.differences(group).is_empty()) {
            tokio::time::sleep(PACE).await;
        }
    }

    fn differences(&self, group: &GroupRef) -> Vec<News> {
        let state = group.state().read();
        // A building's group learns of new devices later than the mesh.
        if group.id().site().is_none() {
            self.follow_bridges(&state);
        }
        let here = self.here.lock();
        let mut news = Vec::new();
        for (device, held) in here.iter() {
            let Some(known) = state.devices.get(device) else { continue };
            let says_so = known.attached.as_ref().is_some_and(|at| at.node == self.node && at.session == held.session);
            if !says_so && (!held.told.contains(group.id()) || known.attached.is_none()) {
                news.push(News { device: device.clone(), session: held.session, online: true });
            }
        }
        for (device, known) in &state.devices {
            let Some(attached) = known.attached.as_ref().filter(|at| at.node == self.node) else { continue };
            // Also what an earlier run of this gateway left behind.
            if !here.contains_key(device) {
                news.push(News { device: device.clone(), session: attached.session, online: false });
            }
        }
        news
    }

    async fn tell(&self, group: &GroupRef, news: News) {
        let command = Command::Presence { device: news.device.clone(), node: self.node, session: news.session, online: news.online };
        match group.propose(command).await {
            Ok(receipt) => {
                if let Err(rejection) = &receipt.reply {
                    tracing::debug!(device = %news.device, code = %rejection.code, "presence rejected");
                }
                if news.online
                    && let Some(held) = self.here.lock().get_mut(&news.device)
                    && held.session == news.session
                {
                    held.told.insert(group.id().clone());
                }
            }
            Err(error) => tracing::debug!(device = %news.device, online = news.online, %error, "presence not told yet"),
        }
    }
}
