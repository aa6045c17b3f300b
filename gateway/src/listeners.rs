//! What the TLS listeners for devices show, renewed from its files while they run: on SIGHUP and when the API is asked.
//!
//! Sessions go on, except those whose certificate is refused from then on. What cannot be used changes nothing. Addresses and
//! limits are not among it: they want a restart.

use crate::config::DevicesTls;
use spalla_broker::server::Broker;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

pub struct Listeners {
    tls: Option<DevicesTls>,
    broker: Arc<Broker>,
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    pub addresses: Vec<SocketAddr>,
    /// Sessions ended because their certificate is no longer accepted.
    pub disconnected: usize,
}

impl Listeners {
    pub fn new(tls: Option<DevicesTls>, broker: Arc<Broker>) -> Self {
        Self { tls, broker }
    }

    /// Reads files; not on an async thread. The error says what cannot be used; nothing was changed then.
    pub fn reload(&self) -> Result<Reloaded, String> {
        let tls = self.tls.as_ref().ok_or("this gateway has no TLS listener for devices: there is nothing to read again")?;
        let bound = self.broker.addresses();
        let addresses: Vec<SocketAddr> = bound.tls.into_iter().chain(bound.wss).collect();
        // All are looked at before the first is changed.
        let identities: Vec<_> = addresses.iter().map(|address| tls.files.listener(*address)).collect::<Result<_, _>>()?;
        let mut disconnected = 0;
        for identity in &identities {
            disconnected += self.broker.reload_tls(identity).map_err(|error| error.to_string())?;
        }
        Ok(Reloaded { addresses, disconnected })
    }

    /// Reloads at each SIGHUP. Runs until it is dropped; spawn it once.
    pub async fn heed_hangup(self: Arc<Self>) {
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => return tracing::error!(%error, "SIGHUP cannot be heeded: only the API reloads certificates"),
        };
        while hangups.recv().await.is_some() {
            let listeners = self.clone();
            match tokio::task::spawn_blocking(move || listeners.reload()).await {
                Ok(Ok(done)) => tracing::info!(disconnected = done.disconnected, "certificates and revocation lists read again"),
                Ok(Err(why)) => tracing::warn!(%why, "certificates and revocation lists stay as they were"),
                Err(error) => tracing::error!(%error, "the reload ended before its time"),
            }
        }
    }
}
