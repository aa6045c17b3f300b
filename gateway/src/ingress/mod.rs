//! Where messages of devices come in: who may speak, what is well formed, what enters the log and what stays here as telemetry.
//!
//! It never carries an effect out and never changes state but by a command. A QoS 1 event is accepted only after its commit.
//!
//! ```text
//! broker -> authenticate, ACL -> decode -> event -> wanted by a flow, an alarm, a door? -> Command::Event -> Accept  (admit)
//!                                              \-> otherwise telemetry only               (no quorum -> NotNow, or this building's group)
//!                                       -> state -> telemetry, and the same question
//!                                       -> ack   -> the waiting executor
//!        -> a convention's topic -> read by the profile (foreign) -> the same
//!        -> a service client's message -> what its rules let it (clients)
//! denied -> gathered for the audit trail (Command::Denials)
//! connected, disconnected -> presence (Command::Presence, until the log says the same)
//! ```

pub mod admission;
mod admit;
mod births;
mod clients;
mod counters;
mod decode;
mod denials;
mod event;
mod foreign;
mod hooks;
mod logins;
pub mod passwords;
mod policy;
mod presence;
mod proposals;
mod rate;
mod watch;

pub use counters::{IngressCounters, IngressCounts};
pub use proposals::{Proposals, Proposed};
pub use rate::{BURST, RATE_PER_S};
pub use watch::{Heard, Page, Watch};

use crate::consensus::GroupRef;
use crate::effects::Acks;
use crate::speakers::Speakers;
use crate::telemetry::{STALE_AFTER_DEFAULT_MS, Telemetry};
use counters::count;
use decode::Refused;
use ed25519_dalek::VerifyingKey;
use passwords::Passwords;
use presence::Presence;
use rate::RateLimit;
use spalla_broker::hooks::Verdict;
use spalla_broker::message::{Message, Qos};
use spalla_shared::device::Ack;
use spalla_shared::id::{DeviceId, NodeId};
use spalla_shared::resource::Device;
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

pub struct IngressOptions {
    pub node: NodeId,
    /// Grows with each start of this gateway: makes session numbers unique over restarts.
    pub boot: u64,
    /// Lets clients in without a password, as the device that they name. Only for a bench.
    pub allow_anonymous: bool,
    /// Verifies presented credentials.
    pub credential_key: VerifyingKey,
    /// Without a leader of the mesh for so long, this building's group stands in for it.
    pub alone_after: Duration,
}

pub struct Ingress {
    options: IngressOptions,
    /// The mesh's group, which holds its resources, and this building's.
    groups: Vec<GroupRef>,
    telemetry: Arc<Telemetry>,
    acks: Arc<Acks>,
    passwords: Passwords,
    rate: RateLimit,
    presence: Presence,
    speakers: Speakers,
    logins: logins::Logins,
    denials: denials::Denials,
    watch: Arc<Watch>,
    proposals: Arc<Proposals>,
    counters: IngressCounters,
    began: Instant,
    /// Tells equal payloads without an id of their own apart.
    received: AtomicU64,
}

impl Ingress {
    pub fn new(options: IngressOptions, groups: Vec<GroupRef>, telemetry: Arc<Telemetry>, acks: Arc<Acks>) -> Arc<Self> {
        let presence = Presence::new(options.node, telemetry.clone());
        Arc::new(Self {
            options,
            groups,
            telemetry,
            acks,
            passwords: Passwords::default(),
            rate: RateLimit::default(),
            presence,
            speakers: Speakers::default(),
            logins: logins::Logins::default(),
            denials: denials::Denials::default(),
            watch: Arc::default(),
            proposals: Arc::default(),
            counters: IngressCounters::default(),
            began: Instant::now(),
            received: AtomicU64::new(0),
        })
    }

    /// Keeps the log's idea of who is connected here true. Runs until it is dropped; spawn it once.
    pub async fn keep_presence(self: Arc<Self>) {
        self.presence.keep(&self.groups).await;
    }

    /// Resolves when the log says of every device what is true here. Without a quorum that may take for ever.
    pub async fn settled(&self) {
        self.presence.settled(&self.groups).await;
    }

    pub fn watch(&self) -> Arc<Watch> {
        self.watch.clone()
    }

    pub fn proposals(&self) -> Arc<Proposals> {
        self.proposals.clone()
    }

    pub fn counters(&self) -> IngressCounts {
        self.counters.read()
    }

    /// The device as it was declared, with its profile's word on events and properties.
    fn lookup<T>(&self, device: &DeviceId, pick: impl FnOnce(&Device, Option<&spalla_shared::device::Profile>) -> T) -> Option<T> {
        self.groups
            .iter()
            .find_map(|group| {
                let state = group.state().read();
                let found = state.devices.get(device)?;
                Some((found.device.clone(), state.profiles.get(&found.device.profile).cloned()))
            })
            .map(|(device, profile)| pick(&device, profile.as_deref()))
    }

    fn refuse(&self, device: &DeviceId, refused: Refused) -> Verdict {
        let reason = match refused {
            Refused::Oversize => {
                count(&self.counters.oversize);
                "the payload is larger than 64 KiB"
            }
            Refused::Undecodable(reason) => {
                count(&self.counters.undecodable);
                reason
            }
        };
        tracing::debug!(%device, reason, "payload refused");
        Verdict::Refuse(reason)
    }

