//! What the devices of this site last said: the newest value of every property, and aggregates over short windows.
//!
//! Held in memory only: after a restart every value is unknown until its device speaks again, which is the safe reading
//! (an old value never looks new). Never decides anything and never touches the log.
//!
//! ```text
//! ingress -> record -> newest value  -> latest, snapshot (API, device.read)
//!                   -> window buckets -> summary_window (uplink)
//! ```

mod window;

pub use window::{BUCKET_MS, BUCKETS_MAX};

use parking_lot::RwLock;
use spalla_shared::device::Format;
use spalla_shared::id::DeviceId;
use spalla_shared::summary::Aggregate;
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::collections::BTreeMap;
use tokio::sync::watch;
use window::Windows;

/// Devices that are remembered: far above one building, far below what memory holds.
pub const DEVICES_MAX: usize = 20_000;
/// Properties per device: a device that invents names cannot grow the store.
pub const PROPERTIES_MAX: usize = 64;
/// A value without a newer report for this long is stale, unless its profile says otherwise.
pub const STALE_AFTER_DEFAULT_MS: u64 = 300_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Reported recently by a device that is connected.
    Live,
    /// Too old, or the device is gone: not to be shown as how things are.
    Stale,
    /// Never reported since this gateway started.
    Unknown,
}

impl Quality {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
        }
    }
}

/// One property as it is known. Unknown readings carry `null` and zero instants.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Reading {
    pub value: Value,
    /// The device's word, never later than `received_at`.
    pub observed_at: Timestamp,
    /// This gateway's clock.
    pub received_at: Timestamp,
    pub quality: Quality,
}

/// One device as it is known here.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DeviceView {
    /// `None`: it never connected to this gateway.
    pub connected: Option<bool>,
    /// The session that is connected now; the log may not have heard of it yet.
    pub session: Option<u64>,
    /// What the device itself says on `online`; a will may have said `false` for it.
    pub says_online: Option<bool>,
    pub last_seen: Option<Timestamp>,
    /// Events taken from it since this gateway started.
    pub events: u64,
    pub properties: BTreeMap<String, Reading>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("more than {DEVICES_MAX} devices")]
    Devices,
    #[error("more than {PROPERTIES_MAX} properties of one device")]
    Properties,
}

#[derive(Default)]
struct DeviceEntry {
    /// The session that is connected now, and whether any ever was.
    session: Option<u64>,
    was_connected: bool,
    says_online: Option<bool>,
    /// What it said before, it said before it was away.
    heard_from: Timestamp,
    last_seen: Option<Timestamp>,
    events: u64,
    format: Option<Format>,
    properties: BTreeMap<String, Property>,
}

struct Property {
    value: Value,
    observed_at: Timestamp,
    received_at: Timestamp,
    stale_after_ms: u64,
    windows: Windows,
}

pub struct Telemetry {
    devices: RwLock<BTreeMap<DeviceId, DeviceEntry>>,
    changed: watch::Sender<u64>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { devices: RwLock::default(), changed: watch::Sender::new(0) }
    }
}

impl Telemetry {
    /// Takes one reading. Numbers also enter the windows. A reading observed before the one that is held counts in the
    /// windows and does not replace it.
    pub fn record(
        &self,
        device: &DeviceId,
        property: &str,
        value: Value,
        observed_at: Timestamp,
        received_at: Timestamp,
        stale_after_ms: u64,
    ) -> Result<(), RecordError> {
        let observed_at = observed_at.min(received_at);
        let mut devices = self.devices.write();
        let entry = entry_of(&mut devices, device).ok_or(RecordError::Devices)?;
        entry.last_seen = Some(received_at);
        if !entry.properties.contains_key(property) && entry.properties.len() >= PROPERTIES_MAX {
            return Err(RecordError::Properties);
        }
        let held = entry.properties.entry(property.to_owned()).or_insert_with(|| Property {
            value: Value::Null,
            observed_at: Timestamp(i64::MIN),
            received_at,
            stale_after_ms,
            windows: Windows::default(),
        });
        if let Some(number) = value.as_f64() {
            held.windows.add(received_at, number);
        }
        held.stale_after_ms = stale_after_ms;
        if observed_at >= held.observed_at {
            held.value = value;
            held.observed_at = observed_at;
            held.received_at = received_at;
        }
        drop(devices);
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
        Ok(())
    }

