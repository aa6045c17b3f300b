//! A site's numbers for its summary, from what its devices last said.
//!
//! Properties that count, whatever the profile: `open` (true) or `contact` (`"open"`), `forced` and `held` (true) of doors,
//! `occupancy` (people) of counters. Only live readings count: a silent contact is not an open door.

use super::{LocalCounts, SummarySource};
use crate::consensus::GroupRef;
use crate::telemetry::{Quality, Telemetry};
use spalla_shared::id::SiteId;
use spalla_shared::summary::Aggregate;
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

pub struct SiteView {
    pub group: GroupRef,
    pub site: SiteId,
    pub telemetry: Arc<Telemetry>,
}

impl SummarySource for SiteView {
    fn sensors(&self, from: Timestamp, to: Timestamp) -> BTreeMap<String, Aggregate> {
        self.telemetry.summary_window(from, to)
    }

    fn counts(&self, now: Timestamp) -> LocalCounts {
        let mut counts = LocalCounts::default();
        {
            let state = self.group.state().read();
            for (_, device) in state.devices.iter().filter(|(id, _)| id.site() == self.site) {
                let seat = if device.attached.is_some() { &mut counts.devices_live } else { &mut counts.devices_stale };
                *seat = seat.saturating_add(1);
            }
        }
        for view in self.telemetry.snapshot(now).into_values() {
            let live =
                |name: &str| view.properties.get(name).filter(|reading| reading.quality == Quality::Live).map(|reading| &reading.value);
            let holds = |name: &str| live(name).is_some_and(|value| value.as_bool() == Some(true) || value.as_str() == Some("open"));
            counts.doors.open += u32::from(holds("open") || holds("contact"));
            counts.doors.forced += u32::from(holds("forced"));
            counts.doors.held += u32::from(holds("held"));
            counts.occupancy = counts.occupancy.saturating_add(live("occupancy").and_then(Value::as_i64).unwrap_or(0));
        }
        counts
    }
}
