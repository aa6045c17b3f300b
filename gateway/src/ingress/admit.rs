//! An event on its way into the logs: into that of each group that wants it. Where the mesh cannot be told, this building's group
//! stands in for what must not wait (doors, passages, alarms, and what its own flows wait for), and owes it to the mesh.

use super::counters::count;
use super::event::Admitted;
use super::{Ingress, TAKEN, not_now};
use crate::consensus::{GroupRef, ProposeError, Receipt};
use crate::effects::clock::wall_now;
use spalla_broker::hooks::Verdict;
use spalla_broker::message::Qos;
use spalla_shared::engine::command::SiteCommand;
use spalla_shared::engine::{Command, door, interest, site};
use spalla_shared::event::Event;
use spalla_shared::id::DeviceId;
use std::time::Duration;
use tokio::time::Instant;

/// How often a command is proposed again with its key when it is not known what became of it.
const PROPOSE_ATTEMPTS_MAX: u32 = 3;
const PROPOSE_BACKOFF: Duration = Duration::from_millis(100);
/// A device over its rate is held back by at most this before its message is refused.
const RATE_PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at whether the mesh is out of reach, while it is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Clocks of gateways that are set by time servers differ by less.
const AHEAD_MIN_MS: u64 = 1_000;

/// Who wants an event.
struct Wanted {
    mesh: bool,
    site: bool,
    /// This building's group may take it in the mesh's place.
    stands_in: bool,
}

impl Ingress {
    /// Commits the event to every group in which something wants it.
    pub(super) async fn admit(&self, device: &DeviceId, admitted: Admitted, qos: Qos) -> Verdict {
        let Admitted { event, historical, dated } = admitted;
        let at = |group: &GroupRef| if dated { event.clone() } else { in_time_of(group, &event) };
        let wanted = self.wanted(device, &event);
        if !wanted.mesh && !wanted.site {
            count(&self.counters.events_local);
            return TAKEN;
        }
        match self.rate.take(device, Instant::now(), RATE_PATIENCE) {
            // Pacing: the device's own connection waits, nobody else's.
            Some(wait) if !wait.is_zero() => tokio::time::sleep(wait).await,
            Some(_) => {}
            None => {
                count(&self.counters.over_rate);
                return not_now(qos, "this device sends more events than one device may");
            }
        }
        let (mesh, own) = (self.groups.first(), self.groups.get(1));
        if let Some(mesh) = mesh.filter(|_| wanted.mesh) {
            let command = Command::Event { event: at(mesh), historical };
            let told = match own.filter(|_| wanted.stands_in) {
                None => self.commit(mesh, command).await,
                Some(own) => match self.tell_mesh(mesh, command).await {
                    Err(error) if !matches!(error, ProposeError::TooLarge { .. }) => {
                        tracing::debug!(%device, kind = %event.kind, %error, "the building's group takes it in the mesh's place");
                        count(&self.counters.events_alone);
                        let asks = matches!(&*event.kind, door::PRESENTED | door::PASSED);
                        let known = asks.then(|| Box::new(site::known(&mesh.state().read(), &event)));
                        let command = Command::Site(SiteCommand::Alone { event: at(own), historical, known });
                        let told = self.commit(own, command).await;
                        // Its own flows have it with that.
                        return self.verdict(device, &event, qos, told).unwrap_or(TAKEN);
                    }
                    told => told,
                },
            };
            if let Some(verdict) = self.verdict(device, &event, qos, told) {
                return verdict;
            }
        }
        if let Some(own) = own.filter(|_| wanted.site) {
            let told = self.commit(own, Command::Event { event: at(own), historical }).await;
            if let Some(verdict) = self.verdict(device, &event, qos, told) {
                return verdict;
            }
        }
        TAKEN
    }

    fn wanted(&self, device: &DeviceId, event: &Event) -> Wanted {
        let mesh = self.groups.first().map(|group| group.state().read());
        let (wants, hears) = mesh.map_or((false, false), |state| (interest::wants(&state, event), door::hears(&state, event)));
        let own = self.groups.get(1).filter(|group| group.id().site() == Some(device.site())).map(|group| group.state().read());
        let site = own.as_ref().is_some_and(|state| interest::flows_want(state, event));
        let declared = own.is_some_and(|state| state.devices.contains_key(device));
        Wanted { mesh: wants, site, stands_in: wants && declared && (site || hears) }
    }

    /// Tells the mesh of something that the building's group takes otherwise: not longer than it takes to see that nobody hears.
    async fn tell_mesh(&self, mesh: &GroupRef, command: Command) -> Result<Receipt, ProposeError> {
        let alone = async {
            while !self.is_alone(mesh) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::select! {
            biased;
            () = alone => Err(ProposeError::NoQuorum(mesh.id().to_string())),
            told = mesh.propose(command) => told,
        }
    }

    /// No leader of the mesh was heard of for longer than an election takes.
    fn is_alone(&self, mesh: &GroupRef) -> bool {
        let freshness = mesh.freshness();
        let silent = freshness.leader_seen_ms.map_or_else(|| self.began.elapsed(), Duration::from_millis);
        freshness.stale && silent > self.options.alone_after
    }

    /// What the device hears where its event was not taken.
    fn verdict(&self, device: &DeviceId, event: &Event, qos: Qos, told: Result<Receipt, ProposeError>) -> Option<Verdict> {
        match told {
            Ok(Receipt { reply: Ok(_), .. }) => {
                count(&self.counters.events_committed);
                None
            }
            Ok(Receipt { reply: Err(rejection), .. }) => {
                count(&self.counters.events_rejected);
                tracing::warn!(%device, kind = %event.kind, code = %rejection.code, reason = %rejection.message, "event rejected");
                Some(Verdict::Refuse("the event was rejected"))
            }
            Err(ProposeError::TooLarge { .. }) => {
                count(&self.counters.oversize);
                Some(Verdict::Refuse("the event is too large"))
            }
            Err(error) => {
                count(&self.counters.events_not_now);
                tracing::debug!(%device, kind = %event.kind, %error, "event could not be committed");
                Some(not_now(qos, "the event could not be committed; send it again"))
            }
        }
    }

    /// Proposes with a key inside, so that repeating is safe.
    pub(super) async fn commit(&self, group: &GroupRef, command: Command) -> Result<Receipt, ProposeError> {
        let mut attempt = 1;
        loop {
            match group.propose(command.clone()).await {
                Err(ProposeError::Unknown | ProposeError::Busy(_)) if attempt < PROPOSE_ATTEMPTS_MAX => {
                    tokio::time::sleep(PROPOSE_BACKOFF * attempt).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }
}

/// The event as `group` counts time. Where some leader's clock was ahead, the log still is: what happens now must not look old there,
/// or no card opens a door until the clocks have met the log. Only for what is dated here: where this gateway's clock is behind, what a
/// device dates may be as old as that.
fn in_time_of(group: &GroupRef, event: &Event) -> Event {
    let ahead_ms = group.now().since(wall_now());
    let time = if ahead_ms < AHEAD_MIN_MS { event.time } else { event.time.plus(ahead_ms) };
    Event { time, ..event.clone() }
}
