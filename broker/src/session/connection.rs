//! One connection from CONNECT to its end: greeting, the three tasks that carry it, and what its end brings about.

use crate::hooks::Principal;
use crate::message::Message;
use crate::server::core::Core;
use crate::session::close::Close;
use crate::session::decode::Decoder;
use crate::session::encode::{self, Welcome};
use crate::session::handshake::{self, Admitted, Peer};
use crate::session::inbound;
use crate::session::link::Link;
use crate::session::packet::Will;
use crate::session::reader::Reader;
use crate::session::registry::Place;
use crate::session::{wills, writer};
use crate::topics;
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};

/// How long a closing connection may take to write its DISCONNECT.
const FAREWELL_WAIT: Duration = Duration::from_millis(300);
/// How long a message in the hands of the hooks may keep its connection's end waiting.
const LAST_MESSAGE_WAIT: Duration = Duration::from_secs(3);
/// How long a hook may keep a connection from beginning or ending.
pub(super) const HOOK_WAIT: Duration = Duration::from_secs(4);

/// Serves one client until its end.
pub(crate) async fn serve<S>(core: Arc<Core>, mut stream: S, peer: Peer)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stopping = core.stopping.subscribe();
    let greeted = {
        // Boxed: what a greeting needs is given back when it is over.
        let greeting = Box::pin(greet(&core, &mut stream, &peer));
        tokio::select! {
            greeted = greeting => greeted,
            _ = stopping.wait_for(|stopping| *stopping) => None,
        }
    };
    if let Some((decoder, data, admitted)) = greeted {
        run(core, stream, peer, decoder, data, admitted).await;
    }
}

/// CONNECT and its judgement; nothing of it outlives a shutdown.
async fn greet<S>(core: &Core, stream: &mut S, peer: &Peer) -> Option<(Decoder, BytesMut, Admitted)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut decoder = Decoder::new(core.limits.packet_size);
    let mut data = BytesMut::with_capacity(2048);
    let reading = handshake::read_connect(stream, &mut decoder, &mut data);
    let refused = match tokio::time::timeout(core.limits.connect_timeout, reading).await {
        Ok(Ok(connect)) => {
            let version = connect.version;
            match handshake::admit(core, peer, connect).await {
                Ok(admitted) => {
                    if data.is_empty() {
                        data = BytesMut::new();
                    }
                    return Some((decoder, data, admitted));
                }
                Err((code, text, reason)) => {
                    core.refused(peer, reason);
                    let answer = encode::refusal(version, code, text);
                    tokio::time::timeout(FAREWELL_WAIT, handshake::tell(stream, &answer)).await.ok();
                    return None;
                }
            }
        }
        Ok(Err(reason)) => reason,
        Err(_) => "connect-timeout",
    };
    core.refused(peer, refused);
    None
}

