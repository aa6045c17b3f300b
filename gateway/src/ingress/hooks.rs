//! The broker's questions, answered: who comes in, what they may do, what becomes of a message.

use super::Ingress;
use super::clients::client_of;
use super::counters::count;
use super::event;
use super::logins::{KnownLogin, login_name};
use super::passwords::Check;
use super::watch::Heard;
use crate::effects::clock::wall_now;
use async_trait::async_trait;
use serde_json::json;
use spalla_broker::hooks::{Credentials, Denied, Hooks, Principal, Refusal, Verdict};
use spalla_broker::message::Message;
use spalla_shared::id::DeviceId;
use spalla_shared::time::Timestamp;
use spalla_shared::topic::DeviceTopic;

pub(super) const DEVICE_PREFIX: &str = "device:";
const ANONYMOUS: &str = "anonymous";

#[async_trait]
impl Hooks for Ingress {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Principal, Refusal> {
        let principal = |name: String| Principal { client_id: credentials.client_id.as_str().into(), name: name.into() };
        let Some(password) = &credentials.password else {
            if let Some(known) = self.by_certificate(credentials) {
                return Ok(self.let_in(credentials, &known, true));
            }
            if !self.options.allow_anonymous {
                count(&self.counters.bad_credentials);
                return Err(Refusal::NotAuthorised);
            }
            let name = credentials.username.as_deref().unwrap_or(&credentials.client_id);
            let known = self.lookup(&DeviceId::new(name), |_, _| ()).is_some();
            return Ok(principal(if known { format!("{DEVICE_PREFIX}{name}") } else { ANONYMOUS.into() }));
        };
        let username = credentials.username.as_deref().unwrap_or_default();
        let known = self.known_login(username);
        // Somebody's certificate is no way in for somebody else's password.
        let another = credentials.certificate_name.as_deref().filter(|name| *name != username);
        if another.is_some_and(|name| self.known_login(name).is_some()) {
            count(&self.counters.bad_credentials);
            return Err(Refusal::NotAuthorised);
        }
        let check = match known.as_ref().and_then(|known| known.hash.as_ref()) {
            Some(hash) => self.passwords.check(username, hash, password).await,
            // As slow as for those who are known: the answer's time tells nobody who is.
            None => self.passwords.check_for_nobody(password).await,
        };
        match (check, known) {
            (Check::Good, Some(known)) => Ok(self.let_in(credentials, &known, false)),
            (Check::Busy, _) => {
                count(&self.counters.login_busy);
                Err(Refusal::Unavailable)
            }
            _ => {
                count(&self.counters.bad_credentials);
                tracing::info!(username, address = %credentials.address, "login refused");
                Err(Refusal::BadCredentials)
            }
        }
    }

    fn may_publish(&self, who: &Principal, topic: &str) -> bool {
        if let Some(name) = client_of(who) {
            return self.client_may_publish(name, topic);
        }
        if let Some(voice) = Self::device_of(who).and_then(|device| self.voice(&device)) {
            return voice.may_publish(topic);
        }
        match DeviceTopic::parse(topic) {
            None | Some(DeviceTopic::Command(_)) => false,
            Some(topic) => self.speaks_for(who, topic.device()),
        }
    }

    fn may_subscribe(&self, who: &Principal, filter: &str) -> bool {
        if let Some(name) = client_of(who) {
            return self.client_may_subscribe(name, filter);
        }
        if let Some(voice) = Self::device_of(who).and_then(|device| self.voice(&device)) {
            return voice.may_subscribe(filter);
        }
        // Wildcards do not parse as a device's topic.
        matches!(DeviceTopic::parse(filter), Some(DeviceTopic::Command(device)) if self.speaks_for(who, &device))
    }

    async fn publish(&self, who: &Principal, message: &Message) -> Verdict {
        let now = wall_now();
        if let Some(name) = client_of(who) {
            return self.take_from_client(who, name, message, now).await;
        }
        let login = Self::device_of(who);
        let device = login.clone();
        let parsed = DeviceTopic::parse(&message.topic);
        let hidden = matches!(&parsed, Some(DeviceTopic::Event(_, name)) if name == event::PRESENTED);
        let watcher = login.as_ref().filter(|_| self.watch.is_watched());
        let mut heard = watcher.map(|login| Heard::new(login, message, hidden, now));
        let verdict = match login.and_then(|device| self.voice(&device)) {
            Some(voice) => self.take_foreign(&voice, message, now, heard.as_mut()).await,
            None => {
                if let (Some(heard), Some(topic)) = (heard.as_mut(), &parsed) {
                    note(heard, topic);
                }
                self.take_native(parsed, message, now).await
            }
        };
        if let Some(mut heard) = heard {
            heard.verdict = match &verdict {
                Verdict::Accept { .. } => "taken".into(),
                Verdict::Refuse(reason) => format!("refused: {reason}"),
                Verdict::NotNow(reason) => format!("not now: {reason}"),
            };
            self.watch.tell(heard);
        }
        match device {
            Some(device) => self.shown(&device, message, verdict),
            None => verdict,
        }
    }

    async fn connected(&self, who: &Principal, session: u64) {
        let current = self.known_login(login_name(&who.name)).map(|known| known.token(false));
        self.logins.connected(&who.client_id, &who.name, session, current);
        if let Some(device) = Self::device_of(who) {
            let session = self.session_number(session);
            self.telemetry.connected(&device, session, wall_now());
            self.presence.came(device, session);
        }
    }

    async fn disconnected(&self, who: &Principal, session: u64) {
        self.logins.gone(&who.name, session);
        if let Some(device) = Self::device_of(who) {
            let session = self.session_number(session);
            if let Some(known_by) = self.presence.went(&device, session) {
                self.telemetry.disconnected(&device, known_by);
            }
        }
    }

    fn denied(&self, denied: Denied<'_>) {
        self.note_denied(denied);
    }
}

impl Ingress {
    fn let_in(&self, credentials: &Credentials, known: &KnownLogin, certificate: bool) -> Principal {
        self.logins.authenticated(&credentials.client_id, &known.principal, known.token(certificate));
        Principal { client_id: credentials.client_id.as_str().into(), name: known.principal.clone() }
    }

    /// The declared login whose verified certificate was shown. A user name, where one is given, must be the same.
    fn by_certificate(&self, credentials: &Credentials) -> Option<KnownLogin> {
        let name = credentials.certificate_name.as_deref()?;
        let same = credentials.username.as_deref().is_none_or(|username| username == name);
        self.known_login(name).filter(|known| same && known.by_certificate)
    }

    pub(super) async fn take_native(&self, topic: Option<DeviceTopic>, message: &Message, now: Timestamp) -> Verdict {
        match topic {
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

/// What a topic of the native contract says by itself; the payload stands beside it.
fn note(heard: &mut Heard, topic: &DeviceTopic) {
    let device = topic.device();
    match topic {
        DeviceTopic::Event(_, name) => heard.note(device, "event", json!({ "event": name })),
        DeviceTopic::State(_, property) => heard.note(device, "state", json!({ "property": property })),
        DeviceTopic::Ack(_) => heard.note(device, "answer", json!({})),
        DeviceTopic::Online(_) => heard.note(device, "availability", json!({})),
        DeviceTopic::Command(_) => {}
    }
}
