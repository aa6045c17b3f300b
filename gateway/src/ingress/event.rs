//! What a device said, as a CloudEvent for the log. Raw tokens stop here.

use crate::effects::credential::{self, TokenError};
use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha256};
use spalla_shared::event::Event;
use spalla_shared::id::DeviceId;
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Someone holds a credential to a reader.
pub const PRESENTED: &str = "presented";
/// Older than this at reception, an event is history: recorded, but it opens nothing. So is one from as far ahead: then either clock is
/// wrong, and where it is ours, it may be as old as ours is behind.
pub const HISTORICAL_AFTER_MS: u64 = 10_000;
/// The same of an alarm, and only to the past: to hear of a fire twice, or late, is better than not at all.
pub const ALARM_HISTORICAL_AFTER_MS: u64 = 5 * 60 * 1000;

/// Where and when a payload came in.
pub struct Origin<'a> {
    pub device: &'a DeviceId,
    pub session: u64,
    pub received: u64,
    pub payload: &'a [u8],
    pub now: Timestamp,
}

/// An event as a device said it, in whatever words.
#[derive(Debug, PartialEq)]
pub struct Said {
    /// The device's own id: what makes a repeated event one event.
    pub id: Option<Arc<str>>,
    pub time: Option<Timestamp>,
    /// The device says that it kept it for a while.
    pub historical: bool,
    pub data: Value,
}

pub struct Admitted {
    pub event: Event,
    pub historical: bool,
    /// The device said when it was; else it is when it came.
    pub dated: bool,
}

pub fn from_device(origin: &Origin, name: &str, incoming: Said, alarm: bool) -> Admitted {
    let said_at = incoming.time.unwrap_or(origin.now);
    // A clock that runs ahead must not make an event look fresh later.
    let time = said_at.min(origin.now);
    let event = Event {
        id: incoming.id.unwrap_or_else(|| origin.id()),
        source: source(origin.device),
        kind: format!("spalla.device.{name}").into(),
        subject: Some(origin.device.as_str().into()),
        time,
        data: incoming.data,
        extensions: BTreeMap::new(),
    };
    let old = if alarm { origin.now.since(said_at) > ALARM_HISTORICAL_AFTER_MS } else { is_apart(said_at, origin.now) };
    Admitted { event, historical: incoming.historical || old, dated: incoming.time.is_some() }
}

fn is_apart(said_at: Timestamp, now: Timestamp) -> bool {
    now.since(said_at).max(said_at.since(now)) > HISTORICAL_AFTER_MS
}

/// `said_at`: where the device says when it was.
pub fn from_reading(origin: &Origin, property: &str, value: Value, said_at: Option<Timestamp>) -> Admitted {
    let event = Event {
        id: origin.id(),
        source: source(origin.device),
        kind: format!("spalla.telemetry.{property}").into(),
        subject: Some(origin.device.as_str().into()),
        time: said_at.unwrap_or(origin.now).min(origin.now),
        data: Value::object([("device", Value::from(origin.device.as_str())), ("property", Value::from(property)), ("value", value)]),
        extensions: BTreeMap::new(),
    };
    Admitted { event, historical: said_at.is_some_and(|said_at| is_apart(said_at, origin.now)), dated: said_at.is_some() }
}

/// Replaces `token` in the data by what it proves: `verified`, `credentialId` when the signature is good, `reason` when it is
/// not taken. What the device itself claims under these names is dropped. `None` where there is no token.
pub fn verify_presented(event: &mut Event, key: &VerifyingKey, now: Timestamp) -> Option<bool> {
    // Anything but an object could carry a token past this.
    let mut fields = event.data.as_object().cloned().unwrap_or_default();
    let token = fields.get("token").cloned();
    for claimed in ["token", "credentialId", "verified", "reason"] {
        fields.remove(claimed);
    }
    let verified = token.map(|token| {
        let (verified, credential, reason) = match token.as_str().map(|token| credential::read(token, key)) {
            Some(Ok(read)) => match read.check_time(now) {
                Ok(()) => (true, Some(read.credential), None),
                Err(error) => (false, Some(read.credential), Some(error)),
            },
            Some(Err(error)) => (false, None, Some(error)),
            None => (false, None, Some(TokenError::NotAToken)),
        };
        fields.insert("verified".into(), Value::Bool(verified));
        if let Some(credential) = credential {
            fields.insert("credentialId".into(), Value::from(credential.as_str()));
        }
        if let Some(reason) = reason {
            fields.insert("reason".into(), Value::from(reason.to_string()));
        }
        verified
    });
    event.data = Value::Object(Arc::new(fields));
    verified
}

fn source(device: &DeviceId) -> Arc<str> {
    format!("/sites/{}/devices/{}", device.site(), device.name()).into()
}

impl Origin<'_> {
    /// An id for a payload that brought none: the same message taken twice inside one call is one event, two equal messages are two.
    fn id(&self) -> Arc<str> {
        let mut hash = Sha256::new();
        hash.update(self.device.as_str());
        hash.update([0]);
        hash.update(self.session.to_be_bytes());
        hash.update(self.received.to_be_bytes());
        hash.update(self.now.millis().to_be_bytes());
        hash.update(self.payload);
        hex::encode(&hash.finalize()[..16]).into()
    }
}