    async fn take_event(&self, device: DeviceId, name: &str, message: &Message, now: Timestamp) -> Verdict {
        if message.retain {
            // A retained event comes again with every subscription: it is not something that happens now.
            count(&self.counters.events_retained);
            return Verdict::Refuse("an event must not be retained");
        }
        let incoming = match decode::event(&message.payload) {
            Ok(incoming) => incoming,
            Err(refused) => return self.refuse(&device, refused),
        };
        if self.lookup(&device, |_, _| ()).is_none() {
            count(&self.counters.unknown_device);
            return Verdict::Refuse("the device is not declared");
        }
        self.telemetry.set_format(&device, incoming.format);
        self.event(&device, name, incoming.said, message, now).await
    }

    /// An event of a declared device, whatever its words were.
    async fn event(&self, device: &DeviceId, name: &str, said: event::Said, message: &Message, now: Timestamp) -> Verdict {
        self.telemetry.saw_event(device, now);
        let received = self.received.fetch_add(1, Ordering::Relaxed);
        let origin = event::Origin { device, session: self.presence.session(device), received, payload: &message.payload, now };
        let alarm = self.lookup(device, |_, profile| profile.is_some_and(|profile| profile.is_alarm(name))).unwrap_or(false);
        let mut admitted = event::from_device(&origin, name, said, alarm);
        if name == event::PRESENTED {
            let verified = event::verify_presented(&mut admitted.event, &self.options.credential_key, now);
            match verified {
                Some(true) => count(&self.counters.tokens_verified),
                Some(false) => count(&self.counters.tokens_refused),
                None => {}
            }
        }
        self.admit(device, admitted, message.qos).await
    }

    async fn take_state(&self, device: DeviceId, property: &str, message: &Message, now: Timestamp) -> Verdict {
        let (value, time, format) = match decode::state(&message.payload) {
            Ok(read) => read,
            Err(refused) => return self.refuse(&device, refused),
        };
        if self.lookup(&device, |_, _| ()).is_none() {
            count(&self.counters.unknown_device);
            return Verdict::Refuse("the device is not declared");
        }
        self.telemetry.set_format(&device, format);
        self.reading(&device, property, value, time, message, now).await
    }

    /// A reading of a declared device, whatever its words were.
    async fn reading(
        &self,
        device: &DeviceId,
        property: &str,
        value: Value,
        time: Option<Timestamp>,
        message: &Message,
        now: Timestamp,
    ) -> Verdict {
        let stale_after_ms = self.lookup(device, |_, profile| {
            profile
                .and_then(|profile| profile.capabilities.iter().find_map(|c| c.state.get(property)))
                .and_then(|spec| spec.stale_after_ms)
                .unwrap_or(STALE_AFTER_DEFAULT_MS)
        });
        let Some(stale_after_ms) = stale_after_ms else {
            count(&self.counters.unknown_device);
            return Verdict::Refuse("the device is not declared");
        };
        let observed_at = time.unwrap_or(now).min(now);
        if let Err(error) = self.telemetry.record(device, property, value.clone(), observed_at, now, stale_after_ms) {
            count(&self.counters.telemetry_full);
            tracing::debug!(%device, property, %error, "reading refused");
            return Verdict::Refuse("too many devices or properties");
        }
        count(&self.counters.readings);
        let received = self.received.fetch_add(1, Ordering::Relaxed);
        let origin = event::Origin { device, session: self.presence.session(device), received, payload: &message.payload, now };
        let mut admitted = event::from_reading(&origin, property, value, time);
        // The last word of a device that was away says how things are, not that something happens: no flow starts late by it.
        admitted.historical |= message.retain && now.since(observed_at) > 0;
        self.admit(device, admitted, message.qos).await
    }

    fn take_ack(&self, device: &DeviceId, message: &Message) -> Verdict {
        match decode::read::<Ack>(&message.payload) {
            Ok((format, ack)) => {
                self.telemetry.set_format(device, format);
                count(if self.acks.take(device, ack) { &self.counters.acks_taken } else { &self.counters.acks_unmatched });
                TAKEN
            }
            Err(refused) => self.refuse(device, refused),
        }
    }

    fn take_online(&self, device: &DeviceId, message: &Message, now: Timestamp) -> Verdict {
        match decode::online(&message.payload) {
            Ok(online) => {
                self.telemetry.says_online(device, online, now);
                TAKEN
            }
            Err(refused) => self.refuse(device, refused),
        }
    }
}

/// The gateway has read it; where service clients are declared it is then shown to those who subscribed, see [`clients`].
const TAKEN: Verdict = Verdict::Accept { route: false };

/// Only a client that waits for an acknowledgement sends again.
fn not_now(qos: Qos, reason: &'static str) -> Verdict {
    match qos {
        Qos::AtMostOnce => Verdict::Refuse(reason),
        Qos::AtLeastOnce | Qos::ExactlyOnce => Verdict::NotNow(reason),
    }
}

#[cfg(test)]
mod tests;
