//! Accepts sockets. Nothing a client does, or leaves undone, happens in the accept loop: handshakes have their own task and
//! their own time limit.

use crate::hooks::Denied;
use crate::server::StartError;
use crate::server::core::Core;
use crate::server::tls::{self, Identity};
use crate::server::websocket;
use crate::session::connection;
use crate::session::handshake::Peer;
use crate::session::link::Shown;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const BACKLOG: u32 = 1024;
/// Sockets above the limit that still get a CONNACK with the reason; those above these are closed at once.
const CROWD_MARGIN: usize = 64;
/// Pause after an accept error such as "too many open files", so that the loop does not spin on it.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Binds so that a port is free again the moment its owner is gone.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        // Accepted sockets inherit it: a client that asked for no keep-alive and lost its power must not stay for ever.
        socket.set_keepalive(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|source| StartError::Bind { address, source })
}

/// How a listener's bytes become MQTT's. The identity can be replaced while the listener runs.
#[derive(Clone)]
pub(crate) struct Door {
    pub tls: Option<Arc<Mutex<Identity>>>,
    /// Where it listens.
    pub address: SocketAddr,
    pub websocket: bool,
}

pub(crate) async fn accept(core: Arc<Core>, listener: TcpListener, door: Door) {
    let mut stopping = core.stopping.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        match accepted {
            Ok((socket, address)) => welcome(&core, socket, address, &door),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                core.counters.refused("accept-error");
                tokio::select! {
                    () = tokio::time::sleep(ACCEPT_ERROR_PAUSE) => {}
                    _ = stopping.wait_for(|stopping| *stopping) => return,
                }
            }
        }
    }
}

fn welcome(core: &Arc<Core>, socket: TcpStream, address: SocketAddr, door: &Door) {
    let open = core.sockets.fetch_add(1, Ordering::Relaxed) + 1;
    let count = Count(core.clone());
    if open > core.limits.connections + CROWD_MARGIN {
        core.counters.refused("crowded");
        return;
    }
    let peer = Peer { address, certificate_name: None, certificates: None, crowded: open > core.limits.connections };
    socket.set_nodelay(true).ok();
    let acceptor = door.tls.as_ref().map(|identity| identity.lock().acceptor.clone());
    let Door { websocket, address: listener, .. } = *door;
    tokio::spawn(async move {
        let core = count.0.clone();
        let Some(acceptor) = acceptor else {
            return upgrade(core, socket, peer, websocket).await;
        };
        match Box::pin(tokio::time::timeout(core.limits.connect_timeout, acceptor.accept(socket))).await {
            Ok(Ok(stream)) => {
                let certificate_name = tls::client_name(stream.get_ref().1);
                let chain =
                    stream.get_ref().1.peer_certificates().map(|chain| chain.iter().cloned().map(CertificateDer::into_owned).collect());
                let certificates = chain.map(|chain| Arc::new(Shown { listener, chain }));
                upgrade(core, stream, Peer { certificate_name, certificates, ..peer }, websocket).await;
            }
            Ok(Err(error)) => {
                core.handshake_failed(&peer, &error);
                core.hooks.denied(Denied::Login { username: None, address, reason: "tls" });
            }
            Err(_) => core.refused(&peer, "tls-timeout"),
        }
    });
}

/// WebSocket, where the listener speaks it; then MQTT.
async fn upgrade<S>(core: Arc<Core>, stream: S, peer: Peer, websocket: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Boxed: every task would be as large as the largest of these ways, and an idle connection is mostly its task.
    if !websocket {
        return Box::pin(connection::serve(core, stream, peer)).await;
    }
    match tokio::time::timeout(core.limits.connect_timeout, websocket::accept(stream, core.limits.packet_size)).await {
        Ok(Ok(stream)) => Box::pin(connection::serve(core, stream, peer)).await,
        Ok(Err(reason)) => core.refused(&peer, reason),
        Err(_) => core.refused(&peer, "websocket-timeout"),
    }
}

/// Counts a socket down however its task ends.
struct Count(Arc<Core>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}
