//! The mesh listener: accepts TLS connections of other gateways and hands each to a task of its own.

use super::connection;
use super::tls::node_of_certificate;
use super::{Service, Tls, TlsError};
use spalla_shared::id::NodeId;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Three connections from each of some hundred gateways; the rest wait in the accept queue.
const CONNECTIONS_MAX: usize = 1024;
/// From accept to the end of the TLS handshake, and again to CONNECT.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after accept itself failed (out of descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("mesh listener {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
}

impl Server {
    /// Listens on `address` (port 0 takes a free one) and answers with `service`. Ends when it is dropped.
    pub async fn bind(address: SocketAddr, tls: &Tls, service: Arc<dyn Service>) -> Result<Self, BindError> {
        let acceptor = TlsAcceptor::from(tls.server()?);
        let listener = TcpListener::bind(address).await.map_err(|source| BindError::Listen { address, source })?;
        let address = listener.local_addr().map_err(|source| BindError::Listen { address, source })?;
        let task = tokio::spawn(accept(listener, acceptor, service));
        Ok(Self { address, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, service: Arc<dyn Service>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Owns the connections, so that they end with the server.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "mesh listener cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, service) = (acceptor.clone(), service.clone());
        connections.spawn(async move {
            let _place = place;
            match handshake(stream, acceptor).await {
                Ok((stream, peer)) => {
                    if let Err(reason) = connection::serve(stream, peer, service).await {
                        tracing::debug!(%peer, %from, reason, "mesh connection ended");
                    }
                }
                Err(reason) => tracing::info!(%from, reason, "mesh connection refused"),
            }
        });
    }
}

async fn handshake(stream: TcpStream, acceptor: TlsAcceptor) -> Result<(TlsStream<TcpStream>, NodeId), String> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream))
        .await
        .map_err(|_| "TLS handshake took too long".to_owned())?
        .map_err(|error| format!("TLS handshake: {error}"))?;
    let peer = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .and_then(node_of_certificate)
        .ok_or("the client certificate names no node")?;
    Ok((stream, peer))
}
