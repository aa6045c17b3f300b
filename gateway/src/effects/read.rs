//! `device.read`: the last-known value at the device's site, if it is young enough.

use super::executors::{done, failed};
use crate::telemetry::{Quality, Telemetry};
use spalla_shared::engine::{Outcome, Problem};
use spalla_shared::id::DeviceId;
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;

pub(super) fn run(telemetry: &Telemetry, device: &DeviceId, property: &str, max_age_ms: u64, now: Timestamp) -> Outcome {
    let reading = telemetry.latest(device, property, now);
    if reading.quality == Quality::Unknown {
        return failed(Problem::own("stale", 409, format!("`{property}` of `{device}` has not been reported since the gateway started")));
    }
    let age_ms = now.since(reading.received_at);
    if age_ms > max_age_ms {
        return failed(Problem::own(
            "stale",
            409,
            format!("`{property}` of `{device}` is {age_ms} ms old; at most {max_age_ms} ms was asked for"),
        ));
    }
    done([
        ("value", reading.value),
        ("observedAt", Value::from(reading.observed_at.to_rfc3339())),
        ("quality", Value::from(reading.quality.as_str())),
    ])
}
