//! Before anything is served: every listener bound and every identity checked, and what the store kept put back.

use crate::clock;
use crate::server::listener::{self, Door};
use crate::server::table::Table;
use crate::server::tls::{self, Identity};
use crate::server::{Addresses, BrokerConfig, StartError, TlsListener};
use crate::session::registry::Registry;
use crate::session::state::Session;
use crate::store::{Image, QueueRow, WillRow};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

#[derive(Default)]
pub(super) struct Opened {
    pub listeners: Vec<(TcpListener, Door)>,
    pub addresses: Addresses,
    pub identities: Vec<(SocketAddr, Arc<Mutex<Identity>>)>,
}

pub(super) fn open(config: &BrokerConfig) -> Result<Opened, StartError> {
    let mut opened = Opened::default();
    opened.addresses.tcp = opened.plain(config.tcp, false)?;
    opened.addresses.tls = opened.secure(config.tls.as_ref(), false)?;
    opened.addresses.ws = opened.plain(config.ws, true)?;
    opened.addresses.wss = opened.secure(config.wss.as_ref(), true)?;
    if opened.listeners.is_empty() { Err(StartError::NoListener) } else { Ok(opened) }
}

impl Opened {
    fn plain(&mut self, address: Option<SocketAddr>, websocket: bool) -> Result<Option<SocketAddr>, StartError> {
        address.map(|address| self.bind(address, None, websocket)).transpose()
    }

    fn secure(&mut self, listener: Option<&TlsListener>, websocket: bool) -> Result<Option<SocketAddr>, StartError> {
        let Some(listener) = listener else { return Ok(None) };
        let address = listener.address;
        let identity = tls::identity(listener).map_err(|reason| StartError::Tls { address, reason })?;
        let identity = Arc::new(Mutex::new(identity));
        let bound = self.bind(address, Some(identity.clone()), websocket)?;
        self.identities.push((bound, identity));
        Ok(Some(bound))
    }

    fn bind(&mut self, address: SocketAddr, tls: Option<Arc<Mutex<Identity>>>, websocket: bool) -> Result<SocketAddr, StartError> {
        let listener = listener::bind(address)?;
        let bound = listener.local_addr().map_err(|source| StartError::Bind { address, source })?;
        self.listeners.push((listener, Door { tls, address: bound, websocket }));
        Ok(bound)
    }
}

/// Puts back what the store had; the answer is the wills of those who were connected.
pub(super) fn restore(image: Image, registry: &Registry, table: &Mutex<Table>) -> Vec<WillRow> {
    let now = clock::now();
    let mut table = table.lock();
    table.retained.restore(image.retained, now);
    let mut queued: BTreeMap<u64, Vec<QueueRow>> = BTreeMap::new();
    for row in image.queued {
        queued.entry(row.session).or_default().push(row);
    }
    let mut received: BTreeMap<u64, Vec<u16>> = BTreeMap::new();
    for (session, packet_id) in image.received {
        received.entry(session).or_default().push(packet_id);
    }
    for row in image.sessions {
        let id = row.session;
        let (queued, received) = (queued.remove(&id).unwrap_or_default(), received.remove(&id).unwrap_or_default());
        let session = Arc::new(Session::restored(row, queued, received, &registry.setting, now));
        table.restore(&session);
        registry.restore(session);
    }
    for row in &image.wills {
        registry.numbered_above(row.session);
    }
    image.wills
}
