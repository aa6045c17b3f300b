//! The broker's questions, answered: who comes in, what they may do, what becomes of a message.

use super::Ingress;
use super::counters::count;
use super::passwords::Check;
use crate::effects::clock::wall_now;
use async_trait::async_trait;
use spalla_broker::hooks::{Credentials, Hooks, Principal, Refusal, Verdict};
use spalla_broker::message::Message;
use spalla_shared::id::DeviceId;
use spalla_shared::topic::DeviceTopic;

const DEVICE_PREFIX: &str = "device:";
const ANONYMOUS: &str = "anonymous";

#[async_trait]
impl Hooks for Ingress {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, Refusal> {
        let principal = |name: String| Principal { client_id: credentials.client_id.as_str().into(), name: name.into() };
        let Some(password) = &credentials.password else {
            if !self.options.allow_anonymous {
                count(&self.counters.bad_credentials);
                return Err(Refusal::NotAuthorised);
            }
            let name = credentials.username.as_deref().unwrap_or(&credentials.client_id);
            let known = self.lookup(&DeviceId::new(name), |_, _| ()).is_some();
            return Ok(principal(if known { format!("{DEVICE_PREFIX}{name}") } else { ANONYMOUS.into() }));
        };
        let name = credentials.username.as_deref().unwrap_or_default();
        let hash = self.lookup(&DeviceId::new(name), |device, _| device.password_hash.clone()).flatten();
        let check = match &hash {
            Some(hash) => self.passwords.check(name, hash, password).await,
            None => Check::Bad,
        };
        match check {
            Check::Good => Ok(principal(format!("{DEVICE_PREFIX}{name}"))),
            Check::Bad => {
                count(&self.counters.bad_credentials);
                tracing::info!(username = name, address = %credentials.address, "login refused");
                Err(Refusal::BadCredentials)
            }
            Check::Busy => {
                count(&self.counters.login_busy);
                Err(Refusal::Unavailable)
            }
        }
    }

    fn may_publish(&self, who: &Principal, topic: &str) -> bool {
        match DeviceTopic::parse(topic) {
            None | Some(DeviceTopic::Command(_)) => false,
            Some(topic) => self.speaks_for(who, topic.device()),
        }
    }

    fn may_subscribe(&self, who: &Principal, filter: &str) -> bool {
        // Wildcards do not parse as a device's topic.
        matches!(DeviceTopic::parse(filter), Some(DeviceTopic::Command(device)) if self.speaks_for(who, &device))
    }

    async fn publish(&self, _who: &Principal, message: &Message) -> Verdict {
        let now = wall_now();
        match DeviceTopic::parse(&message.topic) {
            Some(DeviceTopic::Event(device, name)) => self.take_event(device, &name, message, now).await,
            Some(DeviceTopic::State(device, property)) => self.take_state(device, &property, message, now).await,
            Some(DeviceTopic::Ack(device)) => self.take_ack(&device, message),
            Some(DeviceTopic::Online(device)) => self.take_online(&device, message, now),
            Some(DeviceTopic::Command(_)) | None => {
                count(&self.counters.unknown_topic);
                Verdict::Refuse("the topic is not one of the device contract")
            }
        }
    }

    async fn connected(&self, who: &Principal, session: u64) {
        if let Some(device) = Self::device_of(who) {
            let session = self.session_number(session);
            self.telemetry.connected(&device, session, wall_now());
            self.presence.came(device, session);
        }
    }

    async fn disconnected(&self, who: &Principal, session: u64) {
        if let Some(device) = Self::device_of(who) {
            let session = self.session_number(session);
            self.telemetry.disconnected(&device, session);
            self.presence.went(&device, session);
        }
    }
}

impl Ingress {
    /// `true` where the client may speak for the device.
    fn speaks_for(&self, who: &Principal, device: &DeviceId) -> bool {
        match who.name.strip_prefix(DEVICE_PREFIX) {
            Some(own) => own == device.as_str(),
            None => &*who.name == ANONYMOUS && self.options.allow_anonymous,
        }
    }

    fn device_of(who: &Principal) -> Option<DeviceId> {
        who.name.strip_prefix(DEVICE_PREFIX).map(DeviceId::new)
    }

    /// Unique over restarts, growing.
    fn session_number(&self, session: u64) -> u64 {
        (self.options.boot << 32) | (session & u64::from(u32::MAX))
    }
}
