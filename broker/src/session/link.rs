//! The connection that a session has at the moment.

use crate::session::close::Close;
use crate::version::Version;
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The connection a session has at the moment.
#[derive(Clone)]
pub(crate) struct Link {
    pub number: u64,
    pub version: Version,
    pub wants_reasons: bool,
    /// What the client said it takes unacknowledged.
    pub receive_max: u16,
    pub packet_size_max: u32,
    /// Topic aliases that may be sent to it.
    pub alias_max: u16,
    /// What the client showed of itself over TLS; looked at again when a revocation list changes.
    pub certificates: Option<Arc<Shown>>,
    pub close: watch::Sender<Option<Close>>,
}

/// A client's verified certificates, and the listener that verified them.
pub(crate) struct Shown {
    pub listener: SocketAddr,
    pub chain: Vec<CertificateDer<'static>>,
}

impl Link {
    /// The first reason stays.
    pub fn close(&self, reason: Close) {
        self.close.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(reason);
            }
            first
        });
    }
}
