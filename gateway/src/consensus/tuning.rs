//! Times and sizes of agreement, and the openraft settings that come of them.

use crate::config::Timing;
use openraft::{Config, ConfigError, SnapshotPolicy};
use std::sync::Arc;
use std::time::Duration;

/// Of a group with one voter: nobody waits for it, it only tells those who learn that it lives.
pub const LONE_HEARTBEAT: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Also how long an answer to a heartbeat may take.
    pub heartbeat: Duration,
    /// A follower that heard nothing for a time between these two asks for votes.
    pub election_min: Duration,
    pub election_max: Duration,
    /// Entries between two snapshots.
    pub snapshot_every: u64,
    /// Command bytes after which a snapshot is taken sooner.
    pub snapshot_len: u64,
    /// Entries kept behind a snapshot: for followers that are a little late, and because openraft 0.10 can panic where a
    /// purge overtakes an apply (its issue 2116).
    pub snapshot_keep: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self::for_network(Timing::default())
    }
}

impl Tuning {
    /// A leader is silent for `election_max` before others may follow a new one, and for up to as long again before one of them
    /// asks. An answer to a heartbeat may take one heartbeat, an fsync at the far side included.
    pub fn for_network(timing: Timing) -> Self {
        let (heartbeat, election_min, election_max) = match timing {
            Timing::Lan => (80, 240, 400),
            Timing::Metro => (150, 600, 1200),
            Timing::Wan => (500, 2_000, 4_000),
        };
        Self {
            heartbeat: Duration::from_millis(heartbeat),
            election_min: Duration::from_millis(election_min),
            election_max: Duration::from_millis(election_max),
            snapshot_every: 20_000,
            snapshot_len: 32 * 1024 * 1024,
            snapshot_keep: 5_000,
        }
    }

    /// Without a leader for so long, a gateway counts as cut off: an election that goes well is over by then.
    pub fn alone_after(&self) -> Duration {
        self.election_max * 3
    }

    /// How long a leader may be silent, in a group with one voter.
    pub(super) fn lone_silence_max(&self) -> Duration {
        self.election_max.max(LONE_HEARTBEAT * 6)
    }

    pub(super) fn raft(&self, group: &str) -> Result<Arc<Config>, ConfigError> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let config = Config {
            cluster_name: group.to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            // A chunk, and at last installing; the state of a large mesh takes seconds to read.
            install_snapshot_timeout: 30_000,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_every),
            max_in_snapshot_log_to_keep: self.snapshot_keep,
            // Beyond what the log keeps, a snapshot is the only way.
            replication_lag_threshold: self.snapshot_every + self.snapshot_keep,
            max_payload_entries: 512,
            api_channel_size: Some(4096),
            notification_channel_size: Some(8192),
            backoff: "50ms 100ms 200ms ..250ms".to_owned(),
            // A restarted leader that took its old term up again could hand out log ids that it lost with its unflushed tail.
            enable_leader_restore: Some(false),
            // A gateway that was cut off must not unseat the leader when it comes back.
            enable_pre_vote: Some(true),
            allow_log_reversion: Some(false),
            ..Config::default()
        }
        .validate()?;
        assert_eq!((config.enable_leader_restore, config.enable_pre_vote), (Some(false), Some(true)), "settings that agreement depends on");
        Ok(Arc::new(config))
    }
}
