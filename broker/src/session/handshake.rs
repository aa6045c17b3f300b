//! From the first byte to an admitted client: CONNECT, authentication, the will's ACL. Everything that can be wrong is
//! answered with the code of the client's version and counted; nothing here touches sessions of others.

use crate::hooks::{Credentials, Denied, Principal, Refusal};
use crate::server::bouncer::Origin;
use crate::server::core::Core;
use crate::session::connection::may_publish;
use crate::session::decode::{DecodeError, Decoder};
use crate::session::encode;
use crate::session::link::Shown;
use crate::session::packet::{Connect, Incoming};
use crate::topics;
use crate::version::Version;
use bytes::BytesMut;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest client id taken, in bytes.
const CLIENT_ID_LEN_MAX: usize = 256;

/// What the transport knows of a client.
pub(crate) struct Peer {
    pub address: SocketAddr,
    pub certificate_name: Option<String>,
    /// What it showed over TLS, verified.
    pub certificates: Option<Arc<Shown>>,
    /// More clients than the limit: it is told so and sent away.
    pub crowded: bool,
}

/// A client that may come in.
pub(crate) struct Admitted {
    pub who: Principal,
    pub connect: Connect,
    pub assigned_client_id: Option<String>,
    pub session_expiry_s: u32,
    /// What is kept to; 0 is none.
    pub keep_alive_s: u16,
}

/// The first byte of every CONNECT.
const CONNECT: u8 = 0x10;

/// Reads one CONNECT, bounded by the caller in time.
pub(crate) async fn read_connect<S>(stream: &mut S, decoder: &mut Decoder, data: &mut BytesMut) -> Result<Connect, &'static str>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match decoder.next(data) {
            Ok(Some(Incoming::Connect(connect))) => return Ok(*connect),
            Ok(Some(_)) => return Err("not-connect"),
            Ok(None) => {}
            Err(DecodeError::UnsupportedVersion) => {
                // Level 3 and level 6 clients alike understand a v3.1.1 CONNACK with code 1.
                tell(stream, &encode::refusal(Version::V4, 0x84, "")).await;
                return Err("unsupported-version");
            }
            Err(DecodeError::Close(close)) => {
                // v3.1.1 has no code for a malformed CONNECT and wants the socket closed without one.
                if let (Some(version), Some((code, text))) = (decoder.offered(), close.notice()) {
                    tell(stream, &encode::refusal(version, code, text)).await;
                }
                return Err("malformed");
            }
        }
        match stream.read_buf(data).await {
            Ok(0) | Err(_) => return Err("gone"),
            // What begins otherwise is no CONNECT, whatever length it claims: a browser, a scanner.
            Ok(_) if !decoder.is_partial() && data.first().is_some_and(|first| *first != CONNECT) => return Err("not-connect"),
            Ok(_) => {}
        }
    }
}

fn denied(core: &Core, username: Option<&str>, peer: &Peer, reason: &'static str) {
    core.hooks.denied(Denied::Login { username, address: peer.address, reason });
}

/// Judges a CONNECT. An error is the CONNACK code, the text for the client and the word for the statistics.
pub(crate) async fn admit(core: &Core, peer: &Peer, mut connect: Connect) -> Result<Admitted, (u8, &'static str, &'static str)> {
    if peer.crowded {
        return Err((0x89, "too many clients", "crowded"));
    }
    if connect.client_id.len() > CLIENT_ID_LEN_MAX || connect.client_id.chars().any(char::is_control) {
        return Err((0x85, "client id not allowed", "client-id"));
    }
    let mut assigned_client_id = None;
    if connect.client_id.is_empty() {
        if connect.version == Version::V4 && !connect.clean_start {
            return Err((0x85, "a session needs a client id", "client-id"));
        }
        let number = core.next_client.fetch_add(1, Ordering::Relaxed);
        connect.client_id = format!("auto-{:x}-{number}", core.started.millis());
        assigned_client_id = Some(connect.client_id.clone());
    }
    let origin = Origin { client_id: connect.client_id.clone(), address: peer.address.ip() };
    if !core.bouncer.lock().admits(&origin, Instant::now()) {
        denied(core, connect.username.as_deref(), peer, "login-rate");
        return Err((0x9F, "too many failed logins: wait before the next", "login-rate"));
    }
    let credentials = Credentials {
        client_id: connect.client_id.clone(),
        username: connect.username.take(),
        password: connect.password.take(),
        certificate_name: peer.certificate_name.clone(),
        address: peer.address,
    };
    let asked = tokio::time::timeout(core.limits.connect_timeout, core.hooks.authenticate(&credentials)).await;
    let who = match asked {
        Ok(Ok(who)) => who,
        Ok(Err(Refusal::BadCredentials)) => {
            core.bouncer.lock().failed(&origin, Instant::now());
            denied(core, credentials.username.as_deref(), peer, "bad-credentials");
            return Err((0x86, "bad user name or password", "bad-credentials"));
        }
        Ok(Err(Refusal::NotAuthorised)) => {
            denied(core, credentials.username.as_deref(), peer, "not-authorised");
            return Err((0x87, "not authorised", "not-authorised"));
        }
        Ok(Err(Refusal::Unavailable)) => return Err((0x88, "server unavailable", "unavailable")),
        Err(_) => return Err((0x88, "authentication took too long", "unavailable")),
    };
    core.bouncer.lock().succeeded(&origin);
    if let Some(will) = &connect.will {
        if !topics::is_publishable(&will.message.topic, core.limits.topic_levels) {
            return Err((0x90, "will topic not allowed", "will-topic"));
        }
        if will.message.is_text && std::str::from_utf8(&will.message.payload).is_err() {
            return Err((0x99, "the will is not the text it says it is", "will-format"));
        }
        if may_publish(core, &who, &will.message).is_err() {
            core.hooks.denied(Denied::Publish { who: &who, topic: &will.message.topic });
            return Err((0x87, "not authorised to publish the will", "will-denied"));
        }
    }
    let longest = u32::try_from(core.limits.session_expiry.as_secs()).unwrap_or(u32::MAX);
    let session_expiry_s = connect.session_expiry_s.min(longest);
    let keep_alive_s = keep_alive(&connect, core.limits.keep_alive_max);
    Ok(Admitted { who, connect, assigned_client_id, session_expiry_s, keep_alive_s })
}

/// v5 clients can be told to speak more often than they meant to; v3.1.1 clients cannot.
fn keep_alive(connect: &Connect, max: Duration) -> u16 {
    let asked = connect.keep_alive_s;
    let max = u16::try_from(max.as_secs()).unwrap_or(u16::MAX);
    match connect.version {
        Version::V5 if max > 0 && (asked == 0 || asked > max) => max,
        _ => asked,
    }
}

pub(crate) async fn tell<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) {
    stream.write_all(bytes).await.ok();
    stream.shutdown().await.ok();
}
