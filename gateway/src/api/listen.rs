//! The API's listener: plain on loopback, TLS where others can reach it. A slow handshake holds nobody else up.

use super::{App, router};
use crate::config::Tls;
use axum::serve::Listener;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// TLS handshakes at once; more wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 64;
/// A client that keeps its connection open must not hold the gateway's end up.
const STOP_TIME_MAX: Duration = Duration::from_millis(500);
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("api.listen {address}: {error}; choose another port or stop what holds it")]
    Bind { address: SocketAddr, error: io::Error },
    #[error("{path}: {error}")]
    Tls { path: String, error: String },
}

/// A running API; it ends when `stop` is sent.
pub struct Server {
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Lets running requests end, for a moment, and frees the port.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(STOP_TIME_MAX, self.task).await.is_err() {
            abort.abort();
        }
    }
}

pub async fn serve(app: App) -> Result<Server, StartError> {
    let address = app.config.api.listen;
    let tcp = TcpListener::bind(address).await.map_err(|error| StartError::Bind { address, error })?;
    let address = tcp.local_addr().unwrap_or(address);
    let acceptor = app.config.api.tls.as_ref().map(acceptor).transpose()?;
    let (stop, mut stopped) = watch::channel(false);
    let ended = async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    let routes = router(app);
    let task = tokio::spawn(async move {
        let result = match acceptor {
            None => axum::serve(tcp, routes).with_graceful_shutdown(ended).await,
            Some(acceptor) => axum::serve(TlsListener::start(tcp, acceptor, address), routes).with_graceful_shutdown(ended).await,
        };
        if let Err(error) = result {
            tracing::error!(%error, "the API listener ended");
        }
    });
    Ok(Server { address, stop, task })
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, StartError> {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let wrong = |path: &Path, error: String| StartError::Tls { path: path.display().to_string(), error };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(&tls.certificate, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| wrong(&tls.key, error.to_string()))?;
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&tls.certificate, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&tls.certificate, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl TlsListener {
    fn start(tcp: TcpListener, acceptor: TlsAcceptor, address: SocketAddr) -> Self {
        let (give, ready) = mpsc::channel(HANDSHAKES_MAX);
        let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        tokio::spawn(async move {
            loop {
                // Ends with the server, also while all places are taken by slow handshakes: the port must be free.
                let next = async { (places.clone().acquire_owned().await, tcp.accept().await) };
                let (place, accepted) = tokio::select! {
                    () = give.closed() => return,
                    next = next => next,
                };
                let (place, (stream, from)) = match (place, accepted) {
                    (Ok(place), Ok(accepted)) => (place, accepted),
                    (Err(_), _) => return,
                    (_, Err(error)) => {
                        tracing::warn!(%error, "accepting an API connection failed");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                };
                let (acceptor, give) = (acceptor.clone(), give.clone());
                tokio::spawn(async move {
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
                        let _ = give.send((stream, from)).await;
                    }
                    drop(place);
                });
            }
        });
        Self { ready, address }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(accepted) => accepted,
            // The accept task ended: there will be no more connections.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