    /// Counts an event of a device.
    pub fn saw_event(&self, device: &DeviceId, at: Timestamp) {
        if let Some(entry) = entry_of(&mut self.devices.write(), device) {
            entry.events += 1;
            entry.last_seen = Some(at);
        }
    }

    /// The device's own word on `online`.
    pub fn says_online(&self, device: &DeviceId, online: bool, at: Timestamp) {
        if let Some(entry) = entry_of(&mut self.devices.write(), device) {
            if !online {
                entry.heard_from = at.plus(1);
            }
            entry.says_online = Some(online);
            entry.last_seen = Some(at);
        }
    }

    pub fn connected(&self, device: &DeviceId, session: u64, at: Timestamp) {
        if let Some(entry) = entry_of(&mut self.devices.write(), device) {
            if entry.was_connected && entry.session.is_none() {
                entry.heard_from = at;
            }
            entry.session = Some(session);
            entry.was_connected = true;
            entry.last_seen = Some(at);
        }
    }

    /// A late word about an earlier session changes nothing.
    pub fn disconnected(&self, device: &DeviceId, session: u64) {
        if let Some(entry) = self.devices.write().get_mut(device)
            && entry.session.is_some_and(|current| current <= session)
        {
            entry.session = None;
        }
    }

    /// How the device last wrote: commands go down the same way.
    pub fn set_format(&self, device: &DeviceId, format: Format) {
        if let Some(entry) = entry_of(&mut self.devices.write(), device) {
            entry.format = Some(format);
        }
    }

    pub fn format(&self, device: &DeviceId) -> Option<Format> {
        self.devices.read().get(device)?.format
    }

    /// The newest value of a property, with its quality at `now`.
    pub fn latest(&self, device: &DeviceId, property: &str, now: Timestamp) -> Reading {
        let devices = self.devices.read();
        match devices.get(device).and_then(|entry| Some((entry, entry.properties.get(property)?))) {
            Some((entry, held)) => entry.reading(held, now),
            None => Reading { value: Value::Null, observed_at: Timestamp(0), received_at: Timestamp(0), quality: Quality::Unknown },
        }
    }

    pub fn device(&self, device: &DeviceId, now: Timestamp) -> Option<DeviceView> {
        self.devices.read().get(device).map(|entry| entry.view(now))
    }

    /// Every device that this gateway heard of.
    pub fn snapshot(&self, now: Timestamp) -> BTreeMap<DeviceId, DeviceView> {
        self.devices.read().iter().map(|(id, entry)| (id.clone(), entry.view(now))).collect()
    }

    /// `device/property` -> aggregate of the numbers received in `[from, to)`, in buckets of [`BUCKET_MS`]; a bucket counts where
    /// it begins. Nothing is reset: asking twice gives the same. Reaches back [`BUCKETS_MAX`] buckets that had readings.
    pub fn summary_window(&self, from: Timestamp, to: Timestamp) -> BTreeMap<String, Aggregate> {
        let devices = self.devices.read();
        let mut out = BTreeMap::new();
        for (id, entry) in devices.iter() {
            for (name, property) in &entry.properties {
                if let Some(aggregate) = property.windows.aggregate(from, to) {
                    out.insert(format!("{id}/{name}"), aggregate);
                }
            }
        }
        out
    }

    /// Changes with each recorded reading.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

fn entry_of<'a>(devices: &'a mut BTreeMap<DeviceId, DeviceEntry>, device: &DeviceId) -> Option<&'a mut DeviceEntry> {
    if !devices.contains_key(device) && devices.len() >= DEVICES_MAX {
        return None;
    }
    Some(devices.entry(device.clone()).or_default())
}

impl DeviceEntry {
    fn reading(&self, held: &Property, now: Timestamp) -> Reading {
        let gone = (self.was_connected && self.session.is_none()) || self.says_online == Some(false);
        let fresh = now.since(held.received_at) <= held.stale_after_ms && held.received_at >= self.heard_from;
        let quality = if fresh && !gone { Quality::Live } else { Quality::Stale };
        Reading { value: held.value.clone(), observed_at: held.observed_at, received_at: held.received_at, quality }
    }

