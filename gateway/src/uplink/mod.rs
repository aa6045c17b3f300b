//! The road to the cloud: numbered events until the cloud has them, summaries when they change, and exactly one speaker.
//!
//! ```text
//! state.outbox --courier--> ev          ack, gap --courier--> Acknowledged (a command), resend
//! state + telemetry --maker--> summary --board--> sum/{site}
//! lease in the log --chair--> who speaks: the mesh leader, or else a gateway that reaches the cloud
//! ```
//! Nothing here remembers what the cloud is owed: that is in the log. A building works the same with no cloud at all.

mod board;
mod chair;
mod courier;
mod link;
pub mod mqtt;
pub mod receiver;
mod service;
mod site_view;
mod summary;
mod wire;

pub use link::{CloudLink, LinkError, LinkEvent};
pub use mqtt::{ConnectError, Running, connect, start};
pub use service::{Status, Uplink, UplinkOptions};
pub use site_view::SiteView;
pub use summary::{LocalCounts, PeerSummaries, SummaryMaker, SummarySource};
pub use wire::{Names, WireError};

use spalla_shared::engine::State;
use spalla_shared::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// The wall clock, as a value so that tests have their own.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Every wait of the uplink.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// How long a speaker may go on without asking again; it asks every third of it.
    pub lease: Duration,
    /// A speaker that does not lead steps back after so long, so that the leader can take over.
    pub tenure_of_followers: Duration,
    /// An empty chair is the leader's first; the others wait so long, and longer the higher their node id.
    pub grace: Duration,
    /// Events wait so long for company; alarms do not wait.
    pub batch_delay: Duration,
    /// The first resend without an acknowledgement; doubles up to 8 times this.
    pub resend_after: Duration,
    /// A site's summary is looked at, and at most published, so often.
    pub summary_min: Duration,
    /// An unchanged summary is published again after so long.
    pub summary_max: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            tenure_of_followers: Duration::from_secs(300),
            grace: Duration::from_secs(1),
            batch_delay: Duration::from_secs(1),
            resend_after: Duration::from_secs(10),
            summary_min: Duration::from_secs(5),
            summary_max: Duration::from_secs(300),
        }
    }
}

/// Names the life of this log: the cloud counts sequences per incarnation, so a mesh that begins anew may begin at 1 again.
/// None before the first speaker.
pub fn incarnation(names: &Names, state: &State) -> Option<String> {
    use sha2::{Digest, Sha256};
    let born_at = state.outbox.born_at?;
    let mut hash = Sha256::new();
    for part in [names.organisation.as_str(), &names.mesh, state.group.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(born_at.millis().to_be_bytes());
    Some(hex::encode(hash.finalize().get(..8).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
