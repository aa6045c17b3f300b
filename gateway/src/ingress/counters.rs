//! What ingress took and turned away since this gateway started.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        #[derive(Default)]
        pub struct IngressCounters {
            $($(#[$doc])* pub(super) $name: AtomicU64,)*
        }

        /// The counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct IngressCounts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl IngressCounts {
            /// Every counter with its name, as `/metrics` shows it.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((concat!(stringify!($name), "_total"), self.$name),)*]
            }
        }

        impl IngressCounters {
            pub fn read(&self) -> IngressCounts {
                IngressCounts { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters!(
    /// Clients that showed a wrong name or password.
    bad_credentials,
    /// Clients turned away because too many passwords were being checked.
    login_busy,
    /// Events that entered the log.
    events_committed,
    /// Events that no flow waits for: telemetry only.
    events_local,
    /// Events published with the retain bit: never acted on.
    events_retained,
    /// Events that this building's group took while the mesh could not be told.
    events_alone,
    /// Events that could not be made safe (no quorum): the device sends them again.
    events_not_now,
    /// Events that the engine refused.
    events_rejected,
    /// Readings taken.
    readings,
    /// Payloads that were neither JSON nor CBOR, or not of the contract's shape.
    undecodable,
    oversize,
    /// Topics outside the native contract.
    unknown_topic,
    /// Messages of a convention that its profile reads nothing of.
    unread,
    /// Devices proposed by a bridge that could not be noted.
    proposals_refused,
    /// Sessions ended because the device's password was changed or revoked.
    logins_cut,
    unknown_device,
    /// Device commands that service clients gave by their rules.
    client_commands,
    /// Over the rate that one device may have.
    over_rate,
    /// Telemetry was full.
    telemetry_full,
    /// Acknowledgements that an executor took.
    acks_taken,
    /// Acknowledgements that nobody waited for: late, repeated, or invented.
    acks_unmatched,
    /// Presented tokens with a good signature, inside their time.
    tokens_verified,
    tokens_refused,
);

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