    fn view(&self, now: Timestamp) -> DeviceView {
        DeviceView {
            connected: self.was_connected.then_some(self.session.is_some()),
            session: self.session,
            says_online: self.says_online,
            last_seen: self.last_seen,
            events: self.events,
            properties: self.properties.iter().map(|(name, held)| (name.clone(), self.reading(held, now))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> DeviceId {
        DeviceId::new("hq/sensor-1")
    }

    #[test]
    fn a_value_goes_stale_with_time_and_with_its_device() {
        let telemetry = Telemetry::default();
        assert_eq!(telemetry.latest(&device(), "temperature", Timestamp(5)).quality, Quality::Unknown);
        telemetry.connected(&device(), 1, Timestamp(1_000));
        telemetry.record(&device(), "temperature", Value::Int(21), Timestamp(1_000), Timestamp(1_000), 500).unwrap();
        assert_eq!(telemetry.latest(&device(), "temperature", Timestamp(1_500)).quality, Quality::Live);
        assert_eq!(telemetry.latest(&device(), "temperature", Timestamp(1_501)).quality, Quality::Stale);
        telemetry.connected(&device(), 2, Timestamp(1_000));
        telemetry.disconnected(&device(), 1);
        assert_eq!(telemetry.latest(&device(), "temperature", Timestamp(1_100)).quality, Quality::Live, "session 1 was replaced");
        telemetry.disconnected(&device(), 2);
        let reading = telemetry.latest(&device(), "temperature", Timestamp(1_100));
        assert_eq!((reading.quality, reading.value), (Quality::Stale, Value::Int(21)));
    }

    /// A door may have moved while its contact was away: what it said before was shown as live again once it was back.
    #[test]
    fn what_a_device_said_before_it_was_away_stays_stale_when_it_is_back() {
        let telemetry = Telemetry::default();
        let quality = |at: i64| telemetry.latest(&device(), "open", Timestamp(at)).quality;
        let says =
            |open: bool, at: i64| telemetry.record(&device(), "open", Value::Bool(open), Timestamp(at), Timestamp(at), 5_000).unwrap();
        telemetry.connected(&device(), 1, Timestamp(1_000));
        says(false, 1_000);
        telemetry.disconnected(&device(), 1);
        telemetry.connected(&device(), 2, Timestamp(1_200));
        assert_eq!(quality(1_300), Quality::Stale);
        says(false, 1_300);
        assert_eq!(quality(1_300), Quality::Live);
        // Connected, and by its own word not there: a gateway of radio devices, a lock without its bridge.
        telemetry.says_online(&device(), false, Timestamp(1_400));
        assert_eq!(quality(1_400), Quality::Stale);
        telemetry.says_online(&device(), true, Timestamp(1_500));
        assert_eq!(quality(1_500), Quality::Stale);
        // Some tell how things are before they tell that they are there.
        telemetry.says_online(&device(), false, Timestamp(1_600));
        says(true, 1_700);
        telemetry.says_online(&device(), true, Timestamp(1_800));
        assert_eq!(quality(1_800), Quality::Live);
    }

    #[test]
    fn a_late_report_does_not_replace_a_newer_one() {
        let telemetry = Telemetry::default();
        telemetry.record(&device(), "t", Value::Int(2), Timestamp(200), Timestamp(300), 1_000).unwrap();
        telemetry.record(&device(), "t", Value::Int(1), Timestamp(100), Timestamp(400), 1_000).unwrap();
        assert_eq!(telemetry.latest(&device(), "t", Timestamp(400)).value, Value::Int(2));
        // A device clock in the future cannot make its value immortal.
        telemetry.record(&device(), "t", Value::Int(3), Timestamp(i64::MAX), Timestamp(500), 1_000).unwrap();
        telemetry.record(&device(), "t", Value::Int(4), Timestamp(600), Timestamp(600), 1_000).unwrap();
        assert_eq!(telemetry.latest(&device(), "t", Timestamp(600)).value, Value::Int(4));
    }

    #[test]
    fn a_device_that_invents_properties_is_bounded() {
        let telemetry = Telemetry::default();
        for n in 0..PROPERTIES_MAX {
            telemetry.record(&device(), &format!("p{n}"), Value::Int(1), Timestamp(1), Timestamp(1), 1).unwrap();
        }
        assert_eq!(telemetry.record(&device(), "one-more", Value::Int(1), Timestamp(1), Timestamp(1), 1), Err(RecordError::Properties));
    }
}