async fn run<S>(core: Arc<Core>, mut stream: S, peer: Peer, decoder: Decoder, data: BytesMut, admitted: Admitted)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Admitted { who, connect, assigned_client_id, session_expiry_s, keep_alive_s } = admitted;
    let (close, closed) = watch::channel(None);
    let build = |number| Link {
        number,
        version: connect.version,
        wants_reasons: connect.wants_reasons,
        receive_max: connect.receive_max,
        packet_size_max: connect.packet_size_max,
        alias_max: connect.alias_max,
        certificates: peer.certificates.clone(),
        close: close.clone(),
    };
    let place = match core.registry.take(&who, connect.clean_start, session_expiry_s, build).await {
        Ok(place) => place,
        Err(crowded) => {
            core.refused(&peer, crowded.label());
            let answer = encode::refusal(connect.version, 0x97, crowded.text());
            tokio::time::timeout(FAREWELL_WAIT, handshake::tell(&mut stream, &answer)).await.ok();
            return;
        }
    };
    if let Some(replaced) = &place.replaced {
        core.forget(replaced);
    }
    core.arrived(&place.session);
    if *core.stopping.borrow() {
        place.link.close(Close::Shutdown);
    }
    if connect.will.is_some() || place.session_present {
        wills::note(&core, &place.session, connect.will.as_ref());
    }
    tokio::time::timeout(HOOK_WAIT, core.hooks.connected(&who, place.link.number)).await.ok();
    let welcome = Welcome {
        session_present: place.session_present,
        assigned_client_id: assigned_client_id.as_deref(),
        session_expiry_s: (session_expiry_s != connect.session_expiry_s).then_some(session_expiry_s),
        receive_max: core.limits.in_flight,
        packet_size_max: core.limits.packet_size,
        alias_max: core.limits.topic_aliases,
        keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
    };
    let welcome = encode::welcome(connect.version, &welcome);
    let welcomed = tokio::time::timeout(core.limits.write_timeout, async {
        stream.write_all(&welcome).await?;
        stream.flush().await
    });
    let welcomed = welcomed.await;

    let (read_half, write_half) = tokio::io::split(stream);
    let mut writing = tokio::spawn(writer::run(place.session.clone(), place.link.clone(), write_half));
    let (jobs, jobs_rx) = mpsc::channel(usize::from(core.limits.in_flight));
    let mut taking = tokio::spawn(inbound::run(core.clone(), place.session.clone(), place.link.clone(), jobs_rx));
    let keep_alive = (keep_alive_s > 0).then(|| Duration::from_millis(u64::from(keep_alive_s) * 1500));
    let mut reader = Reader::new(&core, &place.session, &place.link, jobs, decoder, data, keep_alive);
    let reason = if matches!(welcomed, Ok(Ok(()))) {
        tokio::select! {
            reason = reader.run(read_half) => reason,
            reason = wait_closed(closed) => reason,
            _ = &mut taking => place.link.close.borrow().clone().unwrap_or(Close::Internal),
        }
    } else {
        Close::Gone
    };
    place.link.close(reason);
    let reason = place.link.close.borrow().clone().unwrap_or(Close::Gone);
    place.session.wake.notify_one();
    let session_expiry_s = reader.session_expiry_s;
    drop(reader);

    // What was read before the end still counts, as far as the hooks take it in time.
    let patience = if reason == Close::Shutdown { FAREWELL_WAIT } else { LAST_MESSAGE_WAIT };
    if !taking.is_finished() && tokio::time::timeout(patience, &mut taking).await.is_err() {
        taking.abort();
    }
    if tokio::time::timeout(FAREWELL_WAIT, &mut writing).await.is_err() {
        writing.abort();
    }
    finish(&core, &place, connect.will, &reason, session_expiry_s).await;
}

async fn wait_closed(mut closed: watch::Receiver<Option<Close>>) -> Close {
    match closed.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or(Close::Gone),
        Err(_) => Close::Gone,
    }
}

async fn finish(core: &Arc<Core>, place: &Place, will: Option<Will>, reason: &Close, session_expiry_s: Option<u32>) {
    let who = &place.session.who;
    core.counters.ended(reason.label());
    tracing::debug!(client = %who.client_id, principal = %who.name, reason = reason.label(), "connection ended");
    if let Some(seconds) = session_expiry_s {
        place.session.inner.lock().expiry_s = seconds;
    }
    if let Some(will) = will {
        wills::at_end(core, &place.session, will, reason).await;
    }
    match core.registry.leave(place, session_expiry_s) {
        Some(session) => core.forget(&session),
        None => core.left(&place.session),
    }
    tokio::time::timeout(HOOK_WAIT, core.hooks.disconnected(who, place.link.number)).await.ok();
    place.has_ended();
}

/// What the broker itself and the ACL say of a PUBLISH; the error is a v5 reason code and its text.
pub(crate) fn may_publish(core: &Core, who: &Principal, message: &Message) -> Result<(), (u8, &'static str)> {
    if topics::is_command(&message.topic) {
        if who.name.starts_with("device:") {
            return Err((0x87, "a device may not command"));
        }
        if message.retain {
            return Err((0x87, "a command is never retained"));
        }
    }
    if core.hooks.may_publish(who, &message.topic) { Ok(()) } else { Err((0x87, "not authorised to publish here")) }
}
